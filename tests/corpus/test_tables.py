"""Parquet in bounded memory: page headers are read as writers write them, and long values make small batches."""

import io

import pyarrow
import pyarrow.parquet
import pytest

from danlu.corpus import streams, tables
from danlu.corpus.pages import DATA, DATA_2, DICTIONARY, BadPage, Page, longest_value, pages
from danlu.corpus.readers import FileReader
from danlu.corpus.sources import Source, source_files
from danlu.corpus.streams import StreamDamaged

ROWS = [
    {
        "text": None if number % 7 == 0 else f"第 {number} 行 " + "词" * (number % 50),
        "number": number,
        "good": number % 2 == 0,
        "messages": [{"role": "user", "content": f"{number} {turn}"} for turn in range(number % 4)],
    }
    for number in range(3000)
]


def written(rows, **options):
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, **options)
    return file


def columns(file):
    """`(the facts of the column, whether it lies in lists)` of every column of every row group."""
    reader = pyarrow.parquet.ParquetFile(file)
    for group in range(reader.num_row_groups):
        facts = reader.metadata.row_group(group)
        for number in range(facts.num_columns):
            yield facts.column(number), reader.schema.column(number).max_repetition_level > 0


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_pages_of_every_writer_are_found(codec, version, dictionary):
    file = written(
        ROWS,
        compression=codec,
        data_page_version=version,
        use_dictionary=dictionary,
        data_page_size=2000,
        row_group_size=1100,
        write_page_checksum=True,
    )
    for column, _ in columns(file):
        found = list(pages(file, column))
        data = [page for page in found if page.kind in (DATA, DATA_2)]
        assert sum(page.values for page in data) == column.num_values
        assert {page.kind for page in data} == {DATA if version == "1.0" else DATA_2}
        headers = column.total_compressed_size - sum(page.packed_bytes for page in found)
        assert 0 < headers < 600 * len(found)
        assert column.total_uncompressed_size == headers + sum(page.plain_bytes for page in found)
        assert any(page.kind == DICTIONARY for page in found) == column.has_dictionary_page


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd"])
def test_the_longest_value_of_a_dictionary(codec):
    rows = [{"text": "x" * length} for length in (3, 500, 0, 77)]
    file = written(rows, compression=codec)
    ((column, _),) = columns(file)
    dictionary = next(page for page in pages(file, column) if page.kind == DICTIONARY)
    assert longest_value(file, dictionary, column) == 500


def test_headers_that_say_nothing_sensible_are_bad_pages():
    file = written(ROWS[:10], compression="none", use_dictionary=False)
    ((column, _), *_) = columns(file)
    whole = file.getvalue()
    at = column.data_page_offset
    for harm in (b"\0" * 40, b"\xff" * 40, b"\x1c" * 40, b"\x15\x00\x15\x01\x15\x02", b"\x19" * 40):
        harmed = io.BytesIO(whole[:at] + harm + whole[at + len(harm) :])
        with pytest.raises(BadPage):
            list(pages(harmed, column))


def table_of(tmp_path, file):
    (tmp_path / "a.parquet").write_bytes(file.getvalue())
    return tables.opened(tmp_path / "a.parquet")


def test_rows_come_as_they_were_written_group_by_group(tmp_path):
    with table_of(tmp_path, written(ROWS, row_group_size=1100)) as table:
        assert table.group_rows == [1100, 1100, 800]
        assert [row for group in range(3) for row in table.rows(group, table.names)] == ROWS


def test_a_batch_has_as_many_rows_as_long_values_leave_room_for(tmp_path):
    short, long = [{"text": "x" * 10}] * 1000, [{"text": "x" * (1 << 20)}] * 200
    with table_of(tmp_path, written(short)) as table:
        assert table._rows_at_once(0, ["text"]) == tables.ROWS_AT_ONCE
    for options in ({}, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}):
        with table_of(tmp_path, written(long, compression="none", **options)) as table:
            assert 32 <= table._rows_at_once(0, ["text"]) <= 64
    with table_of(tmp_path, written([*short, *long], use_dictionary=False, data_page_size=1 << 16)) as table:
        assert 32 <= table._rows_at_once(0, ["text"]) <= 64, "the longest page counts"


def test_a_page_too_large_to_be_held_is_refused_whatever_it_was_packed_to(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_PAGE_BYTES", 1 << 16)
    rows = [{"text": "".join(chr(33 + (number * place) % 90) for place in range(3000))} for number in range(100)]
    with table_of(tmp_path, written(rows, use_dictionary=False)) as table, pytest.raises(StreamDamaged) as caught:
        list(table.rows(0, ["text"]))
    assert caught.value.reason == "too_large"


def test_rows_of_nothing_that_are_written_as_one_end_at_some_time(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "FREE_BYTES", 1 << 16)
    nothing = pyarrow.table({"text": pyarrow.nulls(1_000_000, pyarrow.string())})
    pyarrow.parquet.write_table(nothing, tmp_path / "a.parquet")
    (file,) = source_files([Source(path=str(tmp_path / "a.parquet"))])
    reader, reasons, size = FileReader(file), [], 0
    for unit in reader:
        reasons.append(unit.content.reason)
        size += unit.size_bytes
    assert 5000 < len(reasons) < 100_000
    assert set(reasons[:-1]) == {"unknown_shape"}
    assert reasons[-1] == "decompression_bomb"
    assert reader.bytes_read == size


def test_a_page_says_whether_its_values_may_repeat():
    assert Page(DATA, 1, 1, 0, 1, 8).is_coded
    assert not Page(DATA, 1, 1, 0, 1, 0).is_coded
