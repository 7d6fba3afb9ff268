"""Fit the dial's other half: how wide and deep a model of a size should be, and for how many tokens to train it.

In: the text and ids that `learning.py text` made. Out: `docs/results/shapes.jsonl`, one line a run, and from all lines
the two rules. Each question keeps the other things equal; batch and rate are the dial's own for every run:

- `shape`: as many operations for a token and as many tokens, from narrow and deep to wide and shallow, for several
  numbers of both;
- `horizon`: as many operations in all, from small models that see much text to large ones that see little.

A run's result depends on its tokens and not on the clock, so that a busy machine measures the same; one thread each.
They are judged by the half of the held-out pieces of which `learning.py` tells nothing. A run that is in the file is
not repeated:

    python benchmarks/shapes.py run shape horizon
    python benchmarks/shapes.py fit

Both rules are response surfaces, as in `dial.py`: held-out bits per byte as a quadratic function of the logarithm of
what is chosen, whose linear term moves with the logarithms of what is given, and whose level is free for every group of
runs that were given alike. Its lowest point is then a product of powers of what is given.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dial import DRAWS, ROW_LENGTH, append, architecture, stored, trained
from learning import text_digest

from danlu.base import console
from danlu.model.config import ModelConfig
from danlu.train.dial import pace

RESULT = Path("docs/results/shapes.jsonl")
VOCABULARY = 8192
SHAPES = (
    ((96, 11), (128, 5), (160, 2), (192, 1)),
    ((96, 23), (128, 12), (160, 7), (192, 4), (288, 1)),
)
"""Width and layers; the shapes of one line cost alike for a token."""
SHAPE_TOKENS = ((250_000, 1_000_000, 4_000_000), (1_000_000,))
"""For how many tokens the shapes of each line are trained."""
OPERATIONS = (5e12, 1.5e13, 4.5e13)
HORIZONS = (
    ((32, 2), (64, 2), (96, 3), (128, 3)),
    ((32, 2), (64, 2), (96, 3), (128, 3), (192, 4)),
    ((64, 2), (96, 3), (128, 3), (192, 4), (256, 5)),
)
"""The shapes of one line are trained with as many operations in all, those of `OPERATIONS`."""
QUESTIONS: dict[str, dict[str, Any]] = {
    "shape": {"chosen": "aspect", "centre": 48.0, "given": {"tokens": 1e6, "flops_per_token": 1.7e7}},
    "horizon": {"chosen": "matmul", "centre": 1.6e6, "given": {"operations": 1.5e13}},
}
"""What a question chooses, and by what; each with where its logarithm is zero."""
Line = dict[str, Any]


def main() -> None:
    """Run what is not in the file yet, or fit all that is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    added = verbs.add_parser("run")
    added.add_argument("questions", nargs="+", choices=QUESTIONS)
    added.add_argument("--seed", type=int, default=1)
    added.add_argument("--threads", type=int, default=1)
    verbs.add_parser("fit")
    options = parser.parse_args()
    if options.verb == "fit":
        for question in QUESTIONS:
            console.say(f"{question}: {json.dumps(fit(stored(RESULT), question), indent=1)}")
        return
    for question in options.questions:
        for asked in runs(question):
            key = {"question": question, "text": text_digest(), **asked, "seed": options.seed}
            if not any(all(line[name] == value for name, value in key.items()) for line in stored(RESULT)):
                line = {**key, **costs(key), **trained({**key, "optimizer": "muon"}, options.threads)}
                append(RESULT, line)
                console.say(f"{key}: {line['bits_per_byte']}")


def runs(question: str) -> Iterator[dict[str, Any]]:
    """Width, layers, tokens, batch and rate of each run of a question."""
    if question == "shape":
        asked = [
            (width, layers, tokens)
            for line, lengths in zip(SHAPES, SHAPE_TOKENS, strict=True)
            for tokens in lengths
            for width, layers in line
        ]
    else:
        asked = [
            (width, layers, round(operations / model(width, layers).flops_per_token(ROW_LENGTH)))
            for operations, line in zip(OPERATIONS, HORIZONS, strict=True)
            for width, layers in line
        ]
    for width, layers, tokens in asked:
        chosen = pace(width, tokens, ROW_LENGTH, "muon")
        yield {
            "width": width,
            "layers": layers,
            "tokens": tokens,
            "batch_tokens": chosen.batch_rows * ROW_LENGTH,
            "learning_rate": chosen.learning_rate,
        }


def model(width: int, layers: int) -> ModelConfig:
    """The architecture of a run, for its counts."""
    return ModelConfig(vocabulary_size=VOCABULARY, context_length=ROW_LENGTH, **architecture(width, layers))


def costs(key: Line) -> dict[str, float]:
    """What the rules are about: width over layers, parameters in products, operations for a token and in all."""
    counted = model(key["width"], key["layers"])
    for_a_token = counted.flops_per_token(ROW_LENGTH)
    return {
        "aspect": key["width"] / key["layers"],
        "matmul": counted.parameters().matmul,
        "parameters": counted.parameters().total,
        "flops_per_token": for_a_token,
        "operations": for_a_token * key["tokens"],
    }


def group(line: Line) -> tuple[float, ...]:
    """What was equal in the runs that are compared with one another: for a token and in length, or in all."""
    if line["question"] == "horizon":
        return (float(f"{line['operations']:.2g}"),)
    shapes = next(number for number, shapes in enumerate(SHAPES) if (line["width"], line["layers"]) in shapes)
    return (shapes, line["tokens"])


def fit(lines: Sequence[Line], question: str) -> dict[str, Any]:
    """The rule of a question: its value at the centre and the power of each thing given, with the bounds of nine in ten
    fits to surfaces whose misses are dealt out anew; by how much the surface misses the runs, in bits per byte."""
    lines = [line for line in lines if line["question"] == question]
    if not lines:
        return {"runs": 0, "determined": False}
    table, bits = surface(lines, question), np.array([line["bits_per_byte"] for line in lines])
    found, _, rank, _ = np.linalg.lstsq(table, bits, rcond=None)
    missed = bits - table @ found
    told = {"runs": len(lines), "missed": float(np.sqrt(np.mean(missed**2)))}
    random = np.random.default_rng(0)
    scale = math.sqrt(len(bits) / max(1, len(bits) - table.shape[1]))
    dealt = [table @ found + scale * random.choice(missed, len(bits)) for _ in range(DRAWS)]
    again = [np.linalg.lstsq(table, one, rcond=None)[0] for one in dealt]
    if rank < table.shape[1] or min(one[0] for one in (found, *again)) <= 0:  # no bowl, or one by chance
        return {**told, "determined": False}
    drawn = np.sort([lowest(one, question) for one in again], axis=0)
    low, high = drawn[DRAWS // 20], drawn[-DRAWS // 20]
    names = ("value", *QUESTIONS[question]["given"])
    return {
        **told,
        "determined": True,
        "rule": dict(zip(names, lowest(found, question), strict=True)),
        "bounds": dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
    }


def surface(lines: Sequence[Line], question: str) -> np.ndarray:
    """The columns of the response surface, a row for each run: square, linear term, how that moves, levels."""
    asked = QUESTIONS[question]
    chosen = np.log([line[asked["chosen"]] / asked["centre"] for line in lines])
    moved = [chosen * np.log([line[name] / centre for line in lines]) for name, centre in asked["given"].items()]
    groups = sorted({group(line) for line in lines})
    level = np.array([[group(line) == one for one in groups] for line in lines])
    return np.column_stack([chosen**2, chosen, *moved, level.astype(float)])


def lowest(found: np.ndarray, question: str) -> list[float]:
    """Where a surface is lowest over what is chosen: the value at the centre, and the power of each thing given."""
    asked = QUESTIONS[question]
    square, linear, *moved = found[: 2 + len(asked["given"])]
    return [float(asked["centre"] * np.exp(-linear / (2 * square))), *(-one / (2 * square) for one in moved)]


def chosen_at(found: dict[str, Any], question: str, given: Line) -> float:
    """What a fitted rule chooses where so much is given."""
    value = found["rule"]["value"]
    for name, centre in QUESTIONS[question]["given"].items():
        value *= (given[name] / centre) ** found["rule"][name]
    return value


if __name__ == "__main__":
    main()
