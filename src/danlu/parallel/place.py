"""A single-device model goes in, a placed one comes out, in a written order: device, dtype, compilation, replication.

In: a model and the `World`. Out: the same model object, ready for training. Called by the stages. Nothing is wrapped:
blocks are compiled in place, so that parameter names are those of the plain model everywhere and for ever, and replicas
are kept equal by `collectives`. Sharding will live here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import torch
from torch.nn import functional

from danlu.base.errors import ConfigError
from danlu.base.world import World
from danlu.kernels.linear import choose_linear, onednn_linear
from danlu.model.transformer import Transformer
from danlu.parallel.collectives import broadcast

COMPILE_FROM_PARAMETERS = 20_000_000
"""Below, on a CPU, eager is as fast and starts at once (two Zen 5 cores, bf16, 1M to 3M parameters: equal)."""
SHAPES = 64
"""Graphs of a block: whole and last micro-batches, in training and validation, of every section and rehearsal."""
CPP_COMPILERS = ("g++", "clang++", "c++")
FIRST_GPP = 12
"""From this version on g++ knows every instruction set that torch writes for."""


def place(model: Transformer, world: World, *, compile: str = "off") -> Transformer:
    """Move, set the compute dtype, compile each block where `compile` says so, give all ranks the same weights."""
    model.to(world.device)
    model.compute_dtype = getattr(torch, world.dtype)
    choose_products(model)
    if choose_compile(compile, model, world)[0]:
        if world.device == "cpu":
            _trust_the_processor()
        # Past the limit the compiler leaves new shapes eager; all sections of a process count towards it together.
        torch._dynamo.config.recompile_limit = SHAPES
        for block in model.blocks:
            block.compile(dynamic=False)  # fixed shapes: one kernel for all steps, or bitwise promises would not hold
    broadcast(model, world)
    return model


def _trust_the_processor() -> None:
    """Spare torch's compiler its trial builds: the processor's flags say what it has, and a new g++ knows them all.

    They are a third of the time to the first step: 15 s and 10 s for a block of width 768 on two Zen 5 cores.
    """
    from torch._inductor import config

    if sys.platform != "linux" or config.cpp.vec_isa_ok is not None or config.cpp.cxx[1] != "g++":
        return  # somebody has decided already, or the compiler is another one
    if shutil.which("g++") is None:
        return
    said = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=False).stdout
    major = said.split(".")[0].strip()
    if major.isdecimal() and int(major) >= FIRST_GPP:
        config.cpp.vec_isa_ok = True


def choose_products(model: Transformer) -> str:
    """Let the fastest library for the model's device and dtype compute its products; which one, and why."""
    faster, reason = choose_linear(next(model.parameters()).device.type, model.compute_dtype)
    model.compute_by(onednn_linear if faster else functional.linear)
    return reason


def kernel_set(model: Transformer, world: World, micro_batch_rows: int) -> dict[str, str | int | bool]:
    """What besides seed and data decides a training to the last bit: bitwise promises hold where it is equal."""
    on_gpu = world.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(world.device) if on_gpu else world.device,
        "dtype": world.dtype,
        "ranks": world.size,
        "micro_batch_rows": micro_batch_rows,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "products": "onednn" if model.product is onednn_linear else "torch",
        "compiled": any(block._compiled_call_impl is not None for block in model.blocks),
    }


def choose_compile(asked: str, model: Transformer, world: World) -> tuple[bool, str]:
    """Whether to compile each block, and why."""
    if asked == "off":
        return False, "switched off"
    on_cpu = world.device == "cpu"
    compiler = next((name for name in CPP_COMPILERS if shutil.which(name) is not None), None)
    if asked == "on":
        if on_cpu and compiler is None:
            raise ConfigError(
                "compiling needs a C++ compiler", found="none of " + ", ".join(CPP_COMPILERS), remedy="install g++"
            )
        return True, "asked for"
    if not on_cpu:
        return world.device.startswith("cuda"), f"torch's choice on {world.device}"
    count = model.config.parameters().total
    if count < COMPILE_FROM_PARAMETERS:
        return False, f"{count:,} parameters: eager is as fast on a CPU and starts at once"
    if compiler is None:
        return False, "no C++ compiler here"
    return True, f"{count:,} parameters, {compiler} present"
