"""How good an answer is against its reference, and how sure a mean over many is.

In: texts, or a list of scores. Out: exact match (0 or 1), token F1 (0..1), ROUGE (0..1), the BLEU of a corpus (0..100,
sacrebleu's), mean with standard error. Called by `evaluate.answers`, `evaluate.report`, the baselines and the pages of
`docs/对照`. Generates nothing and reads no file.

Normalisation (the same for both texts, zh and en): Unicode NFKC (full-width forms become half-width), case folded,
punctuation removed except inside and before numbers (`3.5`, `-2`, `.5`, `50 %`, `3+4` stay), the English articles
a/an/the removed, white space collapsed and, beside Chinese characters, removed. It follows SQuAD's for English
(arXiv:1606.05250, section 6) and differs from it where that would call `3.5` and `35` the same answer, and where it
would leave nothing: `A` is an answer to a multiple choice, and then only case and width are overlooked. BLEU and ROUGE
have tokenisations of their own, those by which published numbers were made.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007\u3040-\u30ff"
"""Characters that stand for themselves without white space between them: Han, kana, 々 and 〇."""
TOKEN = re.compile(rf"[{HAN}]|[^\s{HAN}]+")
ARTICLE = re.compile(r"\b(?:a|an|the)\b")
BESIDE_HAN = re.compile(rf"\s+(?=[{HAN}])|(?<=[{HAN}])\s+")
WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
"""ROUGE's unit: one character of Chinese, one run of letters and digits of another script."""
BLEU_TOKENIZERS = {"zh": "zh", "en": "13a"}
"""sacrebleu's: `zh` parts Chinese characters; by `13a`, a line without spaces would be a single word."""
PLAIN = dict.fromkeys(map(ord, "−–‐‑"), "-") | dict.fromkeys(map(ord, "‘’"), "'")
"""Signs that are written in several ways, as ASCII has them."""
PERCENT = re.compile(r"(?<=\d)\s+(?=%)")


def normalise(text: str) -> str:
    """The text as answers are compared; see the module's briefing for the rules."""
    folded = PERCENT.sub("", unicodedata.normalize("NFKC", text).casefold().translate(PLAIN))
    kept = "".join(
        character if _counts(folded, index) else " " if character != "'" else ""
        for index, character in enumerate(folded)
    )
    return " ".join(BESIDE_HAN.sub("", " ".join(ARTICLE.sub(" ", kept).split())).split())


def _counts(text: str, index: int) -> bool:
    """False for punctuation that is no part of a number; ASCII's `~`, `` ` `` and `+` are punctuation, too."""
    kind = unicodedata.category(text[index])[0]
    if kind != "P" and not (kind == "S" and text[index].isascii()):
        return True
    before = text[index - 1] if index > 0 else " "
    after = text[index + 1] if index + 1 < len(text) else " "
    if kind == "S":
        return before.isdigit() or after.isdigit()
    if text[index] in "-." and not before.isalnum():
        return after.isdigit()
    return text[index] in ".,:/%" and before.isdigit() and (after.isdigit() or text[index] == "%")


def tokens(text: str) -> list[str]:
    """The normalised text's units for F1: one Chinese character, or one word of another script."""
    return TOKEN.findall(normalise(text))


def exact_match(answer: str, reference: str) -> float:
    """1.0 where both are the same text after `normalise`, else 0.0; what it leaves nothing of is compared as it is."""
    given, wanted = normalise(answer), normalise(reference)
    return float(given == wanted if given and wanted else _as_it_is(answer) == _as_it_is(reference))


def _as_it_is(text: str) -> str:
    """The text with its punctuation and articles: only width, case and white space are overlooked."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over shared tokens, counted with repetition; per character for Chinese."""
    given, wanted = Counter(tokens(answer)), Counter(tokens(reference))
    if not given or not wanted:
        return exact_match(answer, reference)
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total())


@dataclass(frozen=True)
class Overlap:
    """What two texts have in common, as a share of the answer (`precision`) and of the reference (`recall`)."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @classmethod
    def of(cls, shared: int, given: int, wanted: int) -> Overlap:
        """From counts: units shared, units of the answer, units of the reference. Nothing shares nothing."""
        return cls(shared / max(given, 1), shared / max(wanted, 1))


def rouge_tokens(text: str) -> list[str]:
    """ROUGE's units in order, lower-cased; on ASCII text those of Google's rouge-score without its stemmer."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def rouge_n(answer: str, reference: str, n: int) -> Overlap:
    """ROUGE-N (https://aclanthology.org/W04-1013): shared n-grams, counted with repetition; characters for Chinese."""
    given, wanted = _ngrams(rouge_tokens(answer), n), _ngrams(rouge_tokens(reference), n)
    return Overlap.of((given & wanted).total(), given.total(), wanted.total())


def rouge_l(answer: str, reference: str) -> Overlap:
    """ROUGE-L of the whole texts: the longest common subsequence, in order but not necessarily in one piece."""
    given, wanted = rouge_tokens(answer), rouge_tokens(reference)
    return Overlap.of(longest_common_subsequence(given, wanted), len(given), len(wanted))


def _ngrams(units: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(units[start:] for start in range(n)), strict=False))


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Its length. A row of the usual table is one integer: bit i is 0 where the row rises at unit i of `one`.

    An addition then carries a whole row at once (https://doi.org/10.1016/0020-0190(86)90091-8): two pages of text take
    a millisecond and not a second.
    """
    places: dict[str, int] = {}
    for index, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << index
    full = row = (1 << len(one)) - 1
    for unit in other:
        matches = row & places.get(unit, 0)
        row = (row + matches | row - matches) & full
    return len(one) - row.bit_count()


@dataclass(frozen=True)
class Bleu:
    """BLEU of a corpus, 0..100; `precisions` of 1- to 4-grams, also 0..100; lengths in tokens.

    `signature` names everything that changes the number: give it with the number.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    answer_length: int
    reference_length: int
    signature: str


def bleu(answers: Sequence[str], *references: Sequence[str], language: Literal["zh", "en"]) -> Bleu:
    """sacrebleu's BLEU (https://aclanthology.org/W18-6319); each of `references` has one text for each answer."""
    import sacrebleu

    assert answers, "BLEU is of at least one answer"
    assert references, "BLEU is against at least one reference"
    assert all(len(texts) == len(answers) for texts in references), "each answer has one text in each of the references"
    metric = sacrebleu.BLEU(tokenize=BLEU_TOKENIZERS[language])
    found = metric.corpus_score(list(answers), [list(texts) for texts in references])
    return Bleu(
        score=found.score,
        precisions=tuple(found.precisions),
        brevity_penalty=found.bp,
        answer_length=found.sys_len,
        reference_length=found.ref_len,
        signature=str(metric.get_signature()),
    )


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
