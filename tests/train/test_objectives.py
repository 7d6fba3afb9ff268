import math

import pytest
import torch
from torch.nn import functional

from danlu.model.parts import Head
from danlu.shards.batches import IGNORE, Batch
from danlu.train import objectives
from danlu.train.objectives import next_token
from danlu.train.samples import to_tensors
from tests.train import material


def batch_of(targets):
    import numpy as np

    targets = np.asarray(targets, dtype=np.int64)
    zeros = np.zeros(targets.shape, dtype=np.int64)
    return to_tensors(Batch(zeros, targets, zeros, zeros.astype(np.int32), np.arange(len(targets))), "cpu")


def test_loss_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1.0, 1.0, 2.0]]]))
    loss = next_token(logits, Head(torch.eye(3)), batch_of([[0, IGNORE, 2]]))
    assert loss.count == 2
    assert float(loss.sum) == pytest.approx(-math.log(0.5) - math.log(0.5))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("chunk", [1, 200, 2**22])
def test_chunks_equal_the_plain_loss_and_its_gradients(share, chunk, monkeypatch):
    monkeypatch.setattr(objectives, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(objectives, "CHUNK_ROWS", 1)
    torch.manual_seed(0)
    hidden = torch.randn(2, 11, 8, requires_grad=True)
    weight = torch.randn(20, 8, requires_grad=True)
    targets = torch.randint(0, 20, (2, 11))
    targets[torch.rand(2, 11) >= share] = IGNORE
    found = next_token(hidden, Head(weight), batch_of(targets.numpy()))
    gradients = torch.autograd.grad(found.sum, (hidden, weight), allow_unused=True)
    wanted = functional.cross_entropy((hidden @ weight.T).view(-1, 20), targets.view(-1), reduction="sum")
    if share > 0:
        expected = torch.autograd.grad(wanted, (hidden, weight))
        assert torch.allclose(found.sum, wanted, rtol=1e-5)
        for one, other in zip(gradients, expected, strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    else:
        assert float(found.sum.detach()) == 0.0
        assert torch.equal(gradients[0], torch.zeros_like(hidden))
    assert found.count == int((targets != IGNORE).sum())


def test_bf16_hidden_states_give_an_fp32_loss(tmp_path):
    rows = material.row_set(tmp_path, documents=4)
    model = material.model()
    model.compute_dtype = torch.bfloat16
    import numpy as np

    batch = to_tensors(rows.batch(np.arange(rows.num_rows)), "cpu")
    loss = next_token(model(batch.ids, batch.positions, batch.documents), model.head, batch)
    assert loss.sum.dtype == torch.float32
    loss.sum.backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_without_gradients_none_is_worked_out():
    calls = []

    def counted(x, weight, bias):
        calls.append(x.shape)
        return functional.linear(x, weight, bias)

    weight = torch.nn.Parameter(torch.randn(20, 8))
    with torch.no_grad():
        objectives.cross_entropy(torch.randn(6, 8), Head(weight, counted), torch.randint(0, 20, (6,)))
    assert len(calls) == 1
