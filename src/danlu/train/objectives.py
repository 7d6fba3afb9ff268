"""Objectives: from hidden states to one loss. Pure functions; the loop does the dividing, scaling and summing.

In: `hidden` (B, T, D), the model's `head`, and a batch. Out: `Loss`: the *sum* over the targets, and how many they
were, so that accumulation and ranks can be exact. Called by the loop and by validation. Knows no model, file or rank.
Letters: B rows, T time, D width, V vocabulary, N targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from danlu.train.samples import TensorBatch

CHUNK_LOGITS = 2**25
"""Logits that exist at once: 128 MiB in fp32. Above, chunks are recomputed in the backward pass, not kept."""


@dataclass(frozen=True)
class Loss:
    """`sum`: fp32 scalar over `count` targets; `metrics`: further sums for the report."""

    sum: Tensor
    count: int
    metrics: Mapping[str, float] = field(default_factory=dict)


Head = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Head, TensorBatch], Loss]


def next_token(hidden: Tensor, head: Head, batch: TensorBatch) -> Loss:
    """Cross-entropy of every position that has a target, in fp32; the head runs on those positions only.

    A batch without targets gives a zero that is still part of the graph, so that every parameter gets a zero gradient.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])  # (B * T, D)
    if batch.num_targets < flat.shape[0]:
        flat = flat.index_select(0, batch.target_index)  # (N, D)
    if batch.num_targets == 0:
        return Loss((hidden.float() * 0.0).sum(), 0)
    targets = batch.target_ids  # (N,)
    vocabulary = _width(head, flat)
    rows = max(1, CHUNK_LOGITS // vocabulary)
    if flat.shape[0] <= rows:
        return Loss(_cross_entropy(flat, targets, head), batch.num_targets)
    total = torch.zeros((), device=flat.device)
    for part, wanted in zip(flat.split(rows), targets.split(rows), strict=True):
        total = total + checkpoint(_cross_entropy, part, wanted, head, use_reentrant=False, preserve_rng_state=False)
    return Loss(total, batch.num_targets)


def _cross_entropy(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    logits = head(hidden).float()  # (N, V)
    return functional.cross_entropy(logits, targets, reduction="sum")


def _width(head: Head, flat: Tensor) -> int:
    """V, asked of the head itself with one position."""
    with torch.no_grad():
        return head(flat[:1].detach()).shape[-1]


OBJECTIVES: dict[str, Any] = {"next_token": next_token}
