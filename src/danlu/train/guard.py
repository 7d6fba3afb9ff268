"""The check before the update: a loss or a gradient that is not finite stops the run while the weights are still good.

In: one step's loss and gradient norm, equal on all ranks, and what the step was made of; or a validation loss. Out:
nothing, or `Diverged`. Called by the loop between clipping and the update, and after each validation, where it notices
what a last update with a finite gradient has done. Repairs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from danlu.base.errors import UserError

NAMED_SAMPLES = 8


class Diverged(UserError):
    """Training ran into numbers that are not finite; the weights are those before the step."""


def check_finite(loss: float, gradient_norm: float, step: int, rows: Sequence[int]) -> None:
    """Raise `Diverged`, naming update `step` (from 1) and the rows of its samples, unless both numbers are finite."""
    if math.isfinite(loss) and math.isfinite(gradient_norm):
        return
    named = ", ".join(str(row) for row in rows[:NAMED_SAMPLES])
    more = f" and {len(rows) - NAMED_SAMPLES} more" if len(rows) > NAMED_SAMPLES else ""
    raise Diverged(
        f"training stopped before update {step}: the loss or the gradient is not finite",
        where=f"step {step}, rows {named}{more}",
        found=f"loss {loss}, gradient norm {gradient_norm}",
        remedy="lower the learning rate or look at these rows with `danlu look`; the weights before this step are kept",
    )


def check_validation(loss: float, step: int) -> None:
    """Raise `Diverged` where the validation loss after update `step` is not finite: such weights are not saved."""
    if not math.isfinite(loss):
        raise Diverged(
            f"training stopped after update {step}: the validation loss is not finite",
            found=f"validation loss {loss}",
            remedy="lower the learning rate; the weights of the last checkpoint are kept",
        )
