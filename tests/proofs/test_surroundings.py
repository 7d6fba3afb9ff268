"""Proofs of odd surroundings: RT5, a disk that is full, read-only or broken costs one clear sentence and nothing else;
RT16, the same bytes come out under any locale, time zone and path, with 32 open files, and while the clock jumps. A
small /dev/shm is not tried: nothing of danlu's lies there.

In: injected errors at every write of a save, a small real file system where we may mount one, and whole recipes in
processes with odd environments. Out: red where an error is a traceback, where a stump stays, or where a byte differs.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from danlu import running
from danlu.base.artifact import content
from danlu.base.errors import OF_SPACE, SystemTrouble
from danlu.corpus.writer import CorpusWriter
from danlu.recipe import Recipe
from danlu.train import checkpoint
from danlu.train.interrupts import Interrupted
from tests.proofs.campaign import STEPS, Campaign, final_state
from tests.proofs.mutant import Mutant
from tests.proofs.stage_kills import PAGE as TINY

MUTANTS = {
    "RT5": Mutant(
        "src/danlu/base/artifact.py",
        "    except BaseException:\n        shutil.rmtree(working, ignore_errors=True)\n        raise\n",
        "    except ValueError:\n        raise\n",
    ),
    "RT16": (
        Mutant(
            "src/danlu/recipe.py",
            'path.read_text(encoding="utf-8-sig")',
            "path.read_text()",
        ),
        Mutant(  # how long a stage took is the difference between two times of day
            "src/danlu/stages/tokenizer.py",
            "\nimport time\n",
            "\nimport time as day\nfrom types import SimpleNamespace\n\ntime = SimpleNamespace(monotonic=day.time)\n",
        ),
    ),
}
ROOT = Path(__file__).resolve().parents[2]
SENTENCES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "quota",
    errno.EROFS: "can only be read",
    errno.EIO: "the device reports an error",
    errno.EFBIG: "larger than is allowed",
    errno.EMFILE: "too many files are open",
    errno.ENOMEM: "not enough memory",
}
PARTS = {part: {"weight": torch.arange(3000.0)} for part in ("model", "optimizer", "random")}
NEEDED = sum(tensor.nbytes for tensors in PARTS.values() for tensor in tensors.values())


class Failing:
    """A disk on which the n-th write fails; the writes before it are short where `short` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, code: int):
        self.left, self.code, self.real = number, code, checkpoint._Hashed.write
        monkeypatch.setattr(checkpoint._Hashed, "write", lambda hashed, data: self.write(hashed, data))

    def write(self, hashed: checkpoint._Hashed, data: bytes | memoryview) -> None:
        self.left -= 1
        if self.left < 0:
            self.real(hashed, data[: len(data) // 2])  # a stump of it lands
            raise OSError(self.code, os.strerror(self.code))
        self.real(hashed, data)


@pytest.mark.parametrize("code", SENTENCES, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_RT5_a_save_that_fails_leaves_no_stump_and_the_earlier_checkpoint(tmp_path, monkeypatch, code, number):
    checkpoint.save(tmp_path, 2, PARTS, {"which": "earlier"})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        Failing(patched, number, code)
        with pytest.raises(SystemTrouble, match=SENTENCES[code]) as caught:
            checkpoint.save(tmp_path, 4, PARTS, {"which": "later"})
    said = str(caught.value)
    assert str(tmp_path) in said
    assert "to do:" in said
    assert code not in OF_SPACE or (f"{NEEDED:,} bytes are needed" in said and "bytes are free" in said)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before, "no stump, no loss"
    assert checkpoint.newest_valid(tmp_path).facts == {"which": "earlier"}
    checkpoint.save(tmp_path, 4, PARTS, {"which": "later"})
    assert checkpoint.newest_valid(tmp_path).step == 4


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("we may not mount a file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_RT5_a_disk_that_is_really_full(small_disk):
    parts = {"model": {"weight": torch.zeros(50_000)}}
    checkpoint.save(small_disk, 1, parts, {})
    checkpoint.save(small_disk, 2, parts, {})
    with pytest.raises(SystemTrouble, match="the disk is full") as caught:
        checkpoint.save(small_disk, 3, parts, {})
    assert "200,000 bytes are needed" in str(caught.value)
    assert sorted(path.name for path in small_disk.iterdir()) == ["step-00000001", "step-00000002"]
    assert checkpoint.newest_valid(small_disk).step == 2
    checkpoint.prune(small_disk, 1, best_step=None)
    checkpoint.save(small_disk, 3, parts, {})
    assert checkpoint.newest_valid(small_disk).step == 3


PAGE = {"name": "odd", "prepare": {"sources": ["text"]}, "tokenizer": {"vocabulary_size": 300}}
WHOLE = {
    **PAGE,
    "prepare": {"validation_share": 0.2},
    "shard": {"row_length": 64},
    "pretrain": {**TINY["pretrain"], "tokens": 1000},
    "export": {"prompts": 2, "greedy_tokens": 2},
}
"""As far as the exported folder, in four steps of training."""


def fill(top: Path) -> None:
    top.mkdir(parents=True)
    for number in range(40):
        (top / f"第 {number} 篇.txt").write_text(
            f"İstanbul'da {number}. Die Straße. 炉子第{number}号。", encoding="utf-8"
        )


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()], ids=["disk", "memory"]
)
def test_RT5_a_stage_says_one_sentence_and_goes_on_when_there_is_room(tmp_path, monkeypatch, error):
    fill(tmp_path / "text")
    page = Recipe.from_dict({**PAGE, "prepare": {"sources": [str(tmp_path / "text")]}})
    calm = running.run(page, runs=tmp_path / "calm")["prepare"].content

    def full(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(CorpusWriter, "write", full)
        with pytest.raises(SystemTrouble, match=r"the disk is full|not enough memory") as caught:
            running.run(page, runs=tmp_path / "runs")
    assert str(tmp_path / "runs" / "odd" / "prepare") in str(caught.value)
    assert running.run(page, runs=tmp_path / "runs")["prepare"].content == calm


PLAIN = "import runpy; runpy.run_module('danlu.cli', run_name='__main__')"


def make(
    top: Path,
    environment: dict[str, str] | None = None,
    files: int | None = None,
    before: str = "",
    runs: str | None = None,
) -> dict[str, str]:
    """A recipe in a process of its own, below `top`, that runs `before` first; the contents of what it made.

    With a folder for its `runs` it is the whole one, whose sources are named by their whole path.
    """
    fill(top / "text")
    page = PAGE if runs is None else {**WHOLE, "prepare": {**WHOLE["prepare"], "sources": [str(top / "text")]}}
    words = ["run", "recipe.yaml", *([f"--runs={runs}"] if runs is not None else [])]
    (top / "recipe.yaml").write_text("# 炉子\n" + json.dumps(page, ensure_ascii=False), encoding="utf-8")

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "TZ"))}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{PLAIN}", *words],
        cwd=top,
        env={**plain, **(environment if environment is not None else {})},
        preexec_fn=limit,
        capture_output=True,
        timeout=300,
    )
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    made = {}
    home = top / (runs if runs is not None else "runs") / "odd"
    for section in list(page)[1:]:
        made[section] = content(json.loads((home / section / "manifest.json").read_bytes()))
    return made


ODD = {
    "zh_CN": {"LC_ALL": "zh_CN.GB18030", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "tr_TR": {"LC_ALL": "tr_TR.UTF-8", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "a time zone": {"TZ": "Asia/Kathmandu"},
}


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("usual"), {"LC_ALL": "C.UTF-8", "TZ": "UTC"})


@pytest.fixture(scope="module")
def usual_whole(tmp_path_factory) -> dict[str, str]:
    made = make(tmp_path_factory.mktemp("whole"), {"LC_ALL": "C.UTF-8", "TZ": "UTC"}, runs="runs")
    assert list(made) == ["prepare", "tokenizer", "shard", "pretrain", "export"]
    return made


SPEAKS = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.getpreferredencoding())"


def locale_is_there(environment: dict[str, str]) -> bool:
    """Whether a process with these variables has that locale, and its encoding, and not C in its stead."""
    said = subprocess.run(
        [sys.executable, "-c", SPEAKS], env={**os.environ, **environment}, capture_output=True, text=True
    )
    return said.returncode == 0 and said.stdout.strip().lower() == environment["LC_ALL"].split(".")[1].lower()


def with_locale(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """The variables, with the locale made in `folder` where the system has the means but not the locale; or a skip."""
    name = environment.get("LC_ALL", "C")
    if "." not in name or locale_is_there(environment):
        return environment
    made = {**environment, "LOCPATH": str(folder)}
    if shutil.which("localedef") is not None:
        folder.mkdir()
        language, encoding = name.split(".")
        subprocess.run(["localedef", "-i", language, "-f", encoding, str(folder / name)], capture_output=True)
    if not locale_is_there(made):
        pytest.skip(f"the locale {name} is not installed here, and localedef cannot make it")
    return made


@pytest.mark.parametrize("name", ODD)
def test_RT16_the_same_bytes_under_any_locale_and_time_zone(tmp_path, usual, name):
    assert make(tmp_path / "here", with_locale(ODD[name], tmp_path / "locales")) == usual


JUMPS = """
import time
days, real = iter(range(10**9)), time.time
time.time = lambda: real() - 86_400 * next(days)
time.time_ns = lambda: int(time.time() * 10**9)
"""
"""A clock of the day that is set back by a day each time somebody looks at it."""


def test_RT16_the_same_bytes_while_the_clock_is_set_back(tmp_path, usual):
    assert make(tmp_path / "here", before=JUMPS) == usual
    for section in ("prepare", "tokenizer"):
        manifest = json.loads((tmp_path / "here" / "runs" / "odd" / section / "manifest.json").read_bytes())
        assert 0 <= manifest["seconds"] < 300


def test_RT16_training_goes_on_while_the_clock_is_set_back(tmp_path, monkeypatch):
    """Stopped and resumed under such a clock: the same bits, and no step that took less than no time."""
    campaign, days, real = Campaign(tmp_path), iter(range(10**9)), time.time
    for out in ("calm", "jumping"):
        (tmp_path / out).mkdir()
    campaign.attempt(tmp_path / "calm")
    monkeypatch.setattr(time, "time", lambda: real() - 86_400 * next(days))
    with pytest.raises(Interrupted):
        campaign.attempt(tmp_path / "jumping", die_at=(5, 0), signal_=signal.SIGINT)
    campaign.attempt(tmp_path / "jumping")
    assert final_state(tmp_path / "jumping", STEPS) == final_state(tmp_path / "calm", STEPS)
    diary = [json.loads(line) for line in (tmp_path / "jumping" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in diary] == list(range(1, STEPS + 1))
    assert all(line["train/tok_per_sec"] > 0 for line in diary)


def test_RT16_the_same_bytes_on_paths_with_spaces_quotes_a_leading_dash_and_other_scripts(tmp_path, usual_whole):
    odd = tmp_path / "我的 文件夹" / "-leading" / "Ünï cödé 🀄 'quoted' \"twice\" $HOME" / ("x" * 80)
    assert make(odd, runs="- runs") == usual_whole


def test_RT16_the_same_bytes_with_32_open_files(tmp_path, usual_whole):
    assert make(tmp_path / "here", files=32, runs="runs") == usual_whole


@pytest.fixture
def only_readable(tmp_path):
    """A folder of text that nobody may write to: for root, whom no rights hold, a mount that can only be read."""
    place = tmp_path / "text"
    fill(place)
    if os.geteuid() != 0:
        place.chmod(0o555)
        yield place
        place.chmod(0o755)
        return
    bound = ["mount", "--bind", str(place), str(place)], ["mount", "-o", "remount,ro,bind", str(place)]
    if any(subprocess.run(words, capture_output=True).returncode for words in bound):
        subprocess.run(["umount", str(place)], capture_output=True)
        pytest.skip("root may write to every folder, and we may not mount one that can only be read")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a folder where it is run by root")
def test_RT16_sources_that_can_only_be_read_are_read_and_left_as_they_are(tmp_path, only_readable):
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        (only_readable / "more.txt").write_text("")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in only_readable.iterdir())
    page = Recipe.from_dict({**PAGE, "prepare": {"sources": [str(only_readable)]}})
    running.run(page, runs=tmp_path / "runs", until="prepare")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in only_readable.iterdir()) == before


def test_RT16_a_port_that_is_taken_is_one_sentence_of_the_command(tmp_path):
    """The process itself, before it loads any model: exit code 2, one sentence, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "danlu.cli", "serve", str(tmp_path), "--port", str(port)],
            capture_output=True,
            timeout=300,
        )
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert f"error: the server cannot listen there\n  where: 127.0.0.1:{port}" in said
    assert "--port" in said
    assert "Traceback" not in said
