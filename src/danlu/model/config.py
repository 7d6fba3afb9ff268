"""What a model is, in numbers: its architecture, the presets, and exact counts of parameters, FLOPs and bytes.

In: a preset name and a vocabulary size, or single values. Out: a frozen `ModelConfig`. Called by recipes and `show`
(which must not import torch), by `Transformer`, by `convert` and by the meters. Builds nothing and reads no files.
Letters: B batch, T time, D width, H query heads, G key-value heads, K head width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from danlu.base.config import Count, Settings
from danlu.base.errors import ConfigError, nearest

ADAM_BYTES_PER_PARAMETER = 16
"""fp32 weight, its gradient, and Adam's two moments."""
VOCABULARY_MULTIPLE = 64
"""Rows of the embedding are rounded up to this, the width of the matrix units; no token has the ids in between."""


def padded_rows(vocabulary_size: int) -> int:
    """Rows of the embedding for a vocabulary of this size."""
    return -(-vocabulary_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """`matmul` counts weights that multiply activations, a tied head included; a tied matrix counts once in `total`."""

    total: int
    embedding: int
    matmul: int


class ModelConfig(Settings):
    """Architecture of a decoder of the Llama/Qwen family."""

    vocabulary_size: Count = Field(gt=0, description="rows of the embedding and of the head; at least the tokenizer's")
    width: int = Field(gt=0, description="width of the residual stream")
    layers: int = Field(gt=0, description="number of blocks")
    heads: int = Field(gt=0, description="query heads")
    kv_heads: int = Field(gt=0, description="key-value heads; each serves heads / kv_heads query heads")
    head_width: int = Field(gt=0, description="width of one head; even, because rotary positions turn pairs")
    mlp_width: int = Field(gt=0, description="inner width of the gated MLP")
    context_length: Count = Field(gt=0, description="longest row in tokens")
    rope_theta: float = Field(10_000.0, gt=0, description="base of the rotary wavelengths")
    norm_epsilon: float = Field(1e-5, gt=0, description="added to the mean square in each norm")
    tied: bool = Field(True, description="the head uses the embedding's matrix")
    attention_bias: bool = Field(False, description="biases on query, key and value, as in Qwen2")
    qk_norm: bool = Field(False, description="norm on each head's query and key, as in Qwen3")
    position: Literal["rope", "learned"] = Field("rope", description="rotary, or a learned vector per position")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the embedding and on both outputs of each block")

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.position == "rope" and self.head_width % 2:
            raise ValueError(f"head_width ({self.head_width}) must be even for rotary positions")
        return self

    def parameters(self) -> ParameterCount:
        """Exact counts; `total` equals the number of elements in the built model's parameters."""
        query, key_value = self.heads * self.head_width, self.kv_heads * self.head_width
        attention = self.width * (query + 2 * key_value) + query * self.width
        mlp = 3 * self.width * self.mlp_width
        vectors = 2 * self.width
        vectors += query + 2 * key_value if self.attention_bias else 0
        vectors += 2 * self.head_width if self.qk_norm else 0
        vocabulary = self.vocabulary_size * self.width
        embedding = vocabulary + (self.context_length * self.width if self.position == "learned" else 0)
        head = 0 if self.tied else vocabulary
        return ParameterCount(
            total=self.layers * (attention + mlp + vectors) + self.width + embedding + head,
            embedding=embedding,
            matmul=self.layers * (attention + mlp) + vocabulary,
        )

    def flops_per_token(self, row_length: int) -> float:
        """Forward and backward FLOPs of one token in a causal row: the one formula that every number here uses."""
        attention_width = self.heads * self.head_width  # equal to `width` in every preset
        return 6.0 * self.parameters().matmul + 6.0 * self.layers * attention_width * row_length

    def training_bytes(self, rows: int, row_length: int, bytes_per_activation: int, recomputed: bool = False) -> int:
        """Estimated peak memory of a training step with Adam: states, casts of the weights, and what backward keeps."""
        counts = self.parameters()
        casts = counts.matmul * bytes_per_activation if bytes_per_activation < 4 else 0
        return (
            counts.total * ADAM_BYTES_PER_PARAMETER
            + casts
            + self.activation_bytes(rows, row_length, bytes_per_activation, recomputed)
        )

    def activation_bytes(self, rows: int, row_length: int, bytes_per_activation: int, recomputed: bool = False) -> int:
        """Estimated bytes that the blocks keep for backward, attention probabilities included.

        `recomputed`: of each block its input alone, besides the inside of the one that backward stands at.
        """
        query, key_value = self.heads * self.head_width, self.kv_heads * self.head_width
        narrow = 4 * self.width + 4 * query + 4 * key_value + 4 * self.mlp_width + self.heads * row_length
        wide = 4 * self.width + query + key_value  # norms and rotary positions work in fp32
        inside = narrow * bytes_per_activation + wide * 4
        per_token = self.layers * self.width * bytes_per_activation + inside if recomputed else self.layers * inside
        return rows * row_length * per_token

    def cache_bytes(self, slots: int, length: int, bytes_per_value: int) -> int:
        """Bytes of a key-value cache for `slots` sequences of `length` tokens."""
        return 2 * self.layers * slots * self.kv_heads * (length + 1) * self.head_width * bytes_per_value


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "width": 128,
        "layers": 4,
        "heads": 2,
        "kv_heads": 2,
        "head_width": 64,
        "mlp_width": 384,
        "context_length": 256,
    },
    "small": {
        "width": 384,
        "layers": 6,
        "heads": 6,
        "kv_heads": 3,
        "head_width": 64,
        "mlp_width": 1024,
        "context_length": 512,
    },
    "base": {
        "width": 768,
        "layers": 12,
        "heads": 12,
        "kv_heads": 4,
        "head_width": 64,
        "mlp_width": 2048,
        "context_length": 1024,
    },
    "1b": {
        "width": 2048,
        "layers": 16,
        "heads": 32,
        "kv_heads": 8,
        "head_width": 64,
        "mlp_width": 8192,
        "context_length": 4096,
        "rope_theta": 5e5,
    },
    "3b": {
        "width": 3072,
        "layers": 28,
        "heads": 24,
        "kv_heads": 8,
        "head_width": 128,
        "mlp_width": 8192,
        "context_length": 4096,
        "rope_theta": 5e5,
    },
    "7b": {
        "width": 4096,
        "layers": 32,
        "heads": 32,
        "kv_heads": 8,
        "head_width": 128,
        "mlp_width": 14336,
        "context_length": 4096,
        "rope_theta": 5e5,
        "tied": False,
    },
}
"""The dial's architectures. With a vocabulary of 2,048 `tiny` has 1.1M parameters; `7b` with 32,768 has 7.2B."""


def preset(name: str, vocabulary_size: int, **overrides: Any) -> ModelConfig:
    """The named preset with single values overridden; ConfigError names the known presets."""
    if name not in PRESETS:
        raise ConfigError(
            f"there is no model size {name!r}{nearest(name, PRESETS)}", remedy=f"choose one of {', '.join(PRESETS)}"
        )
    return ModelConfig(vocabulary_size=vocabulary_size, **{**PRESETS[name], **overrides})
