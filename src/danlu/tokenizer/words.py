"""Words: a text cut into pieces that, put together, are the text again.

In: a text and its language. Out: words, numbers, emoji, single punctuation marks and spaces. Called by the word-level
vocabulary and by text operators that ask for words. Chinese is cut with the dictionary of rjieba or of jieba, which is
the same: by rule (maximum matching), by frequencies, or by these and a hidden Markov model for what is not in it; where
neither is installed it is refused, for it would be cut into other words. Everything else needs no dictionary.
Sources: jieba's method, through https://github.com/messense/rjieba-py (MIT); maximum matching as in 梁南元 1987, 书面
汉语自动分词系统—CDWS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from danlu.base.characters import ranges
from danlu.base.errors import require

HAN = r"\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN_RUN = re.compile(f"([{HAN}]+)")
LETTER = rf"(?:(?![{HAN}])[^\W_])"
NUMBER = rf"\d++(?:[.,]\d++)*+[%％‰]?+(?!{LETTER})"
PICTURE = (
    r"[\xa9\xae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55"
    r"\u3030\u303d\u3297\u3299\U0001f000-\U0001faff][\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
)
"""A character that is drawn, with what says how: form, colour of skin, the letters of a flag."""
FLAG, KEY = r"[\U0001f1e6-\U0001f1ff]{2}", r"[#*0-9]\ufe0f?\u20e3"
EMOJI = rf"{KEY}|{FLAG}|{PICTURE}(?:\u200d{PICTURE})*"
LONGEST = 16
"""Characters of the dictionary's longest word."""


def segment(text: str, language: str = "zh", method: str = "hmm") -> list[str]:
    """The words of a text; their concatenation is the text. Only Chinese is cut by the method, one of METHODS."""
    words: list[str] = []
    for piece in _pieces().findall(text):
        if len(piece) > 1 and language.startswith("zh") and HAN_RUN.fullmatch(piece):
            words += METHODS[method](piece)
        else:
            words.append(piece)
    return words


@cache
def _pieces() -> re.Pattern[str]:
    """A run of Chinese; an emoji; a number with its points; letters and digits with their marks and apostrophes; or any
    other character by itself."""
    letters = rf"(?:{LETTER}[{ranges('M')}\u200c\u200d]*)+"
    return re.compile(rf"[{HAN}]+|{EMOJI}|{NUMBER}|{letters}(?:['’]{letters})*|\s|[^\s]")


def segmenter() -> str:
    """What cuts Chinese here, for reports: `rjieba 0.2.2`, or `none`."""
    from importlib import metadata

    library = _installed()
    return f"{library.__name__} {metadata.version(library.__name__)}" if library is not None else "none"


def require_segmenter() -> str:
    """The same; MissingPackage where there is none."""
    _library()
    return segmenter()


def _forward(run: str) -> list[str]:
    """From the left, the longest word of the dictionary each time, or else one character."""
    is_word, words, place = _library().has_word, [], 0
    while place < len(run):
        end = min(place + LONGEST, len(run))
        while end > place + 1 and not is_word(run[place:end]):
            end -= 1
        words.append(run[place:end])
        place = end
    return words


def _backward(run: str) -> list[str]:
    """The same from the right."""
    is_word, words, end = _library().has_word, [], len(run)
    while end:
        place = max(end - LONGEST, 0)
        while place < end - 1 and not is_word(run[place:end]):
            place += 1
        words.append(run[place:end])
        end = place
    return words[::-1]


def _by_rule(run: str) -> list[str]:
    """Of both directions that with fewer words; then that with fewer single characters; then backward, which errs less
    often in Chinese."""
    return min(_backward(run), _forward(run), key=lambda words: (len(words), sum(len(word) == 1 for word in words)))


def _by_ngram(run: str) -> list[str]:
    """The likeliest way through the dictionary by the frequencies of single words."""
    cut: list[str] = _library().cut(run, False)
    return cut


def _by_hmm(run: str) -> list[str]:
    """The same, and runs of single characters are words where a hidden Markov model of B, M, E, S says so."""
    cut: list[str] = _library().cut(run, True)
    return cut


METHODS: dict[str, Callable[[str], list[str]]] = {
    "rule": _by_rule,
    "forward": _forward,
    "backward": _backward,
    "ngram": _by_ngram,
    "hmm": _by_hmm,
}
"""Short word -> how a run of Chinese characters is cut."""


def _library() -> Any:
    library = _installed()
    return require("rjieba", "words") if library is None else library


@cache
def _installed() -> Any:
    """rjieba; or jieba in its manner, whose method it has, at a tenth of the speed; or None."""
    try:
        import rjieba
    except ImportError:
        return _jieba()
    return rjieba


def _jieba() -> Any:
    try:
        import jieba
    except ImportError:
        return None
    jieba.initialize()
    return SimpleNamespace(
        __name__="jieba",
        cut=lambda run, with_model: jieba.lcut(run, HMM=with_model),
        has_word=lambda word: jieba.dt.FREQ.get(word, 0) > 0,
    )
