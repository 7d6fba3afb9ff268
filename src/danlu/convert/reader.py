"""The one reader of model folders, ours or foreign.

In: a folder with `config.json`, safetensors and perhaps a tokenizer. Out: a model that is ready to run, its tokenizer
and chat template. Called by every stage and command that needs a model. Nothing in the folder is executed, only known
keys of its config are read, and a folder with a manifest is verified by size and SHA-256 before anything is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from danlu.base.artifact import is_finished, open_artifact
from danlu.base.errors import ArtifactError, ConfigError, nearest, no_such_folder
from danlu.convert.families import family_of
from danlu.convert.families.family import Family
from danlu.convert.weights import StoredWeights
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.tokenizer.chat import ChatTemplate
from danlu.tokenizer.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode with what belongs to it.

    `tokenizer` is None where the folder has none, `template` where the tokenizer lacks our control tokens.
    """

    model: Transformer
    config: ModelConfig
    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    folder: Path


def load(folder: Path | str, *, device: str = "cpu", dtype: str = "float32") -> Loaded:
    """Read a model folder; weights and activations are in `dtype` (float32, bfloat16, float16).

    Raises ArtifactError that names what is missing, damaged, of an unknown architecture, or not computed by danlu.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise no_such_folder(folder)
    if is_finished(folder):
        open_artifact(folder)
    values = _read_config(folder)
    family = family_of(values, folder / "config.json")
    config = family.read(values, folder / "config.json")
    model = _build(folder, family, config, device, torch_dtype(dtype))
    has_tokenizer = (folder / "tokenizer.json").is_file()
    tokenizer = Tokenizer.load(folder) if has_tokenizer else None
    if tokenizer is not None and tokenizer.size > config.vocabulary_size:
        raise ArtifactError(
            "the tokenizer has more tokens than the model has rows",
            where=folder,
            found=f"{tokenizer.size} tokens, {config.vocabulary_size} rows",
            remedy="use the tokenizer that the model was trained with",
        )
    template = ChatTemplate(tokenizer) if tokenizer is not None and tokenizer.is_ours else None
    return Loaded(model, config, tokenizer, template, folder)


def architecture(folder: Path) -> ModelConfig:
    """What the model of a folder is, without its weights; ArtifactError as `load` has it."""
    values = _read_config(folder)
    return family_of(values, folder / "config.json").read(values, folder / "config.json")


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of a name such as `bfloat16`; ConfigError names the known ones."""
    if name not in DTYPES:
        raise ConfigError(
            f"there is no dtype {name!r}{nearest(name, DTYPES)}", remedy=f"use one of {', '.join(DTYPES)}"
        )
    return DTYPES[name]


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError(
            "this is not a model folder", where=folder, found="no config.json", remedy="give the folder of a model"
        )
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArtifactError("the model's config cannot be read", where=path, found=error) from None
    if not isinstance(values, dict):
        raise ArtifactError("the model's config must be a JSON object", where=path)
    return values


def _build(folder: Path, family: Family, config: ModelConfig, device: str, dtype: torch.dtype) -> Transformer:
    """Build on the meta device, compare names and shapes, and only then take memory and read the values."""
    stored = StoredWeights(folder)
    if config.layers > len(stored.shapes):
        raise ArtifactError(
            "config and weights disagree", where=folder, found=f"{config.layers} layers, {len(stored.shapes)} tensors"
        )
    with torch.device("meta"):
        model = Transformer(config)
    wanted = {family.foreign_name(name): name for name, _ in model.named_parameters()}
    _compare(stored, wanted, model, family, folder)
    model = model.to(dtype).to_empty(device=device)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in stored.read(wanted):
            parameters[name].copy_(tensor)
    model.compute_dtype = dtype
    return model.eval()


def _compare(
    stored: StoredWeights, wanted: Mapping[str, str], model: Transformer, family: Family, folder: Path
) -> None:
    """Raise an ArtifactError that names every weight that is missing, surplus or of another shape."""
    shapes = {theirs: tuple(model.get_parameter(ours).shape) for theirs, ours in wanted.items()}
    surplus = set(stored.shapes) - set(shapes) - {name for name in stored.shapes if name.endswith(family.ignored)}
    head, table = family.foreign_name("output.weight"), family.foreign_name("embedding.weight")
    if head in surplus and model.config.tied and table in stored.shapes:
        # Some writers store a tied matrix twice; that is one matrix only if both are the same.
        tensors = dict(stored.read({head: "head", table: "table"}))
        if torch.equal(tensors["head"], tensors["table"]):
            surplus.remove(head)
    complaints = [f"{name} is missing" for name in shapes if name not in stored.shapes]
    complaints += [f"{name} has no place in the model" for name in sorted(surplus)]
    complaints += [
        f"{name} is {list(stored.shapes[name])}, not {list(shape)}"
        for name, shape in shapes.items()
        if name in stored.shapes and stored.shapes[name] != shape
    ]
    if complaints:
        more = f"; and {len(complaints) - 5} more" if len(complaints) > 5 else ""
        raise ArtifactError("config and weights disagree", where=folder, found="; ".join(complaints[:5]) + more)
