"""JSON as a corpus holds it: strict values of lines, and values of an array one after another, however long it is.

In: a line's bytes, or the pieces of a text. Out: values of which nothing is silently lost: no NaN, no key that stands
twice, no half characters; a ValueError says what is wrong. Called by `readers`. Memory holds one value. Does not know
records.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from danlu.corpus.normalise import SURROGATE
from danlu.corpus.streams import MAX_RECORD_BYTES, StreamDamaged
from danlu.corpus.units import told

ARRAY_CHARACTERS = 1 << 20
"""Read at least at a time of a JSON array; a value that is not whole yet doubles what is held."""
BETWEEN_LINES = b" \t\r\n\v\f\0"
"""A file that lost its power in mid-write has holes of zeros; they say nothing."""


class TooLong(ValueError):
    """A value longer than any line may be."""


class Held:
    """The part of a text that a JSON decoder works on; more is read where it needs more.

    Ends where the stream ends; `damage` is what ended it before its time.
    """

    def __init__(self, stream: Iterator[str]):
        self.damage: StreamDamaged | None = None
        self._stream, self._text, self._place, self._ended = stream, "", 0, False

    def _grow(self, least: int) -> None:
        """Read on until `least` more characters are held; what lies behind us is let go."""
        pieces, size = [self._text[self._place :]], 0
        self._place = 0
        try:
            while size < least and not self._ended:
                piece = next(self._stream, None)
                self._ended = piece is None
                pieces.append(piece if piece is not None else "")
                size += len(pieces[-1])
        except StreamDamaged as damage:
            self.damage, self._ended = damage, True
        self._text = "".join(pieces)

    def is_at_end(self) -> bool:
        return self._ended and self._place == len(self._text)

    def skip(self, pattern: re.Pattern[str]) -> int:
        """Go behind what the pattern, which matches nothing at least, matches; the number of characters."""
        skipped = 0
        while True:
            end = pattern.match(self._text, self._place).end()  # type: ignore[union-attr]
            skipped += end - self._place
            self._place = end
            if end < len(self._text) or self._ended:
                return skipped
            self._grow(ARRAY_CHARACTERS)

    def line_so_far(self) -> str:
        """The line of the present place, up to this place."""
        return self._text[self._text.rfind("\n", 0, self._place) + 1 : self._place + 1]

    def value(self) -> tuple[Any, str]:
        """The value that begins here, and how it is written; a ValueError where none does."""
        while True:
            try:
                value, end = JSON_DECODER.raw_decode(self._text, self._place)
                if end < len(self._text) or self._ended:  # a number at the end may go on
                    piece, self._place = self._text[self._place : end], end
                    return value, piece
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._text) - LONGEST_ESCAPE or error.msg.startswith("Unterminated string")
                if self._ended or not is_cut:
                    raise
            length = len(self._text) - self._place
            if length > MAX_RECORD_BYTES:  # of characters, each of which is a byte at least
                raise TooLong
            self._grow(max(min(length, MAX_RECORD_BYTES + 1 - length), ARRAY_CHARACTERS))

    def until(self, start: re.Pattern[str]) -> Iterator[bytes]:
        """The bytes from here to the next `start`, or to the end; at least one piece, and never much at a time."""
        while True:
            found = start.search(self._text, self._place)
            end = found.start() if found else len(self._text) if self._ended else len(self._text) - LONGEST_BEGINNING
            piece, self._place = self._text[self._place : end], max(end, self._place)
            yield as_bytes(piece)
            if found or self._ended:
                return
            self._grow(ARRAY_CHARACTERS)


def beginning(first: str) -> re.Pattern[str]:
    """How a line begins with a value, as its first one does; behind the bracket of the array nobody indents deeply."""
    indent = r"[ \t,]{0,2}" if "[" in first[:-1] else re.escape(first[:-1][-LONGEST_BEGINNING // 2 :])
    return re.compile(r"\n" + indent + re.escape(first[-1]))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these keys; ValueError where one stands twice: whichever value was taken, the other would vanish."""
    made = dict(pairs)
    if len(made) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {told(key)} stands twice in one object")
    return made


JSON_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_once)
JSON_BETWEEN = re.compile(r"[\[\], \t\n\r\0]*")
KEY_END = re.compile(rb'"[ \t\r\n]*:')
LONGEST_BEGINNING = 256
LONGEST_ESCAPE = 12
"""Characters of a surrogate pair, the longest thing that the decoder complains about at its beginning."""


def loads(line: bytes) -> Any:
    """The value of a JSON line. Broken bytes and lone surrogates become marks that a filter judges, not errors."""
    data = line.strip(BETWEEN_LINES).removeprefix(codecs.BOM_UTF8)  # files with marks, one behind the other
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return whole(JSON_DECODER.decode(data.decode("utf-8", "replace")))
    return JSON_DECODER.decode(data.decode()) if _may_repeat_a_key(data, value) else value


def _may_repeat_a_key(data: bytes, value: Any) -> bool:
    """True where more keys may be written than the value has, which the fast decoder would not say.

    However a key is spelled, a quote and a colon end it; a text with both, one behind the other, only costs time.
    """
    return sum(1 for _ in KEY_END.finditer(data)) > _num_keys(value)


def _num_keys(value: Any) -> int:
    """How many keys all objects in a value have."""
    if isinstance(value, dict):
        return len(value) + sum(map(_num_keys, value.values()))
    return sum(map(_num_keys, value)) if isinstance(value, list) else 0


def whole(value: Any) -> Any:
    """The value with U+FFFD for every half of a character in its texts, which could not be written again."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return value


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
