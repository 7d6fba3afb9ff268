"""A complete model in a second: a tokenizer learnt from a few lines, a Transformer with random weights.

In: sizes, where a test wants others. Out: tokenizer, model, a saved model folder. Called by the tests of `infer`,
`serve` and the commands. Weights are larger than at the start of a training, so that answers vary with the prompt.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from danlu.convert import save
from danlu.model.config import ModelConfig
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import train

LINES = (
    "Mei bought two red apples at the market on Tuesday because it rained.",
    "Where is the teacher? The teacher is in the old library beside the river.",
    "美在星期二去了市场，买了两个红苹果。因为下雨，她很高兴。",
    "老师在哪里？老师在河边的旧图书馆里。今天天气很好 🙂。",
    "one two three four five six seven eight nine ten; 你好，世界！👩‍🚀 says hello to the world",
)


@cache
def tokenizer(size: int = 400) -> Tokenizer:
    """A byte-level tokenizer with danlu's control tokens."""
    return train(LINES * 4, vocabulary_size=size)


def config(**changes: object) -> ModelConfig:
    """Two layers of width 64, grouped queries and its own head; a few rows more than the tokenizer has, as after padding."""
    values = {
        "vocabulary_size": tokenizer().size + 24,
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
    return ModelConfig(**values)  # type: ignore[arg-type]


def model(seed: int = 0, **changes: object) -> Transformer:
    """A Transformer in evaluation mode whose answers look random but depend on every token before them."""
    made = Transformer(config(**changes))
    initialise(made, seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "embedding" in name or name.startswith("output"):
                weight.mul_(10)
    return made.eval()


def folder(path: Path, seed: int = 0, **changes: object) -> Path:
    """A model folder as a stage leaves it, without a manifest."""
    path.mkdir(parents=True, exist_ok=True)
    save(path, model(seed, **changes), tokenizer(), card="A model for tests.\n")
    return path
