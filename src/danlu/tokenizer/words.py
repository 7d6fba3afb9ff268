"""Words: a text cut into pieces that, put together, are the text again.

In: a text and its language. Out: words, single punctuation marks, digits and spaces. Called by the word-level
vocabulary and by text operators that ask for words. Chinese is cut by rjieba (a dictionary and a hidden Markov model
for what is not in it) or by jieba, which has the same method; where neither is installed it is refused, for by rule it
would be cut into other words. Everything else is cut by rule, and so is Chinese where that is asked for.
Source: jieba's method, through https://github.com/messense/rjieba-py (MIT).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from danlu.base.errors import require

HAN = r"\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN_RUN = re.compile(f"([{HAN}]+)")
PIECE = re.compile(rf"[{HAN}]+|(?:(?![{HAN}])[^\W\d_])+(?:['’](?:(?![{HAN}])[^\W\d_])+)*|\d|\s|[^\s]")
"""A run of Chinese; a word of letters with its apostrophes; a digit, a space, or any other character by itself."""
PARTICLES = "的了是在不和有就也都与及或而被把对从到这那我你他她它们吗呢吧啊着过很"
BY_RULE = re.compile(f"[{PARTICLES}]|[^{PARTICLES}]{{1,2}}")
"""Without a dictionary: a frequent particle is a word, and what lies between is cut into pairs of characters."""


def segment(text: str, language: str = "zh", method: str = "hmm") -> list[str]:
    """The words of a text; their concatenation is the text. Only Chinese is cut by the method, one of METHODS."""
    words: list[str] = []
    for piece in PIECE.findall(text):
        if len(piece) > 1 and language.startswith("zh") and HAN_RUN.fullmatch(piece):
            words += METHODS[method](piece)
        else:
            words.append(piece)
    return words


def segmenter() -> str:
    """What cuts Chinese here, for reports: `rjieba 0.2.2`, or `none`."""
    from importlib import metadata

    library = _installed()
    return f"{library.__name__} {metadata.version(library.__name__)}" if library is not None else "none"


def require_segmenter() -> str:
    """The same; MissingPackage where there is none."""
    _library()
    return segmenter()


def _by_rule(run: str) -> list[str]:
    return BY_RULE.findall(run)


def _by_ngram(run: str) -> list[str]:
    """The likeliest way through the dictionary by the frequencies of single words."""
    cut: list[str] = _library().cut(run, False)
    return cut


def _by_hmm(run: str) -> list[str]:
    """The same, and runs of single characters are words where a hidden Markov model of B, M, E, S says so."""
    cut: list[str] = _library().cut(run, True)
    return cut


METHODS: dict[str, Callable[[str], list[str]]] = {"rule": _by_rule, "ngram": _by_ngram, "hmm": _by_hmm}
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
    return SimpleNamespace(__name__="jieba", cut=lambda run, with_model: jieba.lcut(run, HMM=with_model))
