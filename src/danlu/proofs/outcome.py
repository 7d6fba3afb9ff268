"""What a proof can end in, and the values that several proofs share.

In: nothing. Out: `ProofFailed` and `NotApplicable`, the bound of "equal", text to prove with and a folder for what is
written. Called by the proofs of this room. A proof returns one line that says what was found, with figures.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RELATIVE_BOUND = 5e-5
"""Largest difference of fp32 logits, as a share of the largest logit: five times what the project's own tests allow on
two layers, because a given model may be deep."""
LOW_PRECISION_BOUND = 5e-2
"""Where activations are bf16, whose numbers have eight binary digits: root mean square of the difference, as a share of
that of the values."""
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz ABC .,;:!?'\"()[]{}<>|\\/@#$%^&*-_=+~`0123456789",
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多",
    "\n\t\r \u00a0\u3000\u200b",
    "éüñßøΩжщאبहि한국어カタカナ",
    "😀👩‍👩‍👧‍👦🇨🇳🏽✨𝔘𠀀𪚥",
)


class ProofFailed(Exception):
    """The property does not hold; the text says where and by how much."""


class NotApplicable(Exception):
    """There is nothing here of which this could be proved; the text says why."""


def require(holds: bool, otherwise: str) -> None:
    """Raise ProofFailed with `otherwise` unless the property holds."""
    if not holds:
        raise ProofFailed(otherwise)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder on the disk on which the command was called, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=".danlu-prove-", dir=Path.cwd()) as folder:
        yield Path(folder)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference as a share of the largest expected magnitude; infinite where a value is NaN."""
    gap = float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1e-30))
    return gap if gap == gap else float("inf")


def mean_difference(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference as a share of that of the expected values; infinite where a value is NaN."""
    gap = float((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30))
    return gap if gap == gap else float("inf")


def texts(count: int, seed: int = 0) -> list[str]:
    """Strings that mix Latin, Chinese, white space, rarer scripts and emoji; the same for the same seed."""
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        pieces = [generator.choice(ALPHABETS) for _ in range(generator.randint(1, 6))]
        found.append("".join("".join(generator.choices(piece, k=generator.randint(1, 12))) for piece in pieces))
    return found
