"""Linear maps in fp32 on processors where torch's own product is far from the hardware.

In: activations (..., I), a weight (O, I), perhaps a bias (O). Out: (..., O). Chosen by `parallel.place`, called by
`model.parts.Linear` and by the head. The reference is torch's `linear`; this computes the same sums in another order.

torch hands fp32 products to MKL, which uses half of what an AMD core can do; oneDNN, which torch carries too, uses all
of it. One Zen 5 core, GFLOP/s, MKL → oneDNN: 2,048 x 768 by 768 x 2,048 forward 101 → 218, the input's gradient
105 → 201, the weight's 104 → 187 (`benchmarks/products.py`).
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FEW_ROWS = 16
"""Below, a call costs more than the product: 18 microseconds against 2 for torch's own."""
VENDOR = "AuthenticAMD"
"""Who makes the processors on which it was measured; elsewhere MKL may well be the faster one."""


def choose_linear(device: str, dtype: torch.dtype) -> tuple[bool, str]:
    """Whether `onednn_linear` shall compute products on this device in this dtype, and why."""
    if device != "cpu" or dtype != torch.float32:
        return False, "torch's own products"
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False, "torch's own products: this torch has no oneDNN operator"
    if not _is_amd():
        return False, "torch's own products: oneDNN was measured faster on AMD only"
    return True, "oneDNN's products: twice as fast as MKL's on AMD"


def _is_amd() -> bool:
    description = Path("/proc/cpuinfo")
    if description.is_file():
        return VENDOR in description.read_text(errors="replace")
    return VENDOR in platform.processor()


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` in fp32, forward and backward by oneDNN."""
    if x.numel() < FEW_ROWS * x.shape[-1]:
        return functional.linear(x, weight, bias)
    return _OneDnnLinear.apply(x, weight, bias)


@torch.library.custom_op("danlu::product", mutates_args=())
def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One product, as an operator of ours: the compiler takes torch's apart and fails where the weight may change."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])  # (N, O)
        for_x = _product(rows, weight.t(), None).view(x.shape) if ctx.needs_input_grad[0] else None
        for_weight = _product(rows.t(), x.reshape(-1, x.shape[-1]).t(), None) if ctx.needs_input_grad[1] else None
        for_bias = rows.sum(0) if ctx.has_bias else None
        return for_x, for_weight, for_bias
