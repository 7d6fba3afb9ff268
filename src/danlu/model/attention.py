"""Causal attention with grouped key-value heads, and who may look at whom.

In: activations (B, T, D), rotary tables, one `Sight` per forward. Out: (B, T, D). Called by `transformer`.
Two backends compute the same: `eager` is the readable reference in plain products, `sdpa` torch's fused kernel.
`choose_backend` says which is faster where, and why. Attention probabilities are never dropped out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.model.cache import CacheView
from danlu.model.config import ModelConfig
from danlu.model.parts import Linear, RMSNorm, rotate

BACKENDS = ("eager", "sdpa")
EAGER_KEYS = 512
"""Up to this many keys a CPU computes plain bf16 products faster than the fused kernel (see `choose_backend`)."""


@dataclass(frozen=True)
class Sight:
    """What the queries of one forward may see, worked out once for all layers.

    `mask` (B or 1, 1, T, S) is added to the scores: 0 where allowed, minus infinity elsewhere; None with `is_causal`
    is the plain lower triangle, None without it is everything.
    """

    backend: str
    mask: Tensor | None
    is_causal: bool
    cache: CacheView | None = None


def choose_backend(device: str, num_keys: int, dtype: torch.dtype, requested: str = "auto") -> tuple[str, str]:
    """The attention backend for `num_keys` keys per row on a device type, and the reason.

    Two Zen 5 cores, forward and backward of one layer, 4 rows of 512, 12 heads of 64: bf16 sdpa 104 ms, eager 45 ms;
    fp32 135 ms and 158 ms; 16 rows of 256, 6 heads of 48: bf16 53 ms and 19 ms; fp32 58 ms and 61 ms. The fused kernel
    saves the memory of the scores.
    """
    if requested != "auto":
        return requested, "chosen by hand"
    if device == "cpu" and dtype == torch.bfloat16 and num_keys <= EAGER_KEYS:
        return "eager", f"on a CPU plain bf16 products are faster up to {EAGER_KEYS} keys"
    return "sdpa", "the fused kernel never stores the scores"


def look(
    ids: Tensor,
    positions: Tensor,
    documents: Tensor | None,
    cache: CacheView | None,
    dtype: torch.dtype,
    requested: str,
) -> Sight:
    """The `Sight` of one forward: causal, within one document, or over a cache up to each token's own position."""
    num_tokens = ids.shape[1]
    num_keys = num_tokens if cache is None else cache.limit
    backend, _ = choose_backend(ids.device.type, num_keys, dtype, requested)
    if cache is not None:
        if num_tokens == 1 and bool((positions == cache.limit - 1).all()):
            return Sight(backend, None, False, cache)
        # Padding looks at key 0, because a row of nothing but minus infinity would be NaN.
        allowed = torch.arange(num_keys, device=ids.device) <= positions.clamp(min=0).unsqueeze(-1)  # (B, T, S)
        return Sight(backend, additive(allowed, dtype), False, cache)
    if documents is None and backend == "sdpa":
        return Sight(backend, None, True)
    allowed = torch.ones(1, num_tokens, num_tokens, dtype=torch.bool, device=ids.device).tril_()
    if documents is not None:
        allowed = allowed & (documents.unsqueeze(2) == documents.unsqueeze(1))
    return Sight(backend, additive(allowed, dtype), False)


def additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a boolean (B, T, S) into the mask that is added to scores (B, 1, T, S)."""
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, float("-inf")).unsqueeze(1)


def attend_eager(queries: Tensor, keys: Tensor, values: Tensor, sight: Sight) -> Tensor:
    """Reference attention: queries (B, H, T, K), keys and values (B, G, S, K) → (B, H, T, K).

    The query heads of one group stand below each other, so that keys and values are not copied for each.
    """
    rows, heads, num_tokens, head_width = queries.shape
    groups = keys.shape[1]
    stacked = (queries * head_width**-0.5).reshape(rows, groups, -1, head_width)  # (B, G, H/G * T, K)
    scores = (stacked @ keys.transpose(2, 3)).view(rows, heads, num_tokens, -1)  # (B, H, T, S)
    if sight.mask is not None:
        scores = scores + sight.mask  # not in place: backward would copy the view's gradient
    weights = scores.softmax(-1)  # torch sums in fp32 whatever the dtype
    return (weights.view(rows, groups, -1, weights.shape[-1]) @ values).view(queries.shape)


def attend_sdpa(queries: Tensor, keys: Tensor, values: Tensor, sight: Sight) -> Tensor:
    """The same through torch's fused kernel."""
    return F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=sight.mask,
        is_causal=sight.is_causal,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )


class Attention(nn.Module):
    """Grouped-query attention (https://arxiv.org/abs/2305.13245) with optional biases, QK-norm and rotary positions."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.head_width = layer, config.heads, config.kv_heads, config.head_width
        self.query = Linear(config.width, config.heads * config.head_width, config.attention_bias)
        self.key = Linear(config.width, config.kv_heads * config.head_width, config.attention_bias)
        self.value = Linear(config.width, config.kv_heads * config.head_width, config.attention_bias)
        self.output = Linear(config.heads * config.head_width, config.width)
        self.query_norm = RMSNorm(config.head_width, config.norm_epsilon) if config.qk_norm else None
        self.key_norm = RMSNorm(config.head_width, config.norm_epsilon) if config.qk_norm else None

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, sight: Sight) -> Tensor:
        queries = self.query(x).unflatten(-1, (self.heads, self.head_width))  # (B, T, H, K)
        keys = self.key(x).unflatten(-1, (self.kv_heads, self.head_width))  # (B, T, G, K)
        values = self.value(x).unflatten(-1, (self.kv_heads, self.head_width))
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotary is not None:
            queries, keys = rotate(queries, *rotary), rotate(keys, *rotary)
        if sight.cache is None:
            keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        else:
            keys, values = sight.cache.store(self.layer, keys, values)  # (B, G, S, K)
        attend = attend_eager if sight.backend == "eager" else attend_sdpa
        mixed = attend(queries.transpose(1, 2), keys, values, sight)  # (B, H, T, K)
        return self.output(mixed.transpose(1, 2).flatten(2))
