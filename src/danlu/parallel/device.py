"""Which device, which number format, which rank: decided once, with the reason, and passed on as a `World`.

In: two words from the config (`device`, `dtype`) and the environment that torchrun sets. Out: `World`. Called by the
stages and by `doctor`. The only place that reads torchrun's variables. Starts no process group (`collectives.joined`)
and moves no model (`place`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from danlu.base import console
from danlu.base.errors import ConfigError
from danlu.base.world import World

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Names in /proc/cpuinfo of the instruction sets with which oneDNN multiplies bf16 faster than fp32."""
DTYPES = ("float32", "bfloat16")
WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""What NVIDIA's library wants to be told, before its first product, to give equal bits each time."""


def discover(device: str = "auto", dtype: str = "auto") -> World:
    """The `World` of this process: rank and size from torchrun, device and dtype as asked or as the machine allows."""
    rank, size, local_rank = (_number(name, default) for name, default in _TORCHRUN)
    chosen, device_reason = _device(device, local_rank)
    if chosen.startswith("cuda"):
        os.environ.setdefault(*WORKSPACE)
    number, dtype_reason = _dtype(dtype, chosen)
    peers = f"rank {rank} of {size}; " if size > 1 else ""
    return World(rank, size, local_rank, chosen, number, f"{peers}{chosen}: {device_reason}; {number}: {dtype_reason}")


def answering(who: str) -> World:
    """Where `who` lets a model answer: as `discover` has it, but on a CPU in fp32.

    There an answer is the same alone and beside others, which costs little and is worth more.
    """
    world = discover()
    if world.device != "cpu":
        return world
    say_left_idle(who, "unasked, CUDA devices are used and no others")
    return discover(dtype="float32")


def accelerator() -> str | None:
    """The name of an accelerator that torch could use here; None where there is the CPU alone."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "an Apple GPU (mps)" if torch.backends.mps.is_available() else None


def say_left_idle(who: str, reason: str) -> None:
    """Say once that `who` computes on the CPU although there is an accelerator, and why; else say nothing."""
    name = accelerator()
    if name is not None:
        console.warn_once(f"this machine has {name}, and {who} computes on the CPU: {reason}")


_TORCHRUN = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))


def _number(name: str, default: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise ConfigError(f"the environment variable {name} is not a number", found=text, remedy="start with torchrun")
    return int(text)


def _device(asked: str, local_rank: int) -> tuple[str, str]:
    """The device as torch spells it, and why."""
    if asked == "auto":
        if torch.cuda.is_available():
            return f"cuda:{local_rank}", torch.cuda.get_device_name(local_rank)
        return "cpu", "no CUDA device here"
    kind = asked.split(":")[0]
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable.get(kind, False):
        raise ConfigError(
            f"the device {asked!r} cannot be used",
            found="torch sees " + ", ".join(name for name, present in usable.items() if present),
            remedy="set parallel.device to auto or to one of these",
        )
    return (f"cuda:{local_rank}" if asked == "cuda" else asked), "asked for"


def _dtype(asked: str, device: str) -> tuple[str, str]:
    """The number format of activations and products, and why. Parameters stay fp32 in either case."""
    if asked in DTYPES:
        return asked, "asked for"
    if asked != "auto":
        raise ConfigError(f"the dtype {asked!r} is not known", found=asked, remedy=f"one of auto, {', '.join(DTYPES)}")
    return fastest_dtype(device)


def fastest_dtype(device: str) -> tuple[str, str]:
    """The number format in which the device multiplies fastest and training is known to work, and why."""
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "the GPU has bf16 arithmetic"
        return "float32", "the GPU has no bf16 arithmetic"
    if device == "cpu":
        flag = bfloat16_instructions()
        if flag is not None:
            return "bfloat16", f"the processor has {flag}"
        return "float32", "the processor has no bf16 arithmetic (AVX512-BF16 or AMX)"
    return "float32", f"the safe choice on {device}"


def bfloat16_instructions() -> str | None:
    """The name of the processor's bf16 instruction set, or None; off Linux only as far as torch can tell."""
    description = Path("/proc/cpuinfo")
    if description.is_file():
        flags = set(description.read_text(errors="replace").split())
        return next((flag for flag in BFLOAT16_FLAGS if flag in flags), None)
    probe = getattr(torch.cpu, "get_capabilities", None)  # newer torch only
    known = probe() if probe is not None else {}
    return next((flag for flag in BFLOAT16_FLAGS if known.get(flag)), None)


@contextmanager
def threads(count: int | None) -> Iterator[tuple[int, str]]:
    """Let torch use `count` threads (None: as many as it has) while the block runs; the number in force, and why.

    Afterwards it has as many as before: what one section asks for is no matter to the next.
    """
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads(), "asked for" if count is not None else "torch's own count of the cores"
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextmanager
def prepared(world: World) -> Iterator[None]:
    """While the block runs, a GPU is torch's current one and computes the same bits each time; a CPU does so anyway.

    Strictly: with warnings alone torch would leave the backward pass of masked attention as it is. An operation without
    a deterministic kernel would be an error that names it; training uses none.
    """
    if not world.device.startswith("cuda"):
        yield
        return
    torch.cuda.set_device(world.device)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # nothing here reads what it has not written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filling


def describe(world: World) -> dict[str, object]:
    """What a manifest records of the machine: bitwise promises hold for one of these."""
    return {
        "device": world.device,
        "dtype": world.dtype,
        "ranks": world.size,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }
