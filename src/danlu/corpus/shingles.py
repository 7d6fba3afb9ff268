"""Texts as runs of words and characters, hashed: what near-duplicates and leaks are looked for by.

In: texts. Out: a 64-bit hash for each unit (a word, or one Chinese character), and for each run of n units. Called by
`neardup` and `decontaminate`. A text's hashes depend on that text alone, never on what is hashed with it.

A unit is a run of letters and digits, or a single character of a script that is written without spaces. Case, width and
everything between units count for nothing. The hash of a run is a polynomial modulo 2^64, so that all runs of a length
come from one running sum (Karp and Rabin, https://doi.org/10.1147/rd.312.0249).
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Places: TypeAlias = NDArray[np.int64]

CHARACTER_BASE = 0x9E3779B97F4A7C15
UNIT_BASE = 0xD1342543DE82EF95
"""Odd, so that each has an inverse modulo 2^64."""
SLICE = 1 << 18
"""So many characters or units are hashed at one time; the tables of powers are as long."""
KNOWN = 0x20000
"""The table holds the characters below; those above are Chinese up to LAST_HAN, and nothing beyond."""
LAST_HAN = 0x3FFFF
ALONE = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3041, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
)
"""Ranges of scripts without spaces between words."""
SPELT = (0x0E00, 0x17FF)
"""Those of them in which several characters spell a syllable."""
FIRST_VARIANT, LAST_VARIANT = 0xFE00, 0xFE0F
"""Selectors of how the sign before them looks: marks to Unicode, and no words."""
BETWEEN, SINGLE, WORD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one text after the other: hashes, where in the text each begins and ends, which are characters."""

    hashes: Hashes
    begins: Places
    ends: Places
    single: NDArray[np.bool_]


@functools.cache
def characters() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """`(kind, folded)` of every character below KNOWN: BETWEEN, SINGLE or WORD, and its plain caseless form."""
    kinds = np.zeros(KNOWN, np.uint8)
    folded = np.arange(KNOWN, dtype=np.uint32)
    for code in range(KNOWN):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] in "LMN" and category != "Me" and not FIRST_VARIANT <= code <= LAST_VARIANT:
            kinds[code] = WORD
            plain = unicodedata.normalize("NFKC", character).casefold()
            folded[code] = ord(plain) if len(plain) == 1 else code
    for first, last in ALONE:
        kinds[first : last + 1] = np.where(kinds[first : last + 1] == WORD, SINGLE, BETWEEN)
    return kinds, folded


@functools.cache
def powers(base: int) -> tuple[Hashes, Hashes]:
    """The powers 0 .. SLICE of an odd base modulo 2^64, and those of its inverse."""
    tables = []
    for factor in (base, pow(base, -1, 1 << 64)):
        table = np.full(SLICE + 1, factor, np.uint64)
        table[0] = 1
        tables.append(np.cumprod(table, dtype=np.uint64))
    return tables[0], tables[1]


def mixed(values: Hashes) -> Hashes:
    """Every bit of each value spread over all others: the last step of SplitMix64 (https://prng.di.unimi.it/)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _spans(values: Hashes, begins: Places, ends: Places, base: int) -> Hashes:
    """A hash of `values[begin:end]` for each pair; at most SLICE values."""
    rising, falling = powers(base)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * rising[: len(values)], out=sums[1:])
    return mixed((sums[ends] - sums[begins]) * falling[begins] + (ends - begins).astype(np.uint64))


def codes_of(text: str) -> NDArray[np.uint32]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def units(codes: NDArray[np.uint32]) -> Units:
    """The units of a text, in slices: a word that is cut by the end of one counts as two."""
    parts = [_units(codes[start : start + SLICE], start) for start in range(0, max(len(codes), 1), SLICE)]
    if len(parts) == 1:
        return parts[0]
    return Units(*(np.concatenate([getattr(part, name) for part in parts]) for name in Units.__slots__))


def _units(codes: NDArray[np.uint32], start: int) -> Units:
    kinds, folded = characters()
    known = np.minimum(codes, KNOWN - 1)
    kind, plain = kinds[known], folded[known]
    if len(codes) and codes.max() >= KNOWN:
        kind = np.where(codes < KNOWN, kind, np.where(codes <= LAST_HAN, SINGLE, BETWEEN))
        plain = np.where(codes < KNOWN, plain, codes)
    in_word, single = kind == WORD, kind == SINGLE
    first, last = in_word.copy(), in_word.copy()
    first[1:] &= ~in_word[:-1]
    last[:-1] &= ~in_word[1:]
    begins = np.flatnonzero(first | single)
    ends = np.flatnonzero(last | single) + 1
    hashes = _spans(plain.astype(np.uint64), begins, ends, CHARACTER_BASE)
    return Units(hashes, begins + start, ends + start, single[begins])


def runs(hashes: Hashes, length: int) -> Hashes:
    """A hash of every `length` units that follow each other: entry i is for the run from unit i on."""
    assert 0 < length < SLICE
    step = SLICE - length + 1
    parts = []
    for start in range(0, max(len(hashes) - length + 1, 0), step):
        part = hashes[start : start + SLICE]
        begins = np.arange(min(step, len(part) - length + 1))
        parts.append(_spans(part, begins, begins + length, UNIT_BASE))
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def shingles(texts: Sequence[str], length: int) -> tuple[Hashes, Places]:
    """`(hashes, ends)`: the runs of `length` units of each text, one text after the other; `ends[i]` ends text i.

    A text of fewer units has none.
    """
    gathered: list[Hashes] = []
    counts: list[Places] = []
    for batch in _batches(texts):
        codes = codes_of("\n".join(batch)) if len(batch) > 1 else codes_of(batch[0])
        found = units(codes)
        starts = np.cumsum([0, *(len(text) + 1 for text in batch)])
        borders = np.searchsorted(found.begins, starts)
        borders[-1] = len(found.hashes)
        hashes = runs(found.hashes, length)
        inside = np.repeat(borders[1:], np.diff(borders))[: len(hashes)] - np.arange(len(hashes)) >= length
        gathered.append(hashes[inside])
        counts.append(np.maximum(np.diff(borders) - length + 1, 0))
    if not counts:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    return np.concatenate(gathered), np.cumsum(np.concatenate(counts))


def _batches(texts: Sequence[str]) -> list[list[str]]:
    """Neighbours together, as many as one slice holds, so that none is cut that would not be cut alone."""
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        if not batches or len(text) + 1 > room:
            batches.append([])
            room = SLICE
        batches[-1].append(text)
        room -= len(text) + 1
    return batches
