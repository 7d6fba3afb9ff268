"""What the decision on the dial says of its runs and of its table is what the stored runs and the code say."""

from __future__ import annotations

import itertools
import json

from danlu.model.config import PRESETS
from danlu.train.dial import TOKENS_PER_PARAMETER
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/decisions/0013-the-dial.md").read_text(encoding="utf-8")
PUBLISHED = {"base": (768, 12), "1b": (2048, 16), "3b": (3072, 28), "7b": (4096, 32)}
"""Width and layers of GPT-2's smallest, of Llama 3.2 1B and 3B, and of Llama 3 8B."""


def test_the_dials_runs_are_told_and_say_nothing_of_the_shape():
    lines = (ROOT / "docs/results/dial.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [json.loads(line) for line in lines]
    shapes = sorted({(run["width"], run["layers"]) for run in runs})
    first, second, third = (f"{width} × {layers}" for width, layers in shapes)
    assert f"{len(runs)} runs are behind it" in PAGE
    assert f"{first}, {second} and {third} are three sizes" in PAGE
    costs = [width**2 * layers for width, layers in shapes]
    assert all(larger > 2 * smaller for smaller, larger in itertools.pairwise(costs)), "no two cost the same"


def test_the_table_of_shapes_is_where_the_decision_says():
    assert {size: (PRESETS[size]["width"], PRESETS[size]["layers"]) for size in PUBLISHED} == PUBLISHED
    assert f"{TOKENS_PER_PARAMETER} tokens a parameter" in PAGE
