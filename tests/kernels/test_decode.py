import pytest
import torch
from torch.nn import functional

from danlu.kernels.decode import library, thin_linear

pytestmark = pytest.mark.skipif(library()[0] is None, reason=library()[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inputs", [1, 15, 16, 33, 48, 257])
@pytest.mark.parametrize(("rows", "outputs"), [(1, 1), (1, 9), (3, 4), (4, 7), (5, 6), (16, 33)])
def test_a_thin_product_is_torchs(rows, outputs, inputs, dtype):
    generator = torch.Generator().manual_seed(rows * 1000 + inputs)
    x = torch.randn(rows, inputs, generator=generator).to(dtype)
    weight = torch.randn(outputs, inputs, generator=generator).to(dtype)
    wanted = functional.linear(x.double(), weight.double())
    assert torch.allclose(thin_linear(x, weight).double(), wanted, rtol=1e-5, atol=1e-5 * inputs**0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_the_others(dtype):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 200, generator=generator).to(dtype)
    weight = torch.randn(50, 200, generator=generator).to(dtype)
    together = thin_linear(x, weight)
    for first, last in ((0, 1), (3, 5), (7, 14), (15, 16)):
        assert torch.equal(thin_linear(x[first:last], weight), together[first:last])


def test_what_is_not_a_number_stays_so():
    x, weight = torch.ones(2, 20), torch.ones(3, 20)
    x[1, 19] = float("nan")
    found = thin_linear(x, weight)
    assert torch.equal(found[0], torch.full((3,), 20.0))
    assert bool(found[1].isnan().all())
