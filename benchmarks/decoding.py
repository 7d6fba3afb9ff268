"""Measure decoding through the engine beside `transformers.generate`: ratios from one interleaved run.

In: sizes and dtypes. Out: `docs/results/decoding.json`: tokens a second at batch 1 and 16 (medians over interleaved
rounds; prompts of 32 tokens, 64 new ones each, greedy, the prompts' computation included) of the same random weights,
by the engine with and without its native decoder and by transformers; and whether all chose the same tokens:

    python benchmarks/decoding.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from training import machine
from training_side import SIZES

from danlu.base import artifact, console
from danlu.convert.reader import load
from danlu.convert.writer import save
from danlu.infer.engine import Engine, Request
from danlu.infer.sampling import Sampling
from danlu.model.config import ModelConfig
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer

RESULT = Path("docs/results/decoding.json")
PROMPT, NEW = 32, 64
BATCHES = (1, 16)


def build(folder: Path, size: str, dtype: str) -> tuple[Transformer, Any]:
    """The same random weights as our model and as transformers' own."""
    from transformers import AutoModelForCausalLM

    values = SIZES[size]
    made = Transformer(
        ModelConfig(
            vocabulary_size=values["vocabulary"],
            width=values["width"],
            layers=values["layers"],
            heads=values["heads"],
            kv_heads=values["heads"],
            head_width=values["width"] // values["heads"],
            mlp_width=values["mlp"],
            context_length=values["length"],
            tied=False,
        )
    )
    initialise(made, 0)
    save(folder, made, None, dtype=dtype, card="made for a measurement")
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    return load(folder, dtype=dtype).model, theirs


def ours(model: Transformer, prompts: list[list[int]], *, native: bool = True) -> list[list[int]]:
    """The engine's answers, each of NEW tokens."""
    vocabulary = model.config.vocabulary_size
    engine = Engine(model, num_slots=len(prompts), length=PROMPT + NEW, vocabulary_limit=vocabulary)
    if not native:
        engine.decoder = None
    sampling = Sampling(temperature=0, max_tokens=NEW)
    return engine.run([Request(tuple(prompt), sampling) for prompt in prompts])


def theirs(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """transformers' answers to the same prompts, greedy, with its cache."""
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        found = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            eos_token_id=None,
            pad_token_id=0,
        )
    return found[:, PROMPT:].tolist()


def measure(size: str, dtype: str, rounds: int) -> dict[str, Any]:
    """Both batches, the three ways in turn, after one round that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        our_model, their_model = build(Path(folder), size, dtype)
    found: dict[str, Any] = {}
    for batch in BATCHES:
        random = torch.Generator().manual_seed(batch)
        prompts = torch.randint(0, SIZES[size]["vocabulary"], (batch, PROMPT), generator=random).tolist()
        ways = {
            "danlu": lambda prompts=prompts: ours(our_model, prompts),
            "danlu without the native decoder": lambda prompts=prompts: ours(our_model, prompts, native=False),
            "transformers": lambda prompts=prompts: theirs(their_model, prompts),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        answers = {name: way() for name, way in ways.items()}
        for number in range(rounds):
            names = list(ways)
            for name in names[number % len(names) :] + names[: number % len(names)]:  # each is first as often
                started_at = time.perf_counter()
                ways[name]()
                speeds[name].append(batch * NEW / (time.perf_counter() - started_at))
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        found[f"batch {batch}"] = {
            "tokens_per_second": {name: round(value) for name, value in medians.items()},
            "segments": {name: [round(value) for value in values] for name, values in speeds.items()},
            "ratio": round(medians["danlu"] / medians["transformers"], 2),
            "same_tokens": sum(
                one == other
                for mine, yours in zip(answers["danlu"], answers["transformers"], strict=True)
                for one, other in zip(mine, yours, strict=True)
            )
            / (batch * NEW),
        }
    return found


def main() -> None:
    """Measure every size in every dtype; keep what the file already holds of others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    for size in options.sizes:
        for dtype in options.dtypes:
            load = round(os.getloadavg()[0], 2)
            table[f"{size} {dtype}"] = {
                **measure(size, dtype, options.rounds),
                "threads": options.threads,
                "load_before": load,
                "machine": machine(),
                "versions": artifact.versions(),
                "measured_at": datetime.now(UTC).date().isoformat(),
                "command": "python benchmarks/decoding.py",
            }
            ratios = {batch: table[f"{size} {dtype}"][f"batch {batch}"]["ratio"] for batch in BATCHES}
            console.say(f"{size} {dtype}: {ratios} times transformers at batch 1 and 16")
            artifact.write_atomically(RESULT, json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
