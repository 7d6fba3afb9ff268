"""Records become ids: a document between its two control tokens, a conversation through the chat template.

In: documents or conversations and the tokenizer. Out: runs of `Encoded` records for `files.RowSetWriter`, and counts of
what was left out and why. Called by the `shard` stage. The texts are encoded in batches, on all cores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np

from danlu.base.records import Conversation, Document, text_bytes
from danlu.shards.files import Encoded
from danlu.shards.order import scramble
from danlu.tokenizer.chat import ChatTemplate, Rendered
from danlu.tokenizer.tokenizer import Run, Tokenizer, run_of

BATCH_RECORDS = 1024
BATCH_CHARACTERS = 1_000_000
"""Encoded together: a rare character is up to four ids, and several copies of them live at once."""
OVER_LONG = "longer than a row"
NOTHING_TO_LEARN = "no token to learn"
NOT_CHOSEN = "beyond the chosen share"

R = TypeVar("R", Document, Conversation)


@dataclass
class Tally:
    """What was encoded: records, tokens and bytes of text; and conversations left out by reason, with their bytes."""

    documents: int = 0
    conversations: int = 0
    tokens: int = 0
    bytes: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_bytes: int = 0

    def leave_out(self, conversation: Conversation, reason: str) -> None:
        self.rejected[reason] += 1
        self.rejected_bytes += text_bytes(conversation)


@dataclass
class Given:
    """What was read from the corpus, counted as it is read: the other side of a `Tally`."""

    records: dict[str, int] = field(default_factory=dict)  # documents, conversations -> how many, where they are read
    bytes: int = 0

    def counted(self, kind: str, records: Iterable[R]) -> Iterator[R]:
        """Pass the records of one kind on."""
        self.records[kind] = 0
        for record in records:
            self.records[kind] += 1
            self.bytes += text_bytes(record)
            yield record


def encode_documents(tokenizer: Tokenizer, documents: Iterable[Document], tally: Tally) -> Iterator[Encoded]:
    """`<|bos|> text <|eos|>` for each document; a foreign tokenizer without one of the two goes without it."""
    before = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    after = [tokenizer.eos_id] if tokenizer.eos_id is not None else []
    for batch in _batches(documents, lambda document: len(document.text)):
        ids, lengths = _between(before, tokenizer.encode_run([document.text for document in batch]), after)
        tally.documents += len(batch)
        tally.bytes += sum(len(document.text.encode()) for document in batch)
        tally.tokens += len(ids)
        yield Encoded([document.id for document in batch], lengths, ids)


def _between(before: Sequence[int], run: Run, after: Sequence[int]) -> Run:
    """Every text of a run with the same ids before and after it."""
    lengths = run.lengths + len(before) + len(after)
    ends = np.cumsum(lengths)
    ids = np.empty(int(lengths.sum()), dtype=run.ids.dtype)
    is_text = np.ones(len(ids), dtype=bool)
    for places, added in ((ends - lengths, before), (ends - len(after), after)):
        for offset, id in enumerate(added):
            ids[places + offset] = id
            is_text[places + offset] = False
    ids[is_text] = run.ids
    return Run(ids, lengths)


def chosen(conversations: Iterable[Conversation], share: float, tally: Tally) -> Iterator[Conversation]:
    """A share of them, each by a draw that depends on its number alone; the others are counted as left out.

    Not every tenth: kinds of records often take turns, and all of one kind might be left out.
    """
    for number, conversation in enumerate(conversations):
        if int(scramble(np.array([number], dtype=np.uint64))[0]) < share * 2**64:
            yield conversation
        else:
            tally.leave_out(conversation, NOT_CHOSEN)


def encode_conversations(
    template: ChatTemplate,
    conversations: Iterable[Conversation],
    tally: Tally,
    *,
    learn_all: bool = False,
    longest: int | None = None,
) -> Iterator[Encoded]:
    """Conversations with their loss masks; `learn_all` makes every token a target, as in a document.

    Left out and counted: those without a token to learn, and those over `longest` tokens, whose cutting would leave
    answers without their questions.
    """
    for batch in _batches(conversations, lambda one: sum(len(message.content) for message in one.messages)):
        names, kept = [], []
        for conversation, rendered in zip(batch, template.render_batch(batch), strict=True):
            reason = _reason(rendered, learn_all=learn_all, longest=longest)
            if reason:
                tally.leave_out(conversation, reason)
                continue
            names.append(conversation.id)
            kept.append(rendered)
            tally.bytes += text_bytes(conversation)
        tally.conversations += len(kept)
        masks = None if learn_all else [rendered.mask for rendered in kept]
        yield _joined(names, [rendered.ids for rendered in kept], masks, tally)


def _reason(rendered: Rendered, *, learn_all: bool, longest: int | None) -> str:
    """Why a conversation cannot be used, or an empty string."""
    if not learn_all and not any(rendered.mask):
        return NOTHING_TO_LEARN
    if longest is not None and len(rendered.ids) > longest:
        return OVER_LONG
    return ""


def _joined(names: list[str], rows: Sequence[list[int]], masks: Sequence[list[bool]] | None, tally: Tally) -> Encoded:
    ids, lengths = run_of(rows)
    tally.tokens += len(ids)
    mask = None
    if masks is not None:
        mask = np.fromiter(chain.from_iterable(masks), dtype=bool, count=len(ids))
    return Encoded(names, lengths, ids, mask)


def _batches(records: Iterable[R], characters: Callable[[R], int]) -> Iterator[list[R]]:
    """Enough records to keep all cores busy, few enough to keep memory flat."""
    batch: list[R] = []
    size = 0
    for record in records:
        batch.append(record)
        size += characters(record)
        if len(batch) >= BATCH_RECORDS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
