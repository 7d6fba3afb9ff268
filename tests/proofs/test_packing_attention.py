"""Packed rows: documents in one row do not see each other, and each begins at position 0.

In: rows packed with several documents: made by hand for every attention backend, and from disk through the loop's
`update` and through validation. Out: red where a document's outputs depend on its neighbours or on its place in the
row. How rows are packed is proved in `shards`' proofs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from danlu.base.world import World
from danlu.model.attention import BACKENDS
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.train.loop import Progress, update
from danlu.train.objectives import next_token
from danlu.train.validation import Validation
from tests import tiny
from tests.model import material
from tests.proofs.mutant import Mutant
from tests.train import material as taught

RELATIVE_BOUND = 1e-5

MUTANTS = {
    "D1": (
        Mutant(  # document numbers taken for a 0/1 mask: the third document sees the second
            "src/danlu/model/attention.py",
            "(documents.unsqueeze(2) == documents.unsqueeze(1))",
            "(documents.bool().unsqueeze(2) == documents.bool().unsqueeze(1))",
        ),
        Mutant(  # the loop forgets that its rows are packed
            "src/danlu/train/loop.py",
            "hidden = model(batch.ids, batch.positions, batch.documents)",
            "hidden = model(batch.ids)",
            entails=("D2",),
        ),
        Mutant(  # so does validation
            "src/danlu/train/validation.py",
            "hidden = model(batch.ids, batch.positions, batch.documents)",
            "hidden = model(batch.ids, batch.positions)",
        ),
        Mutant(  # a row is read as one document
            "src/danlu/shards/files.py",
            "documents.reshape(-1)[place] = np.repeat(number, lengths)",
            "documents.reshape(-1)[place] = 0",
            entails=("D2", "D3", "D9", "D10", "D12"),
        ),
    ),
    "D2": (
        Mutant(  # positions count on through the row
            "src/danlu/model/transformer.py",
            "self.position_embedding(positions.clamp(min=0))",
            "self.position_embedding(torch.arange(ids.shape[1], device=ids.device))",
        ),
        Mutant(  # the same where rows are read
            "src/danlu/shards/files.py",
            "positions.reshape(-1)[place] = within",
            "positions.reshape(-1)[place] = place % width",
        ),
    ),
}


def packed_rows(folder: Path) -> tuple[RowSet, list[torch.Tensor]]:
    """A row set whose rows hold several documents each, and the documents by themselves."""
    random = np.random.default_rng(3)
    lengths = np.array([9, 14, 7, 10, 5, 12, 3, 8, 11, 6])
    ids = random.integers(8, taught.VOCABULARY, size=int(lengths.sum()))
    with RowSetWriter(folder, tiny.tokenizer(), row_length=taught.ROW_LENGTH, masked=False) as writer:
        writer.add(Encoded([str(number) for number in range(len(lengths))], lengths, ids))
    rows = RowSet.open(folder)
    assert rows.num_rows < len(lengths) / 2, "the trap needs several documents in a row"
    return rows, list(torch.from_numpy(ids).split(lengths.tolist()))


def test_D1_training_and_validation_on_packed_rows_are_those_of_the_documents_alone(tmp_path):
    """One update on rows from disk has the gradient of the sum over documents, each in a pass of its own."""
    rows, documents = packed_rows(tmp_path / "rows")
    reference = taught.model()
    losses = []
    for document in documents:
        logits = reference.head(reference(document[:-1].unsqueeze(0)))[0]
        losses.append(functional.cross_entropy(logits, document[1:], reduction="sum"))
    wanted_loss = torch.stack(losses).sum() / sum(len(document) - 1 for document in documents)
    wanted_loss.backward()
    wanted_mean = float(wanted_loss.detach())
    learner = taught.learner(rows)
    check = Validation(rows, next_token, 2, rows.num_rows, [1] * taught.VOCABULARY).measure(learner.model, World())
    report = update(learner, taught.plan(rows.num_rows, rows.num_rows, clip=0.0), Progress(), lambda: 0.0)
    assert check["loss"] == pytest.approx(wanted_mean, rel=RELATIVE_BOUND)
    assert report.loss == pytest.approx(wanted_mean, rel=RELATIVE_BOUND)
    found = dict(learner.model.named_parameters())
    for name, wanted in reference.named_parameters():
        assert material.relative_error(found[name].grad, wanted.grad) <= RELATIVE_BOUND, name


def test_D2_training_on_packed_rows_uses_the_positions_of_the_documents_alone(tmp_path):
    """Only positions up to the longest document's length are learnt from, however long the row is."""
    rows, documents = packed_rows(tmp_path / "rows")
    learner = taught.learner(rows, position="learned")
    update(learner, taught.plan(rows.num_rows, rows.num_rows, clip=0.0), Progress(), lambda: 0.0)
    gradient = learner.model.position_embedding.weight.grad.abs().sum(-1)  # (positions,)
    used = max(len(document) for document in documents) - 1  # the last token of a document has no target
    assert (gradient[:used] > 0).all()
    assert (gradient[used:] == 0).all()


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
