"""The one writer of model folders: what danlu and transformers, vLLM and others load in one call.

In: a model (also compiled or under DDP), its tokenizer, a model card. Out: `config.json`, safetensors, the tokenizer's
files, `generation_config.json`, `README.md`. Called by the stages that make models. Writes no manifest: the stage seals
the folder when everything else lies in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from danlu.base.artifact import write_atomically
from danlu.base.errors import ArtifactError
from danlu.convert.families import family_for
from danlu.convert.reader import torch_dtype
from danlu.convert.weights import SHARD_BYTES, write_weights
from danlu.model.config import ModelConfig
from danlu.model.weights import plain_state
from danlu.tokenizer.tokenizer import Tokenizer


def save(
    folder: Path,
    model: nn.Module,
    tokenizer: Tokenizer | None,
    *,
    dtype: str = "float32",
    card: str,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the complete folder, weights in `dtype`. `card` is the text of `README.md`."""
    config: ModelConfig = _unwrapped(model).config
    if tokenizer is not None and tokenizer.size > config.vocabulary_size:
        raise ArtifactError(
            "the tokenizer has more tokens than the model has rows",
            where=folder,
            found=f"{tokenizer.size} tokens, {config.vocabulary_size} rows",
        )
    folder.mkdir(parents=True, exist_ok=True)
    family = family_for(config)
    tensors = {family.foreign_name(name): tensor for name, tensor in plain_state(model).items()}
    write_weights(folder, tensors, torch_dtype(dtype), shard_bytes=shard_bytes)
    values = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **family.write(config),
        **(_token_ids(tokenizer) if tokenizer is not None else {}),
        "torch_dtype": dtype,
    }
    write_atomically(folder / "config.json", _json_text(values))
    if tokenizer is not None:
        tokenizer.save(folder, context_length=config.context_length)
        write_atomically(folder / "generation_config.json", _json_text(_generation(config, tokenizer)))
    write_atomically(folder / "README.md", card if card.endswith("\n") else card + "\n")


def _unwrapped(model: nn.Module) -> Any:
    """The Transformer inside DDP (`module`) or a compiled model (`_orig_mod`)."""
    inner: Any = model
    while not hasattr(inner, "config"):
        inner = inner.module if hasattr(inner, "module") else inner._orig_mod
    return inner


def _token_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """`eos_token_id` holds every id that ends a reply: end of turn and end of document."""
    ids = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": sorted(tokenizer.stop_ids),
        "pad_token_id": tokenizer.pad_id,
    }
    return {key: value for key, value in ids.items() if value not in (None, [])}


def _generation(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """What other programs need in order to stop where we stop and never to emit a row that is no token."""
    values = _token_ids(tokenizer)
    padding_rows = list(range(tokenizer.size, config.vocabulary_size))
    if padding_rows:
        values["suppress_tokens"] = padding_rows
    return values


def _json_text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
