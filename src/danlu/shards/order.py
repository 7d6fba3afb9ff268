"""The one sample order: which row is sample number i, as a pure function of (seed, epoch, i).

In: the number of rows, a seed, a range of sample numbers. Out: row numbers. Called by the training loop, which stores
nothing but its step: any step can be replayed, skipped or resumed, also on another number of ranks.
How: a keyed permutation of 0 … n-1 for each epoch, made by a Feistel network over the next power of four and "walking
the cycle" until the value falls below n (Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9). The round
function is SplitMix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2714064.2660195). No secrecy is claimed.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 8
MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
MIX_1 = np.uint64(0xBF58_476D_1CE4_E5B9)
MIX_2 = np.uint64(0x94D0_49BB_1331_11EB)


def scramble(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser on an array of uint64: every input bit changes half of the output bits."""
    values = values + GOLDEN
    values = (values ^ (values >> np.uint64(30))) * MIX_1
    values = (values ^ (values >> np.uint64(27))) * MIX_2
    return values ^ (values >> np.uint64(31))


class SampleOrder:
    """Sample `i` is row `permutation(seed, i // num_rows)(i % num_rows)`."""

    def __init__(self, num_rows: int, seed: int):
        if num_rows < 1:
            raise ValueError(f"an order needs at least one row, got {num_rows}")
        self.num_rows, self.seed = num_rows, seed
        bits = (num_rows - 1).bit_length()
        self._half_bits = np.uint64((bits + 1) // 2)
        self._half_mask = np.uint64((1 << int(self._half_bits)) - 1)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of the samples start … stop-1 of the endless sequence of epochs; int64, one per sample."""
        samples = np.arange(start, stop, dtype=np.uint64)
        epochs, places = np.divmod(samples, np.uint64(self.num_rows))
        return self._permute(places, self._keys(epochs)).astype(np.int64)

    def _keys(self, epochs: np.ndarray) -> np.ndarray:
        """One key for each sample: the same for all samples of an epoch."""
        seed = scramble(np.array([self.seed & MASK_64], dtype=np.uint64))
        return scramble(seed ^ scramble(epochs))

    def _permute(self, places: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Apply the network until every value lies below `num_rows`; four values in five do at once."""
        values = self._network(places, keys)
        while (outside := np.flatnonzero(values >= np.uint64(self.num_rows))).size:
            values[outside] = self._network(values[outside], keys[outside])
        return values

    def _network(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """A bijection of 0 … 4**half_bits - 1 for each key."""
        left, right = values >> self._half_bits, values & self._half_mask
        for round_number in range(ROUNDS):
            round_keys = scramble(keys + np.uint64(round_number))
            left, right = right, left ^ (scramble(right ^ round_keys) & self._half_mask)
        return (left << self._half_bits) | right


def step_samples(step: int, batch_rows: int, total_samples: int) -> tuple[int, int]:
    """Samples start … stop-1 of step `step` (from 0); the last step may be smaller, and none is dropped."""
    return min(step * batch_rows, total_samples), min((step + 1) * batch_rows, total_samples)


def share(start: int, stop: int, rank: int, size: int) -> range:
    """The samples of one rank: over all ranks each sample of start … stop-1 exactly once, in order."""
    count = stop - start
    return range(start + count * rank // size, start + count * (rank + 1) // size)
