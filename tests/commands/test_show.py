"""`danlu show` says before a run what the run will say of itself: tokens, minutes, memory, by the same functions."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from danlu import running
from danlu.base import console
from danlu.base.world import World
from danlu.commands import doctor, show
from danlu.recipe import Recipe
from danlu.train import dial
from danlu.train.planning import TRAINING_SHARE

MEASURED_SPEED = show._speed  # before the fixture puts a known one in its place
SHAPE = {"width": 32, "layers": 1, "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64, "context_length": 256}
QUICK = {
    "parallel": {"threads": 1, "dtype": "float32"},
    "watch": {"validation_rows": 4, "sample_tokens": 4},
}
PAGE = {
    "name": "shown",
    "seed": 3,
    "prepare": {
        "sources": [{"generator": "little-world", "stories": 60, "lists": 0, "conversations": 150, "dirty": False}]
    },
    "tokenizer": {"vocabulary_size": 600},
    "shard": {"row_length": 256, "max_rejected_share": 0.5},
    "pretrain": {"model": SHAPE, "tokens": 3000, "batch_rows": 4, **QUICK},
    "finetune": {"questions": 1, **QUICK},
}
TOKENS, MEMORY, MINUTES = "tokens", "model memory", "minutes here"
SPEED = 1000.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Where the sections up to the shards are done."""
    folder = tmp_path_factory.mktemp("runs")
    running.run(Recipe.from_dict(PAGE), runs=folder, until="shard")
    return folder


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch):
    """Of SPEED tokens a second of this page's model."""
    monkeypatch.setattr(show, "_speed", lambda world, threads: SPEED * model().flops_per_token(256))


def model(vocabulary_size=600):
    from danlu.stages import pretrain

    return pretrain.architecture(pretrain.Config(model=SHAPE), vocabulary_size, 256)


def shown(monkeypatch, runs, *values: str) -> dict[str, dict[str, str]]:
    """Training section -> column -> what `show` says."""
    tables = []
    with monkeypatch.context() as patched:
        patched.setattr(console, "table", lambda columns, rows, **_: tables.append((columns, list(rows))))
        show.say_plan(Recipe.from_dict(PAGE, values), runs)
    columns, rows = tables[-1]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def test_what_is_shown_before_is_what_the_run_then_plans(monkeypatch, runs):
    before = shown(monkeypatch, runs)
    made = running.run(Recipe.from_dict(PAGE), runs=runs)
    for name in ("pretrain", "finetune"):
        planned = json.loads((made[name].folder / "plan.json").read_bytes())["tokens"]
        assert before[name][TOKENS] == console.size(planned, ""), name
        assert before[name][MINUTES] == f"{planned / (60 * TRAINING_SHARE * SPEED):.1f}"
    report = json.loads((made["shard"].folder / "report.json").read_bytes())
    assert before["finetune"][TOKENS] == console.size(2 * report["chat-train"]["tokens_out"], ""), "two epochs"
    assert shown(monkeypatch, runs)["finetune"][TOKENS] == before["finetune"][TOKENS]


def test_of_the_minutes_only_the_share_of_training_becomes_tokens(monkeypatch, tmp_path):
    row = shown(monkeypatch, tmp_path, "pretrain.tokens=null", "pretrain.minutes=5")["pretrain"]
    assert row[MINUTES] == "5.0"
    assert row[TOKENS] == console.size(5 * 60 * TRAINING_SHARE * SPEED, "")
    asked = shown(monkeypatch, tmp_path, f"pretrain.tokens={int(5 * 60 * TRAINING_SHARE * SPEED)}")["pretrain"]
    assert asked == row, "tokens for five minutes are five minutes for the tokens"


def test_without_a_length_the_horizon_is_the_dials(monkeypatch, tmp_path):
    row = shown(monkeypatch, tmp_path, "pretrain.tokens=null")["pretrain"]
    assert row[TOKENS] == console.size(20 * model(640).parameters().total, "")


def test_epochs_of_rows_that_are_not_there_are_estimated_and_say_so(monkeypatch, tmp_path, capsys):
    """From the settings of the little world, before anything is there; within a third of what comes."""
    values = ["pretrain.tokens=null", "pretrain.epochs=2", "finetune.epochs=3"]
    rows = shown(monkeypatch, tmp_path, *values)
    assert all(rows[name][column].startswith("~") for name in rows for column in (TOKENS, "updates", MINUTES))
    assert rows["finetune"][TOKENS].facts["estimate"] is True
    said = capsys.readouterr().out
    assert "finetune: ~ is an estimate, exact once the shards are there: about" in said
    assert "usual with 600 of them" in said
    exact = shown(monkeypatch, tmp_path, "finetune.tokens=9k")["finetune"]
    assert exact[TOKENS] == "9 k"
    assert "estimate" not in exact[TOKENS].facts


def test_the_estimate_stands_on_what_is_there(monkeypatch, runs, tmp_path, capsys):
    """Raw files, then the corpus, then its tokenizer, then the rows themselves, where it is no estimate any more."""
    text = tmp_path / "text"
    text.mkdir()
    stories = [
        f"{who}在{where}看书。 {who} reads in {where}." for who in "甲乙丙丁戊己庚辛" for where in "山水木火土金日月"
    ]
    (text / "stories.txt").write_text("\n\n".join(stories * 3), encoding="utf-8")
    page = {**PAGE, "prepare": {"sources": [{"path": str(text), "separator": "blank line"}], "test_share": 0.1}}
    monkeypatch.setitem(PAGE, "prepare", page["prepare"])
    size = (text / "stories.txt").stat().st_size
    values = ["pretrain.tokens=null", "pretrain.epochs=1"]
    found = {}
    for until in (None, "prepare", "tokenizer", "shard"):
        if until is not None:
            running.run(Recipe.from_dict(PAGE, values), runs=tmp_path / "runs", until=until)
        capsys.readouterr()
        found[until] = shown(monkeypatch, tmp_path / "runs", *values), capsys.readouterr().out
    first, said = found[None]
    ratio = 1.67 + 0.39 * math.log2(600 / 512)
    assert first["pretrain"][TOKENS].facts["value"] == round(0.88 * size / ratio)
    assert first["finetune"][TOKENS] == show.UNKNOWN, "which of the files are conversations is not known"
    assert "finetune: epochs become tokens" in said
    assert "of raw text" in said
    assert "of cleaned text" in found["prepare"][1]
    assert "usual with 600" in found["prepare"][1]
    assert "this tokenizer's" in found["tokenizer"][1]
    rows, said = found["shard"]
    exact = rows["pretrain"][TOKENS].facts["value"]
    assert "estimate" not in said
    assert found["tokenizer"][0]["pretrain"][TOKENS].facts["value"] == pytest.approx(exact, rel=0.35)
    plan = json.loads((tmp_path / "runs" / "shown" / "shard" / "report.json").read_bytes())["pretrain-train"]
    assert rows["pretrain"]["updates"].facts["value"] == -(-plan["rows"] // 4)


@pytest.mark.parametrize(
    ("values", "rows", "size"),
    [
        ([], 4, 4),
        (["pretrain.batch_rows=null"], dial.pace(128, 3_000, 256, "muon").batch_rows, 4),
        (["pretrain.parallel.micro_batch_rows=2"], 2, 4),
        (["pretrain.parallel.dtype=bfloat16"], 4, 2),
        (["pretrain.parallel.checkpoint_activations=true"], 4, 4),
    ],
)
def test_memory_is_that_of_the_rows_that_go_through_at_once(monkeypatch, tmp_path, values, rows, size):
    """All rows of an update fit at once."""
    row = shown(monkeypatch, tmp_path, "pretrain.parallel.device=cpu", *values)["pretrain"]
    recomputed = "pretrain.parallel.checkpoint_activations=true" in values
    assert row[MEMORY] == console.size(model().training_bytes(rows, 256, size, recomputed))


def test_a_device_of_another_machine_is_said_once(monkeypatch, capsys):
    show.console._said.clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = Recipe.from_dict(PAGE, ["pretrain.parallel.device=cuda"]).plan()[3].config
    assert show._world(config).device != "cuda"
    assert isinstance(show._world(config), World)
    assert capsys.readouterr().err.count("cannot be used") == 1


def test_the_speed_is_that_of_the_sections_own_threads(monkeypatch):
    seen = []
    monkeypatch.setattr(show, "_measured", {})

    def measure(*_):
        seen.append(torch.get_num_threads())
        return [SimpleNamespace(flops=1.0)]

    monkeypatch.setattr(doctor, "measure", measure)
    before = torch.get_num_threads()
    for threads in (1, 2, 1):
        MEASURED_SPEED(World(), threads)
        assert torch.get_num_threads() == before
    assert seen == [1, 2], "once for each number of threads"
