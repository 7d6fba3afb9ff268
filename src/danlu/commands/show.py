"""`danlu show`: what a recipe means, before anything is done.

In: a recipe and overrides. Out: tables of sections with their state, the resolved values, and the exact numbers of each
training section: parameters, tokens, FLOPs, memory, disk, minutes on this machine. Called by `cli` and the demo.
Writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base import artifact, console
from danlu.base.errors import ConfigError
from danlu.base.world import World
from danlu.commands.estimate import epoch_tokens
from danlu.model.config import ModelConfig
from danlu.recipe import Recipe
from danlu.running import is_being_made
from danlu.step import Step

SPEED_SECONDS = 1.0
CHECKPOINT_BYTES_PER_PARAMETER = 12
"""fp32 weight and two moments: what lies in one checkpoint."""
UNKNOWN = "not yet known"


def run(recipe: Path, values: Sequence[str], runs: Path) -> None:
    """Print the plan, then every resolved value."""
    read = Recipe.load(recipe, values)
    console.heading(f"{read.name}  (seed {read.seed}, {recipe})")
    say_plan(read, runs)
    for step in read.plan(runs):
        console.heading(step.name)
        rows = list(_flat(step.config.model_dump(mode="json")))
        console.table(
            ["value", "", "meaning"], [(key, console.plainly(value), _meaning(step, key)) for key, value in rows]
        )


def say_plan(read: Recipe, runs: Path) -> None:
    """The sections with their states, and the numbers of those that train."""
    steps = read.plan(runs)
    console.table(
        ["section", "stage", "state", "makes", "folder"],
        [(step.name, step.section.stage.name, _state(step), step.section.stage.makes, step.folder) for step in steps],
    )
    by_name = {step.name: step for step in steps}
    training = [step for step in steps if step.section.stage.name in ("pretrain", "finetune")]
    if not training:
        return
    lengths = {step.name: _length(step, by_name) for step in training}
    console.say()
    columns = ["training", "parameters", "tokens", "updates", "FLOPs", "model memory", "disk", "minutes here"]
    console.table(columns, [_numbers(step, by_name, lengths[step.name]) for step in training])
    console.say("  model memory: weights, optimizer states, activations; Python and torch take some more", style="dim")
    for name, length in lengths.items():
        if length.tokens is None:
            console.say(f"  {name}: epochs become tokens and minutes once the shards are there", style="dim")
        elif length.basis:
            console.say(f"  {name}: ~ is an estimate, exact once the shards are there: {length.basis}", style="dim")


def _state(step: Step) -> str:
    if step.state == "interrupted" and is_being_made(step.folder):
        return "running"
    anew = [need for need, parent in step.before.items() if parent.state != "done"]
    return f"stale (its input {anew[0]} is to be made anew)" if step.state == "stale" and anew else step.state


@dataclass(frozen=True)
class Length:
    """How long a training section is; None: nobody can say yet. `basis`: what an estimate stands on, else empty."""

    tokens: int | None
    updates: int | None
    minutes: float | None
    basis: str = ""

    def cell(self, value: float | None, unit: str, text: str) -> object:
        """A cell of one of its numbers, marked where it is an estimate."""
        if value is None:
            return console.Quantity(UNKNOWN, None)
        if self.basis:
            return console.Quantity(f"~{text}", value, unit, estimate=True)
        return console.Quantity(text, value, unit)


def _numbers(step: Step, steps: Mapping[str, Step], length: Length) -> tuple[object, ...]:
    """Exact where the section's inputs exist, else from the values on the page."""
    from danlu.train.dial import horizon_tokens
    from danlu.train.planning import activation_budget, bytes_per_value, choose_micro_batch

    config: Any = step.config
    model, row_length = _architecture(step, steps)
    world = _world(config)
    tokens = length.tokens if length.tokens is not None else horizon_tokens(model.parameters().total)
    pace = step.section.stage.module().pace(config, model, row_length, tokens)
    budget = activation_budget(model, world)
    rows, _ = choose_micro_batch(config.parallel, model, world, pace.batch_rows, row_length, budget)
    recomputed = config.parallel.checkpoint_activations
    total = model.parameters().total
    disk = CHECKPOINT_BYTES_PER_PARAMETER * total * (config.checkpoints.keep + 1) + 4 * total
    flops = length.tokens * model.flops_per_token(row_length) if length.tokens is not None else None
    return (
        step.name,
        total,
        length.cell(length.tokens, "tokens", console.size(length.tokens or 0, "")),
        length.cell(length.updates, "updates", f"{length.updates or 0:,}"),
        length.cell(flops, "FLOPs", f"{flops or 0:.3g}"),
        console.in_bytes(model.training_bytes(rows, row_length, bytes_per_value(world), recomputed)),
        console.in_bytes(disk),
        length.cell(length.minutes, "minutes", f"{length.minutes or 0:.1f}"),
    )


def _architecture(step: Step, steps: Mapping[str, Step]) -> tuple[ModelConfig, int]:
    """The model that a training section trains, and its row length."""
    row_length = int(steps[step.parents["shards"]].config.row_length)  # type: ignore[attr-defined]
    if step.section.stage.name == "finetune":
        return _architecture(steps[step.parents["model"]], steps)[0], row_length
    tokenizer = steps[step.parents["tokenizer"]]
    vocabulary = int(tokenizer.config.vocabulary_size)  # type: ignore[attr-defined]
    if tokenizer.state == "done":
        from danlu.tokenizer.tokenizer import Tokenizer

        vocabulary = Tokenizer.load(tokenizer.folder).size
    return step.section.stage.module().architecture(step.config, vocabulary, row_length), row_length


def _length(step: Step, steps: Mapping[str, Step]) -> Length:
    """That of the run where it has begun, else as its own planning would count it, else an estimate."""
    from danlu.shards.files import RowSet
    from danlu.train.planning import minutes_for, planned_tokens, stored_plan, tokens_per_row

    config: Any = step.config
    module, shards = step.section.stage.module(), steps[step.parents["shards"]]
    model, row_length = _architecture(step, steps)
    per_second = _speed(_world(config), config.parallel.threads) / model.flops_per_token(row_length)
    plan = stored_plan(step.folder) if step.state in ("done", "interrupted") else {}
    if plan:
        took = artifact.read_manifest(step.folder)["seconds"] / 60 if step.state == "done" else config.minutes
        minutes = took if took is not None else minutes_for(plan["tokens"], per_second)
        return Length(int(plan["tokens"]), int(plan["steps"]), minutes)
    rows = RowSet.open(shards.folder / module.TRAINING_ROWS) if shards.state == "done" else None
    horizon, basis = module.horizon(config, model), ""
    tokens = planned_tokens(horizon, rows, per_second)
    if tokens is None:
        tokens, basis = _estimated(step, steps, horizon.epochs)
    if tokens is None:
        return Length(None, None, config.minutes)
    a_row = tokens_per_row(rows) if rows is not None and rows.num_rows > 0 else row_length
    batch_rows = module.pace(config, model, row_length, tokens).batch_rows
    updates = math.ceil(max(1, round(tokens / a_row)) / batch_rows)
    return Length(
        tokens, updates, config.minutes if config.minutes is not None else minutes_for(tokens, per_second), basis
    )


def _estimated(step: Step, steps: Mapping[str, Step], epochs: float) -> tuple[int | None, str]:
    found = epoch_tokens(step, steps)
    return (None, "") if found is None else (round(epochs * found[0]), found[1])


def _world(config: Any) -> World:
    """Where the section would run; a device that only another machine has is replaced by this machine's own."""
    from danlu.parallel.device import discover

    try:
        return discover(config.parallel.device, config.parallel.dtype)
    except ConfigError as error:
        console.warn_once(f"{error}\n  the numbers are those of this machine's own device")
        return discover()


_measured: dict[tuple[str, str, int], float] = {}


def _speed(world: World, asked: int | None) -> float:
    """This machine's training FLOP/s on the section's threads, measured once a process on the smallest size."""
    from danlu.parallel.device import threads

    with threads(asked) as (count, _):
        key = (world.device, world.dtype, count)
        if key not in _measured:
            from danlu.commands.doctor import measure

            _measured[key] = max(speed.flops for speed in measure(world, SPEED_SECONDS, ("tiny",)))
    return _measured[key]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _meaning(step: Step, key: str) -> str:
    """The field's own description."""
    model: Any = type(step.config)
    for part in key.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ""
        model, description = field.annotation, field.description
    return str(description) if description is not None else ""
