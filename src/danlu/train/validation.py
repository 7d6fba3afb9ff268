"""Validation: the token-weighted mean loss over held-out rows, and the same in bits per byte.

In: a model, a validation row set, the `World`. Out: numbers, equal for any batch size and any number of ranks. Called
by the loop's owner. Leaves the model in the mode it was in, and draws no random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from danlu.base.world import World
from danlu.model.transformer import Transformer
from danlu.parallel.collectives import sum_over_ranks
from danlu.shards.files import RowSet
from danlu.shards.order import share
from danlu.train.objectives import Objective
from danlu.train.samples import to_tensors


@dataclass(frozen=True)
class Validation:
    """Held-out rows and how they are read; `token_bytes[id]` is the UTF-8 length of a token, 0 for control tokens."""

    row_set: RowSet
    objective: Objective
    micro_batch_rows: int
    max_rows: int
    token_bytes: Sequence[int]

    def rows(self) -> np.ndarray:
        """At most `max_rows` rows, evenly spread over the set: the same ones every time."""
        count = min(self.max_rows, self.row_set.num_rows)
        return np.arange(count, dtype=np.int64) * self.row_set.num_rows // max(1, count)

    def measure(self, model: Transformer, world: World) -> dict[str, float]:
        """`loss` in nats per target, `bits_per_byte` of the text the targets spell, and `targets`."""
        rows = self.rows()
        own = share(0, len(rows), world.rank, world.size)
        mine = rows[own.start : own.stop]
        lengths = np.asarray(self.token_bytes, dtype=np.int64)
        was_training = model.training
        model.eval()
        total, targets, size_bytes = 0.0, 0, 0
        with torch.no_grad():
            for start in range(0, len(mine), self.micro_batch_rows):
                batch = to_tensors(self.row_set.batch(mine[start : start + self.micro_batch_rows]), world.device)
                hidden = model(batch.ids, batch.positions, batch.documents)  # (B, T, D)
                loss = self.objective(hidden, model.head, batch)
                total += float(loss.sum)
                targets += loss.count
                size_bytes += int(lengths[batch.target_ids.cpu().numpy()].sum())
        model.train(was_training)
        total, targets = sum_over_ranks(total, world), sum_over_ranks(targets, world)
        size_bytes = sum_over_ranks(size_bytes, world)
        return {
            "loss": total / max(1, targets),
            "bits_per_byte": total / math.log(2) / max(1, size_bytes),
            "targets": targets,
        }
