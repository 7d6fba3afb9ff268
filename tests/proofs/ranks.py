"""Several ranks on one machine: a warm process forks them, joins them with gloo, and collects what they found.

In: a scenario's name, a folder, a number of ranks. Out: what each rank returned. Run by `test_ranks` as a process of
its own (`python -m tests.proofs.ranks FOLDER`), because a fork wants a process without threads. A scenario that hangs
is ended after `PATIENCE_SECONDS` and reported as such, so that the others can still be judged.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from danlu.base import console
from danlu.base.world import World
from danlu.parallel.collectives import barrier, joined
from danlu.parallel.device import discover
from danlu.parallel.place import place
from danlu.train.dial import Pace
from danlu.train.interrupts import Interrupted
from danlu.train.loop import Learner, Plan, Progress, train, update
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.planning import Choices, Horizon, Rehearsal, choose_micro_batch, plan_run
from danlu.train.run import Run, carry_through
from danlu.train.settings import CheckpointSettings, OptimizerSettings, ParallelSettings, WatchSettings
from danlu.train.validation import Validation
from tests.train import material

PATIENCE_SECONDS = 60
PORTS = (12_000, 32_000)
SAMPLES = 45
"""Rows of the runs that change their number of ranks: eleven steps of four and one of one."""
CLIP = 0.02
"""As a share of the norm of the whole gradient; far below that of every rank's part, too."""
CROSSINGS: dict[str, list[tuple[int, int | None]]] = {
    "1 then 2 then 1": [(1, 3), (2, 8), (1, None)],
    "2 then 1": [(2, 5), (1, None)],
    "4 then 2 then 3": [(4, 3), (2, 7), (3, None)],
}
"""Runs that go on with another number of ranks: (ranks, the step from 0 in which all are killed)."""
Scenario = Callable[[Path, World], Any]


def rows_at(folder: Path) -> Any:
    """The rows that the parent wrote for all scenarios; their targets differ in number."""
    return material.RowSet.open(folder / "rows")


def weights_hash(learner: Any) -> str:
    """SHA-256 of all weights' bytes."""
    return hashlib.sha256(
        b"".join(weight.detach().numpy().tobytes() for weight in learner.model.parameters())
    ).hexdigest()


def gradient(folder: Path, world: World, clip: float = 0.0) -> Any:
    """The gradient of one step of eight rows, in a file, with the mean loss and the norm that the step reports."""
    learner = material.learner(rows_at(folder), world=world)
    report = update(learner, material.plan(8, 8, 8 // world.size, clip=clip), Progress(), lambda: 0.0)
    path = folder / f"gradient-{clip > 0}-{world.size}-{world.rank}.safetensors"
    save_file({name: parameter.grad for name, parameter in learner.model.named_parameters()}, path)
    return {"loss": report.loss, "norm": report.gradient_norm, "gradient": str(path)}


def clipped(folder: Path, world: World) -> Any:
    """The same, clipped to a small share of the norm that one rank has found."""
    return gradient(folder, world, CLIP * json.loads((folder / "gradient 1-0.json").read_text())["norm"])


def trained(folder: Path, world: World, samples: int, batch_rows: int) -> Any:
    """Train on a prime number of rows; the last step has fewer rows than there are ranks."""
    learner = material.learner(rows_at(folder), world=world, dropout=0.1)
    progress = Progress()
    reports = list(train(learner, material.plan(samples, batch_rows, 2), progress, material.outside()))
    return {
        "steps": [len(report.rows) for report in reports],
        "weights": weights_hash(learner),
        "order": progress.order_hash,
    }


def replicas(folder: Path, world: World) -> Any:
    """Fifty steps from weights that every rank drew for itself: what `place` makes of them is what is trained.

    One rank takes a step's four rows at once, so that its sums are others than those of two.
    """
    learner = material.learner(rows_at(folder), world=world)
    model = place(material.model(seed=world.rank), world)
    learner.model, learner.optimizer = model, Optimizer(model, OptimizerSettings(name="adamw"), 1e-3)
    list(train(learner, material.plan(200, 4, clip=0.0), Progress(), material.outside()))
    path = folder / f"replica-{world.size}-{world.rank}.safetensors"
    save_file({name: parameter.detach() for name, parameter in model.named_parameters()}, path)
    return {"hash": weights_hash(learner), "weights": str(path)}


def dropped(folder: Path, world: World) -> Any:
    """Which of the first activations dropout put out, as a hash, in each of three steps: the same rows on all ranks."""
    learner = material.learner(rows_at(folder), world=world, dropout=0.5)
    learner.samples.rows = lambda start, stop: np.zeros(stop - start, dtype=np.int64)  # type: ignore[method-assign]
    seen: list[str] = []

    def look(block: Any, arguments: tuple[Any, ...]) -> None:
        seen.append(hashlib.sha256((arguments[0] == 0).numpy().tobytes()).hexdigest())

    learner.model.blocks[0].register_forward_pre_hook(look)
    list(train(learner, material.plan(12, 4, 4), Progress(), material.outside()))
    return seen


def validation(folder: Path, world: World) -> Any:
    """All that validation says, for several sizes of batch, of rows whose targets differ in number."""
    model = material.learner(rows_at(folder), world=world).model
    lengths = [id % 5 for id in range(material.VOCABULARY)]
    return [Validation(rows_at(folder), next_token, size, 11, lengths).measure(model, world) for size in (1, 3, 11)]


def consumed(folder: Path, world: World, out: str, die_at: int | None) -> Any:
    """Go on with the run in `out`, whose ranks log what they learn from; killed in the midst of step `die_at`."""
    learner = material.learner(rows_at(folder), world=world)
    real_rows, real_batches = learner.samples.rows, learner.samples.micro_batches
    (folder / out).mkdir(exist_ok=True)
    attempt = len(list((folder / out).glob("seen-*-0.jsonl")))
    barrier(world)  # all have counted before the first of them begins a file
    log = (folder / out / f"seen-{attempt}-{world.rank}.jsonl").open("w")
    at = {"step": -1}

    def rows(start: int, stop: int) -> np.ndarray:
        at["step"] = start // 4
        return real_rows(start, stop)

    def micro_batches(rows: np.ndarray, *rest: Any) -> Any:
        yield from real_batches(rows, *rest)
        log.write(json.dumps({"step": at["step"], "rows": rows.tolist()}) + "\n")
        log.flush()
        if at["step"] == die_at:
            barrier(world)  # every rank has drawn its share of the step that comes to nothing
            os.kill(os.getpid(), signal.SIGKILL)

    learner.samples.rows, learner.samples.micro_batches = rows, micro_batches  # type: ignore[method-assign]
    settings = CheckpointSettings(finish="last", save_every=2)
    plan = planned(folder / out, learner, settings, Pace(4 if attempt == 0 else 6, 1e-3))
    check = Validation(rows_at(folder), next_token, 4, 5, [1] * material.VOCABULARY)
    outcome = carry_through(Run(folder / out, learner, plan, check, settings, lambda: [], peak_flops=1e9))
    return outcome.progress.order_hash


def planned(out: Path, learner: Learner, checkpoints: CheckpointSettings, pace: Pace) -> Plan:
    """The plan as a training stage makes it: `pace` is what the dial says today, and counts for a new run only."""
    row_set, world, parallel = learner.samples.row_set, learner.world, ParallelSettings(micro_batch_rows=2)
    choices = Choices(
        batch_rows=None,
        learning_rate=None,
        dial=lambda tokens: pace,
        micro_batch_rows=lambda rows: choose_micro_batch(
            parallel, learner.model.config, world, rows, row_set.row_length, 0
        )[0],
        optimizer=OptimizerSettings(),
        watch=WatchSettings(evaluate_every=100),
        checkpoints=checkpoints,
        seed=0,
    )
    horizon = Horizon(tokens=None, epochs=SAMPLES / row_set.num_rows, minutes=None, default_tokens=1)
    rehearsal = Rehearsal(lambda plan, seconds: 1.0, lambda: 0.0, flops_per_token=1.0)
    return plan_run(out, horizon, row_set, world, choices, rehearsal)[0]


def resumed(folder: Path, world: World, out: str, stop_after: int | None) -> Any:
    """Two ranks train in `out`; where `stop_after` is given, the second rank asks to stop after that step."""
    learner = material.learner(rows_at(folder), world=world, optimizer=OptimizerSettings(name="muon"), dropout=0.1)
    real = learner.samples.rows

    def rows(start: int, stop: int) -> np.ndarray:
        if stop_after is not None and world.rank == 1 and start // 4 == stop_after - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(start, stop)

    learner.samples.rows = rows  # type: ignore[method-assign]
    (folder / out).mkdir(exist_ok=True)
    plan = material.plan(26, 4, 1, save_every=2)
    keep = CheckpointSettings(finish="last")
    check = Validation(rows_at(folder), next_token, 4, 5, [1] * material.VOCABULARY)
    try:
        carry_through(Run(folder / out, learner, plan, check, keep, lambda: [], peak_flops=1e9))
    except Interrupted:
        return "interrupted"
    finally:
        barrier(world)
    return [
        weights_hash(learner),
        sorted(path.name for path in (folder / out / "checkpoints").iterdir()),
    ]


SCENARIOS: list[tuple[str, int, Scenario]] = [
    *((f"gradient {size}", size, gradient) for size in (1, 2, 4)),
    *((f"prime {size}", size, lambda f, w: trained(f, w, 13, 4)) for size in (2, 3, 4)),
    *((f"validation {size}", size, validation) for size in (1, 2, 3)),
    *((f"clipped {size}", size, clipped) for size in (1, 2, 4)),
    *((f"replicas {size}", size, replicas) for size in (1, 2)),
    ("dropped", 2, dropped),
    ("dropped again", 2, dropped),
    ("one rank", 1, lambda f, w: consumed(f, w, "one", None)),
    *(
        (f"{way}, part {number}", size, lambda f, w, way=way, die_at=die_at: consumed(f, w, way, die_at))
        for way, parts in CROSSINGS.items()
        for number, (size, die_at) in enumerate(parts)
    ),
    ("whole", 2, lambda f, w: resumed(f, w, "whole", None)),
    ("stopped", 2, lambda f, w: resumed(f, w, "halves", 3)),
    ("resumed", 2, lambda f, w: resumed(f, w, "halves", None)),
]


def free_port() -> int:
    """A port of this machine on which nobody listens, below those that the system gives to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def become(rank: int, size: int, port: int) -> None:
    """What torchrun tells a process of a launch on one machine."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def play(folder: Path, name: str, size: int, scenario: Scenario) -> list[Any] | str:
    """What the ranks of one scenario returned, in their order; a sentence where they failed or hung."""
    port, children = free_port(), []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            _be_rank(folder, name, scenario, rank, size, port)
        children.append(pid)
    codes = _collect(children)
    if any(codes):
        return f"exit codes {codes}"
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(size)]


def _be_rank(folder: Path, name: str, scenario: Scenario, rank: int, size: int, port: int) -> None:
    """What a forked rank does; never returns."""
    try:
        torch.set_num_threads(1)
        become(rank, size, port)
        with joined(discover("cpu", "float32")) as world:
            assert (world.rank, world.size) == (rank, size)
            found = scenario(folder, world)
        (folder / f"{name}-{rank}.json").write_text(json.dumps(found))
    except BaseException as error:
        sys.stderr.write(f"{name}, rank {rank}: {type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def _collect(children: list[int]) -> list[int]:
    """Exit codes of all; those that outlast the patience, or a rank that failed, are killed."""
    codes: dict[int, int] = {}
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while len(codes) < len(children):
        for pid in children:
            if pid not in codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > ends_at or any(codes.values()):
            for pid in children:
                if pid not in codes:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    codes[pid] = -9
        time.sleep(0.002)
    return [codes[pid] for pid in children]


def main(folder: Path) -> None:
    console.set_mode(quiet=True)
    torch.set_num_threads(1)
    rows = material.row_set(folder / "rows", documents=60, learnt_share=0.5)
    next(train(material.learner(rows), material.plan(2, 2), Progress(), material.outside()))  # paid once, not per fork
    result = {name: play(folder, name, size, scenario) for name, size, scenario in SCENARIOS}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
