"""`scripts/environment.py`: made once, kept, made anew where its making was cut off, and nobody else's removed.

No network, no real install.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "environment.py"


@pytest.fixture
def environment(monkeypatch):
    """The script as a module; `pip` a package, `ensurepip` pip; `calls` says who was called."""
    spec = importlib.util.spec_from_file_location("environment_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.calls = []

    def create(folder, with_pip):
        assert with_pip
        assert (folder / module.STAMP).read_text() == "", "marked as unfinished before there is anything to lose"
        module.calls.append("venv")
        make(folder)

    def call(command, cwd=None):
        module.calls.append(command[2])
        if command[2] == "ensurepip":
            (site(module.folder) / "pip").mkdir()
            return module.ensurepip_answers
        (site(module.folder) / "torch").mkdir(parents=True, exist_ok=True)
        return module.pip_answers

    module.pip_answers = module.ensurepip_answers = 0
    monkeypatch.setattr(module.venv, "create", create)
    monkeypatch.setattr(module.subprocess, "call", call)
    return module


def site(folder: Path) -> Path:
    return folder / "lib" / "python3.11" / "site-packages"


def make(folder: Path, *, python: bool = True, pip: bool = True) -> None:
    """What Python's own `venv` leaves; without one of the two where it was cut off."""
    for name in ("bin", "include"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    site(folder).mkdir(parents=True, exist_ok=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    if python:
        (folder / "bin" / "python").write_text("")
    if pip:
        (site(folder) / "pip").mkdir(exist_ok=True)


def run(environment, monkeypatch, folder: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--folder", str(folder), *words])
    environment.folder = folder
    environment.calls.clear()
    return environment.main()


@pytest.mark.skipif(sys.platform == "win32", reason="the layout of the fixture is that of Unix")
class TestMaking:
    def test_the_first_call_makes_and_the_second_does_nothing(self, environment, monkeypatch, tmp_path, capsys):
        folder = tmp_path / ".venv"
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == ["venv", "pip"]
        assert "half made" not in capsys.readouterr().out
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == []
        assert capsys.readouterr().out == ""
        assert run(environment, monkeypatch, folder, "--dev") == 0
        assert environment.calls == ["pip"], "the tools come into the same environment"
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == []

    @pytest.mark.parametrize("made", [{}, {"pip": False}, {"python": False}])
    def test_what_we_left_unfinished_is_made_anew_and_said_in_one_line(
        self, environment, monkeypatch, tmp_path, capsys, made
    ):
        folder = tmp_path / ".venv"
        make(folder, **made)
        (site(folder) / "half-a-package").mkdir()
        (folder / "lib64").symlink_to("lib")
        (folder / environment.STAMP).write_text("")
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == ["venv", "pip"]
        said = "is half made (its installation never came to an end): making it anew"
        assert capsys.readouterr().out.splitlines()[0] == f".venv/ {said}"
        assert not (site(folder) / "half-a-package").exists()
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == []

    @pytest.mark.parametrize("stamped", [False, True])
    def test_an_environment_without_pip_is_given_one_and_keeps_all_it_holds(
        self, environment, monkeypatch, tmp_path, stamped
    ):
        folder = tmp_path / ".venv"
        make(folder, pip=False)
        (site(folder) / "of-somebody").mkdir()
        if stamped:
            (folder / environment.STAMP).write_text("what an earlier version installed")
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == ["ensurepip", "pip"]
        assert (site(folder) / "of-somebody").is_dir()

    @pytest.mark.parametrize(
        ("made", "stamp", "said"),
        [
            ({"pip": False}, None, "has no pip"),
            ({"python": False}, None, "no Python that runs"),
            ({"python": False}, "finished", "no Python that runs"),
        ],
    )
    def test_an_environment_that_cannot_be_mended_is_refused_and_kept(
        self, environment, monkeypatch, tmp_path, capsys, made, stamp, said
    ):
        folder = tmp_path / ".venv"
        make(folder, **made)
        (site(folder) / "of-somebody").mkdir()
        if stamp is not None:
            (folder / environment.STAMP).write_text(environment.fingerprint(dev=False))
        environment.ensurepip_answers = 1
        assert run(environment, monkeypatch, folder) == 2
        assert "pip" not in environment.calls
        assert "venv" not in environment.calls
        assert said in capsys.readouterr().err
        assert (site(folder) / "of-somebody").is_dir()

    def test_a_second_call_waits_for_the_first(self, environment, monkeypatch, tmp_path, capsys):
        fcntl = pytest.importorskip("fcntl")
        take = fcntl.flock
        other = (tmp_path / ".venv.lock").open("a")
        take(other, fcntl.LOCK_EX)

        def flock(file, how):
            if how == fcntl.LOCK_EX:  # it is going to wait
                assert capsys.readouterr().out == "another make is installing; waiting\n"
                assert environment.calls == []
                make(tmp_path / ".venv")
                other.close()
            take(file, how)

        monkeypatch.setattr(fcntl, "flock", flock)
        assert run(environment, monkeypatch, tmp_path / ".venv") == 0
        assert environment.calls == ["pip"], "it looks at the folder when its turn has come"
        assert other.closed

    def test_the_lock_is_held_until_all_is_installed(self, environment, monkeypatch, tmp_path):
        fcntl = pytest.importorskip("fcntl")

        def report(folder):
            with folder.with_name(".venv.lock").open("a") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            environment.calls.append("tried")

        monkeypatch.setattr(environment, "report", report)
        assert run(environment, monkeypatch, tmp_path / ".venv") == 0
        assert environment.calls == ["venv", "pip", "tried"]

    def test_folders_without_a_file_are_leavings_too(self, environment, monkeypatch, tmp_path):
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        assert run(environment, monkeypatch, tmp_path / ".venv") == 0
        assert environment.calls == ["venv", "pip"]

    def test_an_install_that_failed_begins_anew_next_time(self, environment, monkeypatch, tmp_path, capsys):
        environment.pip_answers = 1
        assert run(environment, monkeypatch, tmp_path / ".venv") == 1
        environment.pip_answers = 0
        assert run(environment, monkeypatch, tmp_path / ".venv") == 0
        assert environment.calls == ["venv", "pip"]
        assert "never came to an end" in capsys.readouterr().out

    def test_an_environment_made_by_hand_is_installed_into(self, environment, monkeypatch, tmp_path):
        folder = tmp_path / ".venv"
        make(folder)
        (site(folder) / "of-somebody").mkdir()
        assert run(environment, monkeypatch, folder) == 0
        assert environment.calls == ["pip"]
        assert (site(folder) / "of-somebody").is_dir()

    def test_a_folder_of_something_else_is_not_touched(self, environment, monkeypatch, tmp_path, capsys):
        (tmp_path / "letters").mkdir()
        (tmp_path / "letters" / "mine.txt").write_text("dear")
        assert run(environment, monkeypatch, tmp_path / "letters") == 2
        assert environment.calls == []
        assert "something else" in capsys.readouterr().err
        assert (tmp_path / "letters" / "mine.txt").read_text() == "dear"


def test_pythons_own_venv_is_recognised_with_and_without_pip(environment, tmp_path):
    """The layout that is looked for is the real one."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    assert not environment.has_pip(folder)
    assert not environment.is_unfinished(folder)
    assert not environment.holds_nothing(folder)
    next(folder.rglob("site-packages")).joinpath("pip").mkdir()
    assert environment.has_pip(folder)
