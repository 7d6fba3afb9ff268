"""`danlu new` ends with commands that can be pasted, however danlu was called."""

import sys
from pathlib import Path

import pytest

from danlu.commands import invocation, new


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A danlu in an environment below the folder where a person stands, not on the search path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    made = tmp_path / ".venv" / "bin" / "danlu"
    made.parent.mkdir(parents=True)
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    return made


def test_the_next_commands_begin_as_danlu_was_called(program, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [".venv/bin/danlu", "new", "mine"])
    new.run(Path("mine"))
    commands = [line.strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert commands == [
        ".venv/bin/danlu show mine/recipe.yaml",
        ".venv/bin/danlu run mine/recipe.yaml",
        ".venv/bin/danlu chat runs/mine/pretrain",
    ]


def test_each_way_of_calling_is_the_way_that_is_shown(program, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert invocation.called() == ".venv/bin/danlu", "a full path, from here"
    monkeypatch.setenv("PATH", str(program.parent))
    assert invocation.called() == "danlu", "the word finds it"
    other = tmp_path / "other" / "danlu"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    monkeypatch.setattr(sys, "argv", [str(other)])
    assert invocation.called() == "other/danlu", "the word would find another one"
    monkeypatch.setattr(sys, "argv", ["/somewhere/danlu/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/some where/python")
    assert invocation.called() == "'/some where/python' -m danlu"
