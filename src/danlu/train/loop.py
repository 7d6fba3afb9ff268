"""The one loop: pre-training, instruction tuning and what follows share it.

In: a `Learner` (model, optimizer, objective, samples), a `Plan`, where the run stands (`Progress`), and three plain
functions from the stage (`Outside`). Out: one `StepReport` per update. Called by `train.run`. A generator, so that it
can be paused, tested and looked into. Reads and writes no files, knows no stage and prints nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from danlu.base.books import check_balance
from danlu.base.world import World
from danlu.model.transformer import Transformer
from danlu.parallel.collectives import sum_gradients, sum_over_ranks
from danlu.shards.order import share, step_samples
from danlu.train.guard import check_finite
from danlu.train.objectives import Objective
from danlu.train.optimizers import Optimizer
from danlu.train.samples import Samples
from danlu.train.schedules import Shape, factor


@dataclass(frozen=True)
class Plan:
    """What the run will do, resolved to counts before it starts. `total_samples` are rows over all epochs."""

    total_samples: int
    batch_rows: int
    micro_batch_rows: int
    learning_rate: float
    schedule: str
    shape: Shape
    clip: float
    evaluate_every: int
    save_every: int
    patience: int
    seed: int

    @property
    def steps(self) -> int:
        """Updates in the run; the last may have fewer rows, none is dropped."""
        return -(-self.total_samples // self.batch_rows)


@dataclass
class Progress:
    """Where the run stands: everything besides tensors that a checkpoint keeps."""

    step: int = 0
    tokens: int = 0
    order_hash: str = hashlib.sha256(b"danlu").hexdigest()
    elapsed_seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    stale_evaluations: int = 0

    def count_order(self, rows: np.ndarray) -> None:
        """Fold the rows of one step into the running hash of everything that was ever trained on, in order."""
        taken = bytes.fromhex(self.order_hash) + np.ascontiguousarray(rows, dtype="<i8").tobytes()
        self.order_hash = hashlib.sha256(taken).hexdigest()

    def judge(self, loss: float) -> bool:
        """Take note of a validation loss; True where it is the best so far."""
        improved = self.best_loss is None or loss < self.best_loss
        if improved:
            self.best_loss, self.best_step, self.stale_evaluations = loss, self.step, 0
        else:
            self.stale_evaluations += 1
        return improved


@dataclass(frozen=True)
class StepReport:
    """One update. `loss` is the mean over the step's targets on all ranks; `rows` are the step's rows on all ranks.

    `order_hash` is the running hash of all rows up to this step: equal hashes, equal order.
    """

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    targets: int
    tokens: int
    seconds: float
    rows: np.ndarray
    order_hash: str
    validation: Mapping[str, float] | None = None


@dataclass
class Learner:
    """What learns, and from what."""

    model: Transformer
    optimizer: Optimizer
    objective: Objective
    samples: Samples
    world: World


@dataclass(frozen=True)
class Outside:
    """What the loop calls outside itself: `evaluate` → numbers with `loss`; `save`; whether someone asks to stop."""

    evaluate: Callable[[], Mapping[str, float]]
    save: Callable[[], None]
    asked_to_stop: Callable[[], bool]


class Stopped(Exception):
    """Someone asked to stop while steps were left; the step was finished and saved."""


def train(
    learner: Learner,
    plan: Plan,
    progress: Progress,
    outside: Outside,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[StepReport]:
    """Go from `progress` to the plan's end: update, report, evaluate, save. Stops early when patience runs out."""
    began_at = clock() - progress.elapsed_seconds
    while progress.step < plan.steps and not stopped_early(plan, progress):
        report = update(learner, plan, progress, clock)
        progress.elapsed_seconds = clock() - began_at

        last = progress.step == plan.steps
        validation, improved = None, False
        if last or progress.step % plan.evaluate_every == 0:
            validation = outside.evaluate()
            improved = progress.judge(validation["loss"])

        stopping = _agreed(outside.asked_to_stop(), learner.world)
        progress.elapsed_seconds = clock() - began_at
        over = last or stopped_early(plan, progress)
        # Told before it is saved: a kill in between takes the line back on resuming; the other way round it were lost.
        yield StepReport(**{**vars(report), "validation": validation})
        if over or improved or stopping or progress.step % plan.save_every == 0:
            outside.save()
        if stopping and not over:
            raise Stopped


def stopped_early(plan: Plan, progress: Progress) -> bool:
    """Whether patience ran out while steps were left: a resumed run tells it from its progress."""
    return progress.step < plan.steps and 0 < plan.patience <= progress.stale_evaluations


def _agreed(asked: bool, world: World) -> bool:
    """Signals reach ranks at different times; all stop after the step in which one was asked."""
    return sum_over_ranks(int(asked), world) > 0


def update(learner: Learner, plan: Plan, progress: Progress, clock: Callable[[], float]) -> StepReport:
    """One update of the weights from the next `batch_rows` samples, exact over micro-batches and ranks."""
    started_at = clock()
    world, model, optimizer = learner.world, learner.model, learner.optimizer
    start, stop = step_samples(progress.step, plan.batch_rows, plan.total_samples)
    rows = learner.samples.rows(start, stop)
    own_rows = own_share(rows, start, world)
    batches = list(learner.samples.micro_batches(own_rows, plan.micro_batch_rows, world.device))
    check_balance(f"samples of step {progress.step + 1}", len(own_rows), {"seen": sum(len(one.ids) for one in batches)})
    targets = sum_over_ranks(sum(batch.num_targets for batch in batches), world)
    tokens = sum_over_ranks(sum(batch.num_tokens for batch in batches), world)

    torch.manual_seed(step_seed(plan.seed, progress.step, world.rank))
    model.train()
    optimizer.zero_grad()
    loss_sum = 0.0
    for batch in batches:
        hidden = model(batch.ids, batch.positions, batch.documents)  # (B, T, D)
        loss = learner.objective(hidden, model.head, batch)
        (loss.sum / max(1, targets)).backward()
        loss_sum += float(loss.sum.detach())
    sum_gradients(model.parameters(), world)
    mean_loss = sum_over_ranks(loss_sum, world) / max(1, targets)
    norm = clip_gradients(model, plan.clip)

    rate = optimizer.set_rate(factor(plan.schedule, progress.step, plan.shape))
    if targets > 0:  # a step without targets has nothing to say; decay and momentum alone would still move the weights
        check_finite(mean_loss, norm, progress.step + 1, rows.tolist())
        optimizer.step()
    progress.step += 1
    progress.tokens += tokens
    progress.count_order(rows)
    seconds = clock() - started_at
    return StepReport(progress.step, mean_loss, norm, rate, targets, tokens, seconds, rows, progress.order_hash)


def own_share(rows: np.ndarray, start: int, world: World) -> np.ndarray:
    """Of the rows of a step, which are the samples from `start` on, those that this rank learns from."""
    own = share(start, start + len(rows), world.rank, world.size)
    return rows[own.start - start : own.stop - start]


def clip_gradients(model: Transformer, largest: float) -> float:
    """Scale the summed gradients down to norm `largest` (0: leave them); returns the norm before that."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([gradient for p in parameters if (gradient := p.grad) is not None])
    if largest > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return float(norm)


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a step's dropout: a pure function, so that a resumed step draws what the lost one drew."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{rank}".encode()).digest()[:8], "little") >> 1
