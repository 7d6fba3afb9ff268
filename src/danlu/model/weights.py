"""A model's weights by their own names, whatever wraps the model.

In: a model, perhaps compiled or under DDP. Out: `{name: tensor}` that any other wrapping can load, and back. Called
by `convert`, `train.checkpoint` and `initialise`. Reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

WRAPPERS = ("_orig_mod", "module")
"""Name parts that torch.compile and DDP put before a weight's own name."""


def plain_name(name: str) -> str:
    """A weight's name without what wrappers put into it: `_orig_mod.blocks.0…` → `blocks.0…`."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """All weights by their plain names; the tensors are the model's own, not copies."""
    return {plain_name(name): parameter.detach() for name, parameter in model.named_parameters()}


@torch.no_grad()
def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy `state` into the model, converting dtypes; names and shapes must agree exactly.

    Raises ValueError that names the missing, surplus and misshapen weights.
    """
    own = {plain_name(name): parameter for name, parameter in model.named_parameters()}
    complaints = [f"{name} is missing" for name in own if name not in state]
    complaints += [f"{name} is not a weight of this model" for name in state if name not in own]
    complaints += [
        f"{name} has shape {tuple(state[name].shape)}, the model's is {tuple(parameter.shape)}"
        for name, parameter in own.items()
        if name in state and state[name].shape != parameter.shape
    ]
    if complaints:
        raise ValueError("; ".join(complaints[:5]) + (f"; and {len(complaints) - 5} more" if complaints[5:] else ""))
    for name, parameter in own.items():
        parameter.copy_(state[name])
