"""Parquet files as rows, a batch at a time, in memory that the file cannot choose.

In: a path, also of a compressed file. Out: the rows of each row group as dictionaries; `StreamDamaged` where a group
is damaged, or would swell beyond what text can. Called by `readers`. A small Parquet file may stand for any amount of
text: a page that decompresses to gigabytes, or one long value of a dictionary that every row repeats. So the headers
of the pages are read first (`pages`): a page that swells too much is refused before it is decompressed, and a batch
has as many rows as the longest values leave room for. Does not make records.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from danlu.corpus.pages import DATA, DATA_2, DICTIONARY, PREFIXES, BadPage, Page, longest_value, pages
from danlu.corpus.sources import COMPRESSIONS
from danlu.corpus.streams import StreamDamaged, check_swelling, chunks

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


class Table:
    """An opened Parquet file. `names` are its columns."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._reader = _reading(lambda: pyarrow.parquet.ParquetFile(file, buffer_size=READ_BYTES, pre_buffer=False))
        self.names: list[str] = self._reader.schema_arrow.names
        self.num_rows: int = self._reader.metadata.num_rows
        self.group_rows = [
            self._reader.metadata.row_group(group).num_rows for group in range(self._reader.num_row_groups)
        ]
        self.size_bytes = file.seek(0, 2)

    def rows(self, group: int, names: list[str]) -> Iterator[dict[str, Any] | None]:
        """The rows of one group as dictionaries of these columns; None for one whose text is not UTF-8."""
        count = _reading(lambda: self._rows_at_once(group, names))
        batches = self._reader.iter_batches(count, row_groups=[group], columns=names)
        while (batch := _reading(lambda: next(batches, None))) is not None:
            yield from _rows(batch)

    def _rows_at_once(self, group: int, names: list[str]) -> int:
        """How many rows fit into a batch; StreamDamaged where not even single pages or rows do."""
        chosen, facts = set(names), self._reader.metadata.row_group(group)
        columns = [(number, facts.column(number)) for number in range(facts.num_columns)]
        row_bytes = nested_bytes = packed_bytes = 0
        for number, column in columns:
            if column.path_in_schema.split(".")[0] not in chosen:
                continue
            value_bytes, all_bytes = self._sizes(column)
            if self._reader.schema.column(number).max_repetition_level:
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


def _reading(step: Any) -> Any:
    """What a step of reading gives; StreamDamaged where the file is not what it should be."""
    try:
        return step()
    except (pyarrow.ArrowException, BadPage, OSError, MemoryError) as error:
        said = str(error).strip()
        raise StreamDamaged("damaged_file", said.splitlines()[0] if said else type(error).__name__) from None


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """The table of a file, unpacked into a temporary one where it is compressed, for Parquet is read from behind."""
    with _seekable(path) as file:
        yield Table(file)


def _seekable(path: Path) -> IO[bytes]:
    if path.suffix.lower() not in COMPRESSIONS:
        try:
            return path.open("rb")
        except OSError as error:
            raise StreamDamaged("unreadable", error.strerror or type(error).__name__) from error
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in chunks(path):
            unpacked.write(chunk)
    except BaseException:
        unpacked.close()
        raise
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
