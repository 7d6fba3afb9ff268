"""What the processes of one launch share before any process group: a small store of words, kept by torchrun or rank 0.

In: the `World`, of several ranks. Out: words of the first rank, heard by all in the order in which they were told; and
for each process group a corner of the store that none had before. Called by `running`, which must say what the ranks
do next while no stage has joined them, and by `collectives`. Moves no tensors and has no time limit: the first rank
may clean text for hours before it has something to tell.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from danlu.base.errors import UserError
from danlu.base.world import World

LOOK_SECONDS = 0.05
LEAVE_SECONDS = 60.0
"""How long the first rank waits at the end for the others to have heard everything, where it keeps the store itself."""
STOPPED = "stopped"
_corners = itertools.count()
"""The store outlives groups and recipes, so their keys must differ; all ranks ask for corners in the same order."""


@cache
def _store(rank: int, size: int) -> dist.Store:
    """The launch's own store, from torchrun's environment; held open as long as the process lives."""
    return next(rendezvous("env://", rank, size))[0]


def corner(world: World) -> dist.Store:
    """A part of the store that nobody has used: old keys there would be taken for answers."""
    return dist.PrefixStore(f"danlu-{next(_corners)}", _store(world.rank, world.size))


@contextmanager
def telling(world: World) -> Iterator[Callable[[str], None]]:
    """For the first rank: a function that tells the others a word. They also learn of an error that ends the block."""
    store, numbers = corner(world), itertools.count()

    def tell(word: str) -> None:
        store.set(f"word-{next(numbers)}", word)

    try:
        yield tell
    except BaseException:
        tell(STOPPED)
        raise
    others = [f"left-{rank}" for rank in range(1, world.size)]
    ends_at = time.monotonic() + LEAVE_SECONDS
    while not store.check(others) and time.monotonic() < ends_at:
        time.sleep(LOOK_SECONDS)


@contextmanager
def hearing(world: World) -> Iterator[Callable[[], str]]:
    """For the other ranks: a function that waits for the next word; UserError where the first rank has ended."""
    store, numbers = corner(world), itertools.count()

    def hear() -> str:
        key = f"word-{next(numbers)}"
        try:
            while not store.check([key]):
                time.sleep(LOOK_SECONDS)
            word = store.get(key).decode()
        except dist.DistError:  # the first rank kept the store, and is gone
            word = STOPPED
        if word == STOPPED:
            raise UserError(f"rank {world.rank} stops: the first rank has ended, and its own message says why")
        return word

    yield hear
    with suppress(dist.DistError):  # the first rank has gone, and nobody waits any more
        store.set(f"left-{world.rank}", "")
