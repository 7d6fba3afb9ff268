"""Measure matrix products of training shapes: torch's own (MKL) beside oneDNN's, in GFLOP/s.

In: numbers of threads. Out: one line of JSON per shape on standard output. The figures in the docstring of
`danlu.kernels.linear` come from here:

    python benchmarks/products.py --threads 1
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from danlu.base import console
from danlu.kernels.linear import onednn_linear

SHAPES = ((2048, 768, 768), (2048, 768, 2048), (2048, 2048, 768), (4096, 288, 288), (4096, 288, 768), (4096, 288, 8192))
ROUNDS = 7


def main() -> None:
    """Each shape's forward product and both gradients, the two libraries in turn, the best of seven rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    for rows, inputs, outputs in SHAPES:
        x, weight, slope = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(rows, outputs)
        cases = {"forward": (x, weight), "for the input": (slope, weight.t()), "for the weight": (slope.t(), x.t())}
        speeds = {name: compare(*case, 2 * rows * inputs * outputs) for name, case in cases.items()}
        console.write(
            json.dumps({"shape": [rows, inputs, outputs], "threads": torch.get_num_threads(), "gflops": speeds}) + "\n"
        )


def compare(x: Tensor, weight: Tensor, flops: int) -> dict[str, int]:
    """GFLOP/s of `x @ weight.T` by either library."""
    best = {"torch": float("inf"), "onednn": float("inf")}
    for _ in range(ROUNDS):
        for name, product in (("torch", functional.linear), ("onednn", onednn_linear)):
            best[name] = min(best[name], seconds(lambda product=product: product(x, weight)))
    return {name: round(flops / value / 1e9) for name, value in best.items()}


def seconds(work: Callable[[], Tensor]) -> float:
    """Wall-clock of one call."""
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


if __name__ == "__main__":
    main()
