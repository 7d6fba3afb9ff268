"""Proofs of the engine: RD5, any number of processes and any order of files give the same bytes; RD4, so does a kill,
and no more than one shard of each process is cleaned twice, nor by any process that outlives the one that started it.

In: a folder of many small files and a large one, with shards of a few kilobytes. A child is killed at random times and
at random file operations; every record that one process cleans is one byte in a common file, and of several processes
it is seen that no finished shard is written again. Many kills are `slow`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from danlu.base import console
from danlu.base.artifact import hash_file, open_artifact
from danlu.base.config import read_settings
from danlu.corpus import engine, scratch, sources
from danlu.corpus.clean import Cleaner
from danlu.corpus.units import Closed, Unit
from danlu.corpus.writer import FILES
from danlu.stages import prepare
from tests.proofs import tracing
from tests.proofs.mutant import Mutant

MUTANTS = {
    "RD4": (
        Mutant("src/danlu/corpus/engine.py", "        if path.exists():\n", "        if False:\n"),
        Mutant("src/danlu/corpus/engine.py", ", initializer=_end_with_the_parent)", ")"),
    ),
    "RD5": (
        Mutant(
            "src/danlu/corpus/engine.py",
            "(_shard(stem, number) for number in count())",
            "(_shard(stem, number) for number in count(1))",
        ),
        Mutant(  # the files come as the disk lists them
            "src/danlu/corpus/sources.py",
            "sorted(_walk(top, label))",
            "list(_walk(top, label))",
            entails=("RD3", "RD4"),  # they compare what was made with files in their order
        ),
    ),
}
SHARD_BYTES = 4000
LARGE, SMALL = 300, 30


def text(number: int) -> str:
    return f"这是第{number}个故事，讲的是一个老人和他的炉子。\nHe lit it {number} times; call 13812345678."


def fill(top: Path, order: random.Random) -> None:
    """One large file and many small ones, laid down in some order; with duplicates, conversations and bad lines."""
    large = [json.dumps({"text": text(n % (LARGE - 20))}, ensure_ascii=False) for n in range(LARGE)]
    large[7] = "{"
    talk = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！", "reasoning": "打招呼"}]
    large[11] = json.dumps({"messages": talk, "split": "test", "tools": [{"name": "f"}]})
    files = {"b-large.jsonl": "\n".join(large)}
    files |= {f"{'ac'[n % 2]}/{n:03d}.txt": text(1000 + n) for n in range(SMALL)}
    names = list(files)
    order.shuffle(names)
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(files[name])


def make(top: Path, out: Path, workers: int = 1) -> dict[str, bytes]:
    """The corpus of one folder: every file of it that later stages read, and its report."""
    out.mkdir(exist_ok=True)
    config = read_settings(prepare.Config, {"sources": str(top), "workers": workers}, "test")
    prepare.run(config, {}, out)
    assert not (out / prepare.SCRATCH).exists(), "shards are gone once the corpus holds them"
    return {name: (out / name).read_bytes() for name in (*FILES, prepare.REPORT)}


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(engine, "SHARD_BYTES", SHARD_BYTES)
    console.set_mode(quiet=True)  # a line of progress is a write, and comes when it likes
    yield
    console.set_mode()


def shuffled(walk: Callable[..., Any], draw: random.Random) -> Callable[..., Any]:
    """`os.walk` of a disk with an order of its own: a real one may go by a hash, and list all folders alike."""

    def walked(*given: Any, **options: Any) -> Any:
        for folder, folders, files in walk(*given, **options):
            draw.shuffle(folders)
            draw.shuffle(files)
            yield folder, folders, files

    return walked


def test_RD5_any_number_of_workers_and_any_order_of_files_give_the_same_bytes(tmp_path, monkeypatch):
    """The large file is cut into shares, which the processes clean; where the cuts lie changes no byte either."""
    found = {}
    for number, workers in enumerate((1, 1, 2, 4, 8)):
        top = tmp_path / str(number) / "text"
        fill(top, random.Random(number))
        with monkeypatch.context() as patch:
            patch.setattr(sources.os, "walk", shuffled(os.walk, random.Random(number)))
            found[number] = make(top, tmp_path / str(number) / "out", workers)
    assert all(other == found[0] for other in found.values())
    rejected = json.loads(found[0][prepare.REPORT])["reasons"]
    assert set(rejected) == {"bad_json", "duplicate"}


@pytest.mark.parametrize("shares", [1, 2, 3, 4])
def test_RD5_the_shares_of_a_large_file_are_all_of_it_and_nothing_twice(tmp_path, shares):
    fill(tmp_path / "text", random.Random(0))
    files = prepare._given(read_settings(prepare.Config, {"sources": str(tmp_path / "text")}, "test"))
    (large,) = [one for one in files if one.file.name.endswith("large.jsonl")]
    stem = tmp_path / "000000"
    for share in reversed(range(shares)):
        engine._make_all(engine.Job((large,), stem, SHARD_BYTES), Cleaner, (share, shares))
    ours, theirs = Cleaner(), Cleaner()
    read = [piece for shard in engine._made(stem) for piece in engine._read(shard, theirs)]
    assert read == list(engine.cleaned([large.file], ours))
    assert theirs.masked == ours.masked
    assert len(list(engine._made(stem))) > 8
    assert isinstance(read[-1], Closed)


def test_RD5_a_setting_that_changes_no_byte_is_no_part_of_the_name():
    settings = [read_settings(prepare.Config, {"sources": "x", "workers": workers}, "test") for workers in (1, 4)]
    assert settings[0].model_dump() == settings[1].model_dump()


class Killed:
    """Attempts to make one corpus, each of which may be killed; how many records they have cleaned in all.

    Those that several processes clean are not counted.
    """

    def __init__(self, folder: Path, top: Path, workers: int = 1):
        self.out, self.top, self.log = folder / "out", top, folder / "cleaned"
        self.kills, self.workers = 0, workers

    def fork(self, before: Callable[[], object] = lambda: None) -> int:
        """A child that makes the attempt; what `before` changes in it ends with it."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                before()
                self.attempt()
                code = 0
            except BaseException as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(code)
        return pid

    def attempt(self) -> None:
        log = os.open(self.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        real = engine._clean

        def clean(unit: Unit, cleaner: Cleaner) -> Unit:
            os.write(log, b".")
            return real(unit, cleaner)

        engine._clean = clean  # type: ignore[assignment]
        try:
            make(self.top, self.out, self.workers)
        finally:
            engine._clean = real

    def kill_at_the_report(self) -> None:
        """Killed when every shard lies there and nothing is sealed."""

        def kill(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        pid = self.fork(lambda: setattr(prepare, "write_atomically", kill))
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])

    def kill_at_time(self, seconds: float) -> bool:
        pid = self.fork()
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    def kill_after(self, count: int) -> bool:
        """Killed when so many shards lie there, or a moment later; False where it came to its end before."""
        pid = self.fork(os.setsid)  # what it starts is of its group
        while len(self.shards()) < count and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or status == 0
        deadline = time.monotonic() + 60
        while is_alive_in(pid) and time.monotonic() < deadline:  # they end with it, though not in the same moment
            time.sleep(0.01)
        if is_alive_in(pid):
            os.killpg(pid, signal.SIGKILL)
            pytest.fail("they live on")
        return os.WIFSIGNALED(status)

    def shards(self) -> dict[str, list[int]]:
        """The finished shards that lie there, and which files they are: one that is written anew is another."""
        found = {}
        with suppress(FileNotFoundError):  # they are just removed, for the corpus holds them
            for path in (self.out / prepare.SCRATCH).glob("shards-*/*.jsonl"):
                facts = path.stat()
                found[path.name] = [facts.st_ino, facts.st_mtime_ns]
        return found

    def finish(self) -> dict[str, list[int]]:
        """Let it run to its end; the shards that lay there before they were removed."""
        noted = self.out.with_name("shards.json")

        def note() -> None:
            real = scratch.clear_shards

            def clear(folder: Path) -> None:
                noted.write_text(json.dumps(self.shards()))
                real(folder)

            scratch.clear_shards = clear

        assert os.waitpid(self.fork(note), 0)[1] == 0
        return json.loads(noted.read_text())


def check_kills(folder: Path, count: int) -> None:
    draw = random.Random(count)
    top = folder / "text"
    fill(top, draw)
    calm = Killed(folder / "calm", top)
    calm.out.parent.mkdir()
    started_at = time.monotonic()
    _, status = os.waitpid(calm.fork(), 0)
    seconds = time.monotonic() - started_at
    assert status == 0
    wanted = {name: (calm.out / name).read_bytes() for name in (*FILES, prepare.REPORT)}
    units = calm.log.stat().st_size
    assert units == LARGE + SMALL
    size = sum(path.stat().st_size for path in top.rglob("*") if path.is_file())
    in_a_shard = SHARD_BYTES * units // size + 20  # small files have more units to a byte
    killed, kills, number = Killed(folder / "killed-0", top), 0, 0
    killed.out.parent.mkdir()
    while kills < count:
        fell = killed.kill_at_time(draw.uniform(0, 1.2 * seconds))
        killed.kills += fell
        kills += fell
        if not fell or draw.random() < 0.1:
            killed_units = _finish(killed, wanted)
            assert killed_units <= units + killed.kills * in_a_shard, "no kill cost more than a shard"
            number += 1
            killed = Killed(folder / f"killed-{number}", top)
            killed.out.parent.mkdir()
    assert _finish(killed, wanted) <= units + killed.kills * in_a_shard
    print(f"{kills} kills of {number + 1} makings; shards of about {in_a_shard} of {units} records")


def _finish(killed: Killed, wanted: dict[str, bytes]) -> int:
    """Let it run to its end; the bytes are right, and so many records were cleaned by all attempts."""
    _, status = os.waitpid(killed.fork(), 0)
    assert status == 0
    assert {name: (killed.out / name).read_bytes() for name in wanted} == wanted
    return killed.log.stat().st_size


def test_RD4_killed_and_run_again_the_bytes_are_the_same_and_one_shard_at_most_is_repeated(tmp_path):
    check_kills(tmp_path, 8)


@pytest.mark.slow
def test_RD4_fifty_kills(tmp_path):
    check_kills(tmp_path, 50)


def check_kills_of_two(folder: Path, count: int) -> None:
    """Two processes clean; the one that started them is killed while shards come in, again and again."""
    draw = random.Random(count)
    top = folder / "text"
    fill(top, draw)
    wanted = make(top, folder / "alone")
    (folder / "killed-0").mkdir()
    killed = Killed(folder / "killed-0", top, workers=2)
    total, kills, number = len(killed.finish()), 0, 0
    assert total > 8
    while kills < count:
        number += 1
        (folder / f"killed-{number}").mkdir()
        killed, fell, before = Killed(folder / f"killed-{number}", top, workers=2), True, {}
        while fell and kills < count and len(before) < total:
            fell = killed.kill_after(draw.randint(len(before) + 1, total))
            kills += fell
            now = killed.shards()
            check_kept(before, now)
            before |= now
        check_kept(before, killed.finish())
        assert {name: (killed.out / name).read_bytes() for name in wanted} == wanted
    print(f"{kills} kills of {number} makings by two processes, of {total} shards each")


def check_kept(before: dict[str, list[int]], now: dict[str, list[int]]) -> None:
    """No shard that lies there has been written again; those that the corpus holds are removed at the end."""
    both = before.keys() & now.keys()
    assert {name: now[name] for name in both} == {name: before[name] for name in both}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_RD4_killed_while_two_processes_clean_the_bytes_are_the_same_and_no_finished_shard_is_repeated(tmp_path):
    check_kills_of_two(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_RD4_thirty_kills_while_two_processes_clean(tmp_path):
    check_kills_of_two(tmp_path, 30)


@pytest.mark.skipif(not tracing.available(), reason="this machine does not let a process trace its child")
def test_RD4_a_kill_at_the_last_operations_repeats_nothing(tmp_path):
    """Between the last shard and the seal nothing is cleaned again, wherever the kill falls."""
    fill(tmp_path / "text", random.Random(1))
    killed = Killed(tmp_path, tmp_path / "text")
    calls = tracing.count_calls(killed.attempt, tracing.CHANGES)
    units = LARGE + SMALL
    assert killed.log.stat().st_size == units
    for back in (2, 5, 9, 14, 20):
        folder = tmp_path / f"back-{back}"
        folder.mkdir()
        again = Killed(folder, tmp_path / "text")
        assert tracing.kill_at(again.attempt, calls - back, tracing.CHANGES) is not None
        pid = again.fork()
        assert os.waitpid(pid, 0)[1] == 0
        assert again.log.stat().st_size == units


def test_RD4_after_a_kill_the_shards_of_a_file_that_changed_are_made_again_and_no_others(tmp_path):
    top = tmp_path / "text"
    fill(top, random.Random(2))
    killed = Killed(tmp_path, top)
    killed.kill_at_the_report()
    units = LARGE + SMALL
    assert killed.log.stat().st_size == units
    shards = set((killed.out / prepare.SCRATCH).glob("shards-*/*"))
    (top / "c" / "001.txt").write_text("另一个故事，讲的是一个孩子和她的风筝，风筝飞过了河。")
    beside = len(list((top / "c").iterdir()))  # small files share their shards
    pid = killed.fork(lambda: setattr(shutil, "rmtree", lambda *_, **__: None))  # what is swept up, one can look at
    assert os.waitpid(pid, 0)[1] != 0, "the scratch folder stayed"
    assert killed.log.stat().st_size == units + beside
    left = set((killed.out / prepare.SCRATCH).glob("shards-*/*"))
    assert len(shards - left) == len(left - shards) == 1, "the shard of the old text is gone"
    assert make(top, killed.out) == make(top, tmp_path / "fresh")
    recorded = open_artifact(killed.out / "sources").config["files"]["text/c/001.txt"]["sha256"]
    assert recorded == hash_file(top / "c" / "001.txt")


def test_RD4_after_a_kill_files_that_were_only_touched_or_moved_cost_nothing(tmp_path):
    top = tmp_path / "text"
    fill(top, random.Random(3))
    killed = Killed(tmp_path, top)
    killed.kill_at_the_report()
    for path in top.rglob("*.*"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    assert os.waitpid(killed.fork(), 0)[1] == 0
    assert killed.log.stat().st_size == LARGE + SMALL


@pytest.mark.parametrize("moment", ["before they are hashed", "before they are read", "while they are read"])
def test_RD4_what_was_read_of_another_text_is_not_taken_for_the_one_that_was_put_back(tmp_path, moment):
    """Killed while a file held something else; its size and its time are the old ones again."""
    top = tmp_path / "text"
    fill(top, random.Random(4))
    wanted = make(top, tmp_path / "calm")
    large = top / "b-large.jsonl"
    was, facts = large.read_bytes(), large.stat()
    killed = Killed(tmp_path, top)
    hooked = {
        "before they are hashed": (prepare, "_given"),
        "before they are read": (engine, "_parts"),
        "while they are read": (engine, "_written"),
    }[moment]

    def change() -> None:
        real, kept = getattr(*hooked), engine.write_atomically
        written: list[Path] = []

        def changed(*values: Any) -> Any:
            if large.read_bytes() == was:
                large.write_bytes(was.replace("老人".encode(), "孩子".encode()))
            return real(*values)

        def write(path: Path, data: bytes) -> None:
            kept(path, data)
            written.append(path)
            if len(written) == 5:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(*hooked, changed)
        engine.write_atomically = write  # type: ignore[assignment]

    assert os.waitpid(killed.fork(change), 0)[1] != 0, "killed, or refused before that"
    assert large.read_bytes() != was
    large.write_bytes(was)
    os.utime(large, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert make(top, killed.out) == wanted


ORPHANS = """
import multiprocessing, os, signal, sys, threading, time
from functools import partial
from pathlib import Path
from danlu.corpus.clean import Cleaner
from danlu.corpus.engine import Work
from danlu.corpus.raw import given_files
from danlu.corpus.settings import Files


def slow_cleaner(folder, seconds):
    (folder / f"began-{os.getpid()}").touch()
    time.sleep(seconds)
    return Cleaner()


def fall(folder, count):
    while len(list(folder.glob("began-*"))) < count:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    folder, workers, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    files = given_files([Files(path=str(folder / "text"))], "sources")
    work = Work(files, partial(slow_cleaner, folder, seconds), folder / "shards", shard_bytes=100)
    threading.Thread(target=fall, args=(folder, workers), daemon=True).start()
    for _ in work.pieces(Cleaner(), workers):
        pass
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("seconds", [0.0, 600.0], ids=["at work", "asleep"])
def test_RD4_processes_end_with_the_one_that_started_them(tmp_path, seconds):
    """Killed while two of them work, with jobs left: one that lived on would do those beside whoever runs it again."""
    (tmp_path / "text").mkdir()
    for number in range(400):
        (tmp_path / "text" / f"{number:03d}.txt").write_text(text(number) * 40)
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    command = [sys.executable, str(script), str(tmp_path), "2", str(seconds)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=300, stderr=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    workers = {int(path.name.partition("-")[2]) for path in tmp_path.glob("began-*")}
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while (left := {pid for pid in workers if is_alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "they live on"
    assert len(list((tmp_path / "shards").glob("*.jsonl"))) < 400, "what was left to do is left"


def is_alive(pid: int) -> bool:
    """True for a process that still runs; one that nobody has asked how it ended is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def is_alive_in(group: int) -> bool:
    """True while any process of a group still runs."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                return True
    return False
