"""The matrix peak of this machine, measured: the denominator of MFU.

In: a `World`. Out: FLOP/s of one rank's device, in the dtype of training, on square products that fit its caches well,
by the library that training uses there.
Called by the training stages and `doctor`. Claims no data-sheet number: a share of what was never reached here
would say nothing about this code.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional

from danlu.base.world import World
from danlu.kernels.linear import choose_linear, onednn_linear

CPU_SIDE, GPU_SIDE = 1024, 8192
MEASURED_SECONDS = 0.4


def matmul_peak(
    world: World, *, seconds: float = MEASURED_SECONDS, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The best FLOP/s of one `side` × `side` product seen in about `seconds` seconds."""
    side = CPU_SIDE if world.device == "cpu" else GPU_SIDE
    dtype = getattr(torch, world.dtype)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator).to(world.device, dtype) for _ in range(2))
    product = onednn_linear if choose_linear(world.device.split(":")[0], dtype)[0] else functional.linear
    best = float("inf")
    ends_at = clock() + seconds
    with torch.inference_mode():
        product(left, right)  # the first call pays for packing and kernel choice
        while clock() < ends_at or best == float("inf"):
            started_at = clock()
            product(left, right)
            if world.device != "cpu":
                torch.accelerator.synchronize(world.device)
            best = min(best, max(clock() - started_at, 1e-9))
    return 2.0 * side**3 / best
