"""How likely a model holds a text: log-likelihood, loss, perplexity, bits per byte.

In: a model, its tokenizer, texts. Out: one `Score` a text; scores add up, so that every mean is weighted by tokens or
bytes and none is a mean of means. Called by `stages.evaluate` and `proofs`. Trains nothing and reads no file.

Batch size and order change nothing but rounding: rows are padded on the right, where a causal model does not look, and
sums are kept in double precision. A text longer than the context is cut into windows that overlap by a quarter, each
token is scored once, with at least that much before it. The start mark is given, the end mark is not scored: bits per
byte are then those of the text alone, and can be compared between tokenizers. Ids that no token has are left out of
the softmax, as in generation. A token of what the vocabulary cannot write (`<UNK>`) need not tell which text that was:
over texts with such tokens there is a loss, and no bits per byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.tokenizer.tokenizer import Tokenizer

BATCH_TOKENS = 8192
OVERLAP = 0.25
POSITIONS_AT_ONCE = 2048
"""Positions whose logits are held at one time; bounds memory at this times the vocabulary."""


@dataclass(frozen=True)
class Score:
    """Negative log-likelihood in nats, summed, over this many tokens and UTF-8 bytes.

    `unknown`: tokens that stand for what the vocabulary cannot write. `given`: bytes before the first scored token.
    """

    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0
    unknown: int = 0
    given: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.nats + other.nats,
            self.tokens + other.tokens,
            self.bytes + other.bytes,
            self.unknown + other.unknown,
            self.given + other.given,
        )

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float | None:
        """None where there are no bytes, or where the model need not tell all of them: some tokens are unknown."""
        return self.nats / math.log(2) / self.bytes if self.bytes and not self.unknown else None


@dataclass(frozen=True)
class Piece:
    """A row for the model; what is scored is `ids[first:]`, each given all that stands before it (first >= 1)."""

    ids: Sequence[int]
    first: int


def windows(ids: Sequence[int], length: int, overlap: float = OVERLAP) -> list[Piece]:
    """Pieces of at most `length` ids that score each id but the first exactly once."""
    if len(ids) < 2:
        return []
    shared = min(int(length * overlap), length - 2)
    pieces = [Piece(ids[:length], 1)]
    done = min(length, len(ids))
    while done < len(ids):
        start = done - 1 - shared
        stop = min(start + length, len(ids))
        pieces.append(Piece(ids[start:stop], done - start))
        done = stop
    return pieces


def _batches(pieces: Sequence[Piece], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of pieces that go together: of like length, longest first, at most `batch_tokens` with padding."""
    order = sorted(range(len(pieces)), key=lambda index: -len(pieces[index].ids))
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // len(pieces[order[start]].ids))
        yield order[start : start + rows]
        start += rows


@torch.no_grad()
def log_likelihoods(
    model: Transformer, pieces: Sequence[Piece], *, vocabulary_limit: int, batch_tokens: int = BATCH_TOKENS
) -> list[float]:
    """Log-likelihood in nats of each piece's scored ids, in the order given. The model's mode is restored."""
    found = [0.0] * len(pieces)
    was_training = model.training
    model.eval()
    try:
        for rows in _batches(pieces, batch_tokens):
            for index, value in zip(rows, _score(model, [pieces[row] for row in rows], vocabulary_limit), strict=True):
                found[index] = value
    finally:
        model.train(was_training)
    return found


def _score(model: Transformer, pieces: Sequence[Piece], limit: int) -> list[float]:
    device = next(model.parameters()).device
    longest = max(len(piece.ids) for piece in pieces)
    ids = torch.zeros(len(pieces), longest, dtype=torch.long)
    scored = torch.zeros(len(pieces), longest, dtype=torch.bool)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece.ids)] = torch.tensor(piece.ids)
        scored[row, piece.first : len(piece.ids)] = True
    ids, scored = ids.to(device), scored.to(device)
    hidden = model(ids)[:, :-1]  # (B, T - 1, D): position t predicts id t + 1
    targets, scored = ids[:, 1:], scored[:, 1:]
    chosen, wanted = hidden[scored], targets[scored]  # (N, D), (N,)
    rows = torch.arange(len(pieces), device=device)[:, None].expand_as(scored)[scored]
    sums = torch.zeros(len(pieces), dtype=torch.float64, device=device)
    for part in range(0, len(wanted), POSITIONS_AT_ONCE):
        where = slice(part, part + POSITIONS_AT_ONCE)
        logits = model.head(chosen[where]).float()[:, :limit]  # (n, V)
        known = torch.log_softmax(logits, dim=-1).gather(1, wanted[where, None]).squeeze(1)
        sums.index_add_(0, rows[where], known.double())
    return sums.tolist()


def document_ids(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    """The ids of a text behind its start mark, and the UTF-8 bytes that the ids after the first stand for.

    A tokenizer without a start mark uses its end mark; where it has neither, the first token is given, not scored.
    """
    ids = tokenizer.encode(text)
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    if start is not None:
        return [start, *ids], len(text.encode())
    return ids, max(len(text.encode()) - len(tokenizer.decode_bytes(ids[:1])), 0)


def score_texts(
    model: Transformer, tokenizer: Tokenizer, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS
) -> list[Score]:
    """The `Score` of every text, in order; an empty text scores nothing."""
    pieces: list[Piece] = []
    owners: list[int] = []
    scores: list[Score] = []
    for number, text in enumerate(texts):
        ids, size = document_ids(tokenizer, text)
        cut = windows(ids, model.config.context_length)
        pieces += cut
        owners += [number] * len(cut)
        scored = size if len(ids) > 1 else 0
        unknown = 0 if tokenizer.unknown_id is None else ids.count(tokenizer.unknown_id)
        scores.append(Score(0.0, max(len(ids) - 1, 0), scored, unknown, len(text.encode()) - scored))
    values = log_likelihoods(model, pieces, vocabulary_limit=tokenizer.size, batch_tokens=batch_tokens)
    for number, value in zip(owners, values, strict=True):
        scores[number] += Score(-value)
    return scores
