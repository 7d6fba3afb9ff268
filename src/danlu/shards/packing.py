"""How documents become rows: cut the long, pack the short.

In: lengths of documents in tokens. Out: pieces of at most one row each, and the row that each piece goes to. Called by
`files.RowSetWriter`. Pure functions of lengths: sees no token. Pieces of one document follow each other without gap or
overlap, and the last token of a piece has its target in the next piece, so that cutting loses nothing.
Packing is best fit by decreasing length, which fills rows almost fully and never cuts a document that fits
(Ding et al. 2024, https://arxiv.org/abs/2404.10830).
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`starts=[5, 0], counts=[2, 3]` → `[5, 6, 0, 1, 2]`."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - counts), counts)


def cut(lengths: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut documents into consecutive pieces: (document of each piece, its start within it, its length)."""
    counts = -(-lengths // row_length)
    documents = np.repeat(np.arange(len(lengths), dtype=np.int64), counts)
    starts = ranges(np.zeros_like(counts), counts) * row_length
    return documents, starts, np.minimum(lengths[documents] - starts, row_length)


def best_fit(lengths: np.ndarray, row_length: int) -> np.ndarray:
    """The row, from 0, of each piece: longest first, each into the fullest row that still has room."""
    rows = np.empty(len(lengths), dtype=np.int64)
    rows_by_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    rooms: list[int] = []  # the non-empty entries of rows_by_room, ascending
    num_rows = 0
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        place = bisect_left(rooms, length)
        if place < len(rooms):
            room = rooms[place]
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                del rooms[place]
        else:
            room, row, num_rows = row_length, num_rows, num_rows + 1
        rows[piece] = row
        room -= length
        if room > 0:
            if not rows_by_room[room]:
                insort(rooms, room)
            rows_by_room[room].append(row)
    return rows
