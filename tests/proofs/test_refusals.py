"""Proofs of RT5 in every stage and command: where the system refuses, one sentence says it and nothing else is lost.

In: a tiny run of all stages; a disk, a quota, a memory that give out at the first file a stage opens for writing and at
one in the middle. Out: red where that is a traceback, where a stump is called finished, where another section changes,
or where the same command does not make the same bytes once there is room; and a real limit on the size of a file, met
by the library that writes weights. `test_surroundings` holds RT5 of checkpoints.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from danlu import cli, running
from danlu.base import artifact
from danlu.base.errors import SystemTrouble
from danlu.commands import report
from danlu.corpus import stamps
from danlu.recipe import Recipe
from tests.proofs.mutant import Mutant
from tests.proofs.stage_kills import PAGE as TINY

MUTANTS = {
    "RT5": (
        Mutant(
            "src/danlu/running.py",
            "    with one_sentence(step.folder), _only_one(",
            "    with _only_one(",
        ),
        Mutant(  # what the library that writes weights says stays its own
            "src/danlu/convert/weights.py",
            "        said = REFUSED.search(str(error))\n",
            "        said = None\n",
        ),
    ),
}


class Writes:
    """What Python opens for writing below a folder, seen where every way of opening comes by; one of them can fail."""

    def __init__(self) -> None:
        self.folder, self.seen, self.fails_at, self.error = "", 0, -1, OSError()
        sys.addaudithook(self.watch)  # for the life of the process: it does nothing while no folder is named

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.folder or event != "open":
            return
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        if writes and isinstance(path, str | bytes) and os.fsdecode(path).startswith(self.folder):
            self.seen += 1
            if self.seen - 1 == self.fails_at:
                raise self.error

    @contextmanager
    def below(self, folder: Path, fails_at: int = -1, error: Exception | None = None) -> Iterator[None]:
        self.folder, self.seen, self.fails_at = str(folder), 0, fails_at
        self.error = error if error is not None else OSError()
        try:
            yield
        finally:
            self.folder = ""


WRITES = Writes()
REFUSALS: dict[str, Callable[[], Exception]] = {
    "the disk is full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "quota": lambda: OSError(errno.EDQUOT, "Disk quota exceeded"),
    "can only be read": lambda: OSError(errno.EROFS, "Read-only file system"),
    "the device reports an error": lambda: OSError(errno.EIO, "Input/output error"),
    "too many files are open": lambda: OSError(errno.EMFILE, "Too many open files"),
    "not enough memory": MemoryError,
}
WHOLE = {**TINY, "serve": {}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, tuple[str, int]]]:
    """A tiny run of every stage, and of each its content and how many files it opened for writing."""
    top, found = tmp_path_factory.mktemp("whole"), {}
    for section in list(WHOLE)[1:]:
        with WRITES.below(top / "tiny" / section):
            made = running.run(Recipe.from_dict(WHOLE), runs=top, until=section)
        found[section] = (made[section].content, WRITES.seen)
    return top, found


@pytest.mark.parametrize("section", list(WHOLE)[1:])
def test_RT5_every_stage_says_one_sentence_loses_nothing_and_is_made_when_there_is_room(whole, section):
    """Refused at its first write, which is made before the stage begins, and at one in the middle of its work."""
    top, made = whole
    calm, count = made[section]
    others = {path: path.read_bytes() for path in top.glob("tiny/*/manifest.json") if path.parent.name != section}
    number = list(made).index(section)
    for turn, fails_at in enumerate((0, max(1, count // 2))):
        sentence = list(REFUSALS)[(2 * number + turn) % len(REFUSALS)]
        refusing = WRITES.below(top / "tiny" / section, fails_at, REFUSALS[sentence]())
        with refusing, pytest.raises(SystemTrouble, match=sentence) as caught:
            running.run(Recipe.from_dict(WHOLE), runs=top, from_section=section, until=section, again=True)
        assert str(top / "tiny" / section) in str(caught.value)
        assert "to do: " in str(caught.value)
        assert not (top / "tiny" / section / "manifest.json").exists(), "it is not called finished"
    again = running.run(Recipe.from_dict(WHOLE), runs=top, until=section)[section]
    assert again.content == calm or section == "serve", "the replies hold times"
    for path, data in others.items():
        assert path.read_bytes() == data, "the other sections are as they were"


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EIO, "the device reports an error"),
        (errno.EMFILE, "too many files are open"),
    ],
)
def test_RT5_a_command_that_finds_no_room_leaves_as_the_others_do(tmp_path, monkeypatch, capsys, number, sentence):
    """Whatever verb it is: here `report.html`, written when a section is done, and the raw text, read for the plan."""
    (tmp_path / "text.txt").write_text("Some plain text that a corpus can be made of, in a file of its own.")
    page = {"name": "one", "prepare": {"sources": [str(tmp_path / "text.txt")]}}
    (tmp_path / "page.yaml").write_text(json.dumps(page))
    words = ["danlu", "run", str(tmp_path / "page.yaml"), "--runs", str(tmp_path / "runs"), "--until", "prepare"]

    def refuses(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for place, name in ((report, "build"), (stamps, "_hash"), (artifact, "fingerprint")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, refuses)
            patch.setattr(sys, "argv", words)
            stamps._hashes.clear()
            with pytest.raises(SystemExit) as caught:
                cli.main()
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert "Traceback" not in said


NO_ROOM = """
import json, resource, sys
from pathlib import Path
import torch
from danlu import running
from danlu.base.errors import SystemTrouble
from danlu.convert import writer
from danlu.recipe import Recipe

page, top = json.loads(sys.argv[1]), Path(sys.argv[2])
recipe, write, found = Recipe.from_dict(page), writer.write_weights, {}


def without_room(*given, **options):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        return write(*given, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(attempt):
    try:
        attempt()
    except SystemTrouble as error:
        return str(error)
    return "nothing"


def weights(folder):
    return {path.name: path.read_bytes().hex() for path in folder.glob("*") if path.match("*.safetensors*")}


made = running.run(recipe, runs=top)
for section in ("pretrain", "finetune", "export"):
    folder, calm = made[section].folder, made[section].content
    writer.write_weights = without_room
    said = refused(lambda: running.run(recipe, runs=top, from_section=section, until=section, again=True))
    writer.write_weights = write
    left = sorted(path.name for path in folder.glob("*") if path.name.startswith(".") or path.suffix == ".safetensors")
    again = running.run(recipe, runs=top, until=section)[section].content
    found[section] = {"said": said, "left": left, "calm": calm, "again": again}
before = weights(folder)
said = refused(lambda: without_room(folder, {"more": torch.zeros(9000)}, torch.float32))
hidden = [path.name for path in folder.glob(".*")]
found["in place"] = {"said": said, "left": hidden, "calm": before, "again": weights(folder)}
(top / "found.json").write_text(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Unix does")
def test_RT5_weights_that_find_no_room_are_one_sentence_whichever_stage_writes_them(tmp_path):
    """The library that writes them knows no OSError; what lay there before stays."""
    page = {name: values for name, values in TINY.items() if name != "evaluate"} | {"export": {"check": False}}
    command = [sys.executable, "-c", NO_ROOM, json.dumps(page), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["pretrain", "finetune", "export", "in place"]
    for facts in found.values():
        assert "a file would become larger than is allowed here" in facts["said"]
        assert " bytes are needed, " in facts["said"]
        assert "\n  to do: " in facts["said"]
        assert facts["left"] == [], "no stump"
        assert facts["again"] == facts["calm"]
    assert "36,000 bytes are needed" in found["in place"]["said"]
