import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.train.schedules import SCHEDULES, Shape, factor

SHAPE = Shape.of(100, warmup=0.1, decay=0.4, floor=0.1)


def test_shape_from_shares():
    assert Shape(100, 10, 40, 0.1) == SHAPE
    assert Shape.of(3, warmup=0.01, decay=1.0, floor=0) == Shape(3, 1, 2, 0)
    assert Shape.of(5, warmup=1.0, decay=1.0, floor=0) == Shape(5, 5, 0, 0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_to_the_peak(name):
    assert [factor(name, step, SHAPE) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]


def test_values_by_hand():
    assert factor("constant", 99, SHAPE) == 1.0
    assert factor("linear", 55, SHAPE) == pytest.approx(0.1 + 0.9 * 0.5)
    assert factor("cosine", 55, SHAPE) == pytest.approx(0.1 + 0.9 * 0.5)
    assert factor("wsd", 60, SHAPE) == 1.0
    assert factor("wsd", 80, SHAPE) == pytest.approx(0.1 + 0.9 * 0.5)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 500),
    warmup=st.floats(0, 1),
    decay=st.floats(0, 1),
    floor=st.floats(0, 1),
)
def test_a_factor_is_positive_and_never_rises_after_the_warm_up(name, steps, warmup, decay, floor):
    shape = Shape.of(steps, warmup=warmup, decay=decay, floor=floor)
    after = [factor(name, step, shape) for step in range(shape.warmup_steps, steps)]
    assert all(0 < factor(name, step, shape) <= 1 for step in range(steps))
    assert after == sorted(after, reverse=True)
