import shutil

import pytest
import torch
from torch.nn import functional

from danlu.kernels import linear
from danlu.kernels.linear import choose_linear, onednn_linear
from danlu.parallel.place import CPP_COMPILERS

needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN operator"
)


@needs_onednn
@pytest.mark.parametrize("shape", [(17,), (3, 9), (1, 1)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients_are_those_of_torch(shape, has_bias):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, 48, generator=generator, requires_grad=True)
    weight = torch.randn(24, 48, generator=generator, requires_grad=True)
    given = [x, weight] + ([torch.randn(24, generator=generator, requires_grad=True)] if has_bias else [])
    slope = torch.randn(*shape, 24, generator=generator)
    found, wanted = onednn_linear(*given), functional.linear(*given)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(found, given, slope)
    theirs = torch.autograd.grad(wanted, given, slope)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_a_frozen_weight_gets_no_gradient():
    x, weight = torch.randn(20, 8, requires_grad=True), torch.randn(6, 8)
    onednn_linear(x, weight).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_it_is_chosen_for_fp32_on_an_amd_processor_only(monkeypatch):
    monkeypatch.setattr(linear, "_is_amd", lambda: True)
    assert choose_linear("cpu", torch.float32)[0] == hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert not choose_linear("cpu", torch.bfloat16)[0]
    assert not choose_linear("cuda:0", torch.float32)[0]
    monkeypatch.setattr(linear, "_is_amd", lambda: False)
    chosen, reason = choose_linear("cpu", torch.float32)
    assert not chosen
    assert "AMD" in reason


@needs_onednn
@pytest.mark.skipif(not any(shutil.which(name) for name in CPP_COMPILERS), reason="no C++ compiler here")
def test_a_compiled_block_may_hold_it():
    weight = torch.randn(6, 8, requires_grad=True)
    x = torch.randn(20, 8, requires_grad=True)
    compiled = torch.compile(lambda x, weight: onednn_linear(x.sin(), weight).square(), dynamic=False)
    ours = torch.autograd.grad(compiled(x, weight).sum(), (x, weight))
    theirs = torch.autograd.grad(functional.linear(x.sin(), weight).square().sum(), (x, weight))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
