"""Raw files as units: every line, row, block or file becomes a record or a Rejection, and no byte goes uncounted.

In: a `SourceFile`. Out: `FileReader`, to be iterated once; afterwards it knows the bytes read, those between units, and
the encoding. Called by `pipeline`. Streams: memory holds one line, one value of an array, one batch of rows or one
document. A bad line never costs its neighbours; a damaged file gives all that stood before the damage. Does not clean.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow
import pyarrow.parquet

from danlu.base.records import Document
from danlu.corpus.encodings import SAMPLE_BYTES, as_utf8, decide, line_text
from danlu.corpus.normalise import SURROGATE
from danlu.corpus.shapes import Misshapen, to_record
from danlu.corpus.sources import ARRAY, BLANK_LINE, COMPRESSIONS, LINES, TABLE, TEXT, SourceFile
from danlu.corpus.streams import MAX_LINE_BYTES, StreamDamaged, chunks, lines
from danlu.corpus.units import Closed, Rejection, Unit, excerpt

PART_BYTES = 1 << 20
"""A longer document is cut at the next end of a line: one book is many documents, and memory holds one of them."""
ARRAY_CHARACTERS = 1 << 20
"""Read at least at a time of a JSON array; a value that is not whole yet doubles what is held."""
BETWEEN_LINES = b" \t\r\n\v\f\0"
"""A file that lost its power in mid-write has holes of zeros; they say nothing."""
ROWS_AT_ONCE = 512
KNOWN_COLUMNS = (
    *("id", "source", "language", "split", "task", "tools", "messages", "conversations", "conversation"),
    *("instruction", "input", "output", "system", "history"),
)


class FileReader:
    """The units of one file. `bytes_read` equals the units' sizes plus `bytes_between` once all are handed out.

    Bytes are those of the decompressed file, as UTF-8 where it is in another encoding; of a Parquet file or a JSON
    array those of the records' text, because its layout belongs to no record.
    """

    def __init__(self, file: SourceFile):
        self.file = file
        self.bytes_read = self.bytes_between = 0
        self.encoding = ""
        self._likely: str | None = None
        self._number = 0

    def __iter__(self) -> Iterator[Unit]:
        if self.file.format is None:
            yield self._rejected(self.file.reason, b"", 0, self.file.detail)
            return
        try:
            yield from READERS[self.file.format](self)
        except StreamDamaged as damage:
            yield self._rejected(damage.reason, damage.partial, damage.partial_bytes, damage.detail)

    def closed(self) -> Closed:
        """What was counted; to be asked once all units are handed out."""
        return Closed(self.file.name, self.bytes_read, self.bytes_between, self.encoding)

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
        if self._number == 0:  # an empty file is a document without text, and is counted as one
            yield self._document([], 0)

    def _is_separator(self, line: bytes) -> bool:
        wanted = self.file.separator
        stripped = line.strip()
        return not stripped if wanted == BLANK_LINE else bool(wanted) and stripped == wanted.encode()

    def _document(self, held: list[bytes], size: int) -> Unit:
        data = b"".join(held)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = "".join(line_text(line, self._likely) for line in held)
        document = Document(self._name(), text, self.file.name, split=self.file.split)
        return Unit(document, self.file.name, size)

    def line_units(self) -> Iterator[Unit]:
        """Records of a JSON Lines file; blank lines stand between them."""

        def parse(line: bytes) -> Any:
            return _loads(line, self._likely)  # known once the first line is there

        for line, size in lines(self._utf8()):
            if not line.strip(BETWEEN_LINES):
                self.bytes_between += size
                self._number += 1  # units are numbered as the lines are
            elif size > len(line):
                yield self._rejected("too_large", line, size, f"a line of {size:,} bytes")
            else:
                yield self._record(parse, line, line, size)

    def array_units(self) -> Iterator[Unit]:
        """Values of a JSON array, or of a .json file that is JSON Lines in truth; after a damaged one, the next line
        that begins like the first one begins a value again."""
        held = _Held(codecs.iterdecode(self._utf8(), "utf-8", "surrogateescape"))  # keeps broken bytes: sizes are exact
        start = None
        while True:
            self.bytes_between += held.skip(JSON_BETWEEN)  # all of them ASCII
            if held.is_at_end():
                break
            start = start if start is not None else _beginning(held.line_so_far())
            try:
                value, piece = held.value()
            except (ValueError, RecursionError) as error:
                yield from self._damaged_value(held, start, error)
            else:
                data = _bytes(piece)
                yield self._record(_whole, value, data, len(data))
        if held.damage is not None:
            raise held.damage

    def _damaged_value(self, held: _Held, start: re.Pattern[str], error: Exception) -> Iterator[Unit]:
        """What stands where a value should, up to the next line that begins like a value."""
        pieces = held.until(start)
        shown = next(pieces)
        size = len(shown) + sum(map(len, pieces))
        if held.damage is not None and held.is_at_end():
            held.damage.partial, held.damage.partial_bytes = shown, size
        elif isinstance(error, _TooLong):
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
        """Rows of a Parquet file, batch by batch; a damaged row group does not cost the others."""
        with _seekable(self.file.path) as opened:
            try:
                table = pyarrow.parquet.ParquetFile(opened)
            except (pyarrow.ArrowException, OSError) as error:
                raise StreamDamaged("damaged_file", f"parquet: {_first_line(error)}") from None
            columns = [name for name in table.schema_arrow.names if name in (*KNOWN_COLUMNS, self.file.text_field)]
            if not columns:
                known = table.schema_arrow.names
                raise StreamDamaged("unknown_shape", f"{table.metadata.num_rows:,} rows of {', '.join(known[:8])}")
            for group in range(table.num_row_groups):
                yield from self._row_group(table, group, columns)

    def _row_group(self, table: Any, group: int, columns: list[str]) -> Iterator[Unit]:
        rows = table.metadata.row_group(group).num_rows
        done = 0
        try:
            for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns):
                for fields in _rows(batch):
                    done += 1
                    yield self._row(fields)
        except (pyarrow.ArrowException, OSError) as error:
            lost = f"{rows - done:,} rows of group {group}"
            yield self._rejected("damaged_file", b"", 0, f"parquet: {lost}: {_first_line(error)}")
            self._number += rows - done - 1  # the rows after the damage keep their numbers

    def _row(self, fields: dict[str, Any] | None) -> Unit:
        if fields is None:
            return self._rejected("broken_characters", b"", 0, "text that is not UTF-8, which Parquet demands")
        text = fields.get(self.file.text_field)
        data = text.encode("utf-8", "replace") if isinstance(text, str) else orjson.dumps(fields, default=str)
        self.bytes_read += len(data)
        return self._record(dict, fields, data, len(data))

    def _utf8(self) -> Iterator[bytes]:
        """The file's bytes as UTF-8, counted; StreamDamaged where no encoding explains them."""
        stream = chunks(self.file.path)
        first: list[bytes] = []
        damage = None
        try:
            while sum(map(len, first)) < SAMPLE_BYTES and (chunk := next(stream, None)) is not None:
                first.append(chunk)
        except StreamDamaged as error:
            damage = error
        sample = b"".join(first)[:SAMPLE_BYTES]
        found = decide(sample)
        if found.name is None:
            self.bytes_read = len(sample)
            unknown = StreamDamaged("unknown_encoding", found.reason)
            unknown.partial, unknown.partial_bytes = sample, len(sample)
            raise unknown
        self.encoding, self._likely = found.name, found.likely
        for data in as_utf8(itertools.chain(first, _or_raise(damage), stream), found.name):
            self.bytes_read += len(data)
            yield data

    def _name(self) -> str:
        """The id of the next unit: the file's name and the unit's number, from 1."""
        self._number += 1
        return f"{self.file.name}#{self._number}"

    def _rejected(self, reason: str, data: bytes, size: int, detail: str = "", name: str = "") -> Unit:
        identity = name if name else self._name()
        return Unit(Rejection(identity, self.file.name, reason, excerpt(data), detail), self.file.name, size)


READERS: dict[str, Callable[[FileReader], Iterator[Unit]]] = {
    TEXT: FileReader.text_units,
    LINES: FileReader.line_units,
    ARRAY: FileReader.array_units,
    TABLE: FileReader.table_units,
}


class _TooLong(ValueError):
    """A value longer than any line may be."""


class _Held:
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
            if length > MAX_LINE_BYTES // 2:  # its double is held next, and characters take up to four bytes
                raise _TooLong
            self._grow(max(length, ARRAY_CHARACTERS))

    def until(self, start: re.Pattern[str]) -> Iterator[bytes]:
        """The bytes from here to the next `start`, or to the end; at least one piece, and never much at a time."""
        while True:
            found = start.search(self._text, self._place)
            end = found.start() if found else len(self._text) if self._ended else len(self._text) - LONGEST_BEGINNING
            piece, self._place = self._text[self._place : end], max(end, self._place)
            yield _bytes(piece)
            if found or self._ended:
                return
            self._grow(ARRAY_CHARACTERS)


def _beginning(first: str) -> re.Pattern[str]:
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
        raise ValueError(f"the key {key!r:.40} stands twice in one object")
    return made


JSON_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_once)
JSON_BETWEEN = re.compile(r"[\[\], \t\n\r\0]*")
LONGEST_BEGINNING = 256
LONGEST_ESCAPE = 12
"""Characters of a surrogate pair, the longest thing that the decoder complains about at its beginning."""


def _loads(line: bytes, likely: str | None = None) -> Any:
    """The value of a JSON line. Broken bytes and lone surrogates become marks that a filter judges, not errors."""
    data = line.strip(BETWEEN_LINES).removeprefix(codecs.BOM_UTF8)  # files with marks, one behind the other
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _whole(JSON_DECODER.decode(line_text(data, likely)))
    return JSON_DECODER.decode(data.decode()) if _may_repeat_a_key(data, value) else value


def _may_repeat_a_key(data: bytes, value: Any) -> bool:
    """True where a key is written oftener than the value has it, which the fast decoder would not say."""
    keys = Counter(_keys(value))
    return any(data.count(b'"%s"' % key.encode()) > count for key, count in keys.items())


def _keys(value: Any) -> Iterator[str]:
    """The keys of all objects in a value."""
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _whole(value: Any) -> Any:
    """The value with U+FFFD for every half of a character in its texts, which could not be written again."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _or_raise(damage: StreamDamaged | None) -> Iterator[bytes]:
    """Nothing, or the damage at its place in a chain of chunks."""
    if damage is not None:
        raise damage
    yield from ()


def _seekable(path: Path) -> IO[bytes]:
    """The file opened; unpacked into a temporary one where it is compressed, for Parquet is read from behind."""
    if path.suffix.lower() not in COMPRESSIONS:
        return path.open("rb")
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in chunks(path):
            unpacked.write(chunk)
    except BaseException:
        unpacked.close()
        raise
    unpacked.seek(0)
    return unpacked


def _rows(batch: Any) -> Iterable[dict[str, Any] | None]:
    """Rows of a batch as dictionaries; None for a row whose text is no UTF-8, which would spoil the whole batch."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_row(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _row(single: Any) -> dict[str, Any] | None:
    try:
        return single.to_pylist()[0]
    except UnicodeDecodeError:
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
