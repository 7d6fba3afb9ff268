"""The page of the run on real text is what its stored numbers give, in both languages."""

import json

import pytest

from tests.docs.pages import ROOT, benchmark

TABLE = json.loads((ROOT / "docs/results/your-text.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "chinese"), [("your-text.md", False), ("your-text.zh.md", True)])
def test_the_page_is_made_of_the_stored_numbers(name, chinese):
    assert (ROOT / "docs/results" / name).read_text(encoding="utf-8") == benchmark("your_text_page").page(
        TABLE, chinese
    )


def test_the_run_trained_for_half_an_hour_and_answered():
    assert TABLE["stages"]["pretrain"]["seconds"] + TABLE["stages"]["finetune"]["seconds"] >= 30 * 60
    assert all(one["stream_is_equal"] for one in TABLE["client"])
