"""Whoever remakes the environments of `benchmarks/peers*.txt` measures beside the versions that the results name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import ROOT, benchmark

RESULTS = ROOT / "docs" / "results"
PINNED_BY = {
    "training.json": ("peers.txt", "peers-trainer.txt"),
    "learning.jsonl": ("peers.txt",),
    "corpus-speed.json": ("peers-text.txt",),
    "tokenizers.json": ("peers-tokenizers.txt",),
}
"""The environments of the others in a result."""
OTHERS = ("peers' ", "Trainer's ")


def versions(value: Any) -> Iterator[tuple[str, str]]:
    """Every package and version that a result names, however deep."""
    if isinstance(value, dict):
        yield from value.get("versions", {}).items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from versions(inner)


def measured(name: str) -> list[tuple[str, str]]:
    """What a file of results, one or one a line, names."""
    text = (RESULTS / name).read_text(encoding="utf-8")
    return list(versions([json.loads(one) for one in (text.splitlines() if name.endswith("l") else [text])]))


@pytest.mark.parametrize("name", PINNED_BY)
def test_the_others_that_were_measured_are_those_that_are_pinned(name):
    pinned = [benchmark("pins").pinned(packages) for packages in PINNED_BY[name]]
    others = {
        (package.removeprefix(whose), version.partition("+")[0])
        for package, version in measured(name)
        for whose in OTHERS
        if package.startswith(whose)
    }
    if name == "tokenizers.json":
        others = {(package, version) for package, version in measured(name) if package != "danlu"}
    assert others
    for package, version in others:
        assert version in [pins[package] for pins in pinned if package in pins], package


def test_no_result_names_others_that_nothing_pins():
    beside = {
        path.name
        for path in RESULTS.glob("*.json*")
        if any(package.startswith(OTHERS) for package, _ in measured(path.name))
    }
    assert beside
    assert beside <= PINNED_BY.keys()


@pytest.mark.parametrize("name", ["peers-trainer.txt", "peers-tokenizers.txt"])
def test_an_environment_beside_danlu_contradicts_nothing_that_danlu_is_tested_with(name):
    assert "-c ../constraints.txt\n" in (ROOT / "benchmarks" / name).read_text(encoding="utf-8")
    ours = dict(benchmark("pins").PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    theirs = benchmark("pins").pinned(name)
    assert theirs == theirs | {package: ours[package] for package in theirs if package in ours}


def test_a_page_tells_how_the_environments_of_its_commands_are_made():
    called = "python benchmarks/training.py --peers PEERS/bin/python --trainer TRAINER/bin/python"
    assert benchmark("pins").block([called, called]).splitlines() == [
        "```bash",
        "python -m venv PEERS && PEERS/bin/pip install -r benchmarks/peers.txt",
        "python -m venv TRAINER && TRAINER/bin/pip install -r benchmarks/peers-trainer.txt",
        called,
        "```",
    ]
    assert benchmark("pins").block(["python benchmarks/a.py"], "make b").splitlines()[1:-1] == [
        "make b",
        "python benchmarks/a.py",
    ]
