"""The key-value cache: what attention has seen of each running sequence.

In: keys and values of new tokens with their slots and positions. Out: the stored ones that those tokens may look at.
Called by `transformer` (one `CacheView` per forward) and made by the engine. Does not know requests; paging will
replace the storage behind the same two classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from danlu.model.config import ModelConfig


class KeyValueCache:
    """Storage for `num_slots` sequences of up to `length` tokens: per layer keys and values (slots, G, length + 1, K).

    The extra last place takes what padding writes and is never read, so that no write depends on the data's shape.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_slots: int,
        length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        shape = (num_slots, config.kv_heads, length + 1, config.head_width)
        self.num_slots, self.length = num_slots, length
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]

    def view(self, positions: Tensor, slots: Tensor | None) -> CacheView:
        """Where the tokens at `positions` (B, T; negative = padding) of the rows' `slots` (B) are written and look."""
        return CacheView(self, positions, slots)


class CacheView:
    """One forward's window on a cache: worked out once, used by every layer."""

    def __init__(self, cache: KeyValueCache, positions: Tensor, slots: Tensor | None):
        rows = positions.shape[0]
        chosen = list(range(rows)) if slots is None else slots.tolist()
        self.limit = int(positions.max()) + 1  # keys at and beyond it are seen by no token of this forward
        assert len(chosen) == rows, f"{rows} rows but {len(chosen)} slots"
        assert 0 < self.limit <= cache.length, f"position {self.limit - 1} in a cache of length {cache.length}"
        self.cache = cache
        self.rows = torch.tensor(chosen, device=positions.device).unsqueeze(1)  # (B, 1)
        self.places = positions.where(positions >= 0, cache.length)  # (B, T)
        # Neighbouring slots are read in place; others are gathered, which copies them.
        first = chosen[0]
        neighbours = chosen == list(range(first, first + rows))
        self.selection: slice | Tensor = slice(first, first + rows) if neighbours else self.rows.squeeze(1)

    def store(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write new keys and values (B, T, G, K); return all that the rows may look at, (B, G, limit, K)."""
        for stored, new in ((self.cache.keys[layer], keys), (self.cache.values[layer], values)):
            stored[self.rows, :, self.places] = new.to(stored.dtype)
        return (
            self.cache.keys[layer][self.selection, :, : self.limit].to(keys.dtype),
            self.cache.values[layer][self.selection, :, : self.limit].to(values.dtype),
        )
