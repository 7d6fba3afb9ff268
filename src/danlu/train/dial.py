"""The dial: one word sets batch, learning rate and horizon to fit the model's size; the shape is `model.PRESETS`.

In: a size, an optimizer, and what a person set by hand. Out: plain numbers. Called by the training stages and `show`.
Torch-free. Rates are for batches of about `batch_tokens`; the horizon of 20 tokens per parameter is Chinchilla's
(https://arxiv.org/abs/2203.15556).
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True)
class Setting:
    """`batch_tokens` per update; peak learning rates of the Adam family (Muon is matched to it) and of SGD."""

    batch_tokens: int
    learning_rate: float
    sgd_learning_rate: float = 0.1

    def rate(self, optimizer: str) -> float:
        """The peak learning rate for the named optimizer."""
        return self.sgd_learning_rate if optimizer == "sgd" else self.learning_rate


DIAL: dict[str, Setting] = {
    "tiny": Setting(4_096, 6e-3),
    "small": Setting(8_192, 3e-3),
    "base": Setting(65_536, 1.5e-3),
    "1b": Setting(524_288, 8e-4),
    "3b": Setting(1_048_576, 5e-4),
    "7b": Setting(2_097_152, 3e-4),
}


def batch_rows(size: str, row_length: int) -> int:
    """Rows of one update so that it has about the dial's number of tokens; at least one."""
    return max(1, round(DIAL[size].batch_tokens / row_length))


def horizon_tokens(parameters: int) -> int:
    """How many tokens to train on where nothing else is said."""
    return TOKENS_PER_PARAMETER * parameters
