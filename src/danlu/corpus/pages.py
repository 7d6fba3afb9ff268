"""What the pages of a Parquet column say of themselves, read before anything is decompressed.

In: an opened Parquet file and one column of one of its row groups. Out: `Page`s: how large each is in the file, how
large once decompressed, how many values it holds and how they are written; the longest value of a dictionary. Called
by `tables`, which bounds memory with it: the reader library believes a page's header, so that what the header says is
all that it ever allocates. Reads headers only, and of data no more than a dictionary. Format: the Thrift compact
protocol, https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import pyarrow

HEADER_BYTES = 1 << 12
LONGEST_HEADER_BYTES = 1 << 24
"""Headers hold the smallest and the largest value of their page. The reader library has the same limit."""
DATA, DICTIONARY, DATA_2 = 0, 2, 3
DICTIONARY_CODES = (2, 8)
PREFIXES = 7
"""Encodings: numbers of dictionary values (two names of one thing); each value as what differs from the one before."""
STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, STRUCT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 12
DEEPEST = 8
CODECS = {"UNCOMPRESSED": None, "SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd"}


class BadPage(ValueError):
    """The header of a page says what no writer can have meant."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its kind, its sizes in bytes without the header, where its data starts, its values, their encoding."""

    kind: int
    packed_bytes: int
    plain_bytes: int
    starts_at: int
    values: int
    encoding: int

    @property
    def is_coded(self) -> bool:
        """True where one value of a dictionary may stand for any number of values."""
        return self.encoding in DICTIONARY_CODES


def pages(file: IO[bytes], column: Any) -> Iterator[Page]:
    """The pages of a column chunk, as far as a reader goes: until all its values are there, or to its end."""
    at = _start(column)
    end, values = at + column.total_compressed_size, 0
    while values < column.num_values and at < end:
        page = _page(file, at, end)
        yield page
        values += page.values if page.kind in (DATA, DATA_2) else 0
        at = page.starts_at + page.packed_bytes


def _start(column: Any) -> int:
    places = [column.data_page_offset, column.dictionary_page_offset if column.has_dictionary_page else None]
    stated = [int(place) for place in places if place is not None and place > 0]
    if not stated:
        raise BadPage("a column that begins nowhere")
    return min(stated)


def _page(file: IO[bytes], at: int, end: int) -> Page:
    size = HEADER_BYTES
    while True:
        file.seek(at)
        data = file.read(min(size, end - at))
        try:
            header = _Compact(data)
            said = header.struct()
            break
        except (IndexError, struct.error):
            if size >= min(end - at, LONGEST_HEADER_BYTES):
                raise BadPage(f"the header of a page at byte {at:,} has no end") from None
            size *= 8
    try:
        kind, plain, packed = said[1], said[2], said[3]
        inner = said[{DATA: 5, DICTIONARY: 7, DATA_2: 8}[kind]] if kind in (DATA, DICTIONARY, DATA_2) else {1: 0}
        page = Page(kind, packed, plain, at + header.at, inner[1], inner.get(4 if kind == DATA_2 else 2, 0))
    except (KeyError, TypeError, AttributeError):
        raise BadPage(f"the header of a page at byte {at:,} lacks a size") from None
    if min(page.packed_bytes, page.plain_bytes, page.values) < 0:
        raise BadPage(f"a size below zero at byte {at:,}")
    return page


class _Compact:
    """A reader of the compact protocol; `at` is the place behind what was read. IndexError where the data ends."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct that are 32-bit numbers or structs themselves, by their numbers; others are passed."""
        if depth > DEEPEST:
            raise BadPage("the header of a page is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while (first := self.byte()) != STOP:
            step, kind = first >> 4, first & 15
            number = number + step if step else _signed(self.varint())
            value = self.value(kind, depth)
            if kind in (I32, STRUCT):
                fields[number] = value
        return fields

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        """An unsigned number of seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise BadPage("a number without an end in the header of a page")

    def value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):  # the kind is the value
            return None
        if kind == I32:
            return _signed(self.varint() & 0xFFFF_FFFF)
        if kind in (I16, I64):
            return self.varint()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (BYTE, DOUBLE, BINARY):
            length = self.varint() if kind == BINARY else 8 if kind == DOUBLE else 1
            self.at += length
            if self.at > len(self.data):
                raise IndexError
            return None
        raise BadPage(f"a value of kind {kind} in the header of a page")  # no header has lists, sets or maps


def _signed(value: int) -> int:
    """The number that the zig-zag code stands for: 0, 1, 2, 3 … is 0, -1, 1, -2 …"""
    return (value >> 1) ^ -(value & 1)


def longest_value(file: IO[bytes], dictionary: Page, column: Any) -> int:
    """Bytes of the longest text in a dictionary; the size of the whole dictionary where its codec is a rare one."""
    if column.physical_type != "BYTE_ARRAY" or column.compression not in CODECS:
        return dictionary.plain_bytes
    file.seek(dictionary.starts_at)
    data = file.read(dictionary.packed_bytes)
    codec = CODECS[column.compression]
    if codec is not None:
        data = pyarrow.Codec(codec).decompress(data, dictionary.plain_bytes, asbytes=True)
    at, longest = 0, 0
    for _ in range(dictionary.values):
        if at + 4 > len(data):
            break
        (length,) = struct.unpack_from("<I", data, at)
        longest = max(longest, min(length, len(data)))
        at += 4 + length
    return longest
