"""Speed and memory of training: tokens per second, model FLOPs utilisation, peak memory.

In: tokens and seconds of steps. Out: numbers. Called by the loop's owner after every step. Only tokens that are not
padding count, and only the time of steps: validation, samples and checkpoints lie outside. The FLOP formula is
`ModelConfig.flops_per_token`, the peak is measured (`parallel.peak`), the clock is an argument.
"""

from __future__ import annotations

import resource
import sys
from collections import deque

import torch

WINDOW_STEPS = 20


class Speedometer:
    """Tokens per second over the last `WINDOW_STEPS` steps, and the share of the machine's matrix peak they mean."""

    def __init__(self, flops_per_token: float, peak_flops: float, window: int = WINDOW_STEPS):
        self.flops_per_token, self.peak_flops = flops_per_token, peak_flops
        self._steps: deque[tuple[int, float]] = deque(maxlen=window)

    def add(self, tokens: int, seconds: float) -> None:
        """Count one step: `tokens` over all ranks without padding, `seconds` of wall-clock."""
        self._steps.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        seconds = sum(spent for _, spent in self._steps)
        return sum(tokens for tokens, _ in self._steps) / seconds if seconds > 0 else 0.0

    @property
    def utilisation(self) -> float:
        """MFU, 0 to 1: model FLOP/s reached over the matrix peak of all ranks' devices."""
        return self.tokens_per_second * self.flops_per_token / self.peak_flops if self.peak_flops > 0 else 0.0


def peak_memory_bytes(device: str) -> int:
    """The most memory this process has held so far: on the GPU where it trains there, else resident in main memory."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
