"""The same text kept once, and each id given once.

In: cleaned records, one after the other. Out: for each the id of the record that was kept before it, if any. Called
by `pipeline`. Two records are duplicates where their texts agree but for spacing; documents are near-duplicates where
they also agree without case, width and the punctuation of sentences. A sign that belongs to a number or a formula is
content: `-5` is not `5`, and `1.25` not `125`. Texts that differ in a word are not found here but by `neardup`, where
it is asked for. Holds some 70 bytes a record: two hashes, a check and an id.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from functools import cache
from hashlib import blake2b

import orjson

from danlu.base.characters import VARIANTS, ranges
from danlu.base.records import Conversation, Document
from danlu.corpus.units import Record

MIN_LOOSE_CHARACTERS = 20
"""Below it, punctuation may be all that tells two texts apart."""
IN_A_NUMBER = (
    r"-(?=\s?\d)"  # -5, 3 - 1
    r"|\.(?=\d)"  # 1.25, .5
    r"|(?<=\d)[,:/](?=\d)"  # 1,250 and 3:45 and 1/2
    r"|[%‰]"
)
IN_A_FORMULA = r"(?<=[^\W_])[*/&\\](?=[^\W_])|!(?==)|(?<=[-+*/^=<>|])[(\[{]|[)\]}](?=\s?[-+*/^=<>|])"
"""Punctuation to Unicode, and content to a reader. The signs proper (+ = < $ ° ★) are no punctuation and all count."""
POWER = re.compile(r"[\u00b2\u00b3\u00b9\u2070\u2074-\u207f]+")
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u207b", "-"))
"""Signs that are written for a minus."""


FIRST_SLOTS = 1 << 10
CHECK = (1 << 32) - 1


def _hash(content: bytes, person: bytes = b"") -> int:
    return int.from_bytes(blake2b(content, digest_size=8, person=person).digest(), "little")


def exact_key(record: Record) -> int:
    """A hash of a document's text without regard to spacing, or of a conversation's turns and tools."""
    if isinstance(record, Document):
        content = b"d" + " ".join(record.text.split()).encode("utf-8", "replace")
    else:
        content = b"c" + _turns(record)
    return _hash(content)


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


def loose_key(record: Record) -> int | None:
    """A hash of what a document says, caseless and of one width; None where that is too little.

    That is its letters with their marks, its digits, its signs, and the punctuation of its numbers and formulas.
    """
    if not isinstance(record, Document):
        return None
    text = record.text
    if not text.isascii():
        text = POWER.sub(r"^\g<0>", text)  # the plain form of x² is x2, which is something else
        text = unicodedata.normalize("NFKC", text.translate(DASHES))
    content = "".join(_content().findall(text.casefold()))
    if len(content) < MIN_LOOSE_CHARACTERS:
        return None
    return _hash(content.encode("utf-8", "replace"), b"loose")


@cache
def _content() -> re.Pattern[str]:
    between = f"{ranges('P', 'Z', 'Cc', 'Cf')}{VARIANTS}"
    return re.compile(rf"[^{between}]+|{IN_A_NUMBER}|{IN_A_FORMULA}")


class Keys:
    """A set of 64-bit keys in one array: some 20 bytes an entry, where a set takes 100. A key of 0 counts as 1."""

    def __init__(self) -> None:
        self._keys, self._count = array("Q", [0]) * FIRST_SLOTS, 0

    def __contains__(self, key: int) -> bool:
        return bool(self._keys[self._slot(key or 1)])

    def add(self, key: int) -> int:
        """Keep a key; where it is now."""
        if 3 * self._count >= 2 * len(self._keys):
            self._grow()
        slot = self._slot(key or 1)
        self._count += not self._keys[slot]
        self._keys[slot] = key or 1
        return slot

    def _slot(self, key: int) -> int:
        """Where the key is, or the free place for it; the table is never full."""
        keys, mask = self._keys, len(self._keys) - 1
        slot = key & mask
        while (there := keys[slot]) and there != key:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        keys = self._keys
        self._keys = array("Q", [0]) * (2 * len(keys))
        for key in keys:
            if key:
                self._keys[self._slot(key)] = key


class Table(Keys):
    """Keys, each with a number: 10 bytes an entry more.

    Two of a million records have the same key once in ten million corpora.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = array("I", [0]) * FIRST_SLOTS

    def get(self, key: int) -> int | None:
        """The number of a key, or None."""
        slot = self._slot(key or 1)
        return self._numbers[slot] if self._keys[slot] else None

    def put(self, key: int, number: int) -> None:
        """Keep a key's number."""
        slot = self.add(key)  # which may bring another array of numbers
        self._numbers[slot] = number

    def _grow(self) -> None:
        keys, numbers = self._keys, self._numbers
        super()._grow()
        self._numbers = array("I", [0]) * len(self._keys)
        for key, number in zip(keys, numbers, strict=True):
            if key:
                self._numbers[self._slot(key)] = number


class Names:
    """Ids by their numbers, one behind the other."""

    def __init__(self) -> None:
        self._text, self._ends = bytearray(), array("Q")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        begin = self._ends[number - 1] if number else 0
        return self._text[begin : self._ends[number]].decode("utf-8", "surrogatepass")

    def append(self, name: str) -> None:
        """The name gets the next number."""
        self._text += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._text))


class Seen:
    """What was kept so far. The first of equal records stays, in the order of reading, which is that of the names.

    Records that agree exactly agree loosely, so one key finds both; a few bits of the exact one tell which it is.
    """

    def __init__(self, *, near: bool = True):
        self.near = near
        self.forget()

    def forget(self) -> None:
        """Let go of everything, once no record comes any more."""
        self._texts, self._exact, self._ids, self._kept = Table(), array("I"), Keys(), Names()

    def duplicate_of(self, record: Record) -> tuple[str, str] | None:
        """`(reason, id of the one that was kept)`, or None; then the record counts as kept from now on."""
        exact = exact_key(record)
        loose = loose_key(record) if self.near else None
        key, check = exact if loose is None else loose, exact & CHECK
        number = self._texts.get(key)
        if number is not None:
            return "duplicate" if self._exact[number] == check else "near_duplicate", self._kept[number]
        self._texts.put(key, len(self._kept))
        self._exact.append(check)
        self._kept.append(record.id)
        return None

    def unique_id(self, record: Record, place: str) -> str:
        """The record's id, followed by its place where another record brought the same id before."""
        name = self.free_id(record, place)
        self._ids.add(_hash(name.encode("utf-8", "surrogatepass")))
        return name

    def free_id(self, record: Record, place: str) -> str:
        """What `unique_id` would give; the id stays free."""
        name, number = record.id, 1
        while _hash(name.encode("utf-8", "surrogatepass")) in self._ids:
            name = f"{record.id}@{place}" if number == 1 else f"{record.id}@{place}-{number}"
            number += 1
        return name
