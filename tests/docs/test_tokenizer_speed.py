"""docs/results/speed.md holds what `benchmarks/tokenizer_speed.py` last measured."""

import json

import pytest

from tests.docs.pages import ROOT, benchmark

FOUND = json.loads((ROOT / "docs/results/tokenizers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "chinese"), [("speed.md", False), ("speed.zh.md", True)])
def test_the_section_of_the_tokenizers_is_what_was_measured(name, chinese):
    page = (ROOT / "docs/results" / name).read_text(encoding="utf-8")
    writer = benchmark("tokenizer_page")
    section = writer.section(FOUND, chinese=chinese)
    assert section in page
    for word in (FOUND["machine"], writer.measured_at(FOUND), FOUND["python"], FOUND["command"]):
        assert word in section
    assert all(f"{name} {version}" in section for name, version in FOUND["versions"].items())


def test_every_library_gave_the_same_ids_and_gigabpe_the_same_merges():
    assert FOUND["ids_equal"]
    assert FOUND["merges_equal"]
    assert len({side["ids"] for way in ("one core", "all cores") for side in FOUND[way].values()}) == 1
    assert {"tokenizers", "tiktoken", "gigatoken"} <= set(FOUND["one core"])
    assert FOUND["learning"]["tokenizers"]["merges"] == FOUND["learning"]["gigabpe"]["merges"]
