"""From the sample order to tensors: the micro-batches of one step.

In: a row set, a seed, and which samples a step takes. Out: `TensorBatch`es on the device of training. Called by the
loop and by validation. Keeps no state: the rows of any step can be asked for at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from danlu.shards.batches import IGNORE, Batch
from danlu.shards.files import RowSet
from danlu.shards.order import SampleOrder


@dataclass(frozen=True)
class TensorBatch:
    """One micro-batch, (B, T) each; `target_index` and `target_ids` (N,) are the positions that have a target."""

    ids: Tensor
    positions: Tensor
    documents: Tensor
    targets: Tensor
    target_index: Tensor
    target_ids: Tensor
    num_targets: int
    num_tokens: int


def to_tensors(batch: Batch, device: str) -> TensorBatch:
    """Move a numpy batch to `device`; the positions with targets are found on the CPU, where counting costs no wait."""
    flat = batch.targets.reshape(-1)
    index = np.flatnonzero(flat != IGNORE)
    return TensorBatch(
        ids=_tensor(batch.ids, device),
        positions=_tensor(batch.positions, device),
        documents=_tensor(batch.documents, device),
        targets=_tensor(batch.targets, device),
        target_index=_tensor(index, device),
        target_ids=_tensor(flat[index], device),
        num_targets=len(index),
        num_tokens=batch.num_tokens,
    )


def _tensor(array: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


class Samples:
    """The endless sequence of training samples of one row set under one seed."""

    def __init__(self, row_set: RowSet, seed: int):
        self.row_set = row_set
        self.order = SampleOrder(row_set.num_rows, seed)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows that samples `start .. stop` are."""
        return self.order.rows(start, stop)

    def micro_batches(self, rows: np.ndarray, micro_batch_rows: int, device: str) -> Iterator[TensorBatch]:
        """`rows` in their order, at most `micro_batch_rows` at a time."""
        for start in range(0, len(rows), micro_batch_rows):
            yield to_tensors(self.row_set.batch(rows[start : start + micro_batch_rows]), device)


def token_bytes(decode_bytes: Callable[[list[int]], bytes], size: int) -> list[int]:
    """UTF-8 bytes that each token stands for, 0 for control tokens; `decode_bytes` is the tokenizer's."""
    return [len(decode_bytes([id])) for id in range(size)]
