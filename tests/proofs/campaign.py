"""The kill campaign: one warm process forks training runs, kills them, lets them go on, and compares every bit.

In: a folder and how many kills. Out: `result.json`. Run by `test_resume` as a process of its own (`python -m
tests.proofs.campaign FOLDER RANDOM SPREAD`), because a fork wants a process without threads. Serves RT1, D5, O10.
Kills come at random times, at chosen micro-batches, and at every file operation of a save with its rename and its
removal of an old checkpoint. What killed runs leave behind is only ever continued, never repaired. `rank_kills` and
`stage_kills` are its like for several ranks and for whole recipes.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.base import console
from danlu.train import checkpoint
from danlu.train import run as run_module
from danlu.train.loop import Progress, train
from danlu.train.objectives import next_token
from danlu.train.run import Run, carry_through, load_parameters, parameters_by_name
from danlu.train.settings import CheckpointSettings, OptimizerSettings
from danlu.train.validation import Validation
from tests.proofs import tracing
from tests.train import material

ROOT = Path(__file__).resolve().parents[2]
STEPS, BATCH_ROWS, MICRO_BATCH_ROWS, NUM_ROWS = 12, 4, 2, 16  # three epochs of four steps
PHASES = ("starting", "forward and backward", "update", "evaluate", "save", "ending")
CHOSEN = ((0, 0), (0, 1), (3, 1), (4, 0), (7, 1), (11, 1))
"""(step, micro-batch) of chosen kills: first step, ends and beginnings of epochs, mid-accumulation, last step."""
EXPLORED_STEP = 6


class Marks:
    """Where a child is, in memory that its parent sees."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def put(self, step: int, phase: str) -> None:
        self._memory[:8] = struct.pack("<ii", step, PHASES.index(phase))

    def get(self) -> tuple[int, str]:
        step, phase = struct.unpack("<ii", self._memory[:8])
        return step, PHASES[phase]


class Campaign:
    """The warm process: rows and first weights are made once and inherited by every child."""

    def __init__(self, folder: Path, steps: int = STEPS):
        self.folder, self.steps, self.marks = folder, steps, Marks()
        self.rows = material.row_set(folder / "rows", documents=60, learnt_share=0.7).subset(np.arange(NUM_ROWS))
        self.weights = parameters_by_name(material.model(seed=5, dropout=0.1))

    def attempt(
        self,
        out: Path,
        die_at: tuple[int, int] | None = None,
        signal_: int = signal.SIGKILL,
        explore: Callable[[Callable[[Path], None], Path], None] | None = None,
    ) -> None:
        """Train in this process from whatever lies in `out`; `die_at` sends `signal_` in that (step, micro-batch)."""
        torch.set_num_threads(1)
        learner = material.learner(self.rows, optimizer=OptimizerSettings(name="muon"), dropout=0.1)
        load_parameters(learner.model, self.weights)
        at = {"step": -1, "micro": 0}
        log = (out / "ids.jsonl").open("a")
        real_rows, real_step = learner.samples.rows, learner.optimizer.step
        real_save, real_resume, real_evaluate = run_module._save, run_module.resume, run_module._evaluate

        def resume(*arguments: Any) -> Any:
            progress = real_resume(*arguments)
            _log(log, {"resumed": progress.step})
            return progress

        def rows(start: int, stop: int) -> np.ndarray:
            found = real_rows(start, stop)
            at["step"], at["micro"] = start // BATCH_ROWS, 0
            _log(log, {"rows": found.tolist()})
            return found

        def objective(hidden: Any, head: Any, batch: Any) -> Any:
            self.marks.put(at["step"], "forward and backward")
            if die_at == (at["step"], at["micro"]):
                os.kill(os.getpid(), signal_)
            at["micro"] += 1
            return next_token(hidden, head, batch)

        def evaluate(*arguments: Any) -> Any:
            self.marks.put(at["step"], "evaluate")
            return real_evaluate(*arguments)

        def step() -> None:
            self.marks.put(at["step"], "update")
            real_step()

        def save(run: Run, progress: Any, folder: Path) -> None:
            self.marks.put(at["step"], "save")
            if explore is not None and progress.step == EXPLORED_STEP:
                explore(lambda copy: real_save(run, progress, copy), folder)
            real_save(run, progress, folder)
            self.marks.put(at["step"], "ending")

        learner.samples.rows, learner.optimizer.step, learner.objective = rows, step, objective  # type: ignore[method-assign]
        run_module._save, run_module.resume, run_module._evaluate = save, resume, evaluate
        try:
            carry_through(self._run(out, learner))
        finally:
            run_module._save, run_module.resume, run_module._evaluate = real_save, real_resume, real_evaluate
            log.close()

    def _run(self, out: Path, learner: Any) -> Run:
        plan = material.plan(
            self.steps * BATCH_ROWS, BATCH_ROWS, MICRO_BATCH_ROWS, save_every=2, evaluate_every=4, seed=9
        )
        lengths = [1] * material.VOCABULARY
        validation = Validation(self.rows, next_token, MICRO_BATCH_ROWS, 4, lengths)
        return Run(out, learner, plan, validation, CheckpointSettings(finish="last"), lambda: [], peak_flops=1e9)

    def warm_up(self) -> None:
        """Pay once, before the forks, for what torch does on its first step."""
        learner = material.learner(self.rows, optimizer=OptimizerSettings(name="muon"), dropout=0.1)
        next(train(learner, material.plan(BATCH_ROWS, BATCH_ROWS), Progress(), material.outside()))

    def fork(self, out: Path, **options: Any) -> int:
        """Start `attempt` in a child; returns its pid."""
        out.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid == 0:
            try:
                self.attempt(out, **options)
            except BaseException as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
                os._exit(1)
            os._exit(0)
        return pid

    def finish(self, out: Path) -> dict[str, Any]:
        """Let `out` run to its end undisturbed; what it ended with."""
        _, status = os.waitpid(self.fork(out), 0)
        return {"exit": os.waitstatus_to_exitcode(status), **final_state(out, self.steps)}

    def random_kills(self, count: int, seconds: float, random_: random.Random) -> dict[str, Any]:
        """`count` kills, each at a random time after a random step has begun; each run goes on until it is through."""
        kills: Counter[str] = Counter()
        ends, number = [], 0
        while sum(kills.values()) < count:
            number += 1
            out, killed = self.folder / f"random-{number}", True
            while killed and sum(kills.values()) < count:
                self.marks.put(-1, "starting")
                pid = self.fork(out)
                status = self._await(pid, random_.randrange(-1, self.steps))
                if status is None:
                    time.sleep(random_.uniform(0, 1.5 * seconds / self.steps))
                    os.kill(pid, signal.SIGKILL)
                    _, status = os.waitpid(pid, 0)
                killed = os.WIFSIGNALED(status)
                if killed:
                    kills[self.marks.get()[1]] += 1
            ends.append(self.finish(out))
        return {"kills": dict(kills), "ends": ends}

    def _await(self, pid: int, step: int) -> int | None:
        """Wait until the child has begun `step`; its exit status where it ended before."""
        while self.marks.get()[0] < step:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.0005)
        return None

    def chosen_kills(self) -> list[dict[str, Any]]:
        """One kill at each chosen micro-batch, each followed by a run to the end."""
        ends = []
        for step, micro in CHOSEN:
            out = self.folder / f"chosen-{step}-{micro}"
            _, status = os.waitpid(self.fork(out, die_at=(step, micro)), 0)
            assert os.WIFSIGNALED(status), "the chosen kill did not happen"
            ends.append({"at": [step, micro], **self.finish(out)})
        return ends

    def save_kills(self, resumes: int) -> dict[str, Any]:
        """A kill at every file operation of one save; each is looked at, and `resumes` of them run to the end."""
        log = self.folder / "save-kills.jsonl"

        def explore(save: Callable[[Path], None], folder: Path) -> None:
            with log.open("w") as file:
                for number in range(1, 10_000):
                    copy = self.folder / f"operation-{number}" / "checkpoints"
                    shutil.copytree(folder, copy)
                    name = tracing.kill_at(lambda copy=copy: save(copy), number)
                    if name is None:
                        break
                    _log(file, {"number": number, "call": name, **_look(copy)})

        _, status = os.waitpid(self.fork(self.folder / "explored", explore=explore), 0)
        found = [json.loads(line) for line in log.read_text().splitlines()]
        spread = np.unique(np.linspace(0, len(found) - 1, min(resumes, len(found))).astype(int)) if found else []
        ends = [self.finish(self.folder / f"operation-{found[index]['number']}") for index in spread]
        return {"exit": os.waitstatus_to_exitcode(status), "operations": found, "ends": ends}


def _log(file: Any, record: dict[str, Any]) -> None:
    file.write(json.dumps(record) + "\n")
    file.flush()


def _look(folder: Path) -> dict[str, Any]:
    """What a reader finds in a checkpoints folder: the newest valid step, and which visible ones are damaged."""
    damaged = []
    for step in checkpoint.steps_on_disk(folder):
        try:
            checkpoint.open_checkpoint(folder / checkpoint.folder_name(step))
        except checkpoint.ArtifactError:
            damaged.append(step)
    valid = checkpoint.newest_valid(folder)
    return {"newest": None if valid is None else valid.step, "damaged": damaged}


def final_state(out: Path, steps: int) -> dict[str, Any]:
    """The last checkpoint as hashes (weights, optimizer, random state, order), and the ids trained on, in order."""
    folder = out / "checkpoints" / checkpoint.folder_name(steps)
    if not folder.is_dir():
        return {"state": None, "ids": concatenated(out / "ids.jsonl")}
    manifest = json.loads((folder / "manifest.json").read_text())
    progress = {key: value for key, value in manifest["facts"]["progress"].items() if key != "elapsed_seconds"}
    return {"state": {"files": manifest["files"], "progress": progress}, "ids": concatenated(out / "ids.jsonl")}


def concatenated(log: Path) -> list[list[int]]:
    """The steps' row ids as training saw them: what a kill undid is dropped where the next start says it went on."""
    steps: list[list[int]] = []
    for line in log.read_text().splitlines() if log.exists() else []:
        record = json.loads(line)
        if "resumed" in record:
            steps = steps[: record["resumed"]]
        else:
            steps.append(record["rows"])
    return steps


def show_kills(fell: Mapping[str, int]) -> int:
    """Print where the kills fell; returns their number."""
    for place, count in sorted(fell.items()):
        print(f"{count:5} {place:36} {'#' * min(count, 60)}")
    return sum(fell.values())


def run_apart(module: str, folder: Path, *counts: int) -> dict[str, Any]:
    """A campaign in a process of its own: what it found, and what it `said` on stderr."""
    command = [sys.executable, "-m", module, str(folder), *map(str, counts)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads((folder / "result.json").read_text()), "said": done.stderr}


def main(folder: Path, random_count: int, resumes: int) -> None:
    console.set_mode(quiet=True)
    torch.set_num_threads(1)
    campaign = Campaign(folder)
    campaign.warm_up()
    started_at = time.monotonic()
    reference = campaign.finish(folder / "reference")
    seconds = time.monotonic() - started_at
    result = {
        "reference": reference,
        "random": campaign.random_kills(random_count, seconds, random.Random(random_count)),
        "chosen": campaign.chosen_kills(),
        "save": campaign.save_kills(resumes) if tracing.available() else None,
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
