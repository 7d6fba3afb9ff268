"""Optimizers: which parameter is moved by which rule, and the state that a checkpoint keeps.

In: the model, settings, the peak learning rate. Out: one `Optimizer` over torch's own SGD, Adam, AdamW (fused) and our
`Muon`. Called by the loop's owner. The learning rate of a step comes from `schedules` and is set before every update;
hyper-parameters come from the config: neither is ever read from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from danlu.base.errors import ArtifactError
from danlu.model.transformer import Embedding
from danlu.parallel.device import fastest_dtype
from danlu.train.muon import Muon
from danlu.train.settings import OptimizerSettings

HEAD_NAME = "output.weight"
"""The untied head's own matrix; a tied head is the embedding and named once."""


@dataclass(frozen=True)
class Group:
    """Parameters that share a rule; `rate` is a multiple of the run's learning rate."""

    names: tuple[str, ...]
    kind: str  # "hidden" matrices, "head", "embedding", "vector" (norms, biases)
    rate: float
    weight_decay: float


def kind_of(name: str, parameter: Tensor, embeddings: frozenset[str]) -> str:
    """What a parameter is to an optimizer: embedding, head, hidden matrix, or vector (norms, biases)."""
    if name in embeddings:
        return "embedding"
    if parameter.ndim < 2:
        return "vector"
    return "head" if name == HEAD_NAME else "hidden"


def groups(model: nn.Module, settings: OptimizerSettings) -> list[Group]:
    """The parameters by kind. Only matrices decay: never embeddings (tied heads are embeddings), norms or biases."""
    embeddings = frozenset(f"{path}.weight" for path, module in model.named_modules() if isinstance(module, Embedding))
    found: dict[str, list[str]] = {"hidden": [], "head": [], "embedding": [], "vector": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found[kind_of(name, parameter, embeddings)].append(name)
    decay = {"hidden": settings.weight_decay, "head": settings.weight_decay}
    rate = {"embedding": settings.embedding_rate}
    return [
        Group(tuple(names), kind, rate.get(kind, 1.0), decay.get(kind, 0.0)) for kind, names in found.items() if names
    ]


class Optimizer:
    """Rules over one model: rates set per step, state named by parameter."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings, learning_rate: float):
        self.learning_rate = learning_rate
        self.groups = groups(model, settings)
        self._parameters = dict(model.named_parameters())
        self._device = next(iter(self._parameters.values())).device
        self._rules = self._build(settings)

    def _build(self, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
        by_muon = [g for g in self.groups if settings.name == "muon" and g.kind == "hidden"]
        others = [g for g in self.groups if g not in by_muon]
        rules: list[torch.optim.Optimizer] = []
        if by_muon:
            # By what the device can do, not by what the model computes in: the update's rounding is Muon's own affair.
            dtype = getattr(torch, fastest_dtype(str(self._device))[0])
            listed = [self._torch_group(g) for g in by_muon]
            rules.append(Muon(listed, lr=self.learning_rate, momentum=settings.momentum, dtype=dtype))
        if others:
            rules.append(self._rule(settings, [self._torch_group(g) for g in others]))
        return rules

    def _torch_group(self, group: Group) -> dict[str, object]:
        return {
            "params": [self._parameters[name] for name in group.names],
            "names": group.names,
            "weight_decay": group.weight_decay,
            "rate": group.rate,
        }

    def _rule(self, settings: OptimizerSettings, listed: list[dict[str, object]]) -> torch.optim.Optimizer:
        if settings.name == "sgd":
            return torch.optim.SGD(listed, lr=self.learning_rate, momentum=settings.momentum)
        betas = (settings.beta1, settings.beta2)
        fused = self._device.type in ("cpu", "cuda")
        kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
        return kind(listed, lr=self.learning_rate, betas=betas, eps=settings.epsilon, fused=fused)

    def set_rate(self, share: float) -> float:
        """Set every group's rate to `share` of its peak; returns the run's learning rate now."""
        now = self.learning_rate * share
        for rule in self._rules:
            for group in rule.param_groups:
                group["lr"] = now * group["rate"]
        return now

    def step(self) -> None:
        for rule in self._rules:
            rule.step()

    def zero_grad(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    def decayed(self) -> list[str]:
        """Names of the parameters that weight decay touches, sorted."""
        return sorted(name for group in self.groups if group.weight_decay > 0 for name in group.names)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state as `parameter/key`; the same storage that the next step changes."""
        found = {}
        for rule in self._rules:
            for group in rule.param_groups:
                for name in group["names"]:
                    for key, value in rule.state.get(self._parameters[name], {}).items():
                        found[f"{name}/{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return found

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave; names that do not fit this optimizer are an error, never skipped."""
        owners = {name: rule for rule in self._rules for group in rule.param_groups for name in group["names"]}
        for rule in self._rules:
            rule.state.clear()
        for path, tensor in tensors.items():
            name, _, key = path.rpartition("/")
            if name not in owners:
                raise ArtifactError(
                    "the checkpoint's optimizer state does not fit this run",
                    found=f"state for {path!r}",
                    remedy="continue with the settings that the checkpoint was made with",
                )
            parameter = self._parameters[name]
            # Adam's step counter stays on the CPU unless fused on a GPU; torch's own loading does the same.
            device = parameter.device if tensor.ndim or parameter.device.type == "cuda" else "cpu"
            owners[name].state[parameter][key] = tensor.to(device).clone()
