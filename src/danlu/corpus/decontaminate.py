"""Texts that a model will be measured with, looked for in the texts that it will learn from.

In: evaluation texts, then records. Out: for a record the evaluation texts of which a run of words stands in it, and
these words. Called by `pipeline` (what is found does not become training text) and by `stages.evaluate` (what is found
is counted beside the score). A run is 13 words (GPT-3, https://arxiv.org/abs/2005.14165, appendix C) or, where the
evaluation text has none between spaces (Chinese, Japanese), 20 characters, of Thai and its like 40. A shorter text
counts as one run of its own length, down to LEAST of that. Case, width, spacing, punctuation and the numbers of
citations do not matter. A run that many texts of an evaluation file share is its prompt, and betrays none of them.
Memory: 16 bytes for each run of the evaluation texts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.base import console
from danlu.base.errors import DataError
from danlu.corpus.language import HAN_A_WORD
from danlu.corpus.readers import FileReader
from danlu.corpus.sheets import sheet_units
from danlu.corpus.shingles import SPELT, Hashes, Places, Units, codes_of, runs, units
from danlu.corpus.sources import SHEET, SourceFile
from danlu.corpus.units import Record, Rejection, excerpt, text_of

LEAST = 0.6
"""8 of 13 words: below, people write the same by chance (GPT-3 stops there too)."""
PROMPT_TEXTS, PROMPT_SHARE = 10, 0.05
"""A run in so many texts of one file, and in this share of them, is how they all are asked. A passage that several
questions share is in far fewer."""
CITATION = re.compile(r"\[(?:[0-9]{1,3}|edit|citation needed|编辑|編輯|来源请求|來源請求)\]", re.IGNORECASE)
"""C4's rule takes these out of documents; left out here everywhere, they make no difference."""
SPELT_TIMES = 2
SIEVE_BITS = (16, 24)
"""Fewest and most bits of a hash by which most runs are told at a glance to be in no evaluation text."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a run must be to betray its text."""

    words: int = 13
    characters: int = 20

    def of(self, found: Units, codes: NDArray[np.uint32]) -> int:
        """Characters where most words are not between spaces, twice as many where they are spelt; else words."""
        single = codes[found.begins[found.single]]
        if not len(single) or len(single) / HAN_A_WORD < len(found.hashes) - len(single):
            return self.words
        spelt = np.count_nonzero((single >= SPELT[0]) & (single <= SPELT[1]))
        return self.characters * (SPELT_TIMES if 2 * spelt > len(single) else 1)


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers of the evaluation texts that stand in a text in part, and the first run of theirs, as it stands there."""

    texts: Places
    words: str


class Runs:
    """The runs of texts that `learn` gets one after the other; they are numbered from 0 in that order."""

    def __init__(self, lengths: Lengths = Lengths()):
        self._lengths = lengths
        self._learned: list[tuple[Hashes, int, str]] = []
        self._run_lengths: set[int] = set()
        self._table: tuple[Hashes, Places, np.ndarray, np.uint64] | None = None
        self.num_texts = 0

    def learn(self, text: str, file: str = "") -> bool:
        """Take a text's runs in; False where it is too short to be told from others.

        What many texts of one `file` share is left out of them all.
        """
        codes = codes_of(_plain(text))
        found = units(codes)
        hashes, length = found.hashes, self._lengths.of(found, codes)
        number, self.num_texts = self.num_texts, self.num_texts + 1
        if len(hashes) < math.ceil(LEAST * length):
            return False
        length = min(length, len(hashes))
        self._learned.append((np.unique(runs(hashes, length)), number, file))
        self._run_lengths.add(length)
        self._table = None
        return True

    def find(self, text: str) -> Found | None:
        """What of the learned texts stands in this one."""
        if not self._learned:
            return None
        hashes, texts, sieve, shift = self._sorted()
        text = _plain(text)
        found = units(codes_of(text))
        hits: list[Places] = []
        first: tuple[int, int] | None = None
        for length in sorted(self._run_lengths):
            here = runs(found.hashes, length)
            places = np.flatnonzero(sieve[here >> shift])
            low, high = (np.searchsorted(hashes, here[places], side) for side in ("left", "right"))
            there = places[low < high]
            if len(there):
                span = int(found.begins[there[0]]), int(found.ends[there[0] + length - 1])
                first = span if first is None else min(first, span)
                hits += [texts[begin:end] for begin, end in zip(low, high, strict=True) if begin < end]
        if first is None:
            return None
        return Found(np.unique(np.concatenate(hits)), excerpt(text[first[0] : first[1]]))

    def _sorted(self) -> tuple[Hashes, Places, np.ndarray, np.uint64]:
        """All runs in order, the text of each, and the sieve: whether any run begins with certain bits."""
        if self._table is None:
            learned = self._without_prompts()
            hashes = np.concatenate([part for part, _ in learned])
            texts = np.concatenate([np.full(len(part), number) for part, number in learned])
            order = np.argsort(hashes, kind="stable")
            bits = min(max((16 * len(hashes)).bit_length(), SIEVE_BITS[0]), SIEVE_BITS[1])
            shift = np.uint64(64 - bits)
            sieve = np.zeros(1 << bits, bool)
            sieve[hashes >> shift] = True
            self._table = hashes[order], texts[order], sieve, shift
        return self._table

    def prompts(self) -> dict[str, Hashes]:
        """Of each file the runs that many of its texts share."""
        by_file: dict[str, list[Hashes]] = {}
        for part, _, file in self._learned:
            by_file.setdefault(file, []).append(part)
        shared = {}
        for file, parts in by_file.items():
            if file and len(parts) >= PROMPT_TEXTS:
                values, counts = np.unique(np.concatenate(parts), return_counts=True)
                shared[file] = values[counts >= max(PROMPT_TEXTS, PROMPT_SHARE * len(parts))]
        return shared

    def _without_prompts(self) -> list[tuple[Hashes, int]]:
        """The runs of each text, but for prompts; a text that is nothing else keeps them."""
        shared, learned = self.prompts(), []
        for part, number, file in self._learned:
            own = part[~np.isin(part, shared[file])] if len(shared.get(file, ())) else part
            learned.append((own if len(own) else part, number))
        return learned


def _plain(text: str) -> str:
    return CITATION.sub("", text) if "[" in text else text


@dataclass
class Decontaminator:
    """Named evaluation files and what was found of them: `names` has file and id of each text, `hit` those found."""

    runs: Runs
    names: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    hit: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, files: Iterable[SourceFile], lengths: Lengths, change: Callable[[str], str]) -> Decontaminator:
        """Read evaluation files; DataError where one holds nothing that could be looked for.

        `change` is what cleaning does to the texts that will be searched.
        """
        made = cls(Runs(lengths))
        for file in files:
            counts = made.counts.setdefault(file.name, Counter())
            for unit in sheet_units(file) if file.format == SHEET else FileReader(file):
                if isinstance(unit.content, Rejection):
                    counts["unread"] += 1
                    counts[unit.content.reason] += 1
                else:
                    made._learn(unit.content, change, counts, file.name)
            made._require(file.name, counts)
        for name, shared in made.runs.prompts().items():
            made.counts[name]["prompt_runs"] = len(shared)
        return made

    def _learn(self, record: Record, change: Callable[[str], str], counts: Counter[str], file: str) -> None:
        counts["texts"] += 1
        counts["too_short"] += not self.runs.learn(change(text_of(record)), file)
        self.names.append((file, record.id))

    def _require(self, name: str, counts: Counter[str]) -> None:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()) if reason != "texts")
        if counts["texts"] == counts["too_short"]:
            raise DataError(
                "an evaluation file holds nothing to look for",
                where=name,
                found=reasons or "no text",
                remedy="name the field that holds its text: prepare.decontaminate.files with {path: …, text_field: …}",
            )
        if counts["unread"]:
            console.warn_once(f"{name}: {counts['unread']:,} records cannot be looked for ({reasons})")

    def against(self, record: Record) -> str | None:
        """Which evaluation text stands in the record, and with which words; None where none does. Counted."""
        found = self.runs.find(text_of(record))
        if found is None:
            return None
        self.hit.update(found.texts.tolist())
        for file in {self.names[number][0] for number in found.texts}:
            self.counts[file]["records_left_out"] += 1
        return f"{self.names[found.texts[0]][1]}: {found.words}"

    def report(self) -> dict[str, Any]:
        """By evaluation file: texts, those too short to look for, runs of its prompt that are not looked for, the texts
        that were found, and the records left out."""
        hits = Counter(self.names[number][0] for number in self.hit)
        return {
            name: {
                "texts": counts["texts"],
                "too_short": counts["too_short"],
                "unread": counts["unread"],
                "prompt_runs": counts["prompt_runs"],
                "found": hits[name],
                "records_left_out": counts["records_left_out"],
            }
            for name, counts in self.counts.items()
        }
