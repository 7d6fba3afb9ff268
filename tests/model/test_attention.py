"""Choices of a backend, packed rows against a plain double loop, compiled blocks, checkpointed activations."""

from __future__ import annotations

import shutil

import pytest
import torch

from danlu.model.attention import EAGER_KEYS, choose_backend
from tests.model import material


def test_the_backend_comes_with_its_reason():
    assert choose_backend("cpu", EAGER_KEYS, torch.bfloat16)[0] == "eager"
    assert choose_backend("cpu", EAGER_KEYS + 1, torch.bfloat16)[0] == "sdpa"
    assert choose_backend("cpu", 8, torch.float32)[0] == "sdpa"
    assert choose_backend("cuda", 8, torch.bfloat16)[0] == "sdpa"
    assert choose_backend("cpu", 8, torch.float32, "eager") == ("eager", "chosen by hand")
    assert all(choose_backend(device, 8, torch.bfloat16)[1] for device in ("cpu", "cuda"))


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
