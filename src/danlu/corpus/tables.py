"""Parquet files as rows, a batch at a time, in memory that the file cannot choose.

In: a path, also of a compressed file. Out: the rows of each row group as dictionaries; `StreamDamaged` where a group
is damaged, or would swell beyond what text can. Called by `readers`. A small Parquet file may stand for any amount of
text: a page that decompresses to gigabytes, or one long value of a dictionary that every row repeats. So the headers
of the pages are read first (`pages`): a page that swells too much is refused before it is decompressed, and a batch
has as many rows as the longest values leave room for. Does not make records.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from danlu.base.errors import trouble
from danlu.corpus.pages import DATA, DATA_2, DICTIONARY, PREFIXES, Page, longest_value, pages
from danlu.corpus.sources import COMPRESSIONS
from danlu.corpus.streams import MAX_RECORD_BYTES, StreamDamaged, check_swelling, chunks, opened_raw, refused

ROWS_AT_ONCE = 512
BATCH_BYTES = 1 << 26
"""A batch may have this many bytes, beside the page of each column in which it begins and the one in which it ends."""
MAX_PAGE_BYTES = 1 << 29
"""A page is decompressed as a whole. Writers end them at 1 MiB; a thousand books in one are below this."""
NESTED_BYTES = 1 << 30
"""What lists of one row group may hold, however the file is packed: nothing says where in a page a row begins."""
VALUE_BYTES = 16
"""A value costs this much beside its bytes: where it begins, how deep it lies, whether it is there."""
READ_BYTES = 1 << 20
ASKED = re.compile(r"size (\d+)")
"""How the reader library says what it could not get: `malloc of size 9223372036854775807 failed`."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: a key of REASONS, and what was found."""

    reason: str
    detail: str
    size_bytes: int = 0


class Table:
    """An opened Parquet file. `names` are its columns."""

    def __init__(self, file: IO[bytes], path: Path):
        self._file, self._path = file, path
        self._reading(self._open)

    def _open(self) -> None:
        self._reader = pyarrow.parquet.ParquetFile(self._file, buffer_size=READ_BYTES, pre_buffer=False)
        facts = self._reader.metadata
        self.names: list[str] = self._reader.schema_arrow.names
        self.num_rows: int = facts.num_rows
        self.group_rows = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
        self.size_bytes = self._file.seek(0, 2)

    def _reading(self, step: Any) -> Any:
        """What a step of reading gives; StreamDamaged where the file is not what it should be, and SystemTrouble where
        the fault is not the file's."""
        try:
            return step()
        except OSError as error:
            if error.errno is not None:  # the library's own complaints are of this class too, and have no number
                raise refused(error, self._path) from error
            said = str(error)
        except MemoryError as error:
            said = str(error)
            asked = ASKED.search(said)
            if asked is None or int(asked[1]) <= MAX_PAGE_BYTES:  # a damaged file may ask for any amount
                raise
        except (pyarrow.ArrowException, ValueError, LookupError, OverflowError) as error:  # BadPage, names not in UTF-8
            said = str(error)
        raise StreamDamaged("damaged_file", said.strip().splitlines()[0] if said.strip() else "no Parquet file")

    def columns(self, wanted: Iterable[str]) -> list[str]:
        """Those of the wanted columns that are there; StreamDamaged where two have one name: either could be meant."""
        counts = Counter(self.names)
        found = [name for name in wanted if name in counts]
        for name in found:
            if counts[name] > 1:
                raise StreamDamaged("bad_field", f"{counts[name]} columns named {name!r} in {self.num_rows:,} rows")
        return found

    def rows(self, group: int, names: list[str]) -> Iterator[dict[str, Any] | BadRow]:
        """The rows of one group as dictionaries of these columns, and what is wrong with those that cannot be used."""
        count = self._reading(lambda: self._rows_at_once(group, names))
        batches = self._reading(lambda: self._reader.iter_batches(count, row_groups=[group], columns=names))
        while (batch := self._reading(lambda: next(batches, None))) is not None:
            yield from _rows(batch)

    def _rows_at_once(self, group: int, names: list[str]) -> int:
        """How many rows fit into a batch; StreamDamaged where not even single pages or rows do."""
        facts, schema = self._reader.metadata.row_group(group), self._reader.schema
        numbers = [number for number in range(len(schema)) if schema.column(number).path.split(".")[0] in names]
        # Of no rows nothing is read but what the footer says of these columns, and where that is damaged the library
        # says so; asked for it below, it would end the process.
        next(self._reader.reader.iter_batches(0, row_groups=[group], column_indices=numbers), None)
        row_bytes = nested_bytes = packed_bytes = 0
        for number in numbers:
            column = facts.column(number)
            value_bytes, all_bytes = self._sizes(column)
            if schema.column(number).max_repetition_level:
                nested_bytes += all_bytes
                packed_bytes += column.total_compressed_size
                row_bytes += all_bytes // max(1, facts.num_rows)
            else:
                row_bytes += value_bytes
        if nested_bytes > NESTED_BYTES:
            check_swelling(nested_bytes, packed_bytes)
        return max(1, min(ROWS_AT_ONCE, BATCH_BYTES // max(1, row_bytes)))

    def _sizes(self, column: Any) -> tuple[int, int]:
        """At most so many bytes in a value of the column, where a page's bytes are even among its values; in all."""
        found = list(pages(self._file, column))
        for page in found:
            _check_page(page)
        dictionary = next((page for page in found if page.kind == DICTIONARY), None)
        repeated = dictionary.plain_bytes if dictionary is not None else 0
        if dictionary is not None and repeated * ROWS_AT_ONCE > BATCH_BYTES // 8:
            repeated = longest_value(self._file, dictionary, column)
        largest = total = 0
        for page in found:
            if page.kind in (DATA, DATA_2) and page.values:
                prefixed = page.plain_bytes if page.encoding == PREFIXES else 0
                each = repeated if page.is_coded else prefixed if prefixed else page.plain_bytes // page.values
                largest = max(largest, each + VALUE_BYTES)
                total += page.values * (each + VALUE_BYTES)
        return largest, total


def _check_page(page: Page) -> None:
    if page.plain_bytes > MAX_PAGE_BYTES:
        raise StreamDamaged("too_large", f"a page of {page.plain_bytes:,} bytes")
    check_swelling(page.plain_bytes, page.packed_bytes)


@contextmanager
def opened(path: Path, size_bytes: int | None = None) -> Iterator[Table]:
    """The table of a file, or of so many bytes of it, unpacked into a temporary one where it is compressed, for Parquet
    is read from behind."""
    with _seekable(path, size_bytes) as file:
        yield Table(file, path)


def _seekable(path: Path, size_bytes: int | None) -> IO[bytes]:
    if path.suffix.lower() not in COMPRESSIONS:
        return opened_raw(path, size_bytes)
    try:
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            for chunk in chunks(path, size_bytes):
                unpacked.write(chunk)
            unpacked.flush()
        except BaseException:
            unpacked.close()
            raise
    except OSError as error:  # of the temporary file: those of the raw one have a name by now
        sentence = trouble(error, Path(tempfile.gettempdir()))
        raise (sentence if sentence is not None else error) from error
    return unpacked


def _rows(batch: Any) -> Iterable[dict[str, Any] | BadRow]:
    """Rows of a batch as dictionaries; a bad one would spoil the whole batch, and does not."""
    if batch.nbytes <= MAX_RECORD_BYTES:
        try:
            return batch.to_pylist()
        except (ValueError, OverflowError):
            pass
    return (_row(batch.slice(index, 1)) for index in range(batch.num_rows))


def _row(single: Any) -> dict[str, Any] | BadRow:
    """One row; a column whose values Python cannot say names itself."""
    size = sum(_plain_bytes(column) for column in single.columns)
    if size > MAX_RECORD_BYTES:
        return BadRow("too_large", f"a row of {size:,} bytes", size)
    fields = {}
    for name, column in zip(single.schema.names, single.columns, strict=True):
        try:
            fields[name] = column.to_pylist()[0]
        except UnicodeDecodeError:
            return BadRow("broken_characters", f"{name}: text that is not UTF-8, which Parquet demands")
        except (ValueError, OverflowError) as error:  # a date before or after all calendars, a zone, a struct's names
            return BadRow("bad_field", f"{name}: {error}")
    return fields


def _plain_bytes(column: Any) -> int:
    return int(column.dictionary_decode().nbytes if pyarrow.types.is_dictionary(column.type) else column.nbytes)
