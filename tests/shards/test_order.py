"""The sample order: a permutation for every size, pure, even, and the same numbers for ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.shards.order import SampleOrder, share, step_samples


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 1023, 1025, 100_003])
def test_every_epoch_is_a_permutation(num_rows):
    order = SampleOrder(num_rows, seed=3)
    for epoch in (0, 1, 10**6):
        rows = order.rows(epoch * num_rows, (epoch + 1) * num_rows)
        assert rows.dtype == np.int64
        assert np.array_equal(np.sort(rows), np.arange(num_rows))


@given(st.integers(1, 200), st.integers(-(2**70), 2**70), st.integers(0, 10**6), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_any_range_is_a_slice_of_the_whole(num_rows, seed, start, length):
    order = SampleOrder(num_rows, seed)
    rows = order.rows(start, start + length)
    one_by_one = [int(order.rows(sample, sample + 1)[0]) for sample in range(start, start + min(length, 8))]
    assert rows[: len(one_by_one)].tolist() == one_by_one
    assert np.array_equal(SampleOrder(num_rows, seed).rows(start, start + length), rows)


def test_the_order_is_the_same_for_ever():
    """Published numbers: a change here would silently give every stored run another order."""
    assert SampleOrder(10, 0).rows(0, 20).tolist() == GOLDEN_10
    assert SampleOrder(1_000_000, 42).rows(10**9, 10**9 + 5).tolist() == GOLDEN_MILLION


GOLDEN_10 = [7, 6, 3, 0, 1, 2, 8, 5, 9, 4, 2, 9, 6, 7, 4, 5, 0, 1, 8, 3]
GOLDEN_MILLION = [799109, 937369, 145434, 951316, 198]


def test_places_and_neighbours_are_even():
    """Row r lands on each place about equally often, and neighbours in one epoch are strangers in the next."""
    n, epochs = 12, 6000
    rows = SampleOrder(n, 5).rows(0, n * epochs).reshape(epochs, n)
    expected = epochs / n
    counts = np.stack([np.bincount(rows[:, place], minlength=n) for place in range(n)])
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (n - 1) ** 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)
    pairs = np.bincount(rows[:, 0] * n + rows[:, 1], minlength=n * n).reshape(n, n)
    assert (np.diag(pairs) == 0).all()
    spread = pairs[~np.eye(n, dtype=bool)]
    expected = epochs / (n * (n - 1))
    assert ((spread - expected) ** 2 / expected).sum() < 131 + 5 * np.sqrt(2 * 131)


def test_seeds_differ():
    orders = {tuple(SampleOrder(50, seed).rows(0, 50).tolist()) for seed in range(100)}
    assert len(orders) == 100


def test_no_rows_is_a_defect():
    with pytest.raises(ValueError, match="at least one row"):
        SampleOrder(0, 0)


@given(st.integers(0, 500), st.integers(1, 64))
@settings(max_examples=50, deadline=None)
def test_steps_cover_all_samples_once(total, batch_rows):
    steps = [step_samples(step, batch_rows, total) for step in range(-(-total // batch_rows) + 2)]
    assert [sample for start, stop in steps for sample in range(start, stop)] == list(range(total))
    assert all(stop - start <= batch_rows for start, stop in steps)


@given(st.integers(0, 10**9), st.integers(0, 100), st.integers(1, 17))
@settings(max_examples=50, deadline=None)
def test_shares_of_a_step_are_even_and_complete(start, count, size):
    shares = [share(start, start + count, rank, size) for rank in range(size)]
    assert [sample for part in shares for sample in part] == list(range(start, start + count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
