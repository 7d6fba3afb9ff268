"""What `benchmarks/corpus_speed.py` measured: both chains did the same work, and the stages' pages tell what is stored.

That `speed.md` tells it is held by `test_speed.py`.
"""

import json

import pytest

from tests.docs.pages import ROOT, benchmark

CORPUS = json.loads((ROOT / "docs/results/corpus-speed.json").read_text())
SIDES = ("datatrove", "danlu")


def test_both_chains_did_the_same_and_ours_five_times_as_fast():
    """The ratio means nothing where one side drops what the other carries through the costly half."""
    for language in ("en", "zh"):
        found = CORPUS["chain"][language]
        assert min(found["after_quality"][side] for side in SIDES) > 0.6 * found["documents"]
        assert found["after_quality"]["agreement"] > 0.94
        assert found["pages_kept"]["agreement"] > 0.94
        theirs, ours = (found["near_duplicates"][side] for side in SIDES)
        assert abs(theirs - ours) <= 0.1 * theirs
        assert min(found["ratio"], found["least_ratio_of_a_part"], found["ratio_of_processor_time"]) >= 5


@pytest.mark.parametrize("stage", ["prepare", "tokenizer", "shard"])
@pytest.mark.parametrize(("end", "chinese"), [(".md", False), (".zh.md", True)])
def test_the_speed_of_a_stage_is_on_its_page(stage, end, chinese):
    page = (ROOT / "docs/stages" / f"{stage}{end}").read_text(encoding="utf-8")
    assert "\n".join(benchmark("corpus_page").rows(CORPUS, stage, chinese)) in page
