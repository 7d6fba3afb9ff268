"""RT1 on two ranks: killed at any moment, one of them or both, a training goes on to the same bits.

All that happens is in `rank_kills`; here it is judged. RT1 on one rank is in `test_resume`, that of the other stages
in `test_stage_kills`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.proofs.campaign import run_apart, show_kills
from tests.proofs.mutant import Mutant
from tests.proofs.rank_kills import STEPS

CAMPAIGN = "tests.proofs.rank_kills"
KILLS, OPERATION_KILLS = 8, 4
MANY_KILLS, MANY_OPERATION_KILLS = 80, 40

MUTANTS = {
    "RT1": Mutant(
        "src/danlu/train/run.py",
        '    learner.optimizer.load_state(found.tensors("optimizer"))\n',
        '    if world.is_first:\n        learner.optimizer.load_state(found.tensors("optimizer"))\n',
    ),
}


def check_bits(result: dict[str, Any]) -> int:
    """Every killed training ends with the reference's bits, and nobody was left waiting; the number of kills."""
    wanted = result["reference"]
    assert wanted["exit"] == [0, 0]
    assert wanted["steps"] == list(range(1, STEPS + 1))
    assert wanted["state"] is not None
    for end in result["ends"]:
        assert end == wanted
    assert "hung" not in result["alone"], "a rank whose peer is dead ends by itself"
    return show_kills(result["kills"])


def test_RT1_two_ranks_killed_at_any_moment_end_with_the_same_bits(tmp_path):
    assert check_bits(run_apart(CAMPAIGN, tmp_path, KILLS, OPERATION_KILLS)) >= KILLS


@pytest.mark.slow
def test_RT1_a_hundred_kills_on_two_ranks(tmp_path):
    assert check_bits(run_apart(CAMPAIGN, tmp_path, MANY_KILLS, MANY_OPERATION_KILLS)) >= MANY_KILLS
