"""Adds tokens to a tokenizer that a model already knows.

In: a tokenizer and new text. Out: a tokenizer in which every old id means what it meant, with the new tokens after
them. Called by the `tokenizer` stage. A text may be cut into other tokens than before, never into another text. What
the model does with the new ids is `convert.vocabulary`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models, trainers

from danlu.base.errors import UserError
from danlu.tokenizer import vocabularies
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import train
from danlu.tokenizer.vocabularies import KINDS, kind_of

FIRST = 0x10000
"""Id i is written as the character of this number plus i: a million of them follow without a gap."""


def extend(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    vocabulary_size: int,
    min_frequency: int = 2,
    max_token_length: int = 15,
) -> Tokenizer:
    """`tokenizer` with tokens learnt from `texts`: `vocabulary_size` in all, or fewer where the text has too few.

    Byte-level BPE learns merges of the tokens it has; they come after the old ones, which are so tried first. The other
    kinds take what a vocabulary of their kind, learnt from the new text alone, has and they have not.
    """
    if tokenizer.size >= vocabulary_size:
        raise UserError(
            "there is no room for new tokens",
            found=f"{tokenizer.size:,} tokens already, {vocabulary_size:,} asked for in all",
            remedy="raise tokenizer.vocabulary_size",
        )
    description = json.loads(tokenizer.backend.to_str())
    kind = kind_of(description)
    if not _is_extensible(tokenizer, description, kind):
        raise UserError(
            "this tokenizer cannot be extended",
            found=f"{description['model']['type']} without a split into words, or not danlu's",
            remedy="extend a tokenizer that danlu made, or a byte-level one (GPT-2, Llama 3, Qwen)",
        )
    new: list[str] = []
    if kind in ("bpe", "bytes"):
        merges = _merges(_in_own_tokens(tokenizer, texts), vocabulary_size, min_frequency)
        _add_merges(description["model"], tokenizer, merges, vocabulary_size, max_token_length)
    else:
        fresh = train(
            texts,
            vocabulary_size=tokenizer.size + vocabulary_size,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            kind=kind,
        )
        new = _add_tokens(description["model"], tokenizer, fresh, vocabulary_size)
    backend = Backend.from_str(json.dumps(description))
    if kind == "words":
        backend.add_tokens([vocabularies.whole(token) for token in new if vocabularies.is_chinese_word(token)])
    return Tokenizer(backend, tokenizer.settings)


def _is_extensible(tokenizer: Tokenizer, description: dict[str, Any], kind: str) -> bool:
    if kind in ("bpe", "bytes"):
        return description["pre_tokenizer"] is not None
    return all(tokenizer.backend.token_to_id(name) == id for id, name in enumerate(KINDS[kind].reserved))


def _in_own_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[str]]:
    """The words of each text, a character for each token: what the next merges are learnt from."""
    for text in texts:
        encoding = tokenizer.backend.encode(text, add_special_tokens=False)
        by_word = groupby(zip(encoding.word_ids, encoding.ids, strict=True), key=lambda one: one[0])
        yield ["".join(chr(FIRST + id) for _, id in word) for _, word in by_word]


def _merges(words: Iterator[list[str]], vocabulary_size: int, min_frequency: int) -> list[list[list[int]]]:
    """Pairs of runs of ids, in the order in which they became one."""
    backend = Backend(models.BPE())
    # Every token that the words hold counts as a letter: there are at most as many as the vocabulary has.
    trainer = trainers.BpeTrainer(vocab_size=2 * vocabulary_size, min_frequency=min_frequency, show_progress=False)
    backend.train_from_iterator(words, trainer)
    pairs = json.loads(backend.to_str())["model"]["merges"]
    return [[[ord(character) - FIRST for character in half] for half in pair] for pair in pairs]


def _add_merges(
    model: dict[str, Any],
    tokenizer: Tokenizer,
    merges: list[list[list[int]]],
    vocabulary_size: int,
    max_token_length: int,
) -> None:
    """Append merges and their tokens to a BPE; one that is too long is left out, and so are all that need it."""
    free = tokenizer.size
    written = {id: token for token, id in tokenizer.backend.get_vocab(with_added_tokens=True).items()}
    for left, right in merges:
        halves = ["".join(written[id] for id in half) for half in (left, right)]
        token = "".join(halves)
        if sum(len(tokenizer.bytes_of(id)) for id in (*left, *right)) > max_token_length:
            continue
        if token not in model["vocab"]:
            if free == vocabulary_size:
                return
            model["vocab"][token] = free
            free += 1
        model["merges"].append(halves)


def _add_tokens(model: dict[str, Any], tokenizer: Tokenizer, fresh: Tokenizer, vocabulary_size: int) -> list[str]:
    """Append the tokens of `fresh` that are new, in its order, and return them."""
    known = tokenizer.backend.get_vocab(with_added_tokens=True)
    by_id = sorted(fresh.backend.get_vocab(with_added_tokens=True).items(), key=lambda one: one[1])
    new = [name for name, _ in by_id if name not in known][: vocabulary_size - tokenizer.size]
    if isinstance(model["vocab"], list):
        scores = dict(json.loads(fresh.backend.to_str())["model"]["vocab"])
        shift = _shift(dict(model["vocab"]), scores)
        model["vocab"] += [[name, scores[name] + shift] for name in new]
    else:
        model["vocab"].update({name: tokenizer.size + place for place, name in enumerate(new)})
    return new


def _shift(old: dict[str, float], fresh: dict[str, float]) -> float:
    """What brings the new log-probabilities to the scale of the old ones: how far the tokens that both have lie apart.

    Those of a short new text are too high beside those of a long old one, and would win wherever they fit.
    """
    reserved = set(KINDS["unigram"].reserved)
    apart = sorted(score - fresh[name] for name, score in old.items() if name in fresh and name not in reserved)
    return apart[len(apart) // 2] if apart else 0.0
