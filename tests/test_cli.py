"""The command line as a person meets it: help without torch, errors without tracebacks, exit codes, JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from danlu import cli
from danlu.base.errors import ConfigError
from danlu.commands import new
from danlu.recipe import Recipe
from danlu.stages import STAGES
from danlu.train.interrupts import Interrupted

ROOT = Path(__file__).parent.parent
VERBS = ["new", "show", "run", "list", "inspect", "look", "chat", "serve", "doctor", "prove", "demo", *STAGES]
HELP = """
import sys
sys.argv = ["danlu", "--help"]
import danlu.cli
try:
    danlu.cli.main()
except SystemExit:
    pass
print("heavy:", sorted({"torch", "transformers", "numpy", "pyarrow", "pydantic"} & set(sys.modules)))
"""


def danlu(*words, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", "danlu", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_help_names_every_verb_and_imports_no_torch():
    said = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60)
    assert "heavy: []" in said.stdout, said.stdout + said.stderr
    for verb in VERBS:
        assert f"  {verb} " in said.stdout, verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    from typer.testing import CliRunner

    from danlu.cli import app

    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_a_users_mistake_is_one_message_and_exit_code_2(tmp_path):
    said = danlu("run", tmp_path / "none.yaml")
    assert said.returncode == 2
    assert "there is no such recipe" in said.stderr
    assert "to do:" in said.stderr
    assert "Traceback" not in said.stderr
    said = danlu("--json", "inspect", tmp_path)
    assert said.returncode == 2
    assert json.loads(said.stdout.splitlines()[-1])["event"] == "error"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "1"}, "RANK and no WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE and no RANK"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK is not a whole number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is not a whole number"),
        ({"RANK": "0", "WORLD_SIZE": ""}, "WORLD_SIZE is not a whole number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}, "a place that there is not"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "a place that there is not"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "not where they meet"),
    ],
)
def test_what_a_launcher_says_is_checked(monkeypatch, environment, said):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        cli._world()
    assert "torchrun" in caught.value.remedy


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost"}, (3, 4)),
    ],
)
def test_a_place_among_other_processes_is_taken_from_the_launcher(monkeypatch, environment, place):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world = cli._world()
    assert (world.rank, world.size) == place


def test_the_demo_is_handed_every_sentence(monkeypatch):
    from typer.testing import CliRunner

    from danlu.commands import demo

    handed = []
    monkeypatch.setattr(demo, "run", lambda recipe, values, **options: handed.append(options["sentences"]))
    for words in (["demo"], ["demo", "--sentence", "one", "--sentence", "二"]):
        assert CliRunner().invoke(cli.app, words).exit_code == 0
    assert handed == [[], ["one", "二"]]


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (ConfigError("it is wrong"), 2, "error: it is wrong"),
        (Interrupted("stopped: it is saved"), 130, "stopped: it is saved"),
        (KeyboardInterrupt(), 130, "\nstopped; what was finished is kept"),
    ],
)
def test_whoever_stops_a_run_has_made_no_error(monkeypatch, capsys, raised, code, said):
    def stop():
        raise raised

    monkeypatch.setattr(cli, "app", stop)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_new_then_run_then_look_then_inspect_then_list(tmp_path):
    assert danlu("new", "mine", cwd=tmp_path).returncode == 0
    again = danlu("new", "mine", cwd=tmp_path)
    assert again.returncode == 2
    assert "taken" in again.stderr
    ran = danlu("run", "mine/recipe.yaml", "--until", "shard", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    kept = danlu("tokenizer", "mine/recipe.yaml", cwd=tmp_path)
    assert "kept" in kept.stdout, kept.stdout + kept.stderr
    seen = danlu("look", "runs/mine/prepare", cwd=tmp_path)
    assert "furnace" in seen.stdout, seen.stdout + seen.stderr
    rows = danlu("look", "runs/mine/shard", "-n", "1", cwd=tmp_path)
    assert "row 0" in rows.stdout, rows.stdout + rows.stderr
    inspected = danlu("inspect", "runs/mine/tokenizer", cwd=tmp_path)
    assert "every SHA-256 agrees" in inspected.stdout, inspected.stdout + inspected.stderr
    line, *more = danlu("inspect", "runs/mine/tokenizer", "--json", cwd=tmp_path).stdout.splitlines()
    assert more == [], "JSON Lines: one object a line"
    manifest = json.loads(line)
    assert manifest["kind"] == "tokenizer"
    listed = danlu("list", cwd=tmp_path)
    assert "mine/shard" in listed.stdout, listed.stdout + listed.stderr
    target = tmp_path / "runs/mine/tokenizer/tokenizer.json"
    target.write_text(target.read_text() + " ")
    broken = danlu("inspect", "runs/mine/tokenizer", cwd=tmp_path)
    assert broken.returncode == 2
    assert "tokenizer.json has" in broken.stderr


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp/x", "..", ".", "-x", "a b"])
def test_new_refuses_what_is_no_plain_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no path"):
        new.run(Path(name))
    assert list(tmp_path.iterdir()) == []


def test_the_starter_recipe_is_as_long_as_its_text_allows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new.run(Path("mine"))
    config = Recipe.load("mine/recipe.yaml").plan()[3].config
    assert config.epochs == 8, "a minute would be hundreds of epochs of so small a text"
    assert config.minutes is None


def test_a_stage_alone_takes_folders(tmp_path):
    assert danlu("new", "mine", cwd=tmp_path).returncode == 0
    assert danlu("prepare", "mine/recipe.yaml", cwd=tmp_path).returncode == 0
    words = ("tokenizer", "--input", "corpus=runs/mine/prepare", "--out", "tok", "vocabulary_size=300")
    made = danlu(*words, cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    assert (tmp_path / "tok" / "tokenizer.json").exists()
    missing = danlu("tokenizer", "--out", "tok2", cwd=tmp_path)
    assert missing.returncode == 2
    assert "--input corpus=FOLDER" in missing.stderr
