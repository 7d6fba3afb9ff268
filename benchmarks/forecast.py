"""Measure the final losses that `danlu.train.forecast` draws its bands from.

In: a recipe, lengths, seeds. Out: `src/danlu/train/forecasts.json`, one entry a finished run, each with its machine,
versions and date. Several may measure at one time. Run by hand when the recipe's data, model or optimizer change:

    python benchmarks/forecast.py recipes/quickstart.yaml --tokens 500k 1M 2M 4M --seeds 101 102
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu import running
from danlu.base import artifact, console
from danlu.base.config import COUNT_UNITS, with_unit
from danlu.recipe import Recipe
from danlu.stages import in_full
from danlu.train import forecast


def main() -> None:
    """Run every length with every seed; keep what the table already holds of other recipes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--tokens", nargs="+", required=True, help="lengths of runs, for example 500k 2M")
    parser.add_argument("--seeds", nargs="+", type=int, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    for seed in options.seeds:
        for length in options.tokens:
            record(*measure(options.recipe, seed, int(with_unit(length, COUNT_UNITS, "count")), options.runs))


def measure(page: Path, seed: int, tokens: int, runs: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """One run to the end of its pre-training: its likeness, what decided it, and what it reached."""
    words = ("name=forecast", f"pretrain.seed={seed}", "pretrain.minutes=null", f"pretrain.tokens={tokens}")
    read = Recipe.load(page, words)
    until = next(section.name for section in read.sections if section.stage.name == "pretrain")
    made = running.run(read, runs=runs, until=until, again=True)
    done = made[until]
    step = next(step for step in read.plan(runs) if step.name == until)
    inputs = {need: made[parent] for need, parent in step.parents.items()}
    name = forecast.likeness(done.config, inputs, in_full)
    reached = {
        "seed": seed,
        "target_tokens": tokens,
        "tokens": json.loads((done.folder / "plan.json").read_bytes())["tokens"],
        "loss": done.metrics["validation_loss"],
    }
    console.say(f"{name}: {reached}")
    return name, forecast.settings(done.config, inputs), reached


def record(name: str, decided: dict[str, Any], reached: dict[str, Any]) -> None:
    """Add one run to the table; a run of the same seed and length replaces the old one, and its machine and date.

    What decided runs of this name stays as it was first written, and is read in today's form.
    """
    made = {
        "measured_at": datetime.now(UTC).date().isoformat(),
        "machine": {"processor": platform.machine(), **artifact.versions()},
    }
    with alone_at(forecast.TABLE.parent):
        table = json.loads(forecast.TABLE.read_bytes()) if forecast.TABLE.is_file() else {"runs": {}}
        table.setdefault("settings", {}).setdefault(name, decided)
        kept = [
            run
            for run in table["runs"].get(name, [])
            if (run["seed"], run["target_tokens"]) != (reached["seed"], reached["target_tokens"])
        ]
        rows = [*kept, {**reached, **made}]
        table["runs"][name] = sorted(rows, key=lambda run: (run["target_tokens"], run["seed"]))
        artifact.write_atomically(forecast.TABLE, json.dumps(table, indent=1) + "\n")


@contextmanager
def alone_at(folder: Path) -> Iterator[None]:
    """Wait until no other measurement is at the table. The folder is locked: the table is a new file each time."""
    try:
        import fcntl
    except ImportError:  # Windows: measure one at a time
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    main()
