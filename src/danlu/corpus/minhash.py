"""MinHash: texts that share most of their shingles share a band of their signatures, and others hardly ever do.

In: texts. Out: for each text its band keys. Two texts whose sets of shingles have Jaccard similarity s share at least
one key with probability 1 - (1 - s^rows)^bands; proof D19 measures it. Called by `neardup`. The hash functions come
from a fixed seed, so that a text has the same keys everywhere and for ever. Runs in C where there is a compiler
(`minhash.c`), else in numpy; both give the same.
Source: Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900; bands: Leskovec et al., http://www.mmds.org, chapter 3.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from danlu.base import console, native
from danlu.corpus.shingles import UNIT_BASE, Hashes, Places, mixed, shingles

SOURCE = Path(__file__).with_suffix(".c")
SEED = 0x6D696E68617368
NOTHING = np.uint64(0)
"""The key of a text that is too short for a shingle: it resembles none."""


@dataclass(frozen=True, slots=True)
class Bands:
    """How alike texts must be: `bands` times `rows` hash functions over runs of `shingle` words or characters."""

    shingle: int = 5
    bands: int = 14
    rows: int = 8

    def probability(self, jaccard: float) -> float:
        """How likely two texts of this similarity are found."""
        return 1.0 - (1.0 - jaccard**self.rows) ** self.bands


def keys(texts: Sequence[str], bands: Bands) -> Hashes:
    """`(texts, bands)` keys; a row of NOTHING for a text that has no shingle."""
    hashes, ends = shingles(texts, bands.shingle)
    least = signatures(hashes, ends, bands.bands * bands.rows)
    found = band_keys(least.reshape(len(ends), bands.bands, bands.rows))
    found[np.diff(ends, prepend=0) == 0] = NOTHING
    return found


def signatures(hashes: Hashes, ends: Places, functions: int) -> Hashes:
    """`(texts, functions)`: the smallest value of each hash function over the shingles of each text."""
    library = compiled()
    if library is None:
        return reference(hashes, ends, functions)
    factors, offsets = hash_functions(functions)
    hashes, ends = np.ascontiguousarray(hashes), np.ascontiguousarray(ends, np.int64)
    out = np.empty((len(ends), functions), np.uint64)
    arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (hashes, ends, factors, offsets, out)]
    count, width = ctypes.c_int64(len(ends)), ctypes.c_int64(functions)
    library.danlu_minhash(*arrays[:2], count, *arrays[2:4], width, arrays[4])
    return out


def reference(hashes: Hashes, ends: Places, functions: int) -> Hashes:
    """What `minhash.c` computes, in numpy."""
    least = np.full((len(ends), functions), np.iinfo(np.uint64).max, np.uint64)
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    filled = np.flatnonzero(begins < ends)
    if len(filled):
        for number, (factor, offset) in enumerate(zip(*hash_functions(functions), strict=True)):
            least[filled, number] = np.minimum.reduceat(hashes * factor + offset, begins[filled])
    return least


@functools.cache
def hash_functions(count: int) -> tuple[Hashes, Hashes]:
    """Odd factors and offsets of `count` functions; the first of many are the same as of few."""
    drawn = mixed(np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(UNIT_BASE) + np.uint64(SEED))
    return np.ascontiguousarray(drawn[::2] | np.uint64(1)), np.ascontiguousarray(drawn[1::2])


def band_keys(least: Hashes) -> Hashes:
    """`(texts, bands, rows)` to `(texts, bands)`: one key for all rows of a band, never NOTHING."""
    _, bands, rows = least.shape
    found = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), least.shape[:2])
    for row in range(rows):
        found = mixed(found * np.uint64(UNIT_BASE) + least[:, :, row])
    return np.maximum(found, np.uint64(1))


@functools.cache
def compiled() -> ctypes.CDLL | None:
    """The library of `minhash.c`; where there is none, the reason is said once."""
    library, reason = native.load(SOURCE)
    if library is None:
        console.warn_once(f"near-duplicates are looked for in numpy, several times slower: {reason}")
    else:
        library.danlu_minhash.restype = None
    return library
