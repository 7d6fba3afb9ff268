"""RT1 from raw text to the exported folder: killed at any moment, a recipe made again holds the same bytes.

All that happens is in `stage_kills`; here it is judged. RT1 of a training is in `test_resume` and `test_rank_kills`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.proofs.campaign import run_apart, show_kills
from tests.proofs.mutant import Mutant
from tests.proofs.stage_kills import SECTIONS

CAMPAIGN = "tests.proofs.stage_kills"
MANY_RECIPES = 8

MUTANTS = {
    "RT1": Mutant(
        "src/danlu/running.py",
        "    for path in torn:  # a stage seals all that lies in its folder\n        path.unlink()\n",
        "",
    ),
}


def check_bytes(result: dict[str, Any]) -> int:
    """What was killed and made again holds what the undisturbed making holds, and nothing else; the number of kills."""
    wanted = result["reference"]
    assert wanted["exit"] == 0
    assert tuple(wanted["artefacts"]) == SECTIONS
    for end in result["ends"]:
        assert end["exit"] == 0, result["said"][-2000:]
        assert end["artefacts"] == wanted["artefacts"]
        assert end["paths"] == wanted["paths"], "nothing stray lies about"
        assert end["repeated"] == [], "what was finished was kept"
    assert {place.split(":")[0] for place in result["kills"]} >= set(SECTIONS), "every section was killed"
    return show_kills(result["kills"])


def test_RT1_a_recipe_killed_at_any_moment_and_made_again_holds_the_same_bytes(tmp_path):
    assert check_bytes(run_apart(CAMPAIGN, tmp_path, 1)) >= 20


@pytest.mark.slow
def test_RT1_many_kills_of_a_recipe(tmp_path):
    assert check_bytes(run_apart(CAMPAIGN, tmp_path, MANY_RECIPES)) >= 20 * MANY_RECIPES
