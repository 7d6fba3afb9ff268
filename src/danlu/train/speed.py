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


def measure(step: Callable[[], int], seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Tokens per second of `step`, which does one and returns its tokens; the first calls are not counted."""
    warn_where_busy()
    for _ in range(WARM_UP_STEPS):
        step()
    began_at, tokens, steps = clock(), 0, 0
    while clock() < began_at + seconds or steps < FEWEST_STEPS:
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
    """Tokens per second of all ranks on the run's own first samples, as rank 0 measured it.

    Each rank steps on its share alone, without collectives, because ranks would not agree on when the time is over.
    """
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    alone = replace(world, rank=0, size=1)
    rehearsing = Learner(model, Optimizer(model, settings, learning_rate=1e-4), next_token, samples, alone)
    small = replace(plan, batch_rows=max(1, plan.batch_rows // world.size), total_samples=2**62)
    progress = Progress()

    def step() -> int:
        return update(rehearsing, small, progress, time.perf_counter).tokens

    found = measure(step, seconds) * world.size
    restore(model, kept)
    return from_first(found, world)


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
