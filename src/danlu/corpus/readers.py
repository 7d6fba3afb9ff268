"""Raw files as units: every line, row, block or file becomes a record or a Rejection, and no byte goes uncounted.

In: a `SourceFile`. Out: `FileReader`, to be iterated once; afterwards it knows the bytes read, those between units, and
the encoding. Called by `pipeline`. Streams: memory holds one line, one value of an array, one batch of rows or one
document. A bad line never costs its neighbours; a damaged file gives all that stood before the damage. Does not clean.
"""

from __future__ import annotations

import codecs
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from danlu.base.records import Document
from danlu.corpus import tables
from danlu.corpus.shapes import Misshapen, to_record
from danlu.corpus.sources import ARRAY, BLANK_LINE, LINES, TABLE, TEXT, SourceFile
from danlu.corpus.streams import MAX_RECORD_BYTES, StreamDamaged, check_swelling, chunks, lines
from danlu.corpus.transcode import AsUtf8
from danlu.corpus.units import Closed, Rejection, Unit, opening
from danlu.corpus.values import BETWEEN_LINES, JSON_BETWEEN, Held, TooLong, as_bytes, beginning, loads, whole

PART_BYTES = 1 << 20
"""A longer document is cut at the next end of a line: one book is many documents, and memory holds one of them."""
KNOWN_COLUMNS = (
    *("id", "source", "language", "split", "task", "tools", "messages", "conversations", "conversation"),
    *("instruction", "input", "output", "system", "history"),
)


class FileReader:
    """The units of one file. `bytes_read` equals the units' sizes plus `bytes_between` once all are handed out.

    `size_bytes` is where to end, for a file that somebody writes on: it is read as it was when it was stamped. Bytes
    are those of the decompressed file, as UTF-8 where it is in another encoding; of a Parquet file or a JSON array
    those of the records' text, because its layout belongs to no record; of a file of which nothing can be read those
    on the disk.
    """

    def __init__(self, file: SourceFile, size_bytes: int | None = None):
        self.file, self._size_bytes = file, size_bytes
        self.bytes_read = self.bytes_between = 0
        self._text: AsUtf8 | None = None
        self._number = 0

    def __iter__(self) -> Iterator[Unit]:
        if self.file.format is None:
            self.bytes_read = self._stored_bytes()
            yield self._rejected(self.file.reason, b"", self.bytes_read, self.file.detail)
            return
        try:
            yield from READERS[self.file.format](self)
        except StreamDamaged as damage:
            if not self.bytes_read and not self._refused_bytes():
                self.bytes_read = damage.partial_bytes = self._stored_bytes()
            yield self._rejected(damage.reason, damage.partial, damage.partial_bytes, damage.detail)
        if self._text is not None and self._text.refused_bytes:
            size = self._text.refused_bytes
            self.bytes_read += size
            yield self._rejected("unknown_encoding", self._text.refused, size, "nothing gives text that people write")

    def closed(self) -> Closed:
        """What was counted; to be asked once all units are handed out."""
        return Closed(self.file.name, self.bytes_read, self.bytes_between, self.encoding)

    @property
    def encoding(self) -> str:
        """The names of all encodings that were met, none for a table."""
        return self._text.encoding if self._text is not None else ""

    def _stored_bytes(self) -> int:
        """The size of a file on the disk; a pipe or a folder has none."""
        try:
            facts = self.file.path.stat()
        except OSError:
            return 0
        size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
        return size if self._size_bytes is None else min(size, self._size_bytes)

    def _refused_bytes(self) -> int:
        return self._text.refused_bytes if self._text is not None else 0

    def text_units(self) -> Iterator[Unit]:
        """Documents of a text file: the whole of it, or what stands between separators."""
        held: list[bytes] = []
        size = 0
        damage = None
        stream = lines(self._utf8())
        while True:
            try:
                line, line_bytes = next(stream, (b"", 0))
            except StreamDamaged as error:
                line, line_bytes, damage = b"", 0, error
            between = line_bytes > 0 and self._is_separator(line)
            if held and (between or not line_bytes or size >= PART_BYTES):
                yield self._document(held, size)
                held, size = [], 0
            if damage is not None:
                raise damage
            if not line_bytes:
                break
            if line_bytes > len(line):
                yield self._rejected("too_large", line, line_bytes, f"a line of {line_bytes:,} bytes")
            elif between:
                self.bytes_between += line_bytes
            else:
                held.append(line)
                size += line_bytes
        if not self._number and not self._refused_bytes():  # an empty file is a document without text
            yield self._document([], 0)

    def _is_separator(self, line: bytes) -> bool:
        wanted = self.file.separator
        stripped = line.strip()
        return not stripped if wanted == BLANK_LINE else bool(wanted) and stripped == wanted.encode()

    def _document(self, held: list[bytes], size: int) -> Unit:
        text = b"".join(held).decode("utf-8", "replace")
        document = Document(self._name(), text, self.file.name, split=self.file.split)
        return Unit(document, self.file.name, size)

    def line_units(self) -> Iterator[Unit]:
        """Records of a JSON Lines file; blank lines stand between them."""
        try:
            for line, size in lines(self._utf8()):
                if not line.strip(BETWEEN_LINES):
                    self.bytes_between += size
                    self._number += 1  # units are numbered as the lines are
                elif size > len(line):
                    yield self._rejected("too_large", line, size, f"a line of {size:,} bytes")
                else:
                    yield self._record(loads, line, line, size)
        except StreamDamaged as damage:
            yield from self._last_line(damage)
            raise

    def _last_line(self, damage: StreamDamaged) -> Iterator[Unit]:
        """The record before the damage that lost nothing but the end of its line."""
        unit = self._record(loads, damage.partial, damage.partial, damage.partial_bytes)
        if isinstance(unit.content, Rejection):
            self._number -= 1
        else:
            damage.partial, damage.partial_bytes = b"", 0
            yield unit

    def array_units(self) -> Iterator[Unit]:
        """Values of a JSON array, or of a .json file that is JSON Lines in truth; after a damaged one, the next line
        that begins like the first one begins a value again."""
        held = Held(codecs.iterdecode(self._utf8(), "utf-8", "surrogateescape"))  # keeps broken bytes: sizes are exact
        start = None
        while True:
            self.bytes_between += held.skip(JSON_BETWEEN)  # all of them ASCII
            if held.is_at_end():
                break
            start = start if start is not None else beginning(held.line_so_far())
            try:
                value, piece = held.value()
            except (ValueError, RecursionError) as error:
                yield from self._damaged_value(held, start, error)
            else:
                data = as_bytes(piece)
                if len(data) > MAX_RECORD_BYTES:
                    yield self._rejected("too_large", data, len(data), f"a value of {len(data):,} bytes")
                else:
                    yield self._record(whole, value, data, len(data))
        if held.damage is not None:
            raise held.damage

    def _damaged_value(self, held: Held, start: re.Pattern[str], error: Exception) -> Iterator[Unit]:
        """What stands where a value should, up to the next line that begins like a value."""
        pieces = held.until(start)
        shown = next(pieces)
        size = len(shown) + sum(map(len, pieces))
        if held.damage is not None and held.is_at_end():
            held.damage.partial, held.damage.partial_bytes = shown, size
        elif isinstance(error, TooLong):
            yield self._rejected("too_large", shown, size, f"a value of {size:,} bytes")
        else:
            yield self._rejected("bad_json", shown, size, str(error))

    def _record(self, parse: Callable[[Any], Any], value: Any, data: bytes, size: int) -> Unit:
        """The unit of `parse(value)`: a record, or why it is none; `data` is how it stands in the file."""
        name = self._name()
        try:
            record = to_record(parse(value), name, self.file.name, self.file.text_field)
            if record.split is None and self.file.split is not None:
                record = replace(record, split=self.file.split)
            return Unit(record, self.file.name, size)
        except Misshapen as error:
            return self._rejected(error.reason, data, size, error.detail, name)
        except (ValueError, RecursionError) as error:
            return self._rejected("bad_json", data, size, str(error), name)

    def table_units(self) -> Iterator[Unit]:
        """Rows of a Parquet file; a damaged row group does not cost the others, and a swelling one ends the file."""
        with tables.opened(self.file.path, self._size_bytes) as table:
            columns = table.columns(dict.fromkeys((*KNOWN_COLUMNS, self.file.text_field)))
            if not columns:
                raise StreamDamaged("unknown_shape", f"{table.num_rows:,} rows of {', '.join(table.names[:8])}")
            for group in range(len(table.group_rows)):
                for unit in self._row_group(table, group, columns):
                    yield unit
                    check_swelling(self.bytes_read, table.size_bytes)  # many rows may be written as one

    def _row_group(self, table: tables.Table, group: int, columns: list[str]) -> Iterator[Unit]:
        rows, done = table.group_rows[group], 0
        try:
            for fields in table.rows(group, columns):
                done += 1
                yield self._row(fields)
        except StreamDamaged as damage:
            if damage.reason == "decompression_bomb":
                raise
            lost = f"parquet: {rows - done:,} rows of group {group}: {damage.detail}"
            yield self._rejected(damage.reason, b"", 0, lost)
            self._number += max(0, rows - done - 1)  # the rows after the damage keep their numbers

    def _row(self, fields: dict[str, Any] | tables.BadRow) -> Unit:
        if isinstance(fields, tables.BadRow):
            self.bytes_read += fields.size_bytes
            return self._rejected(fields.reason, b"", fields.size_bytes, fields.detail)
        text = fields.get(self.file.text_field)
        try:
            data = text.encode("utf-8", "replace") if isinstance(text, str) else orjson.dumps(fields, default=str)
        except TypeError as error:  # nested deeper than anything that is written
            return self._rejected("bad_field", b"", 0, str(error))
        self.bytes_read += len(data)
        return self._record(dict, fields, data, len(data))

    def _utf8(self) -> Iterator[bytes]:
        """The file's bytes as UTF-8, counted; what no encoding explains is no UTF-8, and judged with its record."""
        self._text = AsUtf8(chunks(self.file.path, self._size_bytes))
        for data in self._text:
            self.bytes_read += len(data)
            yield data

    def _name(self) -> str:
        """The id of the next unit: the file's name and the unit's number, from 1."""
        self._number += 1
        return f"{self.file.name}#{self._number}"

    def _rejected(self, reason: str, data: bytes, size: int, detail: str = "", name: str = "") -> Unit:
        identity = name if name else self._name()
        return Unit(Rejection(identity, self.file.name, reason, opening(data), detail), self.file.name, size)


READERS: dict[str, Callable[[FileReader], Iterator[Unit]]] = {
    TEXT: FileReader.text_units,
    LINES: FileReader.line_units,
    ARRAY: FileReader.array_units,
    TABLE: FileReader.table_units,
}
