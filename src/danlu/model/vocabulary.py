"""A model with more rows: what the embedding and the head know of tokens that are new.

In: a model and, for each new id, the ids whose meaning it starts from. Out: a model in which every old row is bit for
bit what it was. Called by `convert.vocabulary`. Knows no tokenizer and no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from danlu.model.transformer import Transformer
from danlu.model.weights import load_state, plain_state

ROW_MATRICES = ("embedding.weight", "output.weight")


@torch.no_grad()
def with_more_rows(model: Transformer, known: int, rows: int, parts: Mapping[int, Sequence[int]]) -> Transformer:
    """`model` with at least `rows` rows, of which the first `known` are kept as they are.

    A later row is the mean of the rows in `parts[id]`, or of all known ones where it has none: a new token begins
    neither likelier nor more surprising than what it is made of.
    """
    rows = max(rows, model.config.vocabulary_size)
    wider = Transformer(model.config.model_copy(update={"vocabulary_size": rows}))
    wider = wider.to(model.embedding.weight.device, model.embedding.weight.dtype)
    state = plain_state(model)
    for name in ROW_MATRICES:
        if name in state:
            state[name] = _with_more(state[name], known, rows, parts)
    load_state(wider, state)
    wider.compute_dtype, wider.attention_backend = model.compute_dtype, model.attention_backend
    return wider.train(model.training)


def _with_more(matrix: Tensor, known: int, rows: int, parts: Mapping[int, Sequence[int]]) -> Tensor:
    old = matrix[:known]
    mean = old.float().mean(dim=0).to(old.dtype)
    new = [
        old[list(parts[id])].float().mean(dim=0).to(old.dtype) if parts.get(id) else mean for id in range(known, rows)
    ]
    return torch.cat([old, torch.stack(new)]) if new else old.clone()
