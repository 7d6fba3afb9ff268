"""Kills of one or both ranks of a training: launched again, it ends with the bits of the run that nobody disturbed.

In: a folder, how many kills at random times, how many at file operations of the first rank. Out: `result.json`. Run
by `test_rank_kills` as a process of its own (`python -m tests.proofs.rank_kills FOLDER TIMES OPERATIONS`): it forks
the ranks before gloo is there, because a fork wants a process without threads. Serves RT1. The ranks do what
`danlu run` does under torchrun; this process is the launcher, and notes how the rank that was not killed ended.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from danlu import running
from danlu.base import console
from danlu.base.artifact import open_artifact
from danlu.base.world import World
from danlu.parallel import launch
from danlu.recipe import Recipe
from danlu.train import run as run_module
from danlu.train.loop import Progress, train
from danlu.train.samples import Samples
from tests.proofs import tracing
from tests.proofs.campaign import Marks, final_state
from tests.proofs.ranks import become, free_port
from tests.train import material

RANKS, STEPS, BATCH_ROWS = 2, 12, 4
PAGE: dict[str, Any] = {
    "name": "two",
    "prepare": {"sources": [{"little-world": {"stories": 60, "lists": 20, "conversations": 200}}]},
    "tokenizer": {"vocabulary_size": 512},
    "shard": {},
    "pretrain": {
        "epochs": 0.5,
        "model": {
            "layers": 1,
            "width": 32,
            "heads": 2,
            "kv_heads": 2,
            "head_width": 16,
            "mlp_width": 64,
            "dropout": 0.1,
        },
        "batch_rows": BATCH_ROWS,
        "watch": {"evaluate_every": 4, "validation_rows": 4},
        "checkpoints": {"save_every": 2},
        "parallel": {"threads": 1, "micro_batch_rows": 1},
    },
}
VICTIMS = ((0,), (1,), (0, 1))
PATIENCE_SECONDS = 300.0
"""For two ranks to come through, and for one whose peer has died to end; a launcher ends it sooner."""
RENDEZVOUS_SECONDS = 1.0
"""The same while the ranks have not met: one that is late is waited for, so the launcher must end the other. And how
long the first rank of a launch with victims waits at its end for the other to have heard all, which may be dead; where
nobody is killed it must wait on, or a busy machine makes the other late, and it finds nobody."""


class Launch:
    """Two ranks of one command, and where they are in it."""

    def __init__(self, runs: Path, marks: Marks, leave_seconds: float):
        self.runs, self.marks, self.leave_seconds, self.port = runs, marks, leave_seconds, free_port()
        self.pids: dict[int, int] = {}
        self.codes: dict[int, int] = {}
        marks.put(-1, "starting")

    def start(self, rank: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self.be(rank)
            except BaseException as error:
                sys.stderr.write(f"{self.runs.name}, rank {rank}: {type(error).__name__}: {str(error)[:300]}\n")
                os._exit(1)
            os._exit(0)
        self.pids[rank] = pid

    def be(self, rank: int) -> None:
        """What one rank does: the recipe, as the command would."""
        become(rank, RANKS, self.port)
        launch.LEAVE_SECONDS = self.leave_seconds
        if rank == 0:
            _tell(self.marks)
        running.run(Recipe.from_dict(PAGE), runs=self.runs, world=World(rank=rank, size=RANKS))

    def look(self) -> bool:
        """Note who has ended; True while some rank has not."""
        for rank, pid in self.pids.items():
            if rank not in self.codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.codes[rank] = os.waitstatus_to_exitcode(status)
        return len(self.codes) < len(self.pids)

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for all to end, or for `until`; False where neither came in time."""
        ends_at = time.monotonic() + seconds
        while self.look() and not until():
            if time.monotonic() > ends_at:
                return False
            time.sleep(0.001)
        return True

    def kill(self, victims: tuple[int, ...]) -> None:
        for rank in victims:
            if rank not in self.codes:
                os.kill(self.pids[rank], signal.SIGKILL)

    def mourn(self) -> str:
        """What became of the rank that was left alone; it is ended where it does not end by itself."""
        have_met = self.marks.get()[0] >= 0
        if self.wait(PATIENCE_SECONDS if have_met else RENDEZVOUS_SECONDS):
            return "ended"
        for rank in self.pids.keys() - self.codes.keys():
            os.kill(self.pids[rank], signal.SIGTERM)
        if not self.wait(RENDEZVOUS_SECONDS):
            self.kill(tuple(self.pids))
            self.wait(PATIENCE_SECONDS)
        return "hung" if have_met else "was waiting to meet the other"


def _tell(marks: Marks) -> None:
    """Let the first rank mark where it is; it is a child, and nobody else's functions change."""
    real_rows, real_save, real_evaluate = Samples.rows, run_module._save, run_module._evaluate

    def rows(samples: Samples, start: int, stop: int) -> Any:
        marks.put(start // BATCH_ROWS, "forward and backward")
        return real_rows(samples, start, stop)

    def save(run: Any, progress: Progress, folder: Path) -> None:
        marks.put(progress.step - 1, "save")
        real_save(run, progress, folder)
        marks.put(progress.step - 1, "ending")

    def evaluate(run: Any, journal: Any, progress: Progress) -> Any:
        marks.put(progress.step - 1, "evaluate")
        return real_evaluate(run, journal, progress)

    Samples.rows, run_module._save, run_module._evaluate = rows, save, evaluate  # type: ignore[method-assign]


class Campaign:
    """The warm process: what comes before the training is made once and copied into every folder."""

    def __init__(self, folder: Path):
        self.folder, self.marks, self.random = folder, Marks(), random.Random(1)
        self.seconds_a_step, self.calls = 0.0, 0
        self.kills: Counter[str] = Counter()
        self.alone: list[str] = []

    def prepare(self) -> None:
        """Corpus, tokenizer and rows, in a child; and what torch does on its first step, here."""
        pid = os.fork()
        if pid == 0:
            running.run(Recipe.from_dict(PAGE), runs=self.folder / "rows", until="shard")
            os._exit(0)
        os.waitpid(pid, 0)
        learner = material.learner(material.row_set(self.folder / "warm"))
        next(train(learner, material.plan(2, 2), Progress(), material.outside()))

    def runs(self, name: str) -> Path:
        """A folder in which everything but the training is there; one that exists is continued."""
        runs = self.folder / name
        if not runs.exists():
            shutil.copytree(self.folder / "rows", runs)
        return runs

    def finish(self, name: str) -> dict[str, Any]:
        """Launch undisturbed; what the training ended with."""
        ranks = Launch(self.runs(name), self.marks, PATIENCE_SECONDS)
        for rank in range(RANKS):
            ranks.start(rank)
        ranks.wait(PATIENCE_SECONDS)
        ranks.kill(tuple(range(RANKS)))
        ranks.wait(PATIENCE_SECONDS)
        return {"exit": [ranks.codes[rank] for rank in range(RANKS)], **holdings(ranks.runs)}

    def measure(self) -> dict[str, Any]:
        """Launch twice undisturbed, the second time traced; what the first ended with."""
        started_at = time.monotonic()
        reference = self.finish("reference")
        self.seconds_a_step = (time.monotonic() - started_at) / STEPS
        if tracing.available():
            ranks = Launch(self.runs("counted"), self.marks, PATIENCE_SECONDS)
            ranks.start(1)
            self.calls = tracing.count_calls(lambda: ranks.be(0), tracing.CHANGES)
            ranks.wait(PATIENCE_SECONDS)
        return reference

    def killed(self, count: int, kind: str, kill: Callable[[str], bool]) -> list[dict[str, Any]]:
        """`count` kills; each folder is launched and killed until a launch comes through, then another is begun."""
        ends, done = [], 0
        while done < count:
            name, was_killed = f"{kind}-{len(ends)}", True
            while was_killed and done < count:
                was_killed = kill(name)
                done += was_killed
            ends.append(self.finish(name))
        return ends

    def at_time(self, name: str) -> bool:
        """Kill one rank or both at a random time after a random step has begun; False where they had ended."""
        ranks = Launch(self.runs(name), self.marks, RENDEZVOUS_SECONDS)
        for rank in range(RANKS):
            ranks.start(rank)
        step, victims = self.random.randrange(-1, STEPS), self.random.choice(VICTIMS)
        ranks.wait(PATIENCE_SECONDS, until=lambda: self.marks.get()[0] >= step)
        time.sleep(self.random.uniform(0, 1.5 * self.seconds_a_step))
        ranks.look()
        victims = tuple(rank for rank in victims if rank not in ranks.codes)
        ranks.kill(victims)
        return self._note(ranks, victims, "both" if len(victims) == RANKS else "one")

    def at_operation(self, name: str) -> bool:
        """Kill the first rank on entry to an operation that changes a file; False where it had ended."""
        ranks = Launch(self.runs(name), self.marks, RENDEZVOUS_SECONDS)
        ranks.start(1)
        call = tracing.kill_at(lambda: ranks.be(0), self.random.randint(1, self.calls), tracing.CHANGES)
        return self._note(ranks, () if call is None else (0,), f"before {call}")

    def _note(self, ranks: Launch, victims: tuple[int, ...], how: str) -> bool:
        phase = self.marks.get()[1]
        became = ranks.mourn()
        if victims:
            self.kills[f"{phase}: {how}"] += 1
            self.alone += [became] if len(victims) < RANKS else []
        return bool(victims)


def holdings(runs: Path) -> dict[str, Any]:
    """What the training ended with: last checkpoint, artefact, the steps that its diary tells, and all paths."""
    out = runs / str(PAGE["name"]) / "pretrain"
    if not (out / "manifest.json").exists():
        return {"state": None}
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    paths = sorted(path.relative_to(runs).as_posix() for path in runs.rglob("*"))
    state = final_state(out, STEPS)["state"]
    return {"state": state, "content": open_artifact(out).content, "steps": steps, "paths": paths}


def main(folder: Path, times: int, operations: int) -> None:
    console.set_mode(quiet=True)
    torch.set_num_threads(1)
    campaign = Campaign(folder)
    campaign.prepare()
    reference = campaign.measure()
    ends = campaign.killed(times, "times", campaign.at_time)
    if tracing.available():
        ends += campaign.killed(operations, "operations", campaign.at_operation)
    result = {"reference": reference, "ends": ends, "kills": dict(campaign.kills), "alone": campaign.alone}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
