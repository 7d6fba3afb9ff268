"""Fit the dial: which batch and which learning rate suit a model's width and the tokens that it will see.

In: the text and ids that `learning.py text` made. Out: `docs/results/dial.jsonl`, one line a run, and from all lines
the rule. A run's result depends on its tokens and not on the clock, so that a busy machine measures the same; one
thread each. They are judged by the half of the held-out pieces of which `learning.py` tells nothing. A run that is in
the file is not repeated:

    python benchmarks/dial.py run --shapes 96x4 192x4 --tokens 500k 2M --batches 1024 2048 4096 --rates 3e-3 6e-3 12e-3
    python benchmarks/dial.py fit

The rule is a response surface: held-out bits per byte as a quadratic function of log batch and log rate, whose linear
terms move with log tokens and log width, and whose level is free for every pair of width and tokens. Its lowest point
is then linear in the logarithms: batch = b x tokens^p x width^q, and the rate likewise.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from learning import FOLDER
from learning_side import ours_judged
from machine import machine

from danlu.base import artifact, console
from danlu.base.config import COUNT_UNITS, read_settings, with_unit
from danlu.stages import pretrain

RESULT = Path("docs/results/dial.jsonl")
HEAD_WIDTH, ROW_LENGTH = 32, 256
CENTRE = {"batch": 4096.0, "rate": 4e-3, "tokens": 2e6, "width": 192.0}
"""Where the logarithms are zero: in the middle of what is measured, so that the fit is well conditioned."""
DRAWS = 400
NUMBERS = ("at_centre", "tokens", "width")
KEY = ("width", "layers", "tokens", "batch_tokens", "learning_rate", "optimizer", "seed")


def main() -> None:
    """Run what is not in the file yet, or fit all that is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    added = verbs.add_parser("run")
    added.add_argument("--shapes", nargs="+", required=True, help="WIDTHxLAYERS")
    added.add_argument("--tokens", nargs="+", required=True)
    added.add_argument("--batches", nargs="+", type=int, required=True, help="in tokens")
    added.add_argument("--rates", nargs="+", type=float, required=True)
    added.add_argument("--optimizer", default="muon")
    added.add_argument("--seed", type=int, default=1)
    added.add_argument("--threads", type=int, default=1)
    verbs.add_parser("fit")
    options = parser.parse_args()
    if options.verb == "fit":
        say_fit()
        return
    for shape in options.shapes:
        width, layers = map(int, shape.split("x"))
        for length in options.tokens:
            tokens = int(with_unit(length, COUNT_UNITS, "count"))
            for batch in options.batches:
                for rate in options.rates:
                    key = dict(
                        zip(KEY, (width, layers, tokens, batch, rate, options.optimizer, options.seed), strict=True)
                    )
                    once(key, options.threads)


def once(key: dict[str, Any], threads: int) -> None:
    """One run to its end, unless it is in the file."""
    if any(all(line[name] == value for name, value in key.items()) for line in results()):
        return
    line = {**key, **trained(key, threads)}
    append(RESULT, line)
    console.say(f"{key}: {line['bits_per_byte']}")


def architecture(width: int, layers: int) -> dict[str, Any]:
    """A model of the runs: narrow heads, so that widths may differ little, and an MLP of as many products as usual."""
    return {
        "width": width,
        "layers": layers,
        "heads": width // HEAD_WIDTH,
        "kv_heads": width // HEAD_WIDTH,
        "head_width": HEAD_WIDTH,
        "mlp_width": width * 8 // 3 // 32 * 32,
    }


def trained(key: dict[str, Any], threads: int) -> dict[str, Any]:
    """Train a model to its end; how it is judged by the pieces of which nothing else is told, and by what."""
    page = {
        "size": "tiny",
        "model": architecture(key["width"], key["layers"]),
        "tokens": key["tokens"],
        "batch_rows": key["batch_tokens"] // ROW_LENGTH,
        "learning_rate": key["learning_rate"],
        "optimizer": {"name": key["optimizer"]},
        "watch": {"evaluate_every": 10**9, "validation_rows": 64},
        "checkpoints": {"save_every": 10**9, "finish": "last"},
        "parallel": {"threads": threads},
        "seed": key["seed"],
    }
    run = FOLDER / "learning"
    inputs = {"shards": run / "shard", "tokenizer": run / "tokenizer"}
    with tempfile.TemporaryDirectory() as folder:
        opened = {name: artifact.open_artifact(path, name, verify=False) for name, path in inputs.items()}
        made = pretrain.run(read_settings(pretrain.Config, page, "dial"), opened, Path(folder))
        judged = ours_judged(run, made.folder)
    return {
        "bits_per_byte": round(judged["bits_per_byte_to_choose_by"], 5),
        "machine": machine(),
        "versions": artifact.versions(),
        "measured_at": datetime.now(UTC).date().isoformat(),
    }


def append(path: Path, line: dict[str, Any]) -> None:
    """One more run in a file of them."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def stored(path: Path) -> list[dict[str, Any]]:
    """All runs that a file holds."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def results(optimizer: str | None = None) -> list[dict[str, Any]]:
    """All runs that the file holds, or those of one optimizer."""
    return [line for line in stored(RESULT) if optimizer in (None, line["optimizer"])]


def fit(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule's exponents, its values at the centre, by how much the surface misses the runs (bits per byte), and
    between what bounds nine of ten values lie when the misses are dealt out anew."""
    table, bits = surface(lines), np.array([line["bits_per_byte"] for line in lines])
    found, _, rank, _ = np.linalg.lstsq(table, bits, rcond=None)
    curve = np.array([[2 * found[2], found[4]], [found[4], 2 * found[3]]])
    missed = bits - table @ found
    random = np.random.default_rng(0)
    scale = math.sqrt(len(bits) / max(1, len(bits) - table.shape[1]))
    dealt = [table @ found + scale * random.choice(missed, len(bits)) for _ in range(DRAWS)]
    drawn = np.sort([values(np.linalg.lstsq(table, one, rcond=None)[0]) for one in dealt], axis=0)
    low, high = drawn[DRAWS // 20], drawn[-DRAWS // 20]
    here = values(found)
    return {
        "runs": len(lines),
        "determined": bool(rank == table.shape[1] and np.all(np.linalg.eigvalsh(curve) > 0)),
        "batch": dict(zip(NUMBERS, here[:3], strict=True)),
        "rate": dict(zip(NUMBERS, here[3:], strict=True)),
        "batch_bounds": dict(zip(NUMBERS, zip(low[:3], high[:3], strict=True), strict=True)),
        "rate_bounds": dict(zip(NUMBERS, zip(low[3:], high[3:], strict=True), strict=True)),
        "missed": float(np.sqrt(np.mean(missed**2))),
    }


def surface(lines: list[dict[str, Any]]) -> np.ndarray:
    """The columns of the response surface, a row for each run."""
    logs = {
        name: np.log([line[column] for line in lines]) - math.log(CENTRE[name])
        for name, column in (
            ("batch", "batch_tokens"),
            ("rate", "learning_rate"),
            ("tokens", "tokens"),
            ("width", "width"),
        )
    }
    batch, rate, tokens, width = (logs[name] for name in ("batch", "rate", "tokens", "width"))
    cells = sorted({(line["width"], line["layers"], line["tokens"]) for line in lines})
    level = np.array([[(line["width"], line["layers"], line["tokens"]) == cell for cell in cells] for line in lines])
    terms = [batch, rate, batch**2, rate**2, batch * rate, batch * tokens, rate * tokens, batch * width, rate * width]
    return np.column_stack([*terms, level.astype(float)])


def values(found: np.ndarray) -> list[float]:
    """The lowest point of a surface: batch and rate at the centre, each with its exponents of tokens and width."""
    curve = np.array([[2 * found[2], found[4]], [found[4], 2 * found[3]]])
    lowest = -np.linalg.solve(curve, np.array([[found[0], found[5], found[7]], [found[1], found[6], found[8]]]))
    return [
        number
        for name, (at_centre, *exponents) in zip(("batch", "rate"), lowest.tolist(), strict=True)
        for number in (CENTRE[name] * math.exp(at_centre), *exponents)
    ]


def say_fit() -> None:
    """The best run of every width and length, then the rule."""
    lines = results("muon")
    cells = sorted({(line["width"], line["layers"], line["tokens"]) for line in lines})
    rows = []
    for cell in cells:
        runs = [line for line in lines if (line["width"], line["layers"], line["tokens"]) == cell]
        best = min(runs, key=lambda line: line["bits_per_byte"])
        rows.append((*cell, len(runs), best["batch_tokens"], best["learning_rate"], best["bits_per_byte"]))
    console.table(("width", "layers", "tokens", "runs", "best batch", "best rate", "bits per byte"), rows)
    console.say(json.dumps(fit(lines), indent=1))


if __name__ == "__main__":
    main()
