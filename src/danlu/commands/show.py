"""`danlu show`: what a recipe means, before anything is done.

In: a recipe and overrides. Out: tables of sections with their state, the resolved values, and the exact numbers of each
training section: parameters, tokens, FLOPs, memory, disk, minutes on this machine. Called by `cli` and the demo.
Writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base import artifact, console
from danlu.base.errors import ConfigError
from danlu.base.world import World
from danlu.model.config import ModelConfig
from danlu.recipe import Recipe, Step
from danlu.running import is_being_made

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
        console.table(["value", "", "meaning"], [(key, str(value), _meaning(step, key)) for key, value in rows])


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
    numbers = [_numbers(step, by_name) for step in training]
    console.say()
    columns = ["training", "parameters", "tokens", "FLOPs", "model memory", "disk", "minutes here"]
    console.table(columns, numbers)
    console.say("  model memory: weights, optimizer states, activations; Python and torch take some more", style="dim")
    unknown = [step.name for step, row in zip(training, numbers, strict=True) if UNKNOWN in row]
    if unknown:
        console.say(f"  {', '.join(unknown)}: epochs become tokens and minutes once the shards are there", style="dim")


def _state(step: Step) -> str:
    if step.state == "interrupted" and is_being_made(step.folder):
        return "running"
    anew = [need for need, parent in step.before.items() if parent.state != "done"]
    return f"stale (its input {anew[0]} is to be made anew)" if step.state == "stale" and anew else step.state


def _numbers(step: Step, steps: Mapping[str, Step]) -> tuple[object, ...]:
    """Exact where the section's inputs exist, else from the values on the page."""
    from danlu.train.planning import bytes_per_value, choose_micro_batch

    config: Any = step.config
    model, row_length = _architecture(step, steps)
    world = _world(config)
    tokens, minutes = _length(
        step, steps, model, _speed(world, config.parallel.threads) / model.flops_per_token(row_length)
    )
    batch_rows = step.section.stage.module().batch_rows(config, row_length)
    rows, _ = choose_micro_batch(config.parallel.micro_batch_rows, model, world, batch_rows, row_length)
    total = model.parameters().total
    disk = CHECKPOINT_BYTES_PER_PARAMETER * total * (config.checkpoints.keep + 1) + 4 * total
    return (
        step.name,
        total,
        console.size(tokens, "") if tokens is not None else UNKNOWN,
        f"{tokens * model.flops_per_token(row_length):.3g}" if tokens is not None else UNKNOWN,
        console.size(model.training_bytes(rows, row_length, bytes_per_value(world))),
        console.size(disk),
        f"{minutes:.1f}" if minutes is not None else UNKNOWN,
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


def _length(
    step: Step, steps: Mapping[str, Step], model: ModelConfig, tokens_per_second: float
) -> tuple[int | None, float | None]:
    """Tokens and minutes: those of the run where it has begun, else as its own planning would count them."""
    from danlu.shards.files import RowSet
    from danlu.train.planning import PLAN, minutes_for, planned_tokens

    config: Any = step.config
    module, shards, stored = step.section.stage.module(), steps[step.parents["shards"]], step.folder / PLAN
    tokens: int | None
    if step.state in ("done", "interrupted") and stored.is_file():
        tokens = int(json.loads(stored.read_bytes())["tokens"])
        if step.state == "done":
            return tokens, artifact.read_manifest(step.folder)["seconds"] / 60
    else:
        rows = RowSet.open(shards.folder / module.TRAINING_ROWS) if shards.state == "done" else None
        tokens = planned_tokens(module.horizon(config, model), rows, tokens_per_second)
    if config.minutes is not None:
        return tokens, config.minutes
    return tokens, minutes_for(tokens, tokens_per_second) if tokens is not None else None


def _world(config: Any) -> World:
    """Where the section would run; a device that only another machine has is replaced by this machine's own."""
    from danlu.parallel.device import discover

    try:
        return discover(config.parallel.device, config.parallel.dtype)
    except ConfigError as error:
        console.warn_once(f"{error}\n  the numbers are those of this machine's own device")
        return discover()


_measured: dict[tuple[str, str, int], float] = {}


def _speed(world: World, threads: int | None) -> float:
    """This machine's training FLOP/s on the section's threads, measured once a process on the smallest size."""
    from danlu.parallel.device import set_threads

    before, _ = set_threads(None)
    count, _ = set_threads(threads)
    key = (world.device, world.dtype, count)
    if key not in _measured:
        from danlu.commands.doctor import measure

        _measured[key] = max(speed.flops for speed in measure(world, SPEED_SECONDS, ("tiny",)))
    set_threads(before)
    return _measured[key]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "not given" if value is None else value


def _meaning(step: Step, key: str) -> str:
    """The field's own description."""
    model: Any = type(step.config)
    for part in key.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ""
        model, description = field.annotation, field.description
    return str(description) if description is not None else ""
