"""A row as a person reads it: each token with its text, whether it is learnt, and the document it belongs to.

In: a row set, its tokenizer, row numbers. Out: one list of `ShownToken` for each row, padding left out. Called by the
`look` command and by reports. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from danlu.shards.batches import IGNORE
from danlu.shards.files import RowSet
from danlu.tokenizer.tokenizer import Tokenizer


class ShownToken(NamedTuple):
    """`is_target`: the token before it, in this row, must predict it. `document` counts the row's pieces from 0."""

    text: str
    is_target: bool
    document: int


def describe_rows(row_set: RowSet, tokenizer: Tokenizer, rows: Sequence[int]) -> list[list[ShownToken]]:
    """The tokens of each row, from its first to its last that is not padding."""
    batch = row_set.batch(np.array(rows, dtype=np.int64))
    shown = []
    for ids, targets, documents in zip(batch.ids, batch.targets, batch.documents, strict=True):
        learnt = np.concatenate([[False], targets[:-1] != IGNORE])
        shown.append(
            [
                ShownToken(tokenizer.token_text(int(id)), bool(is_target), int(document))
                for id, is_target, document in zip(ids, learnt, documents, strict=True)
                if document >= 0
            ]
        )
    return shown
