"""Chinese, English, or something else, by the scripts of a text.

In: a string. Out: `zh`, `en` or `other`. Called by `clean` for records that do not say it themselves. Cheap and blunt
on purpose: French counts as English where it has few accents, and classical Chinese as Chinese.
"""

from __future__ import annotations

import re

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
ASCII_WORD = re.compile(r"[a-zA-Z]+")
OTHER_LETTER = re.compile(r"[^\W\d_a-zA-Z\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
SAMPLE_CHARACTERS = 5_000
OTHER_SHARE = 0.1
HAN_A_WORD = 1.5
"""Chinese needs about so many characters for what English says in a word, so both are compared in words."""


def language_of(text: str) -> str:
    """`zh` where Chinese words are as many as English ones, `en` where fewer, `other` where other letters are many."""
    sample = text[:SAMPLE_CHARACTERS]
    han = len(HAN.findall(sample))
    words = ASCII_WORD.findall(sample)
    others = len(OTHER_LETTER.findall(sample))
    if others > OTHER_SHARE * (others + han + sum(map(len, words))):
        return "other"
    if not han and not words:
        return "other"
    return "zh" if han / HAN_A_WORD >= len(words) else "en"


def is_wanted(language: str, wanted: tuple[str, ...]) -> bool:
    """True for a language that is named, or is a script of one that is: `zh-Hant` where `zh` is wanted."""
    return language in wanted or language.partition("-")[0] in wanted
