"""Choices of a backend, packed rows against a plain double loop, compiled blocks, checkpointed activations."""

from __future__ import annotations

import shutil

import pytest
import torch

from danlu.model.attention import BACKENDS, EAGER_KEYS, choose_backend
from tests.model import material


def test_the_backend_comes_with_its_reason():
    assert choose_backend("cpu", EAGER_KEYS)[0] == "eager"
    assert choose_backend("cpu", EAGER_KEYS + 1)[0] == "sdpa"
    assert choose_backend("cuda", 8)[0] == "sdpa"
    assert choose_backend("cpu", 8, "sdpa") == ("sdpa", "chosen by hand")
    assert all(choose_backend(device, 8)[1] for device in ("cpu", "cuda"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_is_what_a_double_loop_computes(backend, kv_heads):
    model = material.model(backend=backend, kv_heads=kv_heads, position="learned", layers=1)
    attention = model.blocks[0].attention
    _, positions, documents = material.packed([[5, 7], [12]])
    x = torch.randn(2, 12, 64, generator=torch.Generator().manual_seed(0))
    from danlu.model.attention import look

    with torch.no_grad():
        found = attention(x, None, look(documents, positions, documents, None, x.dtype, backend))
        q, k, v = (part(x).unflatten(-1, (-1, 16)) for part in (attention.query, attention.key, attention.value))
        mixed = torch.zeros(2, 12, 4, 16)
        for row in range(2):
            for head in range(4):
                group = head // (4 // kv_heads)
                for t in range(12):
                    seen = [s for s in range(t + 1) if documents[row, s] == documents[row, t]]
                    scores = torch.stack([q[row, t, head] @ k[row, s, group] / 4 for s in seen]).softmax(0)
                    mixed[row, t, head] = sum(w * v[row, s, group] for w, s in zip(scores, seen, strict=True))
        expected = attention.output(mixed.flatten(2))
    assert material.relative_error(found, expected) <= 1e-5


def test_packed_rows_need_their_positions():
    ids, _, documents = material.packed([[5, 7]])
    with pytest.raises(AssertionError, match="positions that restart"):
        material.model()(ids, documents=documents)


def test_unpacked_rows_equal_one_document():
    model = material.model()
    ids, positions, documents = material.packed([[20], [20]])
    with torch.no_grad():
        assert torch.equal(model(ids), model(ids, positions, documents))


def test_checkpointed_activations_give_the_same_gradients():
    ids, positions, documents = material.packed([[20, 12], [32]])
    gradients = []
    for checkpointed in (False, True):
        model = material.model(dropout=0.2).train()
        model.checkpoint_activations = checkpointed
        torch.manual_seed(0)
        model.head(model(ids, positions, documents)).square().mean().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_blocks_compute_the_same():
    ids, positions, documents = material.packed([[20, 12], [32]])
    plain, compiled = material.model(), material.model()
    for block in compiled.blocks:
        block.compile(dynamic=False)
    outputs = [model.head(model(ids, positions, documents)) for model in (plain, compiled)]
    assert material.relative_error(outputs[1], outputs[0]) <= 1e-5
    for logits in outputs:
        logits.square().mean().backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert material.relative_error(other.grad, one.grad) <= 1e-4
