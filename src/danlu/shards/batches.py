"""A batch of rows as plain numpy arrays: what the model reads and what it must predict.

In: nothing; `files.RowSet.batch` makes them. Out: five arrays of one shape. Called by the training loop, evaluation
and `look`. Knows no files and no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = -100
"""The target where nothing is to be learnt; torch's cross-entropy skips the same number."""


@dataclass(frozen=True, slots=True)
class Batch:
    """N rows of T tokens. `targets[n, t]` is the token after `ids[n, t]` in the same document, or IGNORE."""

    ids: np.ndarray  # (N, T) int64
    targets: np.ndarray  # (N, T) int64
    positions: np.ndarray  # (N, T) int64, from 0 in every document piece; padding counts on
    documents: np.ndarray  # (N, T) int32, number of the piece within its row from 0; -1 where padding
    rows: np.ndarray  # (N,) int64, which rows of the row set

    @property
    def num_targets(self) -> int:
        """How many tokens are learnt."""
        return int(np.count_nonzero(self.targets != IGNORE))

    @property
    def num_tokens(self) -> int:
        """How many tokens are not padding."""
        return int(np.count_nonzero(self.documents >= 0))
