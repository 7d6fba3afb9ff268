"""The small parts of a Transformer: linear maps, the norm, rotary positions, the gated MLP.

In: activations (..., D) in the compute dtype. Out: the same shape and dtype. Called by `attention` and `transformer`.
Weights stay fp32 (the masters) and are cast where they are used, so that gradients and updates stay fp32.
Weights are left unset here; `initialise` writes every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.model.config import ModelConfig

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Linear(nn.Module):
    """`x @ weight.T + bias` in the dtype of `x`; weight (out, in), both fp32. `product` computes it."""

    product: Product = staticmethod(F.linear)

    def __init__(self, inputs: int, outputs: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


@dataclass(frozen=True)
class Head:
    """From hidden states (..., D) to logits (..., V) in their dtype; weight (V, D): a loss may take it apart."""

    weight: Tensor
    product: Product = F.linear

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.product(hidden, self.weight.to(hidden.dtype), None)


class RMSNorm(nn.Module):
    """Root-mean-square norm in fp32 over the last dimension (https://arxiv.org/abs/1910.07467), then the scale.

    The normalised value is rounded to the input's dtype before the scale, in the order of Llama's reference code.
    """

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


def rotary_frequencies(head_width: int, theta: float, device: torch.device | str = "cpu") -> Tensor:
    """Radians per position of each pair of a head: (K / 2,) in fp32."""
    exponents = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
    return 1.0 / theta**exponents


def rotary_tables(positions: Tensor, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of the positions (B, T) in fp32, for `rotate` (https://arxiv.org/abs/2104.09864).

    They are computed from the positions on every forward: with no buffer there is none to lose on the meta device, to
    round to bf16 or to outgrow. The order of operations is the ecosystem's, so that an exported model sees our angles.
    """
    angles = positions.float().unsqueeze(-1) * rotary_frequencies(head_width, theta, positions.device)  # (B, T, K / 2)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([cosine, cosine], -1).unsqueeze(2), torch.cat([-sine, sine], -1).unsqueeze(2)  # (B, T, 1, K)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs (k, k + K/2) of `x` (B, T, heads, K) by their angles: the half-split convention, in fp32."""
    wide = x.float()
    return (wide * cosine + wide.roll(x.shape[-1] // 2, -1) * sine).to(x.dtype)


class MLP(nn.Module):
    """Gated MLP: `down(silu(gate(x)) * up(x))` (https://arxiv.org/abs/2002.05202)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate = Linear(config.width, config.mlp_width)
        self.up = Linear(config.width, config.mlp_width)
        self.down = Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))
