"""Measure decoding through the engine beside `transformers.generate`: ratios from one interleaved run.

In: sizes and dtypes. Out: `docs/results/decoding.json` and the page: tokens a second at batch 1 and 16 (prompts of 32
tokens, 64 new ones each, greedy, the prompts' computation included) of the same random weights, by the engine with and
without its native decoder and by transformers. One process, in which the three take turns, each for at least
`--seconds` a round; a ratio is of one round, and their median and least are told.

Where two logits are nearly equal rounding decides, and after one token that differs all may. So the logits are
compared, too: each way is led along the tokens that transformers chose, and its logits are held against those by which
it chose them; in bf16 all three also against those of the same weights in fp32, which tells whose rounding it is:

    python benchmarks/decoding.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speed_page
import torch
from machine import add_options, stamp
from rounds import in_turn, paired
from torch import Tensor
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
OURS, IN_TORCH, THEIRS = "danlu", "danlu without the native decoder", "transformers"
WAYS = (OURS, IN_TORCH, THEIRS)


@dataclass
class Models:
    """The same random weights as our model, as transformers' own, and as transformers' own in fp32."""

    ours: Transformer
    theirs: Any
    exact: Any


def build(folder: Path, size: str, dtype: str) -> Models:
    """The models; in fp32 the exact one is transformers' own."""
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
    exact = theirs if dtype == "float32" else AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Models(load(folder, dtype=dtype).model, theirs, exact)


def engine_of(model: Transformer, num_slots: int, native: bool) -> Engine:
    """The engine, which without a native decoder takes each step in torch."""
    vocabulary = model.config.vocabulary_size
    engine = Engine(model, num_slots=num_slots, length=PROMPT + NEW, vocabulary_limit=vocabulary)
    if not native:
        engine.decoder = None
    elif engine.decoder is None:
        raise SystemExit(f"there is no native decoder to measure: {engine.decoder_reason}")
    return engine


def ours(model: Transformer, prompts: list[list[int]], *, native: bool) -> list[list[int]]:
    """The engine's answers, each of NEW tokens."""
    sampling = Sampling(temperature=0, max_tokens=NEW)
    requests = [Request(tuple(prompt), sampling) for prompt in prompts]
    return engine_of(model, len(prompts), native).run(requests)


def theirs(model: Any, prompts: list[list[int]], **more: Any) -> Any:
    """transformers' answers to the same prompts, greedy, with its cache."""
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            eos_token_id=None,
            pad_token_id=0,
            **more,
        )


def led(model: Transformer, ids: Tensor, *, native: bool) -> Tensor:
    """Our logits (B, NEW, V) along given ids (B, PROMPT + NEW): the engine's own steps, but for the choice."""
    engine = engine_of(model, len(ids), native)
    slots = torch.arange(len(ids))

    def places(start: int, stop: int) -> Tensor:
        return torch.arange(start, stop).expand(len(ids), -1)

    def forward(start: int, stop: int) -> Tensor:
        given = {"positions": places(start, stop), "cache": engine.cache, "slots": slots}
        return model.head(model(ids[:, start:stop], **given)[:, -1])

    with torch.inference_mode():
        found = [forward(0, PROMPT)]
        for place in range(PROMPT, PROMPT + NEW - 1):
            if engine.decoder is None:
                found.append(forward(place, place + 1))
            else:
                hidden = engine.decoder.hidden(ids[:, place], places(place, place + 1)[:, 0].contiguous(), slots)
                found.append(engine.decoder.logits(hidden))
    return torch.stack(found, 1).float()


def agreement(models: Models, prompts: list[list[int]], dtype: str) -> dict[str, Any]:
    """How near the ways are to one another, along the tokens that transformers chose."""
    chosen = theirs(models.theirs, prompts, return_dict_in_generate=True, output_logits=True)
    ids = chosen.sequences
    logits = {
        OURS: led(models.ours, ids, native=True),
        IN_TORCH: led(models.ours, ids, native=False),
        THEIRS: torch.stack(chosen.logits, 1).float(),
    }
    found: dict[str, Any] = {
        name: {
            "same_tokens": _share(torch.tensor(ours(models.ours, prompts, native=name == OURS)) == ids[:, PROMPT:]),
            "along_their_tokens": nearness(logits[name], logits[THEIRS]),
        }
        for name in (OURS, IN_TORCH)
    }
    if dtype != "float32":
        with torch.inference_mode():
            exact = models.exact(ids).logits[:, PROMPT - 1 : -1].float()
        found["to_fp32"] = {name: nearness(one, exact) for name, one in logits.items()}
    return found


def nearness(logits: Tensor, reference: Tensor) -> dict[str, float]:
    """How often the same token is the likeliest, and how far logits (B, T, V) are apart."""
    apart = (logits - reference).abs()
    return {
        "same_likeliest": _share(logits.argmax(-1) == reference.argmax(-1)),
        "greatest_difference": float(f"{apart.max():.3g}"),
        "mean_difference": float(f"{apart.mean():.3g}"),
    }


def _share(alike: Tensor) -> float:
    return round(alike.float().mean().item(), 4)


def calls_per_second(way: Callable[[], object], seconds: float) -> float:
    """How often a way is done in a second; it is repeated until at least so many have passed."""
    calls, started_at = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - started_at < seconds:
        way()
        calls += 1
    return calls / (time.perf_counter() - started_at)


def measure(size: str, dtype: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Both batches, the three ways in turn, once their logits have been compared, which warms them all."""
    with tempfile.TemporaryDirectory() as folder:
        models = build(Path(folder), size, dtype)
    found: dict[str, Any] = {}
    for batch in BATCHES:
        random = torch.Generator().manual_seed(batch)
        prompts = torch.randint(0, SIZES[size]["vocabulary"], (batch, PROMPT), generator=random).tolist()
        ways: dict[str, Callable[[], object]] = {
            OURS: lambda prompts=prompts: ours(models.ours, prompts, native=True),
            IN_TORCH: lambda prompts=prompts: ours(models.ours, prompts, native=False),
            THEIRS: lambda prompts=prompts: theirs(models.theirs, prompts),
        }
        agreed = agreement(models, prompts, dtype)
        speeds: dict[str, list[float]] = {name: [] for name in WAYS}
        for number in range(rounds):
            for name in in_turn(WAYS, number):
                speeds[name].append(batch * NEW * calls_per_second(ways[name], seconds))
        found[f"batch {batch}"] = {
            "tokens_per_second": {name: round(statistics.median(speeds[name])) for name in WAYS},
            "segments": {name: [round(value, 1) for value in speeds[name]] for name in WAYS},
            "to_transformers": paired(speeds[OURS], speeds[THEIRS]),
            "agreement": agreed,
        }
    return found


def main() -> None:
    """Measure every size in every dtype; keep what the file already holds of others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one way in one round, at least")
    add_options(parser, RESULT)
    options = parser.parse_args()
    stamped = stamp(options)
    torch.set_num_threads(options.threads)
    table = json.loads(options.result.read_text()) if options.result.is_file() else {}
    for size in options.sizes:
        for dtype in options.dtypes:
            name = f"{size} {dtype}"
            table[name] = {
                **measure(size, dtype, options.rounds, options.seconds),
                "rounds": options.rounds,
                "seconds_of_a_segment": options.seconds,
                "threads": options.threads,
                "versions": artifact.versions(),
                **stamped,
            }
            ratios = {batch: table[name][f"batch {batch}"]["to_transformers"]["ratio"] for batch in BATCHES}
            console.say(f"{name}: times transformers by batch: {ratios}")
            artifact.write_atomically(options.result, json.dumps(table, indent=1) + "\n")
    speed_page.write_after(options.result)


if __name__ == "__main__":
    main()
