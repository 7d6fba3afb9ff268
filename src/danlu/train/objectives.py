"""Objectives: from hidden states to one loss. Pure functions; the loop does the dividing, scaling and summing.

In: `hidden` (B, T, D), the model's `head`, and a batch. Out: `Loss`: the *sum* over the targets, and how many they
were, so that accumulation and ranks can be exact. Called by the loop and by validation. Knows no model, file or rank.
Letters: B rows, T time, D width, V vocabulary, N targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from danlu.model.parts import Head, Product
from danlu.train.samples import TensorBatch

CHUNK_LOGITS, CHUNK_ROWS, WEIGHT_ROWS = 2**22, 128, 4096
"""Logits that exist at once: 16 MiB in fp32, which caches hold; but never fewer rows than fill a matrix product. And
the rows of the head whose gradients are worked out at once."""


@dataclass(frozen=True)
class Loss:
    """`sum`: fp32 scalar over `count` targets."""

    sum: Tensor
    count: int


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
    return Loss(cross_entropy(flat, head, batch.target_ids), batch.num_targets)


def cross_entropy(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """Sum over N of the cross-entropy of `head(hidden)` (N, D) → (N, V) with `targets` (N,): an fp32 scalar.

    The logits never exist as a whole: each chunk of rows gives its part of the loss and of both gradients while it is
    in the cache, and is forgotten. 4,096 tokens x 8,192 words would else be 128 MiB, written and read seven times.
    """
    weight = head.weight if torch.is_grad_enabled() else head.weight.detach()  # without gradients, none is worked out
    return _CrossEntropy.apply(hidden, weight, targets, head.product)


class _CrossEntropy(torch.autograd.Function):
    """The gradients are worked out in the forward pass, for a loss of one; backward scales them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, product: Product) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        narrow = weight.to(hidden.dtype)  # (V, D)
        rows = max(CHUNK_ROWS, CHUNK_LOGITS // weight.shape[0])
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for_hidden = torch.empty_like(hidden) if wants_hidden else None
        for_weight = torch.zeros_like(weight) if wants_weight else None
        for start in range(0, len(hidden), rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows].unsqueeze(-1)
            logits = product(part, narrow, None).float()  # (n, V)
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser - logits.gather(-1, wanted)).sum()
            if not (wants_hidden or wants_weight):
                continue
            # The gradient of cross-entropy: probabilities, less one where the target is.
            slope = logits.sub_(normaliser).exp_()
            slope = slope.scatter_add_(-1, wanted, slope.new_full((), -1.0).expand_as(wanted)).to(hidden.dtype)
            if for_hidden is not None:
                for_hidden[start : start + rows] = product(slope, narrow.t(), None)
            if for_weight is not None:
                for first in range(0, len(for_weight), WEIGHT_ROWS):  # their gradients need not exist twice as a whole
                    some = slice(first, first + WEIGHT_ROWS)
                    for_weight[some] += product(slope[:, some].t(), part.t(), None)
        ctx.gradients = for_hidden, for_weight
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.gradients is not None, "a loss gives its gradients once: they are scaled in place"
        (for_hidden, for_weight), ctx.gradients = ctx.gradients, None
        return (
            None if for_hidden is None else for_hidden.mul_(scale),
            None if for_weight is None else for_weight.mul_(scale),
            None,
            None,
        )
