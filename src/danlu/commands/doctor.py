"""`danlu doctor`: what this machine is, and what it can train in five minutes, an hour, a night.

In: seconds to measure for. Out: tables of the machine and of what it can do, from real training steps. Called by
`cli`; the demo and `show` use its parts. Changes nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.base import artifact, console
from danlu.base.world import World
from danlu.model.config import PRESETS, ModelConfig, preset
from danlu.train.dial import TOKENS_PER_PARAMETER

TYPICAL_VOCABULARY = {"tiny": 2_048, "small": 8_192, "base": 32_000}
LARGE_VOCABULARY = 64_000
BUDGETS = (("5 minutes", 300.0), ("an hour", 3600.0), ("a night (8 h)", 28_800.0))
MEASURED_SIZES = ("tiny", "small")
STEP_TOKENS = 1024
"""Tokens of a measured step: a larger step of the larger model alone would take longer than the whole measurement."""
WORTHWHILE = 0.25
"""A model is offered for a budget that gives it at least this share of the 20 tokens per parameter it can use."""


@dataclass(frozen=True)
class Speed:
    """One measured training speed."""

    size: str
    tokens_per_second: float
    flops: float


def run(seconds: float) -> None:
    """Print the machine, the measured speed, and the table of what can be trained."""
    from danlu.parallel.device import threads
    from danlu.train.settings import ParallelSettings

    console.heading("the machine")
    world = say_machine()
    with threads(ParallelSettings().threads) as (count, _):  # those of a recipe that says nothing about them
        speeds = measure(world, seconds)
    plural = "" if count == 1 else "s"
    console.heading(f"measured: training steps in {world.dtype}, {count} thread{plural}, {seconds:g} seconds")
    console.table(
        ["size", "parameters", "tokens/s", "GFLOP/s"],
        [(s.size, _typical(s.size).parameters().total, round(s.tokens_per_second), s.flops / 1e9) for s in speeds],
    )
    console.heading("what this machine can train")
    console.table(["time", "size", "parameters", "tokens", "tokens a parameter"], list(_offers(speeds, memory_bytes())))
    console.say(f"({TOKENS_PER_PARAMETER} tokens a parameter is the usual measure of a full training)", style="dim")


def say_machine() -> World:
    """Print what the machine is; returns where and in which format training would run."""
    from danlu.parallel.device import describe, discover

    world = discover()
    known = describe(world)
    memory = memory_bytes()
    free = shutil.disk_usage(Path.cwd()).free
    rows = [
        ("processor", processor()),
        ("cores", os.cpu_count()),
        ("kernels", known["kernels"]),
        ("memory", console.in_bytes(memory) if memory is not None else "unknown"),
        ("free disk", console.in_bytes(free)),
        ("training on", world.reason),
        ("threads", known["threads"]),
        *accelerators(),
        ("versions", ", ".join(f"{name} {version}" for name, version in artifact.versions().items())),
    ]
    console.table(["", ""], rows)
    return world


def processor() -> str:
    """The processor's own name where the system tells it."""
    description = Path("/proc/cpuinfo")
    if description.is_file():
        for line in description.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Physical memory, where the system tells it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def accelerators() -> Iterator[tuple[str, str]]:
    """Rows with the name and the memory of each device that torch sees."""
    import torch

    for index in range(torch.cuda.device_count()):
        yield ("accelerator", torch.cuda.get_device_name(index))
        yield ("its memory", console.in_bytes(torch.cuda.get_device_properties(index).total_memory))
    if torch.backends.mps.is_available():
        yield ("accelerator", "Apple GPU (mps)")
    elif torch.cuda.device_count() == 0:
        yield ("accelerator", "none")


def measure(world: World, seconds: float, sizes: Sequence[str] = MEASURED_SIZES) -> list[Speed]:
    """Training speed of some sizes, the seconds shared between them."""
    from danlu.train.speed import tokens_per_second

    found = []
    for size in sizes:
        config = _typical(size)
        rows = max(1, STEP_TOKENS // config.context_length)
        share = seconds / len(sizes)
        speed = tokens_per_second(config, world, rows=rows, row_length=config.context_length, seconds=share)
        found.append(Speed(size, speed, speed * config.flops_per_token(config.context_length)))
    return found


def _typical(size: str) -> ModelConfig:
    return preset(size, TYPICAL_VOCABULARY.get(size, LARGE_VOCABULARY))


def _offers(speeds: list[Speed], memory: int | None) -> Iterator[tuple[object, ...]]:
    """For each budget the largest size that fits the memory and gets a worthwhile share of its tokens."""
    measured = {speed.size: speed for speed in speeds}
    fastest = max(speeds, key=lambda speed: speed.flops)
    for label, seconds in BUDGETS:
        chosen = None
        for size in PRESETS:
            config = _typical(size)
            needed = config.training_bytes(1, config.context_length, 2)
            flops = measured[size].flops if size in measured else fastest.flops
            tokens = seconds * flops / config.flops_per_token(config.context_length)
            share = tokens / config.parameters().total
            fits = memory is None or needed < 0.8 * memory
            if fits and (chosen is None or share >= WORTHWHILE * TOKENS_PER_PARAMETER):
                given = console.Quantity(label, seconds, "seconds")
                total = config.parameters().total
                chosen = (given, size, total, console.in_tokens(tokens), round(share, 1))
        if chosen is not None:
            yield chosen
