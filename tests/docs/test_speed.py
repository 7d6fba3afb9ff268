"""docs/results/speed.md holds what `benchmarks/training.py` and `benchmarks/decoding.py` last measured."""

import json
import re

import pytest

from tests.docs.pages import ROOT

PAGES = ("docs/results/speed.md", "docs/results/speed.zh.md")
TRAINING = json.loads((ROOT / "docs/results/training.json").read_text())
DECODING = json.loads((ROOT / "docs/results/decoding.json").read_text())


def training_rows() -> list[list[str]]:
    rows = []
    for name, found in TRAINING.items():
        sides = [found[side] for side in ("danlu", "litgpt", "trainer")]
        rows.append(
            [
                name,
                *(f"{side['tokens_per_second']:,.0f}" for side in sides),
                f"{found['ratio_to_the_faster']:.2f}",
                *(f"{side['first_step_seconds']:.1f}" for side in sides),
                *(f"{side['peak_mb']:,.0f}" for side in sides),
            ]
        )
    return rows


def decoding_rows() -> list[list[str]]:
    rows = []
    for name, found in DECODING.items():
        for batch in ("batch 1", "batch 16"):
            speeds = found[batch]["tokens_per_second"].values()
            rows.append([f"{name}, {batch}", *(f"{speed:,}" for speed in speeds), f"{found[batch]['ratio']:.2f}"])
    return rows


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_the_measured_ones(page):
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d+m ", line)]
    assert found == training_rows() + decoding_rows()


@pytest.mark.parametrize("page", PAGES)
def test_machine_versions_and_date_are_those_of_the_measurement(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in (*TRAINING.values(), *DECODING.values()):
        assert found["measured_at"] in text
        assert found["versions"]["torch"] in text
        assert found["versions"]["python"] in text
        assert found["command"].split(" --")[0] in text
    for peer in ("peers' litgpt", "peers' transformers"):
        assert all(found["versions"][peer] in text for found in TRAINING.values())
