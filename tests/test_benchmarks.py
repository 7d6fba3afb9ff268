"""Our sides of the benchmarks still run, what they measure is worked out rightly, and the pages tell it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.docs.pages import ROOT, benchmark

TINY = {"width": 32, "layers": 1, "heads": 2, "mlp": 64, "vocabulary": 128, "length": 32, "rows": 2}
CLOCKS = ("seconds", "processor_seconds")
STAMP = {
    "machine": "2 cores",
    "threads": 1,
    "commit": "abc",
    "load_before": 0.11,
    "busy": False,
    "measured_at": "2026-11-22",
    "command": "python benchmarks/training.py",
}


def test_our_side_of_training_makes_steps():
    steps = []

    def drive(step):
        steps.extend(step().loss for _ in range(3))

    benchmark("training_side").danlu(TINY, "float32", drive)
    assert len(steps) == 3
    assert np.isfinite(steps).all()


def test_held_out_pieces_are_judged_whole_and_by_halves_that_share_none(tmp_path):
    """A model that gives every id the same chance needs log2 of the vocabulary for each id but the first."""
    side = benchmark("learning_side")
    random = np.random.default_rng(0)
    pieces = [random.integers(0, 32, size).tolist() for size in (2, 3, 256, 257, 258, 700, 513, 5)]
    spelt = list(range(1, 33))
    (tmp_path / side.HELD_OUT).write_text(json.dumps({"token_bytes": spelt, "pieces": pieces}))
    found = side.judged(tmp_path, lambda ids: torch.zeros(*ids.shape, 32))
    bits, size = ([score(piece[1:]) for piece in pieces] for score in (lambda ids: 5 * len(ids), lambda ids: sum(ids)))
    size = [total + len(piece) - 1 for total, piece in zip(size, pieces, strict=True)]
    np.testing.assert_allclose(found["bits"], bits[1::2])
    np.testing.assert_allclose(found["bits_per_byte"], sum(bits[1::2]) / sum(size[1::2]), rtol=1e-6)
    np.testing.assert_allclose(found["bits_per_byte_to_choose_by"], sum(bits[::2]) / sum(size[::2]), rtol=1e-6)


def test_the_dials_fit_finds_a_rule_that_it_was_given():
    """Runs whose loss is a bowl around known powers of tokens and width."""
    rule = {"batch": (3000.0, 0.4, 0.1), "rate": (5e-3, -0.1, -0.7)}
    dial = benchmark("dial")

    def lowest(name, tokens, width):
        value, by_tokens, by_width = rule[name]
        return value * (tokens / dial.CENTRE["tokens"]) ** by_tokens * (width / dial.CENTRE["width"]) ** by_width

    runs = [
        {
            "width": width,
            "layers": 4,
            "tokens": tokens,
            "batch_tokens": batch,
            "learning_rate": rate,
            "bits_per_byte": 2
            + 0.02 * np.log(batch / lowest("batch", tokens, width)) ** 2
            + 0.05 * np.log(rate / lowest("rate", tokens, width)) ** 2,
        }
        for width in (96, 288)
        for tokens in (5e5, 4e6)
        for batch in (1024, 4096, 8192)
        for rate in (2e-3, 4e-3, 8e-3)
    ]
    found = dial.fit(runs)
    assert found["determined"]
    for name, wanted in rule.items():
        np.testing.assert_allclose(list(found[name].values()), wanted, rtol=1e-6)
        np.testing.assert_allclose(list(found[f"{name}_bounds"].values()), np.stack([wanted, wanted], 1), rtol=1e-5)
    assert found["missed"] < 1e-9


@pytest.mark.parametrize("question", ["shape", "horizon"])
def test_the_rules_of_shape_and_horizon_find_what_they_were_given(question):
    """Runs whose loss is a bowl around known powers; those of the other question do not count."""
    shapes = benchmark("shapes")
    asked = shapes.QUESTIONS[question]
    powers = dict(zip(asked["given"], (0.3, -0.2), strict=False))
    runs = [{"question": question, **run, **shapes.costs(run)} for run in shapes.runs(question)]
    first: dict = {}
    for run in runs:
        best = 1.5 * asked["centre"]
        for name, centre in asked["given"].items():
            run[name] = first.setdefault(shapes.group(run), run)[name]  # what is nearly equal, quite equal
            best *= (run[name] / centre) ** powers[name]
        run["bits_per_byte"] = 2 + sum(shapes.group(run)) / 1e14 + 0.03 * np.log(run[asked["chosen"]] / best) ** 2
    found = shapes.fit([*runs, {"question": "another"}], question)
    assert found["determined"]
    wanted = {"value": 1.5 * asked["centre"], **powers}
    np.testing.assert_allclose([found["rule"][name] for name in wanted], list(wanted.values()), rtol=1e-6)
    np.testing.assert_allclose(found["bounds"]["value"], wanted["value"], rtol=1e-5)
    assert found["missed"] < 1e-9
    np.testing.assert_allclose(shapes.chosen_at(found, question, asked["given"]), wanted["value"])
    hill = [{**run, "bits_per_byte": -run["bits_per_byte"]} for run in runs]
    assert not shapes.fit(hill, question)["determined"]


def test_the_runs_of_shape_and_horizon_keep_the_other_things_equal():
    shapes = benchmark("shapes")
    for line in shapes.SHAPES:
        costs = [shapes.model(width, layers).flops_per_token(shapes.ROW_LENGTH) for width, layers in line]
        assert max(costs) < 1.15 * min(costs)
    runs = [{**run, **shapes.costs(run)} for run in shapes.runs("horizon")]
    for operations in shapes.OPERATIONS:
        assert sum(abs(run["operations"] / operations - 1) < 1e-3 for run in runs) >= 4


def test_a_peer_is_compared_with_settings_inside_of_what_was_tried(monkeypatch):
    learning = benchmark("learning")
    tried = [(2e-3, 16, 2.3), (4e-3, 16, 2.2)]
    names = ("learning_rate", "batch_rows", "bits_per_byte_to_choose_by")
    monkeypatch.setattr(learning, "trials", lambda side: [dict(zip(names, one, strict=True)) for one in tried])
    for end, beyond in (
        ("learning_rate 0.004", (8e-3, 16, 2.4)),
        ("batch_rows 16", (4e-3, 8, 2.1)),
        ("batch_rows 8", (4e-3, 4, 2.15)),
    ):
        with pytest.raises(SystemExit, match=f"litgpt learnt most with {end}, the end of"):
            learning.inner_best("litgpt")
        tried.append(beyond)
    assert learning.inner_best("litgpt") == {"learning_rate": 4e-3, "batch_rows": 8}


def test_every_variant_of_the_ablation_has_a_chinese_name():
    assert list(benchmark("learning").VARIANTS) == list(benchmark("learning_page").CHINESE)


def test_a_process_tells_its_own_peak_and_not_its_parents():
    """What `getrusage` tells outlives `exec`: a small child of a large process would be told as large."""
    held = bytearray(b"x" * 200_000_000)
    command = [sys.executable, "-c", "import machine; print(machine.peak_mb())"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT / "benchmarks").stdout
    assert len(held) == 200_000_000
    assert int(told) < 100


def test_a_machine_at_work_is_not_measured_on_unless_that_is_said(monkeypatch):
    machine = benchmark("machine")
    loads = [2.0, 1.0, 0.2]
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (loads.pop(0) if len(loads) > 1 else loads[0], 0, 0))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    assert machine.load_before(busy=False) == 0.2, "the load of what has just ended fades"
    loads[0] = 2.0
    with pytest.raises(SystemExit, match=r"its load is 2\.0"):
        machine.load_before(busy=False)
    assert machine.load_before(busy=True) == 2.0


def test_a_result_names_the_whole_command_and_no_folder_of_the_machine(monkeypatch):
    machine = benchmark("machine")
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/training.py"])
    options = argparse.Namespace(
        what=["chain"], peers="/a/bin/python3", text=Path("t"), sizes=["11m", "110m"], rounds=3, side=None, busy=True
    )
    assert machine.command(options, positional=("what",)) == (
        "python benchmarks/training.py chain --peers PEERS/bin/python --text TEXT --sizes 11m 110m --rounds 3"
    )


def test_a_ratio_is_of_one_round_and_each_side_comes_first_as_often():
    rounds = benchmark("rounds")
    found = rounds.paired([4575, 4367, 4442, 4573, 4551], [2127, 2281, 2232, 2322, 2268])
    assert round(found["ratio"], 2) == 1.99, "the ratio of the medians is 2.01"
    assert found["least_ratio"] == round(4367 / 2281, 5)
    assert rounds.paired([2.0], [1.0], [4.0])["ratio"] == 0.5, "the faster of the others counts"
    orders = [rounds.in_turn("abc", number) for number in range(3)]
    assert ["".join(place) for place in zip(*orders, strict=True)] == ["abc", "bca", "cab"]


SIDE = """
import json, os, pathlib, sys, tempfile
if sys.argv[1] == "dies":
    sys.exit("this side lacks a package")
pathlib.Path(tempfile.mkdtemp(), "left behind").touch()
print(json.dumps({"first_step_seconds": 1.0}), flush=True)
for line in sys.stdin:
    print(json.dumps({"steps": 2, "seconds": {"danlu": 1.0, "danlu_default": 2.0}.get(sys.argv[1], 4.0)}), flush=True)
print(json.dumps({"peak_mb": 100 if "danlu" in sys.argv[1] else 200, "folder": tempfile.gettempdir()}))
"""


def test_training_is_told_as_it_was_measured_and_leaves_nothing_behind(tmp_path, monkeypatch):
    training, page = benchmark("training"), benchmark("speed_page")
    (tmp_path / "side.py").write_text(SIDE)
    (tmp_path / "folders").mkdir()
    monkeypatch.setattr(training, "SIDE", tmp_path / "side.py")
    monkeypatch.setattr(training.tempfile, "tempdir", str(tmp_path / "folders"))
    with pytest.raises(SystemExit, match="this side lacks a package"):
        training.Side("dies", sys.executable, "11m", "float32", 1)
    python = dict.fromkeys(training.SIDES, sys.executable)
    found = training.measure("11m", "float32", python, threads=1, starts=2, rounds=2, seconds=0)
    assert not list((tmp_path / "folders").iterdir())
    assert found["to_the_faster"] == {"ratio": 4.0, "least_ratio": 4.0, "ratios": [4.0] * 4}
    assert found["default_to_the_faster"]["ratio"] == 2.0
    assert [len(found["danlu"][key]) for key in ("segments", "first_steps_seconds", "peaks_mb")] == [4, 2, 2]
    stored = {
        "11m float32": {
            **found,
            "optimizers": {"danlu_default": training.default_optimizer()},
            "starts": 2,
            "seconds_of_a_segment": 0,
            **STAMP,
            "versions": {"python": "3.11", "torch": "2.0", "peers' litgpt": "0.5"},
        }
    }
    for chinese in (False, True):
        told = "\n\n".join(page.training(stored, page.Words(chinese)))
        assert "| 11m float32 | 8,192 | 2,048 | 2,048 | 4.00 | 4.00 | 1.0 | 1.0 | 1.0 | 100 | 200 | 200 |" in told
        assert "| 11m float32 | 4,096 | 2.00 | 2.00 | 1.0 | 100 |" in told
        assert "Muon" in told
        assert "0.11" in told


def test_decoding_is_compared_by_its_logits_too(monkeypatch):
    pytest.importorskip("transformers")
    decoding, page = benchmark("decoding"), benchmark("speed_page")
    monkeypatch.setitem(decoding.SIZES, "tiny", {**TINY, "length": 128})
    monkeypatch.setattr(decoding, "NEW", 4)
    exact, half = (decoding.measure("tiny", dtype, rounds=2, seconds=0) for dtype in ("float32", "bfloat16"))
    for batch in ("batch 1", "batch 16"):
        for way in decoding.WAYS[:2]:
            assert exact[batch]["agreement"][way]["same_tokens"] == 1.0
            assert exact[batch]["agreement"][way]["along_their_tokens"]["greatest_difference"] < 1e-4
        assert 0 < half[batch]["agreement"]["to_fp32"]["danlu"]["greatest_difference"] < 0.1
    told = page.logits({"tiny bfloat16": half}, page.Words(False))[1]
    assert told.count("\n") == 1 + 2 * 5, "two pairs, and three against fp32, of either batch"


def test_the_halves_of_a_chain_add_up_to_the_whole():
    runs = {
        "datatrove": [
            {kind: {"quality": 6.0, "near_duplicates": 3.0, "both": 9.0} for kind in CLOCKS} | {"peak_mb": 7}
        ],
        "danlu": [{**dict.fromkeys(CLOCKS, 1.0), "peak_mb": 5}],
        "danlu_quality": [{**dict.fromkeys(CLOCKS, 0.75), "peak_mb": 4}],
    }
    found = benchmark("corpus_speed").speeds(runs, megabytes=9.0)
    assert (found["ratio"], found["halves"]["quality"]["ratio_of_processor_time"]) == (9.0, 8.0)
    assert found["halves"]["near_duplicates"]["ratio_of_processor_time"] == 12.0
    assert found["halves"]["near_duplicates"]["mb_per_processor_second"] == {"datatrove": 3.0, "danlu": 36.0}
    assert found["peak_mb"] == {"datatrove": 7, "danlu": 5}
