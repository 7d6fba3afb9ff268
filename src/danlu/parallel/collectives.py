"""What ranks tell each other: sums, minima, broadcasts, barriers. With one rank all return what they were given.

In: numbers or tensors and the `World`. Out: the same on every rank. Called by `train` and the stages. Gradients are
summed here, not by torch's DistributedDataParallel, and after the last micro-batch: a sum (the loss already carries
the global token count), in buckets that never change, so that a resumed run adds in the same order as the run that
was never stopped; a rank without samples takes part with zeros. See docs/decisions/0002-gradient-sums.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from danlu.base.world import World
from danlu.parallel.device import prepared
from danlu.parallel.launch import corner

BUCKET_BYTES = 25 * 2**20
TIMEOUT = timedelta(minutes=10)
Value = TypeVar("Value", int, float, Tensor)


@contextmanager
def joined(world: World) -> Iterator[World]:
    """Hold the process group open while the block runs: gloo on CPUs, NCCL on GPUs, none for a single rank."""
    with prepared(world):
        if world.size == 1 or dist.is_initialized():
            yield world
            return
        with _group(world):
            yield world


@contextmanager
def _group(world: World) -> Iterator[None]:
    backend = "nccl" if world.device.startswith("cuda") else "gloo"
    # A corner of its own: in the store of an earlier group the ranks would find each other's old addresses.
    dist.init_process_group(backend, store=corner(world), rank=world.rank, world_size=world.size, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def sum_over_ranks(value: Value, world: World) -> Value:
    """The sum of `value` over all ranks, of the same type; whole numbers stay exact."""
    if world.size == 1:
        return value
    if isinstance(value, Tensor):
        total = value.clone()
        dist.all_reduce(total)
        return total
    number = torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64, device=world.device)
    dist.all_reduce(number)
    return number.item()  # type: ignore[return-value]


def least_over_ranks(value: int, world: World) -> int:
    """The smallest `value` of any rank, on every rank."""
    if world.size == 1:
        return value
    number = torch.tensor(value, dtype=torch.int64, device=world.device)
    dist.all_reduce(number, op=dist.ReduceOp.MIN)
    return int(number)


def from_first(value: float, world: World) -> float:
    """Rank 0's `value` on every rank: for what is measured, and would differ from rank to rank."""
    return sum_over_ranks(float(value) if world.is_first else 0.0, world)


def barrier(world: World) -> None:
    """Wait until every rank has come this far."""
    if world.size > 1:
        dist.barrier()


def broadcast(model: nn.Module, world: World) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if world.size == 1:
        return
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)


def sum_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace every gradient by its sum over the ranks; a missing gradient counts as zero."""
    if world.size == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    buckets = [(bucket, torch.cat([gradient.reshape(-1) for gradient in bucket])) for bucket in _buckets(gradients)]
    for waiting in [dist.all_reduce(flat, async_op=True) for _, flat in buckets]:
        waiting.wait()
    for bucket, flat in buckets:
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours together up to `BUCKET_BYTES`; the cut depends on shapes alone."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.nbytes > BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket
