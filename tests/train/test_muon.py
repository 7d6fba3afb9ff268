"""Muon against torch's own, and in fp32 for processors that have no bf16 arithmetic."""

import pytest
import torch

from danlu.parallel import device
from danlu.train.muon import Muon, orthogonal
from danlu.train.optimizers import Optimizer
from danlu.train.settings import OptimizerSettings
from tests.train import material

SHAPES = ((48, 48), (24, 100), (100, 24), (1, 7), (130, 65))


def moved(kind, **settings):
    """The matrices and their momenta after some steps of a falling rate."""
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    rule = kind([{"params": matrices, "weight_decay": 0.1}], lr=0.02, momentum=0.95, **settings)
    for step in range(6):
        rule.param_groups[0]["lr"] = 0.02 / (1 + step)
        for matrix in matrices:
            matrix.grad = torch.randn_like(matrix) * 10.0**-step
        matrices[0].grad = None if step == 3 else matrices[0].grad
        rule.step()
    return [*matrices, *(rule.state[matrix]["momentum_buffer"] for matrix in matrices)]


def test_in_bf16_it_is_torchs_to_the_last_bit():
    theirs = moved(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    ours = moved(Muon, dtype=torch.bfloat16)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_in_fp32_it_is_the_same_but_for_rounding():
    theirs = moved(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    ours = moved(Muon, dtype=torch.float32)
    assert not torch.equal(ours[0], theirs[0])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_update_moves_every_direction_alike(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrix, torch.float32))
    strong = torch.linalg.svdvals(matrix) > 0.05 * torch.linalg.matrix_norm(matrix, 2)
    assert ((values[strong] > 0.6) & (values[strong] < 1.3)).all()


@pytest.mark.parametrize(("flag", "dtype"), [("avx512_bf16", torch.bfloat16), (None, torch.float32)])
def test_a_processor_without_bf16_arithmetic_is_spared_it(monkeypatch, flag, dtype):
    monkeypatch.setattr(device, "bfloat16_instructions", lambda: flag)
    (rule,) = [one for one in Optimizer(material.model(), OptimizerSettings(), 1e-2)._rules if isinstance(one, Muon)]
    assert rule.dtype == dtype
