"""A text in its words: set apart by spaces, without stop words, or both.

In: a text and its language. Out: the changed text and how many stop words went. Called by `stages.prepare` for recipes
that ask for it: a classical task (counting words, word vectors) wants it, a language model does not. Marks of hidden
data stay whole. The stop words are the function words of the text's own language, English or Chinese: `was` is another
word in German. In capitals among others they are names (US, WHO, IT). Tokens of a vocabulary are sub-words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from danlu.tokenizer.words import segment

Method = Literal["keep", "rule", "forward", "backward", "ngram", "hmm", "subword"]
ENGLISH = (
    "a an the and or but if of to in on at by for with from as into about than that this these those "
    "there here it its he him his she her hers they them their we us our you your i me my who whom which "
    "what when where why how be am is are was were been being do does did have has had having will would "
    "can could shall should may might must not no nor so too very just also only own same such then once "
    "both each few more most other some any all"
)
CHINESE = (
    "的 了 是 在 和 与 與 及 或 也 都 就 而 且 但 但是 而且 因为 因為 所以 如果 虽然 雖然 我 你 您 他 她 "
    "它 我们 我們 你们 你們 他们 他們 她们 她們 它们 它們 这 這 那 这个 這個 那个 那個 这些 這些 那些 "
    "这里 這裡 那里 那裡 有 没有 沒有 不 很 更 最 把 被 对 對 从 從 到 于 於 以 为 為 之 其 着 著 过 過 "
    "吗 嗎 呢 吧 啊 呀 哦 嘛 地 得 上 下 中 里 裡 一个 一個 一些 什么 什麼 怎么 怎麼 会 會 能 可以 要 让 "
    "讓 给 給"
)
STOP_WORDS = {"en": frozenset(ENGLISH.split()), "zh": frozenset(CHINESE.split())}
MARK = re.compile(r"(\[[A-Z_]{2,12}(?:-[0-9a-f]{12})?\])")
LINES = re.compile(r"(\n+)")


class Cutter:
    """What a recipe wants done with the words of a text; `pieces` is given for sub-words."""

    def __init__(self, method: Method, drop_stop_words: bool, pieces: Callable[[str], list[str]] | None = None):
        self.method, self.drop_stop_words, self.pieces = method, drop_stop_words, pieces

    def __call__(self, text: str, language: str) -> tuple[str, int]:
        """`(text, stop words that went)`; lines stay lines."""
        lines, gone = [], 0
        for line in LINES.split(text):
            if not line.strip():
                lines.append(line)
                continue
            words = [word for part in MARK.split(line) for word in self._words(part, language)]
            kept = [word for word in words if not self._is_dropped(word, language, shouted=line.isupper())]
            gone += len(words) - len(kept)
            lines.append(_put_together(kept, apart=self.method != "keep"))
        return "".join(lines), gone

    def _words(self, part: str, language: str) -> list[str]:
        if MARK.fullmatch(part):
            return [part]
        if self.pieces is not None:
            return self.pieces(part)
        return segment(part, language, "hmm" if self.method == "keep" else self.method)

    def _is_dropped(self, word: str, language: str, *, shouted: bool) -> bool:
        if not self.drop_stop_words or (len(word) > 1 and word.isupper() and not shouted):
            return False
        return word.lower() in STOP_WORDS.get(language.partition("-")[0], ())


def _put_together(words: list[str], *, apart: bool) -> str:
    """One space between words; or as they stood, and no two spaces where one has gone."""
    if apart:
        return " ".join(stripped for word in words if (stripped := word.strip()))
    return re.sub(r" {2,}", " ", "".join(words)).strip()


def pieces_of(path: Path) -> Callable[[str], list[str]]:
    """The tokens of a tokenizer's folder as texts. Characters that fall into several tokens stay one piece."""
    from danlu.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path)

    def pieces(text: str) -> list[str]:
        stream, found = tokenizer.stream(), []
        for token in tokenizer.encode(text):
            piece = stream.push(token)
            if piece:
                found.append(piece)
        rest = stream.finish()
        return [*found, rest] if rest else found

    return pieces
