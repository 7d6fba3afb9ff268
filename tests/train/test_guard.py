import pytest

from danlu.train.guard import Diverged, check_finite, check_validation


def test_finite_numbers_pass():
    check_finite(2.5, 1e30, 1, [0])


@pytest.mark.parametrize(("loss", "norm"), [(float("nan"), 1.0), (1.0, float("inf")), (float("-inf"), float("nan"))])
def test_others_name_step_and_rows(loss, norm):
    with pytest.raises(Diverged) as caught:
        check_finite(loss, norm, 17, list(range(100, 120)))
    assert "update 17" in str(caught.value)
    assert "100, 101" in str(caught.value)
    assert "12 more" in str(caught.value)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_weights_that_give_no_finite_validation_loss_are_told_by_their_step(loss):
    check_validation(1e30, 3)
    with pytest.raises(Diverged, match="after update 3"):
        check_validation(loss, 3)
