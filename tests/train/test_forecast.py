"""The forecast: a band between measured lengths, nothing beyond them, a name that seed and length leave alone.

And the table it is drawn from: `benchmarks/forecast.py` keeps every run, whoever else is writing.
"""

import contextlib
import importlib.util
import json
import sys
import threading
from pathlib import Path

import pytest

from danlu import running, stages
from danlu.base import artifact
from danlu.recipe import Recipe
from danlu.train import forecast

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"


@pytest.fixture
def table(tmp_path):
    runs = [
        {"seed": 1, "target_tokens": 100, "tokens": 100, "loss": 4.0},
        {"seed": 2, "target_tokens": 100, "tokens": 100, "loss": 4.2},
        {"seed": 1, "target_tokens": 10_000, "tokens": 10_000, "loss": 1.0},
    ]
    path = tmp_path / "forecasts.json"
    path.write_text(json.dumps({"runs": {"name": runs}}))
    return path


def test_the_band_lies_between_the_measured_lengths(table):
    band = forecast.predict("name", 1000, table)
    assert band["expected"] == pytest.approx((4.1 * 1.0) ** 0.5), "half-way in log tokens is half-way in log loss"
    assert band["low"] == pytest.approx(band["expected"] * 0.96)
    assert band["high"] == pytest.approx(band["expected"] * 1.04)
    assert (band["high"] - band["low"]) / band["expected"] <= 0.1, "at most 5 % to either side"
    assert forecast.predict("name", 100, table)["expected"] == pytest.approx(4.1)


@pytest.mark.parametrize("tokens", [99, 10_001])
def test_nothing_is_said_beyond_what_was_measured(table, tokens):
    assert forecast.predict("name", tokens, table) is None


def test_nothing_is_said_of_a_run_that_is_like_none(table, tmp_path):
    assert forecast.predict("other", 1000, table) is None
    assert forecast.predict("name", 1000, tmp_path / "absent.json") is None


def sealed(folder, config, parents=None):
    folder.mkdir()
    return artifact.seal(
        folder,
        kind="shards",
        stage="shard",
        version=1,
        config=config,
        parents=parents if parents is not None else {},
        metrics={},
        seconds=0.0,
    )


def as_written(stage, config):
    return config


def test_likeness_ignores_the_runs_own_seed_and_length_and_sees_everything_else(tmp_path):
    corpus = sealed(tmp_path / "corpus", {"sources": ["a"], "seed": 1})
    other_seed = sealed(tmp_path / "corpus2", {"sources": ["a"], "seed": 2})
    other_text = sealed(tmp_path / "corpus3", {"sources": ["b"], "seed": 1})
    shards = [
        sealed(tmp_path / f"shards{i}", {"row_length": 64}, {"corpus": parent})
        for i, parent in enumerate((corpus, other_seed, other_text))
    ]
    config = {"size": "tiny", "seed": 1, "tokens": 100, "minutes": None}
    name = forecast.likeness(config, {"shards": shards[0]}, as_written)
    assert (
        forecast.likeness({**config, "seed": 9, "tokens": 7, "minutes": 3}, {"shards": shards[0]}, as_written) == name
    )
    assert forecast.likeness(config, {"shards": shards[1]}, as_written) != name, (
        "another seed of the text is another text"
    )
    assert forecast.likeness({**config, "size": "small"}, {"shards": shards[0]}, as_written) != name
    assert forecast.likeness(config, {"shards": shards[2]}, as_written) != name


def test_likeness_is_the_same_on_another_patch_level_of_python(tmp_path):
    names = set()
    for number, version in enumerate(("1 of Python 3.11.7", "1 of Python 3.13.1", "2 of Python 3.13.1")):
        sources = sealed(tmp_path / f"sources{number}", {"sources": [{"version": version}]})
        names.add(forecast.likeness({"size": "tiny"}, {"shards": sources}, as_written))
    assert len(names) == 2


def later(stage, config):
    """A stage's reading that knows two more settings than `config` may have, and an older form of a third."""
    if "removed" in config:
        return None
    form = config.get("form", {"a": 1})
    read = {"old": 1, "deep": {}, "new": 0, **config, "form": {"a": 1} if form == "short" else form}
    return {**read, "deep": {"new": [], **read["deep"]}}


def test_likeness_looks_past_settings_that_came_later_and_change_nothing(tmp_path):
    """The measured run is compared as it would be written today; a default that changes later changes no old run."""
    measured = {"model:pretrain": {"size": "tiny"}, "shards:shard": {"deep": {"old": 1}, "form": "short"}}
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"runs": {}, "settings": {"gone": {"x:shard": {"removed": 1}}, "first": measured}}))
    idle = {"deep": {"old": 1, "new": []}, "form": {"a": 1}, "new": 0}
    others = [{**idle, "new": 1}, {**idle, "form": {"a": 2}}, {**idle, "deep": {"old": 2, "new": []}}, {"removed": 1}]
    names = []
    for number, config in enumerate([{"deep": {"old": 1}, "form": "short"}, idle, *others]):
        shards = sealed(tmp_path / f"shards{number}", config)
        names.append(forecast.likeness({"size": "tiny"}, {"shards": shards}, later, table))
    assert names[:2] == ["first", "first"]
    assert "first" not in names[2:]
    assert len(set(names[2:])) == len(others)
    now_different = {**measured["shards:shard"], "new": 7}
    table.write_text(json.dumps({"runs": {}, "settings": {"first": {**measured, "shards:shard": now_different}}}))
    idle_again = sealed(tmp_path / "again", idle)
    assert forecast.likeness({"size": "tiny"}, {"shards": idle_again}, later, table) != "first"


def test_a_manifest_is_read_with_todays_settings():
    old = {"sources": [{"path": "text"}], "private_data": "mask"}
    full = stages.in_full("prepare", old)
    assert full["private_data"]["action"] == "mask"
    assert full["similar"]["drop"] is False
    assert full == stages.in_full("prepare", full)
    assert stages.in_full("prepare", {**old, "removed": 1}) is None
    assert stages.in_full("sources", {"files": {}}) == {"files": {}}


@pytest.fixture
def measuring(table, monkeypatch):
    """`benchmarks/forecast.py` as a module, at a table of its own."""
    spec = importlib.util.spec_from_file_location("forecast_measuring", ROOT / "benchmarks" / "forecast.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(forecast, "TABLE", table)
    return module


def test_a_run_brings_its_own_machine_and_leaves_the_others_theirs(measuring, table, monkeypatch):
    for python in ("first", "second"):
        monkeypatch.setattr(artifact, "versions", lambda python=python: {"python": python})
        length = {"first": 100, "second": 200}[python]
        measuring.record("name", {}, {"seed": 1, "target_tokens": length, "tokens": length, "loss": 3.0})
    rows = json.loads(table.read_bytes())["runs"]["name"]
    assert [(row["target_tokens"], row["seed"]) for row in rows] == [(100, 1), (100, 2), (200, 1), (10_000, 1)]
    assert [row.get("machine", {}).get("python") for row in rows] == ["first", None, "second", None]
    assert rows[0]["loss"] == 3.0, "the same seed and length: the new run stands for the old one"
    assert all("measured_at" in row for row in (rows[0], rows[2]))
    assert forecast.predict("name", 200, table)["expected"] == pytest.approx(3.0)


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_runs_that_end_together_are_all_kept(measuring, table, monkeypatch):
    """Every writer has read before any of them writes, unless each waits for the one before it."""
    number = 3
    together = threading.Barrier(number)
    write = artifact.write_atomically

    def write_late(path, text):
        with contextlib.suppress(threading.BrokenBarrierError):  # the lock holds the others back: nobody waits for them
            together.wait(timeout=0.3)
        write(path, text)

    monkeypatch.setattr(artifact, "write_atomically", write_late)
    rows = [{"seed": seed, "target_tokens": 1, "tokens": 1, "loss": 1.0} for seed in range(number)]
    writers = [threading.Thread(target=measuring.record, args=("other", {"model:pretrain": {}}, row)) for row in rows]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    written = json.loads(table.read_bytes())
    assert [row["seed"] for row in written["runs"]["other"]] == [0, 1, 2]
    assert written["settings"] == {"other": {"model:pretrain": {}}}


def test_the_quickstart_has_a_forecast(tmp_path):
    """Whoever changes its text, its rows or its training measures anew: `benchmarks/forecast.py`."""
    words = ("name=likeness",)
    made = running.run(QUICKSTART, *words, runs=tmp_path, until="shard")
    training = next(step for step in Recipe.load(QUICKSTART, words).plan(tmp_path) if step.name == "pretrain")
    config = training.config.model_dump(mode="json")
    name = forecast.likeness(config, {need: made[parent] for need, parent in training.parents.items()}, stages.in_full)
    assert forecast.predict(name, config["tokens"]) is not None


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_band_holds_over_twenty_seeds(tmp_path, capsys):
    """Twenty runs of the quickstart's training from other seeds, on its own text; the hit rate is printed."""
    words = ("name=seeds",)
    running.run(QUICKSTART, *words, runs=tmp_path, until="shard")
    reached = []
    for seed in range(20):
        made = running.run(
            QUICKSTART,
            *words,
            f"pretrain.seed={seed}",
            runs=tmp_path,
            from_section="pretrain",
            until="pretrain",
            again=True,
        )
        band = made["pretrain"].manifest["forecast"]
        reached.append(band["low"] <= band["reached"] <= band["high"])
    with capsys.disabled():
        print(f"\nforecast: {sum(reached)} of {len(reached)} seeds ended inside the band")
    assert sum(reached) >= 19
