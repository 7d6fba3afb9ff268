"""An interleaved run: who is when, and what its rounds come to.

In: names, speeds of the same rounds. Out: an order of each round, ratios. What disturbs the machine for a while
disturbs neighbours alike, so each round is compared in itself; the median of those ratios is told, and their least.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any


def in_turn(names: Iterable[str], number: int) -> list[str]:
    """The names in the order of round `number`: each comes first, and last, as often as the others."""
    listed = list(names)
    first = number % len(listed)
    return listed[first:] + listed[:first]


def paired(ours: Sequence[float], *others: Sequence[float]) -> dict[str, Any]:
    """Of each round our speed over that of the fastest other; their median and the least."""
    ratios = [mine / max(theirs) for mine, *theirs in zip(ours, *others, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 5),
        "least_ratio": round(min(ratios), 5),
        "ratios": [round(ratio, 5) for ratio in ratios],
    }


def middle(rounds: Sequence[Any]) -> Any:
    """The medians of the numbers of several rounds, key by key; of what is no number, the first."""
    first = rounds[0]
    if isinstance(first, dict):
        return {key: middle([one[key] for one in rounds]) for key in first}
    if isinstance(first, float):
        return round(statistics.median(rounds), 3)
    return round(statistics.median(rounds)) if type(first) is int else first
