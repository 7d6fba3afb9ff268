"""The families of models that danlu reads and writes, as one table.

In: a foreign `config.json`, or our `ModelConfig`. Out: the family that knows its keys and its weights' names. Called by
`reader`, `writer` and, through `exportable`, when a recipe is read; so nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.base.errors import ArtifactError
from danlu.convert.families import llama, native, qwen2, qwen3
from danlu.convert.families.family import Family
from danlu.model.config import ModelConfig

FAMILIES: tuple[Family, ...] = (llama.FAMILY, qwen2.FAMILY, qwen3.FAMILY, native.FAMILY)
"""In the order in which an architecture of ours looks for a class that holds it; `native` holds everything."""


def exportable(config: ModelConfig) -> str | None:
    """Why no class of transformers holds this architecture, or None where one does."""
    if family_for(config) is not native.FAMILY:
        return None
    if config.position == "learned":
        return "learned positions are in no class of transformers that has RMSNorm and a gated MLP; use position: rope"
    return "biases together with QK-norm are in no class of transformers; use one of attention_bias and qk_norm"


def family_for(config: ModelConfig) -> Family:
    """The first family whose class holds exactly this architecture."""
    return next(family for family in FAMILIES if family.holds(config))


def family_of(values: Mapping[str, Any], where: Path) -> Family:
    """The family that a `config.json` names; ArtifactError lists those that danlu reads."""
    architectures = values.get("architectures") or []
    for family in FAMILIES:
        if family.architecture in architectures or (
            not architectures and values.get("model_type") == family.model_type
        ):
            return family
    raise ArtifactError(
        "danlu does not read models of this architecture",
        where=where,
        found=", ".join(map(str, architectures)) or f"model_type {values.get('model_type')!r}",
        remedy=f"use one of {', '.join(family.architecture for family in FAMILIES)}",
    )
