"""The dial: one word sets a model's shape; its width and the length of the run set batch and learning rate.

In: width, tokens, optimizer. Out: plain numbers. Called by the training stages and `show`. Torch-free. The shapes are
`model.PRESETS`; the horizon of 20 tokens per parameter is Chinchilla's (https://arxiv.org/abs/2203.15556). The rule
for batch and rate is a power law in the manner of https://arxiv.org/abs/2401.02954, fitted to runs of ours:
`benchmarks/dial.py`, `docs/results/dial.jsonl`.
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True)
class Power:
    """`value` at the reference run, times (tokens / reference) ^ `tokens`, times (width / reference) ^ `width`."""

    value: float
    tokens: float
    width: float
    least: float
    most: float

    def at(self, tokens: int, width: int) -> float:
        """The rule, within bounds that keep it from leaving the possible."""
        found = self.value * (tokens / REFERENCE_TOKENS) ** self.tokens * (width / REFERENCE_WIDTH) ** self.width
        return min(self.most, max(self.least, found))


@dataclass(frozen=True)
class Pace:
    """Rows of one update over all ranks, and the peak learning rate."""

    batch_rows: int
    learning_rate: float


REFERENCE_TOKENS, REFERENCE_WIDTH = 2_000_000, 192
BATCH_TOKENS = Power(3_450, tokens=0.45, width=0.07, least=1_024, most=4_194_304)
RATE = Power(6.3e-3, tokens=-0.02, width=-0.74, least=1e-4, most=1.2e-2)
SGD_LEARNING_RATE = 0.1


def pace(width: int, tokens: int, row_length: int, optimizer: str) -> Pace:
    """For a model of this width that will see so many tokens in all."""
    rows = max(1, round(BATCH_TOKENS.at(tokens, width) / row_length))
    rate = SGD_LEARNING_RATE if optimizer == "sgd" else RATE.at(tokens, width)
    return Pace(rows, float(f"{rate:.2g}"))


def horizon_tokens(parameters: int) -> int:
    """How many tokens to train on where nothing else is said."""
    return TOKENS_PER_PARAMETER * parameters
