"""Learns a byte-level BPE vocabulary from text, and measures it.

In: texts. Out: a `Tokenizer` whose first ids are the control tokens, then the 256 bytes, then merges by frequency; and
bytes per token by language. Called by the `tokenizer` stage. The same texts give the same vocabulary, whatever their
order and the number of threads. No normaliser: every byte of a text survives encoding.
Source: Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909), through Hugging Face `tokenizers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import pre_tokenizers, trainers

from danlu.tokenizer.chat import JINJA
from danlu.tokenizer.tokenizer import CONTROL_TOKENS, Tokenizer, new_backend, new_settings

SMALLEST_VOCABULARY = len(CONTROL_TOKENS) + 256


def train(
    texts: Iterable[str], *, vocabulary_size: int, min_frequency: int = 2, max_token_length: int = 15
) -> Tokenizer:
    """A tokenizer of at most `vocabulary_size` tokens, fewer where the text has too few pairs.

    `min_frequency` is how often a pair must occur to be merged; `max_token_length` is in bytes (a Chinese character
    has three, so that a multiple of three cuts none) and keeps a small corpus's phrases from becoming single tokens.
    """
    backend = new_backend()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend, {**new_settings(), "chat_template": JINJA})


def compression(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """From `(language, text)` pairs: texts, bytes, tokens and bytes per token of each language, and of all."""
    table: dict[str, dict[str, Any]] = {}
    for language, text in texts:
        size, tokens = len(text.encode()), len(tokenizer.encode(text))
        for name in (language if language else "unknown", "all"):
            row = table.setdefault(name, {"texts": 0, "bytes": 0, "tokens": 0})
            row["texts"] += 1
            row["bytes"] += size
            row["tokens"] += tokens
    for row in table.values():
        row["bytes_per_token"] = round(row["bytes"] / row["tokens"], 4) if row["tokens"] else 0.0
    return dict(sorted(table.items()))
