"""The first value of every weight, in one place.

In: a model whose weights are unset (also one just materialised from the meta device) and a seed. Out: the same model,
every weight written. Called by `train` and tests. What a weight gets depends on the seed and on its own name only, so
that another part, another order or another device changes nothing; a weight without a rule is an error.
"""

from __future__ import annotations

import hashlib

import torch

from danlu.model.transformer import Transformer
from danlu.model.weights import plain_name

EMBEDDING_STD = 0.02
"""As in GPT-2 and Llama; a tied head then starts near the uniform distribution."""


@torch.no_grad()
def initialise(model: Transformer, seed: int) -> None:
    """Write every weight of a `Transformer` by this table.

    | weight | value |
    |---|---|
    | `embedding`, `position_embedding`, `output` (untied head) | normal, standard deviation 0.02 |
    | `query key value gate up` | normal, 1 / sqrt(inputs): unit variance in, unit variance out |
    | `attention.output`, `mlp.down` | the same, divided by sqrt(2 x layers): the residual stream keeps its scale |
    | norms (`*norm.weight`) | 1 |
    | biases | 0 |
    """
    residual_scale = (2 * model.config.layers) ** -0.5
    for wrapped, weight in model.named_parameters():
        name = plain_name(wrapped)
        part = name.split(".")[-2]
        if name.endswith(".bias"):
            weight.zero_()
        elif part.endswith("norm"):
            weight.fill_(1.0)
        elif name in ("embedding.weight", "position_embedding.weight", "output.weight"):
            _normal(weight, EMBEDDING_STD, seed, name)
        elif part in ("query", "key", "value", "gate", "up"):
            _normal(weight, weight.shape[1] ** -0.5, seed, name)
        elif part in ("output", "down"):
            _normal(weight, weight.shape[1] ** -0.5 * residual_scale, seed, name)
        else:
            raise AssertionError(f"no initialisation rule for {name}")


def _normal(weight: torch.Tensor, std: float, seed: int, name: str) -> None:
    """Fill with normal numbers drawn on the CPU from a generator of this weight's own."""
    own_seed = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little") >> 1
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(own_seed), dtype=torch.float32)
    weight.copy_(drawn.mul_(std))
