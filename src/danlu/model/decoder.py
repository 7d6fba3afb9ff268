"""The fast way of a few tokens through the model, where there is one: what `Transformer.forward` does, in one call.

In: a model and a cache. Out: a `Decoder`, or None with the reason. Called by the engine for steps in which each
sequence has one new token. Everything else (prompts, training, GPUs, other dtypes) goes the model's own way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from danlu.kernels.decode import MOST_ROWS, Decoding, library, thin_linear
from danlu.model.cache import KeyValueCache
from danlu.model.parts import Head, rotary_frequencies
from danlu.model.transformer import Block, Transformer

DTYPES = (torch.float32, torch.bfloat16)


def choose_decoder(model: Transformer, cache: KeyValueCache) -> tuple[Decoder | None, str]:
    """The native decoder of this model and cache, or None where torch decodes; and why."""
    parameters = list(model.parameters()) if isinstance(model, Transformer) else []
    if not parameters:
        return None, "torch: not a Transformer of ours"
    dtypes = {parameter.dtype for parameter in parameters} | {model.compute_dtype, cache.keys[0].dtype}
    if any(parameter.device.type != "cpu" for parameter in parameters):
        return None, "torch: the model is not on the CPU"
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        return None, "torch: weights and activations are not all fp32 or all bf16"
    if not all(parameter.is_contiguous() for parameter in parameters):
        return None, "torch: a weight is not stored in plain rows"
    found, reason = library()
    if found is None:
        return None, f"torch: {reason}"
    return Decoder(model, cache), f"native decoding, {reason}"


class Decoder:
    """A model's native decoding over one cache. It sees weights change in place; once they move, it takes no step."""

    def __init__(self, model: Transformer, cache: KeyValueCache):
        config = model.config
        self.model = model
        layers = [
            _tensors(block, keys, values)
            for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True)
        ]
        sizes = {
            name: getattr(config, name) for name in ("layers", "width", "heads", "kv_heads", "head_width", "mlp_width")
        }
        sizes["places"] = cache.length + 1
        rotary = model.position_embedding is None
        frequencies = rotary_frequencies(config.head_width, config.rope_theta) if rotary else None
        self.decoding = Decoding(layers, model.norm.weight, frequencies, sizes, config.norm_epsilon)

    def takes(self, num_rows: int) -> bool:
        """Whether a step of so many sequences is better done here, and the model's weights are still those it knows."""
        return num_rows <= MOST_ROWS and self.decoding.is_current

    def hidden(self, ids: Tensor, positions: Tensor, slots: Tensor) -> Tensor:
        """Hidden states (B, D) of one new token per row, as the model's forward gives them; (B,) each, int64."""
        x = self.model.embedding(ids)
        if self.model.position_embedding is not None:
            x = x + self.model.position_embedding(positions)
        return self.decoding.hidden(x.float(), slots, positions).to(self.model.compute_dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (R, V) of hidden states (R, D)."""
        head = self.model.head
        return thin_linear(hidden, head.weight) if isinstance(head, Head) else head(hidden)


def _tensors(block: nn.Module, keys: Tensor, values: Tensor) -> dict[str, Tensor | None]:
    assert isinstance(block, Block)
    attention, mlp = block.attention, block.mlp
    found: dict[str, Tensor | None] = {"keys": keys, "values": values}
    for name in ("query", "key", "value", "output"):
        found[name] = getattr(attention, name).weight
    for name in ("query", "key", "value"):
        found[f"{name}_bias"] = getattr(attention, name).bias
    for name in ("gate", "up", "down"):
        found[name] = getattr(mlp, name).weight
    found |= {"attention_norm": block.attention_norm.weight, "mlp_norm": block.mlp_norm.weight}
    for name in ("query_norm", "key_norm"):
        norm = getattr(attention, name)
        found[name] = None if norm is None else norm.weight
    return found
