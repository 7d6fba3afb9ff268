import numpy as np
import pytest
import torch

from danlu.train.guard import Diverged
from danlu.train.loop import Outside, Progress, Stopped, stopped_early, train
from tests.train import material


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rows(tmp_path):
    return material.row_set(tmp_path / "rows")


def test_the_loss_falls_and_every_sample_is_seen_once_an_epoch(rows):
    learner = material.learner(rows)
    reports = list(train(learner, material.plan(6 * rows.num_rows, 5), Progress(), material.outside()))
    seen = np.concatenate([report.rows for report in reports])
    for epoch in range(6):
        part = seen[epoch * rows.num_rows : (epoch + 1) * rows.num_rows]
        assert sorted(part.tolist()) == list(range(rows.num_rows))
    assert reports[-1].loss < reports[0].loss
    assert sum(report.tokens for report in reports) == 6 * rows.num_tokens
    assert sum(report.targets for report in reports) == 6 * rows.num_targets


def test_report_evaluate_save_come_in_this_order(rows):
    events = []
    learner, progress = material.learner(rows), Progress()

    def evaluate():
        events.append(("evaluate", progress.step))
        return {"loss": 10.0 - progress.step}

    outside = material.outside(evaluate, lambda: events.append(("save", progress.step)))
    plan = material.plan(5 * 4, 4, evaluate_every=2, save_every=3)
    for report in train(learner, plan, progress, outside):
        events.append(("report", report.step))
    assert events == [
        ("report", 1),
        ("evaluate", 2), ("report", 2), ("save", 2),  # the best so far is always saved
        ("report", 3), ("save", 3),
        ("evaluate", 4), ("report", 4), ("save", 4),
        ("evaluate", 5), ("report", 5), ("save", 5),
    ]  # fmt: skip


def test_patience_runs_out(rows):
    learner, progress, saved = material.learner(rows), Progress(), []
    losses = iter([3.0, 2.0, 2.5, 2.4, 2.3, 1.0])
    plan = material.plan(40, 4, evaluate_every=1, patience=3)
    outside = Outside(lambda: {"loss": next(losses)}, lambda: saved.append(progress.step), lambda: progress.step == 5)
    assert len(list(train(learner, plan, progress, outside))) == 5, "asked to stop where nothing is left: no matter"
    assert stopped_early(plan, progress)
    assert (progress.best_step, progress.best_loss, saved[-1]) == (2, 2.0, 5)
    assert list(train(learner, plan, progress, outside)) == [], "a resumed run knows that it was over"


def test_a_request_to_stop_is_answered_after_the_save(rows):
    learner, progress, saved = material.learner(rows), Progress(), []
    outside = Outside(lambda: {"loss": 0.0}, lambda: saved.append(progress.step), lambda: progress.step >= 2)
    with pytest.raises(Stopped):
        for _ in train(learner, material.plan(40, 4), progress, outside):
            pass
    assert saved == [2]
    assert progress.step == 2


def test_a_non_finite_gradient_stops_before_the_update(rows):
    learner = material.learner(rows)
    with torch.no_grad():
        learner.model.blocks[0].mlp.down.weight[0, 0] = float("nan")
    before = {name: value.clone() for name, value in learner.model.named_parameters()}
    with pytest.raises(Diverged, match="update 1"):
        next(train(learner, material.plan(8, 4), Progress(), material.outside()))
    for name, value in learner.model.named_parameters():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name
