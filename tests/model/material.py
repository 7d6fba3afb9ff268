"""Tiny models for tests: two layers, width 64; ours, and transformers' of the same shape with random weights.

In: what a test wants otherwise. Out: a `ModelConfig`, a `Transformer`, a model of transformers, packed rows. Weights
are larger than at the start of training, so that attention is sharp and an error in it is seen in the logits.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.model.config import ModelConfig
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer

FAMILIES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {"attention_bias": True}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"qk_norm": True}),
}
VOCABULARY = 96


def config(**changes: Any) -> ModelConfig:
    """Two layers, width 64, grouped-query attention, untied head."""
    values: dict[str, Any] = {
        "vocabulary_size": VOCABULARY,
        "width": 64,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_width": 16,
        "mlp_width": 128,
        "context_length": 256,
        "tied": False,
        **changes,
    }
    return ModelConfig(**values)


def model(seed: int = 0, *, backend: str = "auto", **changes: Any) -> Transformer:
    """A Transformer in evaluation mode with lively weights in every place, biases and norms too."""
    made = Transformer(config(**changes))
    initialise(made, seed)
    enliven(made, seed)
    made.attention_backend = backend
    return made.eval()


@torch.no_grad()
def enliven(made: torch.nn.Module, seed: int) -> None:
    """Make every weight matter: larger matrices, norms around one, biases off zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in made.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim == 1:
            weight.copy_(noise * 0.3 + (1.0 if "norm" in name else 0.0))
        else:
            scale = 1.0 if "emb" in name else 1.5 * weight.shape[1] ** -0.5
            weight.copy_(noise * scale)


def foreign(family: str, seed: int = 0, **changes: Any) -> Any:
    """transformers' own model of a family, tiny, fp32, with lively random weights."""
    import transformers

    config_class, model_class, _ = FAMILIES[family]
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 128,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **changes,
    }
    made = getattr(transformers, model_class)(getattr(transformers, config_class)(**sizes))
    enliven(made, seed)
    return made.eval()


def save_foreign(made: Any, folder: Path, **arguments: Any) -> Path:
    """transformers' own files of its own model."""
    made.save_pretrained(folder, **arguments)
    return folder


def ids(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def packed(lengths: list[list[int]], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of documents of the given lengths: ids, positions that restart, document numbers from 0."""
    total = max(map(sum, lengths))
    positions = torch.arange(total).repeat(len(lengths), 1)
    documents = torch.full((len(lengths), total), -1, dtype=torch.int32)
    for row, parts in enumerate(lengths):
        start = 0
        for number, length in enumerate(parts):
            positions[row, start : start + length] = torch.arange(length)
            documents[row, start : start + length] = number
            start += length
    return ids(len(lengths), total, seed), positions, documents


def random_lengths(total: int, seed: int) -> list[int]:
    """Document lengths that add up to `total`."""
    chooser, lengths = random.Random(seed), []
    while sum(lengths) < total:
        lengths.append(min(chooser.randint(1, max(1, total // 2)), total - sum(lengths)))
    return lengths


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value; infinite where something is not finite."""
    if not bool(found.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())
