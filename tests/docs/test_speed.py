"""docs/results/speed.md holds what `benchmarks/training.py`, `decoding.py` and their neighbours last measured."""

import json
import statistics

import pytest

from tests.docs.pages import ROOT, benchmark

PAGES = (("docs/results/speed.md", False), ("docs/results/speed.zh.md", True))
TRAINING = json.loads((ROOT / "docs/results/training.json").read_text())
DECODING = json.loads((ROOT / "docs/results/decoding.json").read_text())


@pytest.mark.parametrize(("name", "chinese"), PAGES)
def test_the_page_is_what_its_program_writes(name, chinese):
    assert (ROOT / name).read_text(encoding="utf-8") == benchmark("speed_page").page(chinese)


@pytest.mark.parametrize(("name", "chinese"), PAGES)
def test_each_section_names_its_own_machine_versions_and_command(name, chinese):
    _, training, decoding, *_ = (ROOT / name).read_text(encoding="utf-8").split("\n## ")
    for section, results, packages in (
        (training, TRAINING, ("peers' litgpt", "peers' transformers", "peers' torch", "torch")),
        (decoding, DECODING, ("transformers", "torch")),
    ):
        told = section.replace("\n", " ")
        for found in results.values():
            assert all(found[key] in told for key in ("measured_at", "machine", "command"))
            assert f"Python {found['versions']['python']}" in told
            for package in packages:
                assert f"{package.split()[-1]} {found['versions'][package]}" in told
    assert TRAINING.keys() == {f"{size} {dtype}" for size in ("11m", "110m") for dtype in ("bfloat16", "float32")}


@pytest.mark.parametrize(("name", "chinese"), PAGES)
def test_a_ratio_is_the_median_over_the_rounds(name, chinese):
    """Not a ratio of medians, which may take the two speeds from different rounds."""
    page = (ROOT / name).read_text(encoding="utf-8")
    for size, found in DECODING.items():
        for batch in ("batch 1", "batch 16"):
            speeds = found[batch]["segments"]
            ratios = [one / other for one, other in zip(speeds["danlu"], speeds["transformers"], strict=True)]
            row = next(line for line in page.splitlines() if line.startswith(f"| {size}, {batch} |"))
            assert row.endswith(f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} |")
