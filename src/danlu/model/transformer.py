"""The model: ids in, hidden states out; and the head that turns hidden states into logits.

In: ids (B, T) with positions, and either document numbers (training) or a cache (generation). Out: hidden (B, T, D)
after the final norm. Called by `train`, `infer`, `evaluate`, `convert`. Knows no files, ranks or requests; the loss
takes hidden states and `head`, so that it may work in pieces.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from danlu.model.attention import Attention, Sight, look
from danlu.model.cache import KeyValueCache
from danlu.model.config import ModelConfig
from danlu.model.parts import MLP, Head, Linear, Product, RMSNorm, rotary_tables


class Block(nn.Module):
    """One layer: attention, then the MLP, each on the normed stream and added back to it."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, sight: Sight) -> Tensor:
        x = x + F.dropout(self.attention(self.attention_norm(x), rotary, sight), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)


class Embedding(nn.Module):
    """A table of vectors, (rows, D) in fp32."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class Transformer(nn.Module):
    """A decoder of the Llama/Qwen family. Its weights are unset until `initialise` or `convert.load` writes them.

    `compute_dtype` is the activations' dtype (set by `parallel`); `attention_backend` is `auto` or a name of
    `attention.BACKENDS`; `checkpoint_activations` recomputes each block in backward instead of keeping its inside.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.attention_backend = "auto"
        self.checkpoint_activations = False
        self.product: Product = F.linear
        self.embedding = Embedding(config.vocabulary_size, config.width)
        learned = config.position == "learned"
        self.position_embedding = Embedding(config.context_length, config.width) if learned else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_epsilon)
        # A tied head has no parameter of its own: there is nothing that could come untied or be saved twice.
        self.output = None if config.tied else Linear(config.width, config.vocabulary_size)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: KeyValueCache | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of ids (B, T), after the final norm, in the compute dtype.

        `positions` (B, T) default to 0 .. T-1; packed rows must give theirs. `documents` (B, T) limits attention to
        tokens of the same number. With a `cache`, token t of row b is written to position `positions[b, t]` of slot
        `slots[b]` (default b) and sees that slot up to itself; a negative position is padding.
        """
        assert documents is None or cache is None, "packed rows and a cache exclude each other"
        assert documents is None or positions is not None, "packed rows need positions that restart in each document"
        assert cache is None or not torch.is_grad_enabled(), "a cache keeps no gradients: call under torch.no_grad"
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand(
                ids.shape if cache is not None else (1, -1)
            )
        view = None if cache is None else cache.view(positions, slots)
        sight = look(ids, positions, documents, view, self.compute_dtype, self.attention_backend)

        x = self.embedding(ids)  # (B, T, D)
        rotary = None
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions.clamp(min=0))
        else:
            rotary = rotary_tables(positions, self.config.head_width, self.config.rope_theta)
        x = F.dropout(x.to(self.compute_dtype), self.config.dropout, self.training)
        for block in self.blocks:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(block, x, rotary, sight, use_reentrant=False)
            elif cache is not None:
                # Past the compiler, where `parallel` has set one: every length of the cache and every layer would be a
                # graph of its own, and when there are too many it leaves training's shape uncompiled without a word.
                x = block.forward(x, rotary, sight)
            else:
                x = block(x, rotary, sight)
        return self.norm(x)

    @property
    def head(self) -> Head:
        """What turns hidden states into logits: `model.head(hidden)`."""
        return Head(self.embedding.weight if self.output is None else self.output.weight, self.product)

    def compute_by(self, product: Product) -> None:
        """Let `product` compute every linear map of the model, the head's too."""
        self.product = product
        for module in self.modules():
            if isinstance(module, Linear):
                module.product = product
