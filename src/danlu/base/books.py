"""The law of every stage boundary: what was given is what was used and what was left out, reason by reason.

In: a count made where things come in, and counts made where they go. Out: nothing, or `LawBroken` with what does not
balance. Called by the stages and by `corpus.ledger`. The two sides are counted in different places, because a law that
is checked against itself proves nothing; a breach is a defect of danlu, never of the data.
"""

from __future__ import annotations

from collections.abc import Mapping


class LawBroken(AssertionError):
    """Something was lost or invented between two stages."""


def check_balance(what: str, given: int, went: Mapping[str, int]) -> None:
    """LawBroken where `given` is not the sum of `went` (where to, or for what reason left out -> how many)."""
    found = sum(went.values())
    if given != found:
        parts = " + ".join(f"{count:,} {where}" for where, count in went.items())
        raise LawBroken(f"{what}: {given:,} given, {found:,} accounted for ({parts})")
