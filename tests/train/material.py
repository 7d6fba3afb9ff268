"""Small things to train on: a row set of made-up ids, and a learner of two layers that takes milliseconds a step.

In: sizes and a seed. Out: row sets, learners, plans. Called by the tests of `train` and `parallel` and by the proofs.
Documents have lengths from 3 to 40, so that rows hold several, targets per row differ, and padding occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from danlu.base.world import World
from danlu.model.config import ModelConfig
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from danlu.parallel.place import place
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.train.loop import Learner, Outside, Plan, Progress
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.samples import Samples
from danlu.train.schedules import Shape
from danlu.train.settings import OptimizerSettings
from tests import tiny

VOCABULARY, ROW_LENGTH = 96, 48


def row_set(folder: Path, *, documents: int = 60, seed: int = 0, learnt_share: float | None = None) -> RowSet:
    """Rows of random ids below VOCABULARY; with `learnt_share` only that share of the tokens is learnt."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 41, size=documents)
    ids = random.integers(8, VOCABULARY, size=int(lengths.sum()))
    mask = None if learnt_share is None else random.random(len(ids)) < learnt_share
    names = [f"document {number}" for number in range(documents)]
    with RowSetWriter(folder, tiny.tokenizer(), row_length=ROW_LENGTH, masked=mask is not None) as writer:
        writer.add(Encoded(names, lengths, ids, mask))
    return RowSet.open(folder)


def model(seed: int = 0, **changes: object) -> Transformer:
    """Two layers of width 64, weights set."""
    values = {"vocabulary_size": VOCABULARY, "context_length": ROW_LENGTH, "kv_heads": 4, **changes}
    made = Transformer(tiny.config(**values))
    initialise(made, seed)
    return made


def config(**changes: object) -> ModelConfig:
    return model(**changes).config


def learner(
    rows: RowSet,
    *,
    optimizer: OptimizerSettings | None = None,
    learning_rate: float = 1e-2,
    world: World | None = None,
    seed: int = 0,
    **changes: object,
) -> Learner:
    """A fresh model with its optimizer on these rows, on this world (one rank by default)."""
    world = World() if world is None else world
    settings = OptimizerSettings(name="adamw") if optimizer is None else optimizer
    placed = place(model(seed, **changes), world)
    return Learner(placed, Optimizer(placed, settings, learning_rate), next_token, Samples(rows, seed), world)


def plan(samples: int, batch_rows: int, micro_batch_rows: int | None = None, **changes: object) -> Plan:
    """A plan with a cosine schedule that neither evaluates nor saves unless told to."""
    steps = -(-samples // batch_rows)
    values = {
        "total_samples": samples,
        "batch_rows": batch_rows,
        "learning_rate": 1e-3,
        "micro_batch_rows": batch_rows if micro_batch_rows is None else micro_batch_rows,
        "schedule": "cosine",
        "shape": Shape.of(steps, warmup=0.1, decay=0.4, floor=0.1),
        "clip": 1.0,
        "evaluate_every": 10**9,
        "save_every": 10**9,
        "patience": 0,
        "seed": 0,
        **changes,
    }
    return Plan(**values)  # type: ignore[arg-type]


def outside(evaluate: Callable[[], dict[str, float]] | None = None, save: Callable[[], None] | None = None) -> Outside:
    """What the loop calls outside itself: nothing, unless given."""
    return Outside(
        evaluate=evaluate if evaluate is not None else lambda: {"loss": 0.0},
        save=save if save is not None else lambda: None,
        asked_to_stop=lambda: False,
    )


def progress() -> Progress:
    return Progress()
