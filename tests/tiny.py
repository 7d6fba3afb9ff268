"""A complete model in a second: a tokenizer learnt from a few lines, a Transformer with random weights.

In: sizes, where a test wants others. Out: tokenizer, model, a saved model folder. Called by the tests of `infer`,
`serve` and the commands. Weights are larger than at the start of a training, so that answers vary with the prompt.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

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
    """Two layers of width 64, grouped queries, its own head; a few rows more than the tokenizer, as after padding."""
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


class Scripted(nn.Module):
    """Answers every question with the same text, whatever the prompt: for tests of what happens to text.

    Counts tokens from the last `<|assistant|>` that it saw in a slot. `seconds` is what each forward pass takes.
    """

    def __init__(self, reply: str, *, seconds: float = 0.0):
        super().__init__()
        self.config, self.compute_dtype, self.seconds = config(), torch.float32, seconds
        self.nothing = nn.Parameter(torch.zeros(1))
        special = tokenizer().special
        self.reply = [*tokenizer().encode(reply), special["<|end|>"]]
        self.assistant = special["<|assistant|>"]
        self.starts: dict[int, int] = {}

    def forward(self, ids: Tensor, positions: Tensor, cache: object = None, slots: Tensor | None = None) -> Tensor:
        time.sleep(self.seconds)
        hidden = torch.zeros(*ids.shape, 1)
        for row, slot in enumerate(slots.tolist()):
            for column, (id, position) in enumerate(zip(ids[row].tolist(), positions[row].tolist(), strict=True)):
                if id == self.assistant and position >= 0:
                    self.starts[slot] = position
                hidden[row, column] = position - self.starts.get(slot, 0)
        return hidden

    def compute_by(self, product: object) -> None:
        pass

    def head(self, hidden: Tensor) -> Tensor:
        wanted = [self.reply[min(max(int(index), 0), len(self.reply) - 1)] for index in hidden.flatten().tolist()]
        return nn.functional.one_hot(torch.tensor(wanted), self.config.vocabulary_size).float() * 20
