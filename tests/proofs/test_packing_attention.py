"""Packed rows: documents in one row do not see each other, and each begins at position 0.

In: rows packed with several documents, forward and backward, for every attention backend. Out: red where a document's
outputs depend on its neighbours or on its place in the row. How rows are packed is proved in `shards`' proofs.
"""

from __future__ import annotations

import pytest
import torch

from danlu.model.attention import BACKENDS
from tests.model import material
from tests.proofs.mutant import Mutant

RELATIVE_BOUND = 1e-5

MUTANTS = {
    "D1": Mutant(  # document numbers taken for a 0/1 mask: the third document sees the second
        "src/danlu/model/attention.py",
        "(documents.unsqueeze(2) == documents.unsqueeze(1))",
        "(documents.bool().unsqueeze(2) == documents.bool().unsqueeze(1))",
    ),
    "D2": Mutant(  # positions count on through the row
        "src/danlu/model/transformer.py",
        "self.position_embedding(positions.clamp(min=0))",
        "self.position_embedding(torch.arange(ids.shape[1], device=ids.device))",
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_D1_packed_documents_do_not_attend_to_each_other(backend):
    model = material.model(backend=backend)
    lengths = [9, 14, 7, 10]
    ids, positions, documents = material.packed([lengths, [40]])
    inputs: list[torch.Tensor] = []

    def remember(module, arguments, output):
        if output.requires_grad:
            output.retain_grad()
            inputs.append(output)

    model.embedding.register_forward_hook(remember)
    start = 0
    for length in lengths:
        inputs.clear()
        logits = model.head(model(ids, positions, documents))
        logits[0, start : start + length].square().sum().backward()
        gradient = inputs[0].grad[0].abs().sum(-1)  # (T,): of this document's logits with respect to each input
        assert (gradient[start : start + length] > 0).all()
        assert (gradient[:start] == 0).all()
        assert (gradient[start + length :] == 0).all()
        with torch.no_grad():
            alone = model.head(model(ids[:1, start : start + length]))
        assert material.relative_error(logits[:1, start : start + length], alone) <= RELATIVE_BOUND
        start += length


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("position", ["rope", "learned"])
@torch.no_grad()
def test_D2_positions_restart_in_every_document(position, backend):
    model = material.model(position=position, backend=backend)
    ids, positions, documents = material.packed([[23, 17]])
    packed = model.head(model(ids, positions, documents))
    for start, stop in ((0, 23), (23, 40)):
        alone = model.head(model(ids[:, start:stop]))
        assert material.relative_error(packed[:, start:stop], alone) <= RELATIVE_BOUND
    counting_on = model.head(model(ids, torch.arange(40).unsqueeze(0), documents))
    moved = material.relative_error(counting_on[:, 23:], packed[:, 23:])
    # Rotary positions are relative, so only learned ones can show that positions were used at all.
    assert moved > 0.01 if position == "learned" else moved <= RELATIVE_BOUND
