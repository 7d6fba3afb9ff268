"""Learning-rate schedules: pure functions of the step.

In: the number of the step, from 0, and the number of steps. Out: the factor, 0 to 1, on the peak learning rate. Called
by the loop before every update, so that nothing of a schedule is ever stored: a resumed run asks the same function.
Warm-up, stable, decay: https://arxiv.org/abs/2404.06395; linear decay to zero: https://arxiv.org/abs/2310.07831.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What a schedule knows besides the step: counts in steps, `floor` as a share of the peak."""

    steps: int
    warmup_steps: int
    decay_steps: int
    floor: float

    @classmethod
    def of(cls, steps: int, *, warmup: float, decay: float, floor: float) -> Shape:
        """From shares of the run: a warm-up above zero lasts at least a step, and both fit into the run."""
        warmup_steps = min(steps, math.ceil(warmup * steps))
        return cls(steps, warmup_steps, min(steps - warmup_steps, math.ceil(decay * steps)), floor)


def constant(step: int, shape: Shape) -> float:
    return 1.0


def linear(step: int, shape: Shape) -> float:
    return shape.floor + (1 - shape.floor) * (1 - _passed(step, shape.warmup_steps, shape.steps))


def cosine(step: int, shape: Shape) -> float:
    passed = _passed(step, shape.warmup_steps, shape.steps)
    return shape.floor + (1 - shape.floor) * 0.5 * (1 + math.cos(math.pi * passed))


def wsd(step: int, shape: Shape) -> float:
    return shape.floor + (1 - shape.floor) * (1 - _passed(step, shape.steps - shape.decay_steps, shape.steps))


def _passed(step: int, start: int, stop: int) -> float:
    """How much of `start .. stop` lies behind; update number `stop - 1` is the last and still moves the weights."""
    return min(1.0, max(0, step - start) / max(1, stop - start))


SCHEDULES: dict[str, Callable[[int, Shape], float]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
}


def factor(name: str, step: int, shape: Shape) -> float:
    """The share of the peak learning rate at update `step` (from 0): warm-up first, then the named course."""
    if step < shape.warmup_steps:
        return (step + 1) / shape.warmup_steps
    return SCHEDULES[name](step, shape)
