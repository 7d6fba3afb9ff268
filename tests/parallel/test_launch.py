"""Two real processes under torchrun: each group is a new one, words come in order, the first rank alone decides."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from danlu.base.world import World
from danlu.parallel import launch
from danlu.train.planning import TRAINING_SHARE, minutes_left
from tests.parallel.launched import MINUTES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.parallel.launched", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[:4000]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_a_second_group_does_not_find_the_addresses_of_the_first(ranks):
    assert [rank["groups"] for rank in ranks] == [[3, 7, 3, 7]] * 2, "a sum and a minimum of each group"


def test_words_come_in_order_and_an_error_of_the_first_rank_ends_the_others(ranks):
    assert ranks[0]["words"] == ["the disk is full"]
    *heard, last = ranks[1]["words"]
    assert heard == ["one", "two"]
    assert last == "rank 1 stops: the first rank has ended, and its own message says why"


def test_no_rank_takes_what_the_first_is_about_to_remove(ranks):
    """`--from SECTION --again`: the others wait until the folder is the new one, also where removing takes long."""
    first, second = (rank["recipe"] for rank in ranks)
    assert second == first
    assert first["old"] == {name: ["prepare"] for name in ("tokenizer", "shard", "pretrain", "finetune")}


def test_minutes_are_measured_by_all_ranks_together_and_mean_the_same_to_each(ranks):
    first, second = (rank["minutes"] for rank in ranks)
    assert first == second
    plan = first["plan"]
    asked = plan["tokens_per_second"] * 60 * minutes_left(MINUTES, spent_seconds=1e9) * TRAINING_SHARE
    row = plan["tokens"] / plan["total_samples"]
    assert abs(plan["tokens"] - asked) <= row, "of so short a run half is for the steps"
    assert first["metrics"]["steps"] == plan["steps"] == -(-plan["total_samples"] // plan["batch_rows"])


def test_a_rank_that_has_heard_all_may_leave_after_the_first_has_gone(monkeypatch):
    class Gone:
        def set(self, key, value):
            raise dist.DistNetworkError("connection reset")

    monkeypatch.setattr(launch, "corner", lambda world: Gone())
    with launch.hearing(World(rank=1, size=2)):
        pass
