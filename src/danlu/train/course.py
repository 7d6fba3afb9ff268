"""What pre-training and fine-tuning have in common: place the model, plan, say the plan, train.

In: a `Course`. Out: `Outcome`; the model holds its final weights. Called by the two training stages. Reads no corpus
and writes no model folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.base import console
from danlu.base.errors import DataError
from danlu.base.world import World
from danlu.model.transformer import Transformer
from danlu.parallel.device import set_threads
from danlu.parallel.place import choose_compile, place
from danlu.shards.files import RowSet
from danlu.train.loop import Learner, Plan
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.planning import (
    Choices,
    Foretell,
    Horizon,
    choose_micro_batch,
    plan_run,
    stored_forecast,
    tokens_in,
)
from danlu.train.run import Outcome, Run, Show, carry_through
from danlu.train.samples import Samples
from danlu.train.settings import CheckpointSettings, OptimizerSettings, ParallelSettings, WatchSettings
from danlu.train.speed import rehearse
from danlu.train.validation import Validation


@dataclass(frozen=True)
class Course:
    """A model, what it shall learn, and how. `token_bytes[id]` is the UTF-8 length of a token."""

    out: Path
    model: Transformer
    rows: RowSet
    validation_rows: RowSet
    token_bytes: Sequence[int]
    horizon: Horizon
    batch_rows: int
    learning_rate: float
    optimizer: OptimizerSettings
    watch: WatchSettings
    checkpoints: CheckpointSettings
    parallel: ParallelSettings
    seed: int
    show: Show
    foretell: Foretell | None = None


def teach(course: Course, world: World) -> Outcome:
    """Place, plan, say, train; goes on where an earlier call for the same folder was cut off."""
    for name, rows in (("train", course.rows), ("validation", course.validation_rows)):
        if rows.num_rows == 0 or rows.num_targets == 0:
            raise DataError(
                f"the {name} rows hold nothing to learn",
                where=rows.folder,
                remedy="prepare more text or conversations, or raise prepare.validation_share",
            )
    micro_batch_rows, micro_reason = choose_micro_batch(
        course.parallel.micro_batch_rows, course.model.config, world, course.batch_rows, course.rows.row_length
    )
    learner = _learner(course, world)
    choices = Choices(
        course.batch_rows, micro_batch_rows, course.optimizer, course.watch, course.checkpoints, course.seed
    )
    plan, peak_flops = plan_run(
        course.out,
        course.horizon,
        course.rows,
        world,
        choices,
        lambda plan: rehearse(learner, plan, course.optimizer),
        course.foretell,
    )
    _say_plan(course, plan, world, f"{micro_batch_rows} rows at once ({micro_reason})", peak_flops)
    if world.is_first and course.foretell is not None:
        _say_forecast(stored_forecast(course.out))
    return carry_through(
        Run(
            out=course.out,
            learner=learner,
            plan=plan,
            validation=Validation(
                course.validation_rows,
                next_token,
                micro_batch_rows,
                course.watch.validation_rows,
                course.token_bytes,
            ),
            checkpoints=course.checkpoints,
            show=course.show,
            peak_flops=peak_flops,
            trackers=course.watch.trackers,
        )
    )


def _learner(course: Course, world: World) -> Learner:
    """Threads, placement, optimizer: each choice is said with its reason."""
    threads, threads_reason = set_threads(course.parallel.threads)
    compiled, compile_reason = choose_compile(course.parallel.compile, course.model, world)
    model = place(course.model, world, compile="on" if compiled else "off")
    model.checkpoint_activations = course.parallel.checkpoint_activations
    console.say(f"  {world.reason}; {threads} threads: {threads_reason}", style="dim")
    console.say(f"  compile {'on' if compiled else 'off'}: {compile_reason}", style="dim")
    optimizer = Optimizer(model, course.optimizer, course.learning_rate)
    return Learner(model, optimizer, next_token, Samples(course.rows, course.seed), world)


def _say_plan(course: Course, plan: Plan, world: World, micro: str, peak_flops: float) -> None:
    counts = course.model.config.parameters()
    tokens = tokens_in(plan.total_samples, course.rows)
    console.say(
        f"  {counts.total:,} parameters, {console.size(tokens, '')}tokens = "
        f"{plan.total_samples / course.rows.num_rows:.2f} epochs; {plan.steps:,} steps of {plan.batch_rows} rows; "
        f"{micro}"
    )
    console.say(
        f"  {course.optimizer.name}, peak learning rate {course.learning_rate:g}, schedule {plan.schedule}; "
        f"matrix peak {peak_flops / 1e9:,.0f} GFLOP/s in {world.dtype}",
        style="dim",
    )


def _say_forecast(band: Mapping[str, float] | None) -> None:
    """What the validation loss should come to, said before the first step."""
    if band is None:
        console.say("  no forecast of the loss: no run like this one has been measured", style="dim")
        return
    console.say(
        f"  forecast: validation loss between {band['low']:.3f} and {band['high']:.3f} at the end "
        f"(from {band['runs']} runs of other seeds and lengths)",
        style="bold",
    )
