"""Cutting and packing: nothing lost, nothing over-full, rows nearly full, short documents whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.shards.packing import best_fit, cut, ranges


def test_ranges_by_hand():
    assert ranges(np.array([5, 0, 9]), np.array([2, 3, 0])).tolist() == [5, 6, 0, 1, 2]
    assert ranges(np.array([], dtype=int), np.array([], dtype=int)).tolist() == []


def test_cut_by_hand():
    documents, starts, sizes = cut(np.array([3, 8, 9, 1]), 4)
    assert documents.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert starts.tolist() == [0, 0, 4, 0, 4, 8, 0]
    assert sizes.tolist() == [3, 4, 4, 4, 4, 1, 1]


def test_best_fit_by_hand():
    assert best_fit(np.array([5, 3, 6, 2, 8, 4]), 8).tolist() == [2, 2, 1, 1, 0, 3]
    assert best_fit(np.array([], dtype=int), 8).tolist() == []


@given(st.lists(st.integers(1, 64), max_size=300), st.integers(1, 32))
@settings(max_examples=80, deadline=None)
def test_pieces_cover_documents_and_rows_are_never_over_full(lengths, row_length):
    documents, starts, sizes = cut(np.array(lengths, dtype=np.int64), row_length)
    covered = [[] for _ in lengths]
    for document, start, size in zip(documents, starts, sizes, strict=True):
        covered[document] += range(start, start + size)
    assert covered == [list(range(length)) for length in lengths]
    assert all(1 <= size <= row_length for size in sizes)
    rows = best_fit(sizes, row_length)
    filled = np.bincount(rows, weights=sizes, minlength=1)
    assert (filled <= row_length).all()
    if lengths:
        assert sorted(set(rows.tolist())) == list(range(rows.max() + 1))
        half_empty = np.count_nonzero(filled * 2 <= row_length)
        assert half_empty <= 1  # two such rows would fit into one


def test_many_short_documents_fill_their_rows():
    lengths = np.random.default_rng(0).integers(10, 120, size=4096)
    rows = best_fit(lengths, 256)
    assert lengths.sum() / ((rows.max() + 1) * 256) > 0.995
