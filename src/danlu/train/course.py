"""What pre-training and fine-tuning have in common: open the rows, place the model, plan, say the plan, train, seal.

In: a `Course`. Out: `Outcome`; the model holds its final weights. Called by the two training stages. Reads no corpus
and writes of the model's folder only the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from danlu.base import console
from danlu.base.artifact import Artifact, seal
from danlu.base.errors import DataError
from danlu.base.world import World
from danlu.model.transformer import Transformer
from danlu.parallel.allocator import keep_freed_memory
from danlu.parallel.collectives import least_over_ranks
from danlu.parallel.device import describe, threads
from danlu.parallel.place import choose_compile, choose_products, place
from danlu.shards.files import RowSet
from danlu.train.dial import Pace
from danlu.train.journal import METRICS, SAMPLES
from danlu.train.loop import Learner, Plan
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.planning import (
    PLAN,
    Choices,
    Foretell,
    Horizon,
    Rehearsal,
    activation_budget,
    choose_micro_batch,
    plan_run,
    stored_forecast,
    tokens_in,
)
from danlu.train.run import Outcome, Run, Show, carry_through, summary
from danlu.train.samples import Samples, token_bytes
from danlu.train.settings import CheckpointSettings, OptimizerSettings, ParallelSettings, WatchSettings
from danlu.train.speed import rehearse
from danlu.train.validation import Validation

MORE = "prepare more text; to fine-tune there must be conversations, and they must fit into shard.row_length"
MORE_HELD_OUT = "raise prepare.validation_share, or prepare more text or conversations"
DIARY = ("README.md", METRICS, PLAN, SAMPLES)
"""Files about the making of a model, for people: no later stage reads them."""


class TrainingConfig(Protocol):
    """What the settings of both training stages have under the same names."""

    @property
    def optimizer(self) -> OptimizerSettings: ...
    @property
    def watch(self) -> WatchSettings: ...
    @property
    def checkpoints(self) -> CheckpointSettings: ...
    @property
    def parallel(self) -> ParallelSettings: ...
    @property
    def seed(self) -> int: ...
    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Lessons:
    """The rows to learn from, those to be judged by, and the UTF-8 length of each token."""

    rows: RowSet
    validation: RowSet
    token_bytes: Sequence[int]

    @classmethod
    def open(cls, shards: Path, rows: str, validation: str, tokenizer: Any) -> Lessons:
        """Two row sets of `shards`; ArtifactError unless they were made with this tokenizer."""
        opened = RowSet.open(shards / rows)
        opened.require(tokenizer)
        return cls(opened, RowSet.open(shards / validation), token_bytes(tokenizer.decode_bytes, tokenizer.size))


@dataclass(frozen=True)
class Course:
    """A model, what it shall learn, and how. None: the dial's, by the length; `began_at`: when the stage did."""

    out: Path
    model: Transformer
    lessons: Lessons
    config: TrainingConfig
    horizon: Horizon
    batch_rows: int | None
    learning_rate: float | None
    dial: Callable[[int], Pace]
    began_at: float
    show: Show
    foretell: Foretell | None = None


def teach(course: Course, world: World) -> Outcome:
    """Place, plan, say, train; goes on where an earlier call for the same folder was cut off."""
    with threads(course.config.parallel.threads) as (count, reason):
        plural = "" if count == 1 else "s"
        console.say(f"  {world.reason}; {count} thread{plural}: {reason}", style="dim")
        return _teach(course, world)


def _teach(course: Course, world: World) -> Outcome:
    config, lessons = course.config, course.lessons
    for name, rows, remedy in (("train", lessons.rows, MORE), ("validation", lessons.validation, MORE_HELD_OUT)):
        if rows.num_rows == 0 or rows.num_targets == 0:
            raise DataError(f"the {name} rows hold nothing to learn", where=rows.folder, remedy=remedy)
    model_config, row_length = course.model.config, lessons.rows.row_length
    budget = least_over_ranks(activation_budget(model_config, world), world)

    def micro_batch(batch_rows: int) -> tuple[int, str]:
        return choose_micro_batch(config.parallel, model_config, world, batch_rows, row_length, budget)

    placed = _placed(course, world)
    samples = Samples(lessons.rows, config.seed)
    choices = Choices(
        course.batch_rows,
        course.learning_rate,
        course.dial,
        lambda batch_rows: micro_batch(batch_rows)[0],
        config.optimizer,
        config.watch,
        config.checkpoints,
        config.seed,
    )
    rehearsal = Rehearsal(
        lambda plan, seconds: rehearse(placed, samples, world, plan, config.optimizer, seconds),
        lambda: time.perf_counter() - course.began_at,
        model_config.flops_per_token(row_length),
    )
    plan, peak_flops = plan_run(course.out, course.horizon, lessons.rows, world, choices, rehearsal, course.foretell)
    learner = Learner(placed, Optimizer(placed, config.optimizer, plan.learning_rate), next_token, samples, world)
    _say_plan(course, plan, world, micro_batch(plan.batch_rows)[1], peak_flops)
    if world.is_first and course.foretell is not None:
        _say_forecast(stored_forecast(course.out))
    return carry_through(
        Run(
            out=course.out,
            learner=learner,
            plan=plan,
            validation=Validation(
                lessons.validation,
                next_token,
                plan.micro_batch_rows,
                config.watch.validation_rows,
                lessons.token_bytes,
            ),
            checkpoints=config.checkpoints,
            show=course.show,
            peak_flops=peak_flops,
            trackers=config.watch.trackers,
        )
    )


def seal_model(
    course: Course,
    outcome: Outcome,
    world: World,
    stage: str,
    version: int,
    parents: Mapping[str, Artifact],
    sources: str | None = None,
    **facts: Any,
) -> None:
    """Write the manifest of a trained model; `sources` names files that it began with, `facts` are one stage's."""
    with threads(course.config.parallel.threads):  # those that it was trained on
        machine = describe(world)
    seal(
        course.out,
        kind="model",
        stage=stage,
        version=version,
        config=course.config.model_dump(mode="json"),
        parents=parents,
        metrics=summary(outcome),
        seconds=outcome.progress.elapsed_seconds,
        seed=course.config.seed,
        sources=sources,
        diary=DIARY,
        extra={"machine": machine, "order_hash": outcome.progress.order_hash, **facts},
    )


def _placed(course: Course, world: World) -> Transformer:
    """The model in its place: each choice is said with its reason."""
    compiled, compile_reason = choose_compile(course.config.parallel.compile, course.model, world)
    model = place(course.model, world, compile="on" if compiled else "off")
    products = choose_products(model)
    memory = keep_freed_memory(world.device)[1]
    model.checkpoint_activations = course.config.parallel.checkpoint_activations
    console.say(f"  compile {'on' if compiled else 'off'}: {compile_reason}; {products}; {memory}", style="dim")
    return model


def _say_plan(course: Course, plan: Plan, world: World, micro_reason: str, peak_flops: float) -> None:
    counts = course.model.config.parameters()
    rows = course.lessons.rows
    tokens = tokens_in(plan.total_samples, rows)
    console.say(
        f"  {counts.total:,} parameters, {console.size(tokens, '')}tokens = "
        f"{plan.total_samples / rows.num_rows:.2f} epochs; {plan.steps:,} steps of {plan.batch_rows} rows; "
        f"{plan.micro_batch_rows} rows at once ({micro_reason})"
    )
    console.say(
        f"  {course.config.optimizer.name}, peak learning rate {plan.learning_rate:g}, schedule {plan.schedule}; "
        f"matrix peak {peak_flops / 1e9:,.0f} GFLOP/s in {world.dtype}",
        style="dim",
    )


def _say_forecast(band: Mapping[str, float] | None) -> None:
    """What the validation loss should come to, said before the first step."""
    if band is None:
        console.say("  no forecast of the loss: no run like this one was measured at such a length", style="dim")
        return
    console.say(
        f"  forecast: validation loss between {band['low']:.3f} and {band['high']:.3f} at the end "
        f"(from {band['runs']} runs of other seeds and lengths)",
        style="bold",
    )
