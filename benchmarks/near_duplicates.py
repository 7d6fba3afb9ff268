"""Measure what `prepare.similar` finds of edited copies, in English and in Chinese: recall, precision, chains.

In: nothing; texts are drawn from a seed. Out: `docs/results/near-duplicates.json`. A copy has words (Chinese:
characters) replaced, put in and left out at random places; how alike two texts are in truth is counted on their sets
of runs, without hashes. In a chain each text is an edited copy of the one before it, so that its ends hardly agree
although all neighbours do: a document must go only for one that it resembles itself. Proof D19 runs the same on fewer.

    python benchmarks/near_duplicates.py
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.base import console
from danlu.base.records import Document
from danlu.corpus.minhash import Bands
from danlu.corpus.neardup import NearDuplicates

RESULT = Path(__file__).parents[1] / "docs" / "results" / "near-duplicates.json"
PAIRS, CHAINS, CHAIN_LENGTH = 4_000, 300, 6
CHAIN_EDITS = 0.04
SYLLABLES = ("ba", "de", "ki", "lo", "mu", "sen", "tor", "vi", "ra", "pel")
ENGLISH = [first + second + last for first in SYLLABLES for second in SYLLABLES for last in ("", "n", "st")]
CHINESE = [chr(code) for code in range(0x4E00, 0x4E00 + 600)]
LANGUAGES = {"en": (ENGLISH, " ", (80, 300)), "zh": (CHINESE, "", (150, 600))}
"""Units, what stands between two of them, and how many a text has."""
ALIKE, UNLIKE = 0.8, 0.5
"""Recall is of pairs from the first similarity on, precision the share of pairs from the second on. Strict precision is
the share from the first on; theory finds pairs below it too, so that what it expects stands beside. At the first
similarity it finds 92 of 100, at the second 5."""


def measured(pairs: int = PAIRS, chains: int = CHAINS, seed: int = 0) -> dict[str, Any]:
    """Of each language what became of edited pairs, by their true similarity, and of chains."""
    return {language: _of_language(language, pairs, chains, random.Random(seed)) for language in LANGUAGES}


def _of_language(language: str, pairs: int, chains: int, rng: random.Random) -> dict[str, Any]:
    found = []
    for number in range(pairs):
        first = _drawn(language, rng)
        found.append([first, _edited(language, first, 0.16 * number / pairs, rng)])
    alike = [jaccard(*pair) for pair in found]
    gone = _gone(language, found)
    chances = [Bands().probability(one) for one in alike]
    went = [any(f"{number}-{side}" in gone for side in range(2)) for number in range(pairs)]
    by_similarity = {}
    for tenth in range(2, 10):
        at = [is_gone for similarity, is_gone in zip(alike, went, strict=True) if int(10 * similarity) == tenth]
        by_similarity[f"{tenth / 10} to {(tenth + 1) / 10}"] = {"pairs": len(at), "found": sum(at)}
    return {
        "pairs": pairs,
        "by_similarity": by_similarity,
        "recall": round(_share(went, [one >= ALIKE for one in alike]), 4),
        "precision": round(_share([one >= UNLIKE for one in alike], went), 4),
        "strict_precision": round(_share([one >= ALIKE for one in alike], went), 4),
        "strict_precision_in_theory": round(
            sum(chance for chance, one in zip(chances, alike, strict=True) if one >= ALIKE) / sum(chances), 4
        ),
        "chains": _of_chains(language, chains, rng),
    }


def _of_chains(language: str, chains: int, rng: random.Random) -> dict[str, Any]:
    """Each that goes against the one that stays for it; and how little the ends of a chain agree."""
    drawn = []
    for _ in range(chains):
        chain = [_drawn(language, rng)]
        while len(chain) < CHAIN_LENGTH:
            chain.append(_edited(language, chain[-1], CHAIN_EDITS, rng))
        drawn.append(chain)
    gone = _gone(language, drawn)
    units = {f"{number}-{place}": text for number, chain in enumerate(drawn) for place, text in enumerate(chain)}
    with_kept = [jaccard(units[name], units[kept]) for name, kept in gone.items()]
    return {
        "documents": chains * CHAIN_LENGTH,
        "neighbours": round(sum(jaccard(*chain[:2]) for chain in drawn) / chains, 3),
        "ends": round(sum(jaccard(chain[0], chain[-1]) for chain in drawn) / chains, 3),
        "gone": len(gone),
        "gone_unlike": sum(one < UNLIKE for one in with_kept),
        "least": round(min(with_kept), 3),
        "mean": round(sum(with_kept) / len(with_kept), 3),
        "kept_that_went": len(set(gone.values()) & set(gone)),
    }


def _share(counted: Iterable[bool], among: Iterable[bool]) -> float:
    chosen = [one for one, is_in in zip(counted, among, strict=True) if is_in]
    return sum(chosen) / len(chosen)


def _drawn(language: str, rng: random.Random) -> list[str]:
    units, _, (least, most) = LANGUAGES[language]
    return rng.choices(units, k=rng.randint(least, most))


def _edited(language: str, text: list[str], share: float, rng: random.Random) -> list[str]:
    """The text with about this share of its units replaced, left out, or followed by a new one."""
    edits: tuple[Callable[[str, str], list[str]], ...] = (
        lambda old, new: [new],
        lambda old, new: [],
        lambda old, new: [old, new],
    )
    edited: list[str] = []
    for unit in text:
        is_edited = rng.random() < share
        edited += rng.choice(edits)(unit, rng.choice(LANGUAGES[language][0])) if is_edited else [unit]
    return edited


def jaccard(left: list[str], right: list[str]) -> float:
    """How much two texts share of all their runs of five units, counted plainly."""
    length = Bands().shingle
    sides = [{tuple(text[place : place + length]) for place in range(len(text) - length + 1)} for text in (left, right)]
    return len(sides[0] & sides[1]) / len(sides[0] | sides[1])


def _gone(language: str, groups: list[list[list[str]]]) -> dict[str, str]:
    """Name of each text that goes -> the name of the one that stays for it."""
    between = LANGUAGES[language][1]
    names = [f"{number}-{place}" for number, group in enumerate(groups) for place in range(len(group))]
    texts = [between.join(text) for group in groups for text in group]
    with tempfile.TemporaryDirectory() as folder:
        with NearDuplicates(Path(folder), Bands()) as similar:
            for name, text in zip(names, texts, strict=True):
                similar.add(Document(name, text, "drawn"), "train", "drawn", len(text))
        return {names[one.line]: one.kept for side, listed in similar.gone() for one in listed if side == "train"}


if __name__ == "__main__":
    result = {
        "command": "python benchmarks/near_duplicates.py",
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {"shingle": Bands().shingle, "bands": Bands().bands, "rows": Bands().rows},
        "recall_from": ALIKE,
        "precision_from": UNLIKE,
        **measured(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    console.say(f"written: {RESULT}")
