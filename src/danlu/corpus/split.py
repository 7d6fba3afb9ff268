"""On which side of the split a record falls.

In: an id and the shares. Out: train, validation or test. Called by `pipeline`. A keyed hash of the id decides, so that
a record keeps its side whatever other records come or go; a record that brings its own split keeps that.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from danlu.base.records import Split
from danlu.corpus.units import Record


@dataclass(frozen=True)
class Splitter:
    """Shares of the validation and the test side; the rest is for training."""

    validation_share: float
    test_share: float
    seed: int = 0

    def side(self, record: Record) -> Split:
        """The record's own split, or the one that the keyed hash of its id names."""
        if record.split is not None:
            return record.split
        key = self.seed.to_bytes(8, "big", signed=True)
        number = int.from_bytes(blake2b(record.id.encode(), digest_size=7, key=key).digest(), "big") / 2**56
        if number < self.test_share:
            return "test"
        return "validation" if number < self.test_share + self.validation_share else "train"
