"""How good one answer is against its reference, and how sure a mean over many is.

In: two texts, or a list of scores. Out: exact match (0 or 1), token F1 (0..1), mean with standard error. Called by
`evaluate.answers`, `evaluate.report` and the baselines. Generates nothing and reads no file.

Normalisation (the same for both texts, zh and en): Unicode NFKC (full-width forms become half-width), case folded,
punctuation removed except inside and before numbers (`3.5`, `-2` stay), the English articles a/an/the removed, white
space collapsed and, beside Chinese characters, removed. It follows SQuAD's for English (arXiv:1606.05250, section 6)
and differs from it where that would call `3.5` and `35` the same answer.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007\u3040-\u30ff"
"""Characters that stand for themselves without white space between them: Han, kana, 々 and 〇."""
TOKEN = re.compile(rf"[{HAN}]|[^\s{HAN}]+")
ARTICLE = re.compile(r"\b(?:a|an|the)\b")
BESIDE_HAN = re.compile(rf"\s+(?=[{HAN}])|(?<=[{HAN}])\s+")
MINUS = dict.fromkeys(map(ord, "−–‐‑"), "-")


def normalise(text: str) -> str:
    """The text as answers are compared; see the module's briefing for the rules."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(MINUS)
    kept = "".join(
        character if _counts(folded, index) else " " if character != "'" else ""
        for index, character in enumerate(folded)
    )
    return " ".join(BESIDE_HAN.sub("", " ".join(ARTICLE.sub(" ", kept).split())).split())


def _counts(text: str, index: int) -> bool:
    """False for punctuation that is no part of a number."""
    if not unicodedata.category(text[index]).startswith("P"):
        return True
    before = text[index - 1] if index > 0 else " "
    after = text[index + 1] if index + 1 < len(text) else " "
    if text[index] == "-":
        return after.isdigit() and not before.isalnum()
    return text[index] in ".,:/%" and before.isdigit() and (after.isdigit() or text[index] == "%")


def tokens(text: str) -> list[str]:
    """The normalised text's units for F1: one Chinese character, or one word of another script."""
    return TOKEN.findall(normalise(text))


def exact_match(answer: str, reference: str) -> float:
    """1.0 where both are the same text after `normalise`, else 0.0."""
    return float(normalise(answer) == normalise(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over shared tokens, counted with repetition; per character for Chinese."""
    given, wanted = Counter(tokens(answer)), Counter(tokens(reference))
    if not given or not wanted:
        return float(given == wanted)
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total())


@dataclass(frozen=True)
class Mean:
    """A mean over `n` cases and its standard error (None where one case cannot tell)."""

    value: float
    error: float | None
    n: int


def mean(scores: Sequence[float]) -> Mean:
    """Mean and standard error (sample standard deviation / √n); the scores are one per case and not empty."""
    n = len(scores)
    average = math.fsum(scores) / n
    if n < 2:
        return Mean(average, None, n)
    variance = math.fsum((score - average) ** 2 for score in scores) / (n - 1)
    return Mean(average, math.sqrt(variance / n), n)
