"""What a family of foreign models is, and what the Llama-like ones have in common.

In: keys of a `config.json` or names of weights. Out: ours, and back. Called by `llama`, `qwen2`, `qwen3`, which say
what is special to them. Only the keys named here are read; a key that would change the mathematics and has a value that
danlu does not compute is an error, never ignored. Spellings are transformers'; both its old and its new ones are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base.config import read_settings
from danlu.base.errors import ArtifactError
from danlu.model.config import ModelConfig

DEFAULT_THETA = 10_000.0
"""What transformers takes for the three families where `config.json` names no base."""


@dataclass(frozen=True)
class Family:
    """`architecture` is the class in transformers; `holds` says whether it can hold one of our architectures exactly.

    `read(values, where)` and `write(config)` translate `config.json`; `foreign_name` turns a weight's name of ours into
    theirs.
    """

    architecture: str
    model_type: str
    holds: Callable[[ModelConfig], bool]
    read: Callable[[Mapping[str, Any], Path], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any]]
    foreign_name: Callable[[str], str]
    ignored: tuple[str, ...] = ()
    """Ends of the names of stored tensors that are no weights, such as tables that old files carry."""


SIZES = {
    "vocabulary_size": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "context_length": "max_position_embeddings",
    "norm_epsilon": "rms_norm_eps",
}
PARTS = {
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
WHOLE = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
TABLES = ("rotary_emb.inv_freq",)


def foreign_name(name: str) -> str:
    """`blocks.3.mlp.up.weight` → `model.layers.3.mlp.up_proj.weight`; a name without a counterpart is a KeyError."""
    if name in WHOLE:
        return WHOLE[name]
    _, layer, *part, kind = name.split(".")
    return f"model.layers.{layer}.{PARTS['.'.join(part)]}.{kind}"


def read_sizes(values: Mapping[str, Any], where: Path, *, fixed: Mapping[str, Any], **architecture: Any) -> ModelConfig:
    """The `ModelConfig` of a Llama-like `config.json`.

    `fixed` names keys with the one value that danlu computes (absent or null counts as that value);
    `architecture` holds what the family itself decides.
    """
    missing = [key for key in SIZES.values() if key not in values]
    if missing:
        raise ArtifactError("the model's config lacks keys", where=where, found=f"no {', '.join(missing)}")
    demands = {"hidden_act": "silu", "rope_scaling": None, **fixed}
    other = [
        f"{key} = {values[key]!r}"
        for key, value in demands.items()
        if values.get(key) is not None and values[key] != value
    ]
    theta, rope_type = _rope(values)
    if rope_type != "default":
        other.append(f"rope_type = {rope_type!r}")
    if other:
        raise ArtifactError("the model uses what danlu does not compute", where=where, found=", ".join(other))
    heads = values["num_attention_heads"]
    kv_heads, head_width = values.get("num_key_value_heads"), values.get("head_dim")
    return read_settings(
        ModelConfig,
        {
            **{ours: values[theirs] for ours, theirs in SIZES.items()},
            "kv_heads": heads if kv_heads is None else kv_heads,
            "head_width": values["hidden_size"] // heads if head_width is None else head_width,
            "rope_theta": theta,
            "tied": bool(values.get("tie_word_embeddings", False)),
            **architecture,
        },
        str(where),
    )


def _rope(values: Mapping[str, Any]) -> tuple[float, str]:
    """Base and kind of the rotary positions; transformers 5 keeps both in `rope_parameters`."""
    rope = values.get("rope_parameters") or {}
    theta = rope.get("rope_theta", values.get("rope_theta"))
    return (DEFAULT_THETA if theta is None else theta), rope.get("rope_type", "default")


def write_sizes(config: ModelConfig, **architecture: Any) -> dict[str, Any]:
    """The keys that all Llama-like families share; the base stands in both spellings, for transformers 4 and 5."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tied,
        "attention_dropout": 0.0,
        **architecture,
    }
