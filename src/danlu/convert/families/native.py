"""danlu's own form, for architectures that no class of transformers holds (learned positions, and the like).

In: a `config.json` whose key `danlu` is our `ModelConfig`. Out: `FAMILY`, read by the table in `families`. The folder
is complete and danlu reads it everywhere; other programs do not, and the model card says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.base.config import read_settings
from danlu.base.errors import ArtifactError
from danlu.convert.families.family import Family
from danlu.model.config import ModelConfig


def read(values: Mapping[str, Any], where: Path) -> ModelConfig:
    """The `ModelConfig` under the key `danlu`."""
    own = values.get("danlu")
    if not isinstance(own, Mapping):
        raise ArtifactError("the model's config lacks keys", where=where, found="no danlu")
    return read_settings(ModelConfig, own, str(where))


FAMILY = Family(
    architecture="DanluForCausalLM",
    model_type="danlu",
    holds=lambda config: True,
    read=read,
    write=lambda config: {"danlu": config.model_dump(mode="json")},
    foreign_name=lambda name: name,
)
