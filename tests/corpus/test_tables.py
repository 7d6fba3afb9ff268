"""Parquet in bounded memory: page headers are read as writers write them, and long values make small batches."""

import errno
import gzip
import io
import subprocess
import sys
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from danlu.base.errors import SystemTrouble
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


def contents(path, **options):
    """What all units of one file are."""
    (file,) = source_files([Source(path=str(path), **options)])
    return [unit.content for unit in FileReader(file)]


FAR = 1 << 62
ODD = {
    "an id beyond all calendars": pyarrow.array([0, FAR], pyarrow.timestamp("us")),
    "an id finer than a calendar": pyarrow.array([0, 1001], pyarrow.timestamp("ns")),
    "a day beyond all calendars": pyarrow.array([0, FAR], pyarrow.int64()).cast(pyarrow.date64(), safe=False),
    "an unknown zone": pyarrow.array([None, 0], pyarrow.timestamp("us", tz="Mars/Olympus")),
    "a struct with one name twice": pyarrow.StructArray.from_arrays(
        [pyarrow.array(["a", "b"])] * 2, ["x", "x"], mask=pyarrow.array([True, False])
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_value_that_python_cannot_say_costs_its_row_alone(tmp_path, odd):
    texts = ["the good neighbour", "the text beside it"]
    pyarrow.parquet.write_table(pyarrow.table({"id": ODD[odd], "text": texts}), tmp_path / "a.parquet")
    good, bad = contents(tmp_path / "a.parquet")
    assert good.text == texts[0]
    assert bad.reason == "bad_field"
    assert bad.detail.startswith("id: ")


def test_a_text_column_that_is_no_text_is_refused_row_by_row(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"when": ODD["an id beyond all calendars"]}), tmp_path / "a.parquet")
    found = contents(tmp_path / "a.parquet", text_field="when")
    assert [one.reason for one in found] == ["bad_field", "bad_field"]


def test_two_columns_of_one_name_are_refused_for_either_could_be_meant(tmp_path):
    twice = pyarrow.table([pyarrow.array(["first"]), pyarrow.array(["second"])], names=["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "a.parquet")
    (refused,) = contents(tmp_path / "a.parquet")
    assert (refused.reason, refused.detail) == ("bad_field", "2 columns named 'text' in 1 rows")
    other = pyarrow.table([pyarrow.array(["first"]), pyarrow.array([1]), pyarrow.array([2])], names=["text", "n", "n"])
    pyarrow.parquet.write_table(other, tmp_path / "a.parquet")
    assert [one.text for one in contents(tmp_path / "a.parquet")] == ["first"], "columns that nobody reads may agree"


def test_the_name_of_a_column_that_is_no_utf8_is_a_damaged_file(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"texte": ["a text"]}), tmp_path / "a.parquet", store_schema=False)
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data.replace(b"texte", b"t\xff\xfete"))
    (refused,) = contents(tmp_path / "a.parquet")
    assert refused.reason == "damaged_file"


def test_a_column_that_begins_nowhere_is_a_bad_page():
    nowhere = SimpleNamespace(data_page_offset=0, has_dictionary_page=False, total_compressed_size=9, num_values=1)
    with pytest.raises(BadPage, match="begins nowhere"):
        list(pages(io.BytesIO(), nowhere))


def test_a_row_larger_than_any_record_is_refused_and_its_neighbours_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_RECORD_BYTES", 1 << 16)
    texts = ["before it", "词" * (1 << 16), "behind it"]
    for dictionary in (True, False):
        table = pyarrow.table({"text": pyarrow.array(texts).dictionary_encode() if dictionary else texts})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        before, large, behind = contents(tmp_path / "a.parquet")
        assert (before.text, behind.text) == (texts[0], texts[2])
        assert large.reason == "too_large"


class Failing(io.BytesIO):
    """A file on a disk that breaks once the footer is read."""

    error: Exception | None = None

    def read(self, *size):
        if self.error is not None:
            raise self.error
        return super().read(*size)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), OSError(errno.EMFILE, "Too many")])
def test_a_disk_that_breaks_is_no_damage_of_the_file(tmp_path, error):
    file = Failing(written(ROWS).getvalue())
    table = tables.Table(file, tmp_path / "a.parquet")
    file.error = error
    with pytest.raises(SystemTrouble, match=r"could not be read(.|\n)*a\.parquet"):
        list(table.rows(0, ["text"]))


def test_want_of_memory_is_no_damage_of_the_file_unless_the_file_asked_for_more_than_there_can_be(tmp_path):
    file = Failing(written(ROWS).getvalue())
    table = tables.Table(file, tmp_path / "a.parquet")
    for said in ("", "malloc of size 1048576 failed"):
        file.error = MemoryError(said)
        with pytest.raises(MemoryError):
            list(table.rows(0, ["text"]))
    file.error = MemoryError("malloc of size 9223372036854775807 failed")
    with pytest.raises(StreamDamaged):
        list(table.rows(0, ["text"]))


def test_a_full_disk_for_temporary_files_is_named(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.tempfile, "TemporaryFile", Full)
    monkeypatch.setattr(tables.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(written(ROWS).getvalue()))
    with pytest.raises(SystemTrouble, match=r"the disk is full\n  where: .*elsewhere"):
        contents(tmp_path / "a.parquet.gz")


FOOTERS = """
import io, random, sys
from pathlib import Path
import pyarrow, pyarrow.parquet
from danlu.corpus.readers import FileReader
from danlu.corpus.sources import Source, source_files

path, draw = Path(sys.argv[1]) / "a.parquet", random.Random(4)
rows = [{"id": f"r{number}", "text": f"a good text {number}", "messages": None} for number in range(200)]
whole = []
for options in ({}, {"compression": "none", "use_dictionary": False}, {"row_group_size": 50}):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, **options)
    whole.append(path.read_bytes())
for number in range(100):
    data = bytearray(draw.choice(whole))
    for _ in range(draw.randrange(1, 4)):
        data[draw.randrange(len(data) - 900, len(data))] = draw.randrange(256)
    path.write_bytes(data)
    (file,) = source_files([Source(str(path))])
    for unit in FileReader(file):
        pass
print("all read or refused")
"""


def test_a_damaged_footer_never_ends_the_process(tmp_path):
    """The reader library ends it where it is asked for a column of which the footer says what cannot be."""
    done = subprocess.run([sys.executable, "-c", FOOTERS, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "all read or refused\n"), done.stderr[-1000:]
