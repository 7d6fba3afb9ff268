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
from danlu.model.config import ModelConfig
from danlu.recipe import Recipe, Step

SPEED_SECONDS = 1.0
CHECKPOINT_BYTES_PER_PARAMETER = 12
"""fp32 weight and two moments: what lies in one checkpoint."""


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
        [(step.name, step.section.stage.name, step.state, step.section.stage.makes, step.folder) for step in steps],
    )
    by_name = {step.name: step for step in steps}
    numbers = [row for step in steps if (row := _numbers(step, by_name)) is not None]
    if numbers:
        console.say()
        columns = ["training", "parameters", "tokens", "FLOPs", "memory", "disk", "minutes here"]
        console.table(columns, numbers)


def _numbers(step: Step, steps: Mapping[str, Step]) -> tuple[object, ...] | None:
    """Exact where the section's inputs exist, else from the values on the page; None for sections that do not train."""
    config: Any = step.config
    if step.section.stage.name not in ("pretrain", "finetune"):
        return None
    model, row_length = _architecture(step, steps)
    if model is None:
        return (step.name, "", "", "", "", "", f"{config.minutes:g}" if config.minutes is not None else "")
    total = model.parameters().total
    tokens, minutes = _length(step, steps, model, row_length)
    rows = config.batch_rows if config.batch_rows is not None else max(1, 4096 // row_length)
    memory = model.training_bytes(min(rows, 16), row_length, 2)
    disk = CHECKPOINT_BYTES_PER_PARAMETER * total * (config.checkpoints.keep + 1) + 4 * total
    flops = tokens * model.flops_per_token(row_length)
    return (
        step.name,
        total,
        console.size(tokens, ""),
        f"{flops:.3g}",
        console.size(memory),
        console.size(disk),
        f"{minutes:.1f}",
    )


def _architecture(step: Step, steps: Mapping[str, Step]) -> tuple[ModelConfig | None, int]:
    """The model that a training section trains, and its row length."""
    shards = steps.get(step.parents.get("shards", ""))
    row_length = int(getattr(shards.config, "row_length", 0)) if shards is not None else 0
    if step.section.stage.name == "finetune":
        return _architecture(steps[step.parents["model"]], steps)[0] if "model" in step.parents else None, row_length
    tokenizer = steps[step.parents["tokenizer"]]
    vocabulary = int(tokenizer.config.vocabulary_size)  # type: ignore[attr-defined]
    if tokenizer.state == "done":
        from danlu.tokenizer.tokenizer import Tokenizer

        vocabulary = Tokenizer.load(tokenizer.folder).size
    return step.section.stage.module().architecture(step.config, vocabulary, row_length), row_length


def _length(step: Step, steps: Mapping[str, Step], model: ModelConfig, row_length: int) -> tuple[float, float]:
    """Tokens and minutes: stored ones, else the one follows from the other by this machine's measured speed."""
    config: Any = step.config
    speed = _speed() / model.flops_per_token(row_length)
    stored = step.folder / "plan.json"
    if step.state in ("done", "interrupted") and stored.is_file():
        tokens = float(json.loads(stored.read_bytes())["tokens"])
        if step.state == "done":
            return tokens, artifact.read_manifest(step.folder)["seconds"] / 60
        return tokens, tokens / speed / 60
    if config.minutes is not None:
        return config.minutes * 60 * speed, config.minutes
    tokens = config.tokens if config.tokens is not None else 20.0 * model.parameters().total
    if config.epochs is not None:
        tokens = config.epochs * _tokens_of_an_epoch(steps[step.parents["shards"]], step)
    return tokens, tokens / speed / 60


def _tokens_of_an_epoch(shards: Step, step: Step) -> float:
    """Known when the shards exist; before that nobody can say, and the number is nought."""
    if shards.state != "done":
        return 0.0
    from danlu.shards.files import RowSet

    part = "chat-train" if step.section.stage.name == "finetune" else "pretrain-train"
    return float(RowSet.open(shards.folder / part).num_tokens)


_measured: list[float] = []


def _speed() -> float:
    """This machine's training FLOP/s, measured once a process on the smallest size."""
    if not _measured:
        from danlu.commands.doctor import measure
        from danlu.parallel.device import discover

        _measured.append(max(speed.flops for speed in measure(discover(), SPEED_SECONDS, ("tiny",))))
    return _measured[0]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "by the dial" if value is None else value


def _meaning(step: Step, key: str) -> str:
    """The field's own description."""
    model: Any = type(step.config)
    for part in key.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ""
        model, description = field.annotation, field.description
    return str(description) if description is not None else ""
