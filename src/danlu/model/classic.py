"""The Transformer of 2017: encoder and decoder, layer norm after each sum, sinusoidal positions, an MLP with ReLU.

In: ids of a source (B, S) and of a target (B, T). Out: hidden states (B, T, D) and, from `head`, logits. Kept so that
today's decoder (`transformer`) can be held against it, part by part and weight by weight: called by the pages of
`docs/对照` and by tests, never by a stage. It has no dropout, no cache and no padding mask.
Source: https://arxiv.org/abs/1706.03762. Letters as in `config`; S is the length of the source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.model.attention import Sight, additive, attend_eager
from danlu.model.parts import Head, Linear
from danlu.model.transformer import Embedding


@dataclass(frozen=True)
class ClassicConfig:
    """One vocabulary serves source, target and head, as in the paper's section 3.4; `layers` is for each side."""

    vocabulary_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int

    @property
    def attention_parameters(self) -> int:
        """Query, key, value and output, without biases, as the paper writes them."""
        return 4 * self.width**2

    @property
    def mlp_parameters(self) -> int:
        """Two matrices and their two biases."""
        return 2 * self.width * self.mlp_width + self.mlp_width + self.width

    @property
    def encoder_layer(self) -> int:
        """One attention, one MLP, two norms of two vectors."""
        return self.attention_parameters + self.mlp_parameters + 2 * 2 * self.width

    @property
    def decoder_layer(self) -> int:
        """Two attentions, one MLP, three norms of two vectors."""
        return 2 * self.attention_parameters + self.mlp_parameters + 3 * 2 * self.width

    @property
    def parameters(self) -> int:
        """Exactly the elements of the built model; sinusoids have none."""
        return self.layers * (self.encoder_layer + self.decoder_layer) + self.vocabulary_size * self.width


BASE_2017 = ClassicConfig(vocabulary_size=37_000, width=512, layers=6, heads=8, mlp_width=2048)
BIG_2017 = ClassicConfig(vocabulary_size=37_000, width=1024, layers=6, heads=16, mlp_width=4096)
"""The paper's table 3; "about 37000 tokens" is its section 5.1."""


class LayerNorm(nn.Module):
    """Mean 0 and variance 1 over the last dimension in fp32 (https://arxiv.org/abs/1607.06450), then scale and shift.

    The variance is the biased one, divided by D; `epsilon` stands under the root.
    """

    def __init__(self, width: int, epsilon: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        centred = x.float() - x.float().mean(-1, keepdim=True)
        normed = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.epsilon)
        return (normed * self.weight + self.bias).to(x.dtype)


def sinusoids(positions: Tensor, width: int, base: float = 10_000.0) -> Tensor:
    """Positions (...) to vectors (..., D) in fp32: at 2i the sine, at 2i + 1 the cosine of position / base^(2i / D)."""
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    angles = positions.float().unsqueeze(-1) / base**exponents  # (..., D / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


class ClassicAttention(nn.Module):
    """Multi-head attention of `x` (B, T, D) over `memory` (B, S, D), all of it or up to each place's own."""

    def __init__(self, config: ClassicConfig):
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.output = (Linear(config.width, config.width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, is_causal: bool = False) -> Tensor:
        queries, keys, values = (
            linear(side).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T or S, K)
            for linear, side in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        allowed = torch.ones(1, x.shape[1], memory.shape[1], dtype=torch.bool, device=x.device)
        mask = additive(allowed.tril(), queries.dtype) if is_causal else None
        mixed = attend_eager(queries, keys, values, Sight("eager", mask, False))
        return self.output(mixed.transpose(1, 2).flatten(2))


class ClassicBlock(nn.Module):
    """One layer of either side. Each part is added to its input and the *sum* is normed: post-norm."""

    def __init__(self, config: ClassicConfig, is_decoder: bool):
        super().__init__()
        self.is_decoder = is_decoder
        self.attention, self.attention_norm = ClassicAttention(config), LayerNorm(config.width)
        self.cross = ClassicAttention(config) if is_decoder else None
        self.cross_norm = LayerNorm(config.width) if is_decoder else None
        self.up = Linear(config.width, config.mlp_width, bias=True)
        self.down = Linear(config.mlp_width, config.width, bias=True)
        self.mlp_norm = LayerNorm(config.width)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        x = self.attention_norm(x + self.attention(x, x, is_causal=self.is_decoder))
        if self.cross is not None and self.cross_norm is not None:
            assert memory is not None, "a decoder looks at what the encoder made"
            x = self.cross_norm(x + self.cross(x, memory))
        return self.mlp_norm(x + self.down(F.relu(self.up(x))))


class ClassicTransformer(nn.Module):
    """Encoder and decoder; its weights are drawn from `seed`: Xavier's uniform, embeddings of variance 1 / D."""

    def __init__(self, config: ClassicConfig, seed: int = 0):
        super().__init__()
        self.width = config.width
        self.embedding = Embedding(config.vocabulary_size, config.width)
        self.encoder = nn.ModuleList(ClassicBlock(config, is_decoder=False) for _ in range(config.layers))
        self.decoder = nn.ModuleList(ClassicBlock(config, is_decoder=True) for _ in range(config.layers))
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, drawn: torch.Generator) -> None:
        for name, weight in self.named_parameters():
            if name == "embedding.weight":
                weight.normal_(0, self.width**-0.5, generator=drawn)
            elif weight.ndim == 2:
                nn.init.xavier_uniform_(weight, generator=drawn)
            else:
                weight.fill_(1.0 if name.endswith("norm.weight") else 0.0)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings times sqrt(D), so that they weigh as much as the sinusoids that are added: (B, T, D)."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.embedding(ids) * self.width**0.5 + sinusoids(positions, self.width)

    def encode(self, source: Tensor) -> Tensor:
        """Hidden states of the source, (B, S, D): every place sees every other."""
        x = self.embed(source)
        for block in self.encoder:
            x = block(x)
        return x

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Hidden states of the target, (B, T, D): each place sees itself, those before it, and the whole source."""
        memory, x = self.encode(source), self.embed(target)
        for block in self.decoder:
            x = block(x, memory)
        return x

    @property
    def head(self) -> Head:
        """The embedding's matrix once more: hidden states to logits."""
        return Head(self.embedding.weight)
