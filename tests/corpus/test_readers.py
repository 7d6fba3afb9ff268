"""Every format in every compression; good units survive their bad neighbours; every byte is counted."""

import bz2
import gzip
import json
import lzma
import os
import random
from functools import partial

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from danlu.base.errors import DataError
from danlu.base.records import Conversation, Document
from danlu.corpus import readers
from danlu.corpus.readers import FileReader
from danlu.corpus.sources import Source, source_files
from danlu.corpus.streams import lines
from danlu.corpus.units import REASONS, Rejection

PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": partial(bz2.compress, compresslevel=1),  # in blocks of 100 KB
}
ROWS = [
    {"text": "Erste Zeile", "language": "de"},
    {"text": "第二行", "id": "two", "split": "test"},
    {"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}], "task": "chat"},
]


def units(path, **options):
    """The contents of all units of one source, after the byte law was checked for each file."""
    found = []
    for file in source_files([Source(path=str(path), **options)]):
        reader = FileReader(file)
        mine = list(reader)
        assert reader.bytes_read == sum(unit.size_bytes for unit in mine) + reader.bytes_between, file.name
        assert all(unit.content.reason in REASONS for unit in mine if isinstance(unit.content, Rejection))
        found += [unit.content for unit in mine]
    return found


def texts(found):
    return [content.text for content in found if isinstance(content, Document)]


def reasons(found):
    return [content.reason for content in found if isinstance(content, Rejection)]


def parquet_bytes(rows, **options):
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink, **options)
    return sink.getvalue().to_pybytes()


def encoded(kind):
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    if kind == "json":
        return json.dumps(ROWS, ensure_ascii=False, indent=2).encode()
    columns = {key: None for row in ROWS for key in row}
    return parquet_bytes([{**columns, **row} for row in ROWS])


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_records_of_every_format_and_compression(tmp_path, kind, packing):
    name = f"rows.{kind}{packing}"
    (tmp_path / name).write_bytes(PACK[packing](encoded(kind)))
    first, second, third = units(tmp_path / name)
    assert first == Document(f"{name}#1", "Erste Zeile", name, "de")
    assert second == Document("two", "第二行", name, "", "test")
    assert isinstance(third, Conversation)
    assert (third.id, third.task, third.messages[1].content) == (f"{name}#3", "chat", "答")


@pytest.mark.parametrize("packing", PACK)
def test_text_files_in_every_compression(tmp_path, packing):
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACK[packing](b"eins\n\nzwei\r\n\r\n\r\n drei"))
    assert texts(units(path)) == ["eins\n\nzwei\r\n\r\n\r\n drei"]
    assert texts(units(path, separator="blank line")) == ["eins\n", "zwei\r\n", " drei"]


def test_a_separator_of_its_own(tmp_path):
    (tmp_path / "a.txt").write_text("one\n<|endoftext|>\ntwo\n\nstill two\n<|endoftext|>\n")
    assert texts(units(tmp_path / "a.txt", separator="<|endoftext|>")) == ["one\n", "two\n\nstill two\n"]


def test_a_long_text_is_cut_at_ends_of_lines_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "PART_BYTES", 50)
    text = "".join(f"line {number}\n" for number in range(40))
    (tmp_path / "book.txt").write_text(text)
    found = units(tmp_path / "book.txt")
    assert len(found) > 5
    assert "".join(texts(found)) == text
    assert [content.id for content in found[:2]] == ["book.txt#1", "book.txt#2"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030", "big5"])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "json"])
def test_encodings_in_every_text_format(tmp_path, encoding, kind):
    story = "老人坐在河上的小船里喝茶，一面看水，一面想明天的天氣。" * 3 + "The end."
    text = {"txt": story, "jsonl": json.dumps({"text": story}, ensure_ascii=False), "json": f'[{{"text": "{story}"}}]'}
    (tmp_path / f"a.{kind}").write_bytes(text[kind].encode(encoding))
    assert texts(units(tmp_path / f"a.{kind}")) == [story]


def test_bad_lines_do_not_cost_their_neighbours(tmp_path):
    good = [json.dumps({"text": f"good {number}"}).encode() for number in range(7)]
    bad = [b"{", b"[1, 2]", b'{"text": NaN}', b'{"other": 1}', b"[" * 100_000, b'{"text": "a\x01b"}']
    mixed = [line for pair in zip(good, [*bad, b""], strict=True) for line in pair]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(mixed))
    found = units(tmp_path / "a.jsonl")
    assert texts(found) == [f"good {number}" for number in range(7)]
    assert reasons(found) == ["bad_json", "unknown_shape", "bad_json", "unknown_shape", "bad_json", "bad_json"]
    assert [content.id for content in found[:3]] == ["a.jsonl#1", "a.jsonl#2", "a.jsonl#3"]


def test_broken_bytes_and_lone_surrogates_are_marked_where_they_stand(tmp_path):
    data = '{"text": "前面'.encode() + b"\xff" + '后面"}\n{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n'.encode()
    (tmp_path / "a.jsonl").write_bytes(data)
    assert texts(units(tmp_path / "a.jsonl")) == ["前面\ufffd后面", "a\ufffdb", "😀"]


def test_a_line_beyond_the_limit_is_refused_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "lines", partial(lines, longest=1 << 17))
    long = json.dumps({"text": "x" * 300_000})
    (tmp_path / "a.jsonl").write_text(f'{{"text": "before"}}\n{long}\n{{"text": "after"}}\n')
    found = units(tmp_path / "a.jsonl")
    assert texts(found) == ["before", "after"]
    assert reasons(found) == ["too_large"]


def test_an_array_with_a_damaged_value_gives_the_others(tmp_path):
    rows = json.dumps([{"text": f"row {number}"} for number in range(4)], indent=2).replace('"row 1"', '"row 1')
    (tmp_path / "a.json").write_text(rows)
    found = units(tmp_path / "a.json")
    assert texts(found) == ["row 0", "row 2", "row 3"]
    assert reasons(found) == ["bad_json"]


def test_json_lines_under_the_name_json(tmp_path):
    (tmp_path / "a.json").write_text('{"text": "one"}\n{"text": \n{"text": "three"}\n')
    assert texts(units(tmp_path / "a.json")) == ["one", "three"]


@pytest.mark.parametrize("packing", [packing for packing in PACK if packing])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "json", "parquet"])
def test_a_file_cut_off_gives_what_stands_before(tmp_path, kind, packing):
    draw = [os.urandom(30).hex() for _ in range(4000)]
    rows = [{"text": text} for text in draw]
    plain = {
        "txt": "\n\n".join(draw).encode(),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "json": json.dumps(rows).encode(),
        "parquet": parquet_bytes(rows),
    }[kind]
    path = tmp_path / f"a.{kind}{packing}"
    whole = PACK[packing](plain)
    path.write_bytes(whole[: 4 * len(whole) // 5])
    found = units(path, separator="blank line")
    assert reasons(found) == ["damaged_file"]
    kept = [text.strip() for text in texts(found)]
    if kind == "parquet":  # its directory stands at the end
        assert kept == []
    else:
        whole_ones = kept[:-1] if kind == "txt" else kept  # the last block of a text may be the first lines of one
        assert len(kept) > 1000
        assert draw[: len(whole_ones)] == whole_ones


def test_a_parquet_file_without_known_columns_or_of_garbage(tmp_path):
    (tmp_path / "a.parquet").write_bytes(parquet_bytes([{"x": 1}]))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no PAR1")
    (tmp_path / "c.parquet").write_bytes(b"")
    assert reasons(units(tmp_path)) == ["unknown_shape", "damaged_file", "damaged_file"]


def test_a_damaged_row_group_does_not_cost_the_others(tmp_path):
    rows = [{"text": os.urandom(40).hex()} for _ in range(300)]
    data = bytearray(parquet_bytes(rows, row_group_size=100, compression="gzip", use_dictionary=False))
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    start = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[start + 60 : start + 400] = bytes(340)
    path.write_bytes(data)
    found = units(path)
    assert reasons(found) == ["damaged_file"]
    assert texts(found) == [row["text"] for row in [*rows[:100], *rows[200:]]]
    assert found[-1].id == "a.parquet#300"


def test_empty_files_are_counted(tmp_path):
    for name in ("a.txt", "b.jsonl", "c.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d.txt").write_bytes(b"\n \n")
    assert texts(units(tmp_path)) == ["", "\n \n"]


def test_folders_are_read_in_one_order_whatever_lies_in_them(tmp_path):
    top = tmp_path / "top"
    (top / "b").mkdir(parents=True)
    for name in ("z.txt", "b/a.txt", "a.txt", "image.png", ".hidden.txt"):
        (top / name).write_text(name)
    (top / "c.jsonl").mkdir()
    (top / "gone.txt").symlink_to(tmp_path / "nowhere")
    (top / "loop").symlink_to(top)
    os.mkfifo(top / "pipe.txt")
    files = source_files([Source(path=str(top))])
    assert [(file.name, file.reason) for file in files] == [
        ("top/a.txt", ""),
        ("top/b/a.txt", ""),
        ("top/gone.txt", "not_a_file"),
        ("top/image.png", "unknown_format"),
        ("top/loop", "not_a_file"),
        ("top/pipe.txt", "not_a_file"),
        ("top/z.txt", ""),
    ]
    assert len(units(top)) == 7


def test_two_sources_of_one_name_get_names_of_their_own(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "text").mkdir(parents=True)
        (tmp_path / name / "text" / "a.txt").write_text(name)
    files = source_files([Source(path=str(tmp_path / name / "text")) for name in ("one", "two")])
    assert [file.name for file in files] == ["text/a.txt", "text-2/a.txt"]


def test_folders_and_files_named_after_a_side_go_there(tmp_path):
    for name in ("train/a.txt", "dev/deep/b.txt", "test.jsonl", "other/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "x"}')
    assert [content.split for content in units(tmp_path)] == ["validation", None, "test", "train"]


def test_missing_sources_are_named_together(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*neither"):
        source_files([Source(path=str(tmp_path / "nowhere")), Source(path=str(tmp_path / "neither"))])


def test_a_bad_line_among_ascii_costs_nothing_else(tmp_path):
    good = [f"The furnace stood at the edge of the village. {number}" for number in range(1000)]
    rows = [json.dumps({"text": text}).encode() for text in good]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*rows[:500], b'{"text":"\xff\xfe\xfd bad"}', *rows[500:]]))
    found = texts(units(tmp_path / "a.jsonl"))
    assert found.pop(500) == "\ufffd\ufffd\ufffd bad"
    assert found == good


@pytest.mark.parametrize("between", [",\n", ", "])
def test_records_of_an_array_in_several_encodings(tmp_path, between):
    rows = [{"text": f"{number} 老人坐在河边的小船里喝茶，一面看水，一面想明天的天气。"} for number in range(20)]
    parts = [json.dumps(row, ensure_ascii=False).encode(("utf-8", "gbk")[n % 2]) for n, row in enumerate(rows)]
    parts[10:10] = [b'{"text": "\x81\xff\xff\x81 bad"}']
    (tmp_path / "a.json").write_bytes(b"[" + between.encode().join(parts) + b"]")
    found = texts(units(tmp_path / "a.json"))
    assert "\ufffd" in found.pop(10)
    assert found == [row["text"] for row in rows]


def test_the_last_record_before_damage_is_kept_where_only_its_line_end_is_gone(tmp_path):
    whole = gzip.compress(b"\n".join(b'{"text": "row %d"}' % number for number in range(9)))
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    found = units(tmp_path / "a.jsonl.gz")
    assert texts(found) == [f"row {number}" for number in range(9)]
    assert reasons(found) == ["damaged_file"]


def test_what_is_refused_counts_with_all_its_bytes(tmp_path):
    draw = random.Random(0)
    noise = bytes(draw.randrange(128, 256) for _ in range(600_000))
    sizes = {}
    for name, data in {
        "noise.txt": noise,
        "noise.txt.gz": gzip.compress(noise),
        "archive.zip": b"PK" + noise,
        "none.gz.parquet": b"PAR1" + noise,
        "broken.jsonl.gz": b"no gzip" * 100,
    }.items():
        (tmp_path / name).write_bytes(data)
        (file,) = source_files([Source(path=str(tmp_path / name))])
        reader = FileReader(file)
        (unit,) = reader
        assert isinstance(unit.content, Rejection)
        assert unit.size_bytes == reader.bytes_read
        sizes[name] = unit.size_bytes
    assert sizes == {
        "noise.txt": 600_000,
        "noise.txt.gz": 600_000,
        "archive.zip": 600_002,
        "none.gz.parquet": 600_004,
        "broken.jsonl.gz": 700,
    }
