"""How fast this machine trains: a few real steps, measured before the work is planned.

In: a learner and its plan, or only an architecture. Out: tokens per second, padding not counted. Called where a dial
says `minutes`, and by `doctor` and `show`. Weights are put back, optimizer and progress thrown away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from danlu.base import console
from danlu.base.world import World
from danlu.model.config import ModelConfig
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from danlu.parallel.collectives import from_first
from danlu.parallel.place import place
from danlu.train.loop import Learner, Plan, Progress, update
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.samples import Samples, TensorBatch
from danlu.train.settings import OptimizerSettings

WARM_UP_STEPS = 2
FEWEST_STEPS = 3


def measure(
    step: Callable[[], int],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    fewest_steps: int = FEWEST_STEPS,
) -> float:
    """Tokens per second of `step`, which does one and returns its tokens; the first calls are not counted."""
    warn_where_busy()
    for _ in range(WARM_UP_STEPS):
        step()
    began_at, tokens, steps = clock(), 0, 0
    while clock() < began_at + seconds or steps < fewest_steps:
        tokens += step()
        steps += 1
    return tokens / max(clock() - began_at, 1e-9)


def warn_where_busy() -> None:
    """Say once that others use this machine's cores; nothing where the system does not tell its load."""
    cores = os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if cores is not None and load > cores:
        console.warn_once(
            f"the machine is busy (load {load:.1f} on {cores} cores): measured speeds are lower than on a quiet one",
            about="load",
        )


def rehearse(
    model: Transformer, samples: Samples, world: World, plan: Plan, settings: OptimizerSettings, seconds: float
) -> float:
    """Tokens per second of all ranks on the run's own first samples, gradients summed as in the run.

    Ranks would not agree on when the time is over: the first one finds by itself how many steps fill it, then all do
    that many together. The weights are put back; every step of the run seeds its own randomness.
    """
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = Optimizer(model, settings, learning_rate=1e-4)

    def step_of(taking_part: World, run: Plan) -> Callable[[], int]:
        learner, progress = Learner(model, optimizer, next_token, samples, taking_part), Progress()
        return lambda: update(learner, run, progress, time.perf_counter).tokens

    endless = replace(plan, total_samples=2**62)
    if world.size == 1:
        found = measure(step_of(world, endless), seconds)
    else:
        mine = replace(endless, batch_rows=-(-plan.batch_rows // world.size))
        alone = measure(step_of(replace(world, rank=0, size=1), mine), seconds / 2)
        tokens_a_step = mine.batch_rows * samples.row_set.row_length
        steps = round(from_first(max(FEWEST_STEPS, seconds / 2 * alone / tokens_a_step), world))
        restore(model, kept)
        found = from_first(measure(step_of(world, endless), 0.0, fewest_steps=steps), world)
    restore(model, kept)
    return found


def restore(model: Transformer, kept: list[Tensor]) -> None:
    """Put the kept weights back and forget the gradients."""
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), kept, strict=True):
            parameter.copy_(value)
            parameter.grad = None


def tokens_per_second(config: ModelConfig, world: World, *, rows: int, row_length: int, seconds: float) -> float:
    """Training speed of an architecture on random ids, forward, backward and update; for `doctor` and `show`."""
    model = Transformer(config)
    initialise(model, seed=0)
    place(model, world)
    model.train()
    optimizer = Optimizer(model, OptimizerSettings(), learning_rate=1e-4)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocabulary_size, (rows, row_length + 1), generator=generator).to(world.device)
    batch = TensorBatch(
        ids=ids[:, :-1],
        positions=torch.arange(row_length, device=world.device).expand(rows, -1),
        documents=torch.zeros(rows, row_length, dtype=torch.int32, device=world.device),
        targets=ids[:, 1:],
        target_index=torch.arange(rows * row_length, device=world.device),
        target_ids=ids[:, 1:].reshape(-1),
        num_targets=rows * row_length,
        num_tokens=rows * row_length,
    )

    def step() -> int:
        optimizer.zero_grad()
        loss = next_token(model(batch.ids, batch.positions, batch.documents), model.head, batch)
        (loss.sum / loss.count).backward()
        optimizer.step()
        return batch.num_tokens

    return measure(step, seconds)
