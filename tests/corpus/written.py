"""Text that ships with the project, for tests that write it in one encoding after another.

In: nothing. Out: lines of Chinese in both scripts, of Japanese and of English, and of English with Chinese words. The
pages of the documentation are what people write: headings, lists, names and numbers among sentences.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from danlu.corpus.world_dirt import BIG5_PARAGRAPHS
from tests.docs.pages import benchmark

ROOT = Path(__file__).resolve().parents[2]
JAPANESE_SENTENCES = (
    "春になると、子どもたちは川のそばで凧をあげます。",
    "おじいさんは木の下でお茶を飲みながら、昔の話をします。",
    "朝早く起きて、駅まで歩いて行くのが好きだと、彼女は言いました。",
    "図書館には新しい本がたくさんありますが、まだ半分も読んでいません。",
    "昨日の雨で川の水が増えたので、橋を渡ることができなかった。",
    "ラーメンとカレーのどちらを食べようかと、二人は長いあいだ迷っていた。",
    "この町の冬はとても寒く、十二月になると毎日のように雪が降ります。",
    "コンピューターの使い方を覚えるには、実際に触ってみるのがいちばんです。",
    "先生は黒板に難しい漢字を書いて、みんなに読み方を聞きました。",
    "週末には友だちと山に登り、頂上で弁当を食べるつもりです。",
    "電車が遅れたため、会議は三十分後に始まることになった。",
)
ENCODINGS = benchmark("text_encodings")
"""Which measures on texts of people what is proved on these."""
MARKDOWN = re.compile(r"`[^`]*`|\]\([^)]*\)|[*#|_\[\]>-]+")


def _pages(pattern: str) -> str:
    """The prose of the documentation's pages, their code left out."""
    pages = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob(pattern)))
    return "\n".join(MARKDOWN.sub(" ", re.sub(r"```.*?```", "", page, flags=re.DOTALL)) for page in pages)


@cache
def simplified() -> str:
    lines = (line.strip() for line in _pages("*.zh.md").splitlines() if "\ufffd" not in line)
    return "\n".join(line for line in lines if len(re.findall("[一-鿿]", line)) > 0.3 * len(line))


@cache
def english() -> str:
    """As three of the pages once were: where they are written anew, what is drawn from it stays the same."""
    return (Path(__file__).parent / "english.txt").read_text("ascii")


@cache
def traditional() -> str:
    rows = (line.split("\t") for line in (Path(__file__).parent / "passages.tsv").read_text("utf-8").splitlines())
    passages = [text for language, text in rows if language == "zh-Hant"]
    sentences = [one for text in (*BIG5_PARAGRAPHS, *passages) for one in re.findall("[^。]+。", text)]
    return "".join(random.Random(0).choices(sentences, k=4000))


@cache
def japanese() -> str:
    return "".join(random.Random(0).choices(JAPANESE_SENTENCES, k=4000))


@cache
def with_chinese_words() -> str:
    """English in which every tenth word or so is Chinese."""
    return str(ENCODINGS.with_words(english()))


TEXTS = {
    "simplified": simplified,
    "traditional": traditional,
    "japanese": japanese,
    "english": english,
    "with Chinese words": with_chinese_words,
}


def samples(name: str, encoding: str, count: int, size_bytes: int = 200) -> list[str]:
    """Pieces of a text that are so many bytes in an encoding, or a character less, and begin anywhere."""
    draw = random.Random(f"{name} {encoding}")
    return list(ENCODINGS.pieces(TEXTS[name](), encoding, count, size_bytes, draw))
