"""The native decoding step: one token for each of a few sequences, all layers in one call of C.

In: the tensors of a model and of its cache. Out: `Decoding`, whose `hidden` equals the model's forward with that cache
(in bf16 it rounds less often: the residual stream stays fp32), and `thin_linear`, a product with few rows for the head.
Called by `model.decoder`. Needs a C compiler; where there is none the caller keeps to torch.

torch needs some forty operators a layer for a token, and its product of one row with a matrix reads memory at half of
what the core can: the gain is in `docs/results/decoding.json` (`benchmarks/decoding.py`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from danlu.base import native

SOURCE = Path(__file__).with_suffix(".c")
MOST_ROWS = 64
"""Beyond, torch's product for many rows is the faster one."""
WEIGHTS = ("query", "key", "value", "output", "gate", "up", "down")
BIASES = ("query_bias", "key_bias", "value_bias")
NORMS = ("attention_norm", "mlp_norm", "query_norm", "key_norm")
POINTERS = (*WEIGHTS, *BIASES, *NORMS, "keys", "values")
SIZES = ("layers", "width", "heads", "kv_heads", "head_width", "mlp_width", "places", "is_half", "threads")


class _Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in POINTERS]


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in SIZES),
        ("epsilon", ctypes.c_float),
        ("frequencies", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("layer", ctypes.POINTER(_Layer)),
    ]


def library() -> tuple[ctypes.CDLL | None, str]:
    """The compiled decode.c, or None, and why."""
    found, reason = native.load(SOURCE)
    if found is not None:
        found.danlu_decode_space.restype = ctypes.c_int64
        found.danlu_decode.restype = found.danlu_linear.restype = None
    return found, reason


class Decoding:
    """One model over one cache, as decode.c sees them. It keeps the tensors alive whose memory it points to.

    `layers` hold a tensor or None for each name of `POINTERS`; `sizes` a number for each of `SIZES` but the last two;
    `frequencies` (K / 2,) are None where positions are learned. All are contiguous, on the CPU, and of one dtype.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Tensor | None]],
        norm: Tensor,
        frequencies: Tensor | None,
        sizes: Mapping[str, int],
        epsilon: float,
    ):
        found, reason = library()
        assert found is not None, reason
        self._library, self.dtype = found, norm.dtype
        tensors = [tensor for layer in layers for tensor in layer.values()] + [norm, frequencies]
        # Parameters may be given other memory (`model.to`): what is pointed to is kept alive, and its owner watched.
        self._owners = [tensor for tensor in tensors if tensor is not None]
        self._kept = [owner.detach() for owner in self._owners]
        table = (_Layer * len(layers))(*(_Layer(**{n: _address(layer[n]) for n in POINTERS}) for layer in layers))
        self._model = _Model(
            **sizes,
            is_half=int(self.dtype == torch.bfloat16),
            epsilon=epsilon,
            frequencies=_address(frequencies),
            norm=_address(norm),
            layer=table,
        )

    @property
    def is_current(self) -> bool:
        """False once a tensor has moved or changed its dtype: what is pointed to is then not the model's any more."""
        return all(
            owner.data_ptr() == kept.data_ptr() and owner.dtype == kept.dtype
            for owner, kept in zip(self._owners, self._kept, strict=True)
        )

    def hidden(self, x: Tensor, slots: Tensor, positions: Tensor) -> Tensor:
        """Hidden states (B, D) fp32 after the final norm, of embeddings x (B, D) fp32, which are overwritten.

        Row b is the token at `positions[b]` of slot `slots[b]`, both int64; its key and value are stored.
        """
        assert x.dtype == torch.float32, "decode.c reads fp32"
        assert x.is_contiguous(), "decode.c reads plain rows"
        assert slots.dtype == positions.dtype == torch.int64, "decode.c reads int64"
        self._model.threads = torch.get_num_threads()
        size = self._library.danlu_decode_space(ctypes.byref(self._model), ctypes.c_int64(len(x)))
        space = torch.empty(size, dtype=torch.float32, device="cpu")
        self._library.danlu_decode(
            ctypes.byref(self._model),
            ctypes.c_int64(len(x)),
            *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, slots, positions, space)),
        )
        return x


def thin_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T` (B, O) in fp32, of x (B, I) and weight (O, I) in one dtype, fp32 or bf16."""
    assert bias is None, "the head has no bias"
    found, reason = library()
    assert found is not None, reason
    x, weight = x.contiguous(), weight.contiguous()
    assert x.dtype == weight.dtype, f"{x.dtype} by {weight.dtype}"
    out = torch.empty(len(x), len(weight), dtype=torch.float32, device="cpu")
    found.danlu_linear(
        ctypes.c_void_p(weight.data_ptr()),
        *(ctypes.c_int64(size) for size in (weight.shape[1], weight.shape[0])),
        ctypes.c_void_p(x.data_ptr()),
        *(ctypes.c_int64(n) for n in (len(x), int(x.dtype == torch.bfloat16), torch.get_num_threads())),
        ctypes.c_void_p(out.data_ptr()),
    )
    return out


def _address(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.is_contiguous(), "decode.c reads plain rows"
    return tensor.data_ptr()
