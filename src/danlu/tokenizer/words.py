"""Words: a text cut into pieces that, put together, are the text again.

In: a text and its language. Out: words, single punctuation marks, digits and spaces. Called by the word-level
vocabulary and by text operators that ask for words. Chinese is cut by rjieba (a dictionary and a hidden Markov model
for what is not in it) where it is installed, else by jieba, else by rule; the reason is said once. Everything else is
cut by rule. Source: jieba's method, through https://github.com/messense/rjieba-py (MIT).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from danlu.base import console

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
    """What cuts Chinese here, for reports: `rjieba 0.2.2`, or `rule`."""
    from importlib import metadata

    library = _rjieba()
    return f"{library.__name__} {metadata.version(library.__name__)}" if library is not None else "rule"


def _by_rule(run: str) -> list[str]:
    return BY_RULE.findall(run)


def _by_ngram(run: str) -> list[str]:
    """The likeliest way through the dictionary by the frequencies of single words."""
    library = _rjieba()
    return library.cut(run, False) if library is not None else _by_rule(run)


def _by_hmm(run: str) -> list[str]:
    """The same, and runs of single characters are words where a hidden Markov model of B, M, E, S says so."""
    library = _rjieba()
    return library.cut(run, True) if library is not None else _by_rule(run)


METHODS: dict[str, Callable[[str], list[str]]] = {"rule": _by_rule, "ngram": _by_ngram, "hmm": _by_hmm}
"""Short word -> how a run of Chinese characters is cut."""


@cache
def _rjieba() -> Any:
    try:
        import rjieba
    except ImportError:
        return _jieba()
    return rjieba


def _jieba() -> Any:
    """jieba in the manner of rjieba, whose method it has, at a tenth of the speed."""
    try:
        import jieba
    except ImportError:
        console.warn_once("Chinese words are cut by rule: rjieba is not installed (pip install 'danlu[words]')")
        return None
    return SimpleNamespace(__name__="jieba", cut=lambda run, with_model: jieba.lcut(run, HMM=with_model))
