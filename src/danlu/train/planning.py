"""From what a person wrote (tokens, epochs or minutes) to counts, once: steps, batch, micro-batch, schedule.

In: settings, the row set, a learner. Out: `Plan`, and `plan.json` beside it. Called by the training stages; `show` asks
the same functions before the run. Minutes are measured when the run begins and never again: a resumed run reads the
file, so that length, batch, rate and schedule stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from danlu.base import console
from danlu.base.artifact import write_atomically
from danlu.base.errors import ArtifactError
from danlu.base.world import World
from danlu.model.config import ModelConfig
from danlu.parallel.collectives import barrier, from_first
from danlu.parallel.peak import matmul_peak
from danlu.shards.files import RowSet
from danlu.train.dial import Pace
from danlu.train.loop import Plan
from danlu.train.schedules import Shape
from danlu.train.settings import CheckpointSettings, OptimizerSettings, ParallelSettings, WatchSettings

PLAN = "plan.json"
LOOKS_IN_A_RUN, FEWEST_STEPS_BETWEEN_LOOKS = 10, 20
CPU_ACTIVATION_BYTES = 2 * 2**30
GPU_ACTIVATION_SHARE = 0.4
Foretell = Callable[[int], Mapping[str, float] | None]
"""Tokens -> the band of the final validation loss, or None where nobody can say."""
TRAINING_SHARE = 0.93
"""Of the minutes that are left when the first step begins; the rest is for validation, samples and checkpoints."""

SHORTEST_MEASURE, LONGEST_MEASURE = 3.0, 20.0
GUESSED_UTILISATION = 0.3
"""Of the matrix peak: near enough to measure the speed at about the batch that the run will have."""


@dataclass(frozen=True)
class Horizon:
    """How long to train: one of the three; all None means the default of the stage, in tokens."""

    tokens: int | None
    epochs: float | None
    minutes: float | None
    default_tokens: int


@dataclass(frozen=True)
class Choices:
    """What a plan is made of besides its length; what the page leaves open (None) is the dial's, by the length."""

    batch_rows: int | None
    learning_rate: float | None
    dial: Callable[[int], Pace]
    micro_batch_rows: Callable[[int], int]
    optimizer: OptimizerSettings
    watch: WatchSettings
    checkpoints: CheckpointSettings
    seed: int

    def plan(self, samples: int, tokens: int, kept: Pace | None = None) -> Plan:
        """The plan for a run over `samples` rows that hold `tokens`; `kept` is what the dial said when it began."""
        found = self.dial(tokens) if kept is None else kept
        rows = self.batch_rows if self.batch_rows is not None else found.batch_rows
        steps = -(-samples // rows)
        looks = max(FEWEST_STEPS_BETWEEN_LOOKS, steps // LOOKS_IN_A_RUN)
        every, save_every, rule = self.watch.evaluate_every, self.checkpoints.save_every, self.optimizer
        return Plan(
            total_samples=samples,
            batch_rows=rows,
            micro_batch_rows=self.micro_batch_rows(rows),
            learning_rate=self.learning_rate if self.learning_rate is not None else found.learning_rate,
            schedule=rule.schedule,
            shape=Shape.of(steps, warmup=rule.warmup, decay=rule.decay, floor=rule.floor),
            clip=rule.clip,
            evaluate_every=every if every is not None else looks,
            save_every=save_every if save_every is not None else looks,
            patience=self.watch.patience,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Rehearsal:
    """How a length in minutes becomes tokens: `measure(plan, seconds)` gives tokens per second, `spent()` the seconds
    since the stage began, which count as part of the minutes."""

    measure: Callable[[Plan, float], float]
    spent: Callable[[], float]
    flops_per_token: float


def plan_run(
    out: Path,
    horizon: Horizon,
    row_set: RowSet,
    world: World,
    choices: Choices,
    rehearsal: Rehearsal,
    foretell: Foretell | None = None,
) -> tuple[Plan, float]:
    """The run's plan, and the matrix peak of all ranks as they are now.

    Length, batch and rate come from `plan.json` where it has them: what the dial or the clock would say today is no
    matter to a run that goes on.
    """
    stored = stored_plan(out)
    barrier(world)  # nobody writes before all have looked
    peak = from_first(matmul_peak(world), world) * world.size
    if stored.keys() >= {"total_samples", "batch_rows", "learning_rate"}:
        samples = int(stored["total_samples"])
        kept = Pace(int(stored["batch_rows"]), float(stored["learning_rate"]))
        return choices.plan(samples, tokens_in(samples, row_set), kept), peak
    plan, speed = _planned(horizon, row_set, world, choices, rehearsal, peak)
    if world.is_first:
        tokens = tokens_in(plan.total_samples, row_set)
        facts = {
            "total_samples": plan.total_samples,
            "steps": plan.steps,
            "tokens": tokens,
            "batch_rows": plan.batch_rows,
            "learning_rate": plan.learning_rate,
            "tokens_per_second": speed,
            "peak_flops": peak,
            "forecast": foretell(tokens) if foretell is not None else None,
        }
        write_atomically(out / PLAN, json.dumps({**stored, **facts}, indent=1) + "\n")
    return plan, peak


def _planned(
    horizon: Horizon, row_set: RowSet, world: World, choices: Choices, rehearsal: Rehearsal, peak: float
) -> tuple[Plan, float | None]:
    """The plan, and the tokens per second that it stands on where the length is given in minutes."""
    if horizon.minutes is None:
        samples = total_samples(horizon, row_set, None)
        return choices.plan(samples, tokens_in(samples, row_set)), None
    seconds = measured_seconds(horizon.minutes)
    console.say(f"  measuring this machine's speed for {seconds:.0f} seconds", style="dim")
    guess = round(60 * horizon.minutes * GUESSED_UTILISATION * peak / rehearsal.flops_per_token)
    plan = choices.plan(row_set.num_rows, max(1, guess))
    while True:
        speed = rehearsal.measure(plan, seconds)
        left = replace(horizon, minutes=minutes_left(horizon.minutes, from_first(rehearsal.spent(), world)))
        samples = total_samples(left, row_set, speed)
        found = choices.plan(samples, tokens_in(samples, row_set))
        if found.micro_batch_rows == plan.micro_batch_rows or seconds < SHORTEST_MEASURE:
            return found, speed
        plan, seconds = found, 0.0  # another shape is compiled anew: let that happen now, and count it


def stored_forecast(out: Path) -> Mapping[str, float] | None:
    """The band that was drawn when the run was planned."""
    return stored_plan(out).get("forecast")


def stored_plan(out: Path) -> Mapping[str, Any]:
    """What was planned, or nothing yet; ArtifactError where the file is damaged."""
    path = out / PLAN
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        raise ArtifactError(
            "the plan of the run cannot be read",
            where=path,
            found=found if isinstance(found, Exception) else f"{found!r:.80}",
            remedy="restore the file, for a run goes on by its plan; or start anew with --again",
        )
    return found


def tokens_per_row(row_set: RowSet) -> float:
    """Tokens in a row on average, padding not counted."""
    return row_set.num_tokens / row_set.num_rows


def tokens_in(samples: int, row_set: RowSet) -> int:
    """Tokens in so many rows, by their average."""
    return round(samples * tokens_per_row(row_set))


def total_samples(horizon: Horizon, row_set: RowSet, tokens_per_second: float | None) -> int:
    """Rows over all epochs; at least one."""
    if horizon.epochs is not None:
        return max(1, round(horizon.epochs * row_set.num_rows))
    return max(1, round(_tokens_asked(horizon, tokens_per_second) / tokens_per_row(row_set)))


def measured_seconds(minutes: float) -> float:
    """How long to measure the speed of a run of so many minutes: a hundredth, for a moment may mislead."""
    return min(LONGEST_MEASURE, max(SHORTEST_MEASURE, 0.6 * minutes))


def minutes_left(minutes: float, spent_seconds: float) -> float:
    """What remains for the steps after loading, compiling and measuring; never less than half."""
    return max(minutes / 2, minutes - spent_seconds / 60)


def _tokens_asked(horizon: Horizon, tokens_per_second: float | None) -> float:
    """What a horizon that is not in epochs means in tokens."""
    if horizon.minutes is not None and tokens_per_second is not None:
        return horizon.minutes * 60 * TRAINING_SHARE * tokens_per_second
    return horizon.tokens if horizon.tokens is not None else horizon.default_tokens


def planned_tokens(horizon: Horizon, row_set: RowSet | None, tokens_per_second: float) -> int | None:
    """Tokens of a run that has not begun; None where they are counted in epochs of rows that are not there yet."""
    if row_set is None:
        return None if horizon.epochs is not None else round(_tokens_asked(horizon, tokens_per_second))
    return tokens_in(total_samples(horizon, row_set, tokens_per_second), row_set) if row_set.num_rows > 0 else 0


def minutes_for(tokens: float, tokens_per_second: float) -> float:
    """Minutes of a whole run over so many tokens; what `minutes` on the page means, the other way round."""
    return tokens / (60 * TRAINING_SHARE * tokens_per_second)


def bytes_per_value(world: World) -> int:
    """Of an activation in the world's number format."""
    return 2 if world.dtype == "bfloat16" else 4


def activation_budget(config: ModelConfig, world: World) -> int:
    """Bytes that activations may take on this rank: of a GPU a share of what the model and its optimizer leave.

    By the GPU's size, not by what is free now: that is another amount after a rehearsal, and another when a run is
    resumed, which must cut its batches as it did before.
    """
    if not world.device.startswith("cuda"):
        return CPU_ACTIVATION_BYTES
    states = config.training_bytes(0, 0, bytes_per_value(world))
    left = torch.cuda.get_device_properties(world.device).total_memory - states
    return max(0, int(left * GPU_ACTIVATION_SHARE))


def choose_micro_batch(
    parallel: ParallelSettings, config: ModelConfig, world: World, batch_rows: int, row_length: int, budget: int
) -> tuple[int, str]:
    """Rows that go through the model at once, and why: as many of the rank's share as `budget` bytes allow.

    `budget` is the least of all ranks', or they would compute different numbers of micro-batches of different shapes.
    """
    mine = -(-batch_rows // world.size)
    if parallel.micro_batch_rows is not None:
        return min(parallel.micro_batch_rows, mine), "asked for"
    recomputed = parallel.checkpoint_activations
    per_row = config.activation_bytes(1, row_length, bytes_per_value(world), recomputed)
    fitting = max(1, budget // per_row)
    parts = -(-mine // fitting)
    return -(-mine // parts), f"activations of {console.size(per_row)} a row within {console.size(budget)}"
