"""Learns a vocabulary from text, and measures it.

In: texts and a kind of vocabulary. Out: a `Tokenizer` whose first ids are the control tokens, then what its kind
reserves (`vocabularies`), then what was learnt, the most useful first; and bytes per token by language. Called by the
`tokenizer` stage. The same texts give the same vocabulary, whatever their order and the number of threads. No kind has
a normaliser: what a text says is not changed before it is encoded.
Source: the trainers of Hugging Face `tokenizers`; their papers stand in `vocabularies`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from danlu.tokenizer import vocabularies
from danlu.tokenizer.bytetable import CONTINUING
from danlu.tokenizer.chat import JINJA
from danlu.tokenizer.tokenizer import CONTROL_TOKENS, Tokenizer, new_backend, new_settings
from danlu.tokenizer.vocabularies import KINDS
from danlu.tokenizer.words import segment

SMALLEST_VOCABULARY = len(CONTROL_TOKENS) + 256
SCORE_DECIMALS = 4
"""Sums over texts in another order differ in the last places of a log-probability: they are not kept."""
UNUSED_SCORE_STEP = 1e-4
"""By how much the library's unigram trainer tells characters apart that it has no probability for."""
DISGUISED, DISGUISE = "\U00040000", "\U00080000"
"""Characters below the one are moved by the other, into planes 8 to 11, where no character is assigned."""


def train(
    texts: Iterable[str],
    *,
    vocabulary_size: int,
    min_frequency: int = 2,
    max_token_length: int = 15,
    kind: str = "bpe",
) -> Tokenizer:
    """A tokenizer of at most `vocabulary_size` tokens, fewer where the text has too few.

    `min_frequency` is how often a pair, piece, character or word must occur to become a token; `max_token_length` is
    in bytes (a Chinese character has three, so that a multiple of three cuts none) and keeps a small corpus's phrases
    from becoming single tokens. `KINDS[kind].limits` says which of the two a kind knows.
    """
    room = vocabulary_size - len(KINDS[kind].reserved)
    match kind:
        case "bpe":
            backend = _pairs(texts, vocabulary_size, min_frequency, max_token_length)
        case "bytes":
            backend = _pairs((), SMALLEST_VOCABULARY, 1, 1)
        case "unigram":
            backend = vocabularies.build(kind, *_pieces(texts, room, min_frequency, max_token_length))
        case "wordpiece":
            backend = vocabularies.build(kind, _word_pieces(texts, room, min_frequency, max_token_length))
        case "characters":
            backend = vocabularies.build(kind, _characters(texts, room, min_frequency))
        case "words":
            backend = vocabularies.build(kind, _words(texts, room, min_frequency))
    return Tokenizer(backend, {**new_settings(KINDS[kind].pad), "chat_template": JINJA})


def _pairs(texts: Iterable[str], vocabulary_size: int, min_frequency: int, max_token_length: int) -> Backend:
    """Byte-level BPE: the most frequent pair of neighbours becomes a token, again and again."""
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
    return backend


def _pieces(
    texts: Iterable[str], room: int, min_frequency: int, max_token_length: int
) -> tuple[list[str], list[float]]:
    """Pieces and their log-probabilities: expectation maximisation over all cuts, the least useful pieces leave."""
    texts = list(texts)  # the trainer must be told of all characters before it reads the first text
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(text)
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = vocabularies.subword_split()
    trainer = trainers.UnigramTrainer(
        vocab_size=max(room, len(seen) + 1), max_piece_length=max_token_length, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    scores = dict(json.loads(backend.to_str())["model"]["vocab"])
    # Characters that no best cut uses get the lowest score and more, in an order that differs from run to run.
    uncertain = min(scores.values(), default=0.0) + UNUSED_SCORE_STEP * sum(len(piece) == 1 for piece in scores)
    learnt = [
        (piece, round(uncertain if len(piece) == 1 and score < uncertain else score, SCORE_DECIMALS))
        for piece, score in scores.items()
        if (len(piece) == 1 or len(piece.encode()) <= max_token_length)
        and all(seen[character] >= min_frequency for character in piece)
    ]
    learnt.sort(key=lambda one: (-one[1], one[0]))
    return [piece for piece, _ in learnt[:room]], [score for _, score in learnt[:room]]


def _word_pieces(texts: Iterable[str], room: int, min_frequency: int, max_token_length: int) -> list[str]:
    """Characters by frequency, then pieces by the frequency of their pairs.

    The library's own trainer breaks ties by chance; so its BPE trainer learns from words whose later characters are
    written as others, beyond Unicode's assigned planes.
    """
    seen: Counter[str] = Counter()
    backend = Backend(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=max(room, 1), min_frequency=min_frequency, show_progress=False)
    backend.train_from_iterator(_disguised(texts, seen), trainer)
    by_frequency = sorted(seen.items(), key=lambda one: (-one[1], one[0]))
    merged = sorted((id, piece) for piece, id in backend.get_vocab().items() if len(piece) > 1)
    disguised = [character for character, count in by_frequency if count >= min_frequency]
    disguised += [piece for _, piece in merged if len(_undisguised(piece).encode()) <= max_token_length]
    return [CONTINUING * (piece[0] >= DISGUISE) + _undisguised(piece) for piece in disguised[:room]]


def _disguised(texts: Iterable[str], seen: Counter[str]) -> Iterator[list[str]]:
    """Each text as words, all characters but the first of each moved by DISGUISE; words that cannot be are left out."""
    split = vocabularies.word_split()
    for text in texts:
        words = []
        for word, _ in split.pre_tokenize_str(text):
            if max(word) < DISGUISED:
                words.append(word[0] + "".join(chr(ord(character) + ord(DISGUISE)) for character in word[1:]))
                seen.update(words[-1])
        yield words


def _undisguised(piece: str) -> str:
    return "".join(chr(ord(one) - ord(DISGUISE)) if one >= DISGUISE else one for one in piece)


def _characters(texts: Iterable[str], room: int, min_frequency: int) -> list[str]:
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(text)
    by_frequency = sorted(seen.items(), key=lambda one: (-one[1], one[0]))
    return [character for character, count in by_frequency if count >= min_frequency][:room]


def _words(texts: Iterable[str], room: int, min_frequency: int) -> list[str]:
    """Words by frequency; Chinese ones by segmentation, and every character of theirs, for words that are too rare."""
    backend = Backend(models.WordLevel(unk_token=vocabularies.UNKNOWN))
    trainer = trainers.WordLevelTrainer(vocab_size=max(room, 0), min_frequency=min_frequency, show_progress=False)
    backend.train_from_iterator(_cut(texts), trainer)
    return [word for word, _ in sorted(backend.get_vocab().items(), key=lambda one: one[1])]


def _cut(texts: Iterable[str]) -> Iterator[list[str]]:
    """The words that each text would be encoded by if all were in the vocabulary, and all its Chinese characters."""
    split = vocabularies.word_split()
    for text in texts:
        pieces = [piece for piece, _ in split.pre_tokenize_str(text)]
        yield pieces + [word for word in segment(text) if vocabularies.is_chinese_word(word)]


def compression(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """From `(language, text)` pairs: texts, bytes, tokens and bytes per token of each language, and of all.

    Where the vocabulary cannot write everything, also how many tokens are unknown, and their share.
    """
    table: dict[str, dict[str, Any]] = {}
    for language, text in texts:
        ids = tokenizer.encode(text)
        for name in (language if language else "unknown", "all"):
            row = table.setdefault(name, {"texts": 0, "bytes": 0, "tokens": 0, "unknown": 0})
            row["texts"] += 1
            row["bytes"] += len(text.encode())
            row["tokens"] += len(ids)
            row["unknown"] += ids.count(tokenizer.unknown_id) if tokenizer.unknown_id is not None else 0
    for row in table.values():
        unknown = row.pop("unknown")
        row["bytes_per_token"] = round(row["bytes"] / row["tokens"], 4) if row["tokens"] else 0.0
        if tokenizer.unknown_id is not None:
            row["unknown"] = unknown
            row["unknown_share"] = round(unknown / row["tokens"], 6) if row["tokens"] else 0.0
    return dict(sorted(table.items()))
