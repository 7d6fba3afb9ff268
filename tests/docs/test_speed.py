"""docs/results/speed.md holds what `benchmarks/training.py`, `decoding.py` and their neighbours last measured."""

import json
import statistics

import pytest

from tests.docs.pages import ROOT, benchmark

PAGES = (("docs/results/speed.md", False), ("docs/results/speed.zh.md", True))
TRAINING = json.loads((ROOT / "docs/results/training.json").read_text())
DECODING = json.loads((ROOT / "docs/results/decoding.json").read_text())
TRAINING_RATIO, DECODING_RATIO = {"bfloat16": 1.1, "float32": 1.3}, {"11m": 2.0, "110m": 1.4}
"""How many times as fast as the faster peer, by dtype, and as transformers, by size: below, danlu has become slower."""
LEAST_ROUNDS = 5


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


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_training_was_faster_than_both_peers_began_sooner_and_took_no_more_memory(name):
    found = TRAINING[name]
    rounds = list(zip(*(found[side]["segments"] for side in ("danlu", "litgpt", "trainer")), strict=True))
    assert len(rounds) >= LEAST_ROUNDS
    ratio = statistics.median(ours / max(peers) for ours, *peers in rounds)
    assert ratio >= TRAINING_RATIO[name.split()[1]]
    assert found["danlu"]["first_step_seconds"] <= found["litgpt"]["first_step_seconds"] / 2
    assert found["danlu"]["peak_mb"] <= min(found[peer]["peak_mb"] for peer in ("litgpt", "trainer"))


@pytest.mark.parametrize("name", sorted(DECODING))
def test_decoding_was_faster_than_transformers(name):
    for batch in ("batch 1", "batch 16"):
        speeds = DECODING[name][batch]["segments"]
        rounds = list(zip(speeds["danlu"], speeds["transformers"], strict=True))
        assert len(rounds) >= LEAST_ROUNDS
        assert statistics.median(ours / theirs for ours, theirs in rounds) >= DECODING_RATIO[name.split()[0]]
