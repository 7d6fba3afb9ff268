"""The same text kept once, and each id given once.

In: cleaned records, one after the other. Out: for each the id of the record that was kept before it, if any. Called
by `pipeline`. Two records are duplicates where their texts agree but for spacing; documents are near-duplicates where
they also agree without case, width and punctuation. Texts that differ in a word are not found here but by `neardup`,
where it is asked for. Holds two hashes and an id for each record.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

import orjson

from danlu.base.records import Conversation, Document
from danlu.corpus.units import Record

NOT_WORDS = re.compile(r"[\W_]+")
MIN_LOOSE_CHARACTERS = 20
"""Below it, punctuation may be all that tells two texts apart."""


def exact_key(record: Record) -> bytes:
    """A hash of a document's text without regard to spacing, or of a conversation's turns and tools."""
    if isinstance(record, Document):
        content = b"d" + " ".join(record.text.split()).encode("utf-8", "replace")
    else:
        content = b"c" + _turns(record)
    return blake2b(content, digest_size=16).digest()


def _turns(conversation: Conversation) -> bytes:
    turns = [
        (
            turn.role,
            " ".join(turn.content.split()),
            turn.reasoning,
            [(call.name, call.arguments) for call in turn.tool_calls],
        )
        for turn in conversation.messages
    ]
    return orjson.dumps([turns, [dict(tool) for tool in conversation.tools]], option=orjson.OPT_SORT_KEYS, default=str)


def loose_key(record: Record) -> bytes | None:
    """A hash of a document's letters and digits alone, caseless and of one width; None where that says too little."""
    if not isinstance(record, Document):
        return None
    letters = NOT_WORDS.sub("", unicodedata.normalize("NFKC", record.text).casefold())
    if len(letters) < MIN_LOOSE_CHARACTERS:
        return None
    return blake2b(letters.encode("utf-8", "replace"), digest_size=16, person=b"loose").digest()


class Seen:
    """What was kept so far. The first of equal records stays, in the order of reading, which is that of the names."""

    def __init__(self, *, near: bool = True):
        self.near = near
        self._exact: dict[bytes, str] = {}
        self._loose: dict[bytes, str] = {}
        self._ids: set[str] = set()

    def duplicate_of(self, record: Record) -> tuple[str, str] | None:
        """`(reason, id of the one that was kept)`, or None; then the record counts as kept from now on."""
        exact = exact_key(record)
        if exact in self._exact:
            return "duplicate", self._exact[exact]
        loose = loose_key(record) if self.near else None
        if loose is not None and loose in self._loose:
            return "near_duplicate", self._loose[loose]
        self._exact[exact] = record.id
        if loose is not None:
            self._loose[loose] = record.id
        return None

    def unique_id(self, record: Record, place: str) -> str:
        """The record's id, followed by its place where another record brought the same id before."""
        name = self.free_id(record, place)
        self._ids.add(name)
        return name

    def free_id(self, record: Record, place: str) -> str:
        """What `unique_id` would give; the id stays free."""
        name, number = record.id, 1
        while name in self._ids:
            name = f"{record.id}@{place}" if number == 1 else f"{record.id}@{place}-{number}"
            number += 1
        return name
