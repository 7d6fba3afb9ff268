"""A mutant: one textual change that puts a proof's own bug into danlu.

In: nothing; each `tests/proofs/test_*.py` has a module-level `MUTANTS = {"D1": Mutant(file, old, new), ...}`; a trap
that can be sprung in several places has a tuple of them, and each must be killed.
Out: a value that `tests.proofs.mutants` applies in a scratch copy of the source. The proof of that id must then be
red and the other proofs of its letter green: a proof whose mutant survives proves nothing. Does not run anything.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old` occurs exactly once in `file` (a path from the root of the repository) and is replaced by `new`.

    `entails` names other proofs of the letter that must go red with it, because their property contains this one.
    """

    file: str
    old: str
    new: str
    entails: tuple[str, ...] = ()
