"""Several ranks: O2, O14, O15 and D6, and resuming on two. Two to four processes on gloo, all in `ranks`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.proofs.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
RELATIVE = 1e-5

MUTANTS = {
    "O2": Mutant(
        "src/danlu/train/loop.py",
        "targets = sum_over_ranks(sum(batch.num_targets for batch in batches), world)",
        "targets = max(1, sum(batch.num_targets for batch in batches)) * world.size",
    ),
    "O14": Mutant(
        "src/danlu/parallel/collectives.py",
        "            parameter.grad = torch.zeros_like(parameter)\n",
        "            continue\n",
    ),
    "O15": Mutant(
        "src/danlu/train/validation.py",
        "total, targets = sum_over_ranks(total, world), sum_over_ranks(targets, world)",
        "total, targets = total, targets",
    ),
    "D6": Mutant(
        "src/danlu/train/loop.py",
        "start, stop = step_samples(progress.step, plan.batch_rows, plan.total_samples)",
        "start, stop = step_samples(progress.step, plan.batch_rows * world.size, plan.total_samples)",
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, "-m", "tests.proofs.ranks", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads((folder / "result.json").read_text()), "said": done.stderr}


def test_O2_the_gradient_is_the_same_on_one_two_and_four_ranks(found):
    (wanted,) = found["gradient 1"]
    for size in (2, 4):
        for rank in found[f"gradient {size}"]:
            assert rank["loss"] == pytest.approx(wanted["loss"], rel=RELATIVE)
            assert rank["norm"] == pytest.approx(wanted["norm"], rel=RELATIVE)
            for name, value in rank["gradient"].items():
                assert abs(value - wanted["gradient"][name]) <= 10 * RELATIVE * wanted["norm"][name], name


def test_O14_a_prime_number_of_rows_ends_on_two_three_and_four_ranks(found):
    for size in (2, 3, 4):
        ranks = found[f"prime {size}"]
        assert isinstance(ranks, list), f"{ranks}: {found['said'][-1000:]}"
        assert all(rank == ranks[0] for rank in ranks), "all replicas hold the same weights"


def test_O15_validation_is_the_token_weighted_mean_for_any_ranks_and_batch(found):
    wanted = found["validation 1"][0][0]
    for size in (1, 2, 3):
        for rank in found[f"validation {size}"]:
            assert rank == pytest.approx([wanted] * 3, rel=RELATIVE)


def test_D6_resumed_on_other_numbers_of_ranks_each_batch_has_the_same_rows(found):
    (whole,) = found["consumed 1 0"]
    parts = []
    for name in ("consumed 4 0", "consumed 2 4", "consumed 3 8"):
        ranks = found[name]
        parts += [[row for rank in ranks for row in rank[step]] for step in range(len(ranks[0]))]
    assert len(whole) == 12
    assert [Counter(rows) for rows in parts] == [Counter(rows) for rows in whole]


def test_O9_two_ranks_resume_to_the_same_bits(found):
    assert found["stopped"] == ["interrupted"] * 2, "one rank was asked to stop, and both did"
    assert isinstance(found["whole"], list), found["said"][-1000:]
    assert found["resumed"] == found["whole"]
    assert found["whole"][0] == found["whole"][1]
