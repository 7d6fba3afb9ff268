"""Proofs of bad input: RD2, nothing crashes and no good neighbour is lost; RD3, encodings are right or refused.

In: one folder for each kind of harm, with good documents beside it and, where the harm allows, in the same file. Out:
red where a good one is not kept, where a bad one has no reason, or where the books do not balance. Each case says
"accepted n, rejected m because ...". The line of a gigabyte and the million files are behind `slow`.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import subprocess
import sys
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from danlu import running
from danlu.base.artifact import open_artifact
from danlu.base.config import read_settings
from danlu.base.errors import SystemTrouble
from danlu.corpus import engine, stamps
from danlu.corpus.sources import Source, source_files
from danlu.corpus.units import DUPLICATES
from danlu.corpus.writer import FILES
from danlu.recipe import Recipe
from danlu.stages import prepare
from tests.corpus import written as texts_of
from tests.corpus.written import ENCODINGS
from tests.proofs.mutant import Mutant
from tests.proofs.test_corpus import run, written

MUTANTS = {
    "RD2": Mutant(
        "src/danlu/corpus/transcode.py",
        "            is_text = is_text or unexplained <= MOST_UNEXPLAINED * len(window)\n",
        "            is_text = unexplained == 0\n",
    ),
    "RD3": Mutant(
        "src/danlu/corpus/encodings.py",
        '(_usual_wide(sample.decode(name, "replace")), zeros[name], name)',
        '(_usual_wide(sample.decode(name, "replace")), -zeros[name], name)',
    ),
}
ROOT = Path(__file__).resolve().parents[2]
MEMORY_MB = 512

SIMPLIFIED = "春天到了，孩子们在河边放风筝。老人坐在树下喝茶，说起从前的故事。他们都知道，明天还会是一个好天气。"
TRADITIONAL = "春天到了，孩子們在河邊放風箏。老人坐在樹下喝茶，說起從前的故事。他們都知道，明天還會是一個好天氣。"
JAPANESE = "春になると、子どもたちは川のそばで凧をあげます。おじいさんは木の下でお茶を飲みながら、昔の話をします。"
WRITTEN_IN = {
    "utf-8": SIMPLIFIED,
    "gb18030": SIMPLIFIED,
    "gbk": SIMPLIFIED,
    "big5": TRADITIONAL,
    "shift_jis": JAPANESE,
    "utf-8-sig": SIMPLIFIED,
    "utf-16": SIMPLIFIED,
    "utf-16-le": SIMPLIFIED,
    "utf-16-be": TRADITIONAL,
    "utf-32": SIMPLIFIED,
}


def good(number: int, text: str = SIMPLIFIED) -> str:
    """A document that every rule keeps; two of them are never duplicates."""
    return f"{text} {number}"


def line(number: int, encoding: str = "utf-8") -> bytes:
    return json.dumps({"text": good(number, WRITTEN_IN[encoding])}, ensure_ascii=False).encode(encoding)


def around(*bad: bytes, end: bytes = b"\n") -> bytes:
    """Bad lines, each between good ones, which are numbered from 0."""
    return end.join(part for number, one in enumerate(bad) for part in (line(number), one)) + end + line(len(bad))


def parquet(rows: list[dict], **options: object) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink, **options)
    return sink.getvalue().to_pybytes()


def zipped(name: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, "out of its folder")
    return sink.getvalue()


def bomb(pack: Callable[[bytes], bytes]) -> bytes:
    """Two good lines, and behind them 300 MB of one letter in a few hundred kilobytes."""
    return pack(line(0) + b"\n" + line(1) + b'\n{"text": "') + pack(b"a" * (1 << 20)) * 300


def inflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(data) + packer.flush()


def flipped(data: bytes, place: int) -> bytes:
    """The same with one bit of one byte changed."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


MORE = b"\n".join(line(number) for number in range(9))
ENGLISH = [
    json.dumps({"text": f"The furnace stood at the edge of the village. {n}"}).encode() + b"\n" for n in range(1000)
]
MANY = [{"text": good(number)} for number in range(3000)]
CUT = 4 * len(MANY) // 5
"""A file that is cut after four fifths gives at least half of its lines: compression is nearly even."""
HARMS: dict[str, tuple[str, bytes, int, dict[str, int]]] = {
    # what is wrong: (file, its bytes, good documents in it, what is refused and why)
    "invalid bytes": ("a.jsonl", around(b'{"text": "\xff\xfe\xfd bad"}'), 2, {"broken_characters": 1}),
    "invalid bytes in a text": (
        "a.txt",
        good(0).encode() + b"\n\n\xc3\x28\xff\xff\xff\n\n" + good(1).encode(),
        2,
        {"broken_characters": 1},
    ),
    "lone surrogates": ("a.jsonl", around(b'{"text": "\\ud800\\udfff\\udc00 x"}'), 2, {"broken_characters": 1}),
    "lone surrogates in keys and ids": ("a.jsonl", around(b'{"\\ud800": 1, "id": "\\udfff"}'), 2, {"unknown_shape": 1}),
    "lone surrogates as UTF-8": (
        "a.jsonl",
        around(b'{"text": "\xed\xa0\x80\xed\xa0\x80"}'),
        2,
        {"broken_characters": 1},
    ),
    "a hole of zeros": ("a.jsonl", around(bytes(5000)) + b"\n" + bytes(4096) + line(9), 3, {}),
    "zeros inside": ("a.jsonl", around(b'{"text": "a\0b"}'), 2, {"bad_json": 1}),
    "marks in the middle": ("a.jsonl", b"\n".join(b"\xef\xbb\xbf" + line(n) for n in range(4)), 4, {}),
    "CRLF": ("a.jsonl", around(b"{", end=b"\r\n"), 2, {"bad_json": 1}),
    "CR": ("a.jsonl", around(b"{", end=b"\r"), 2, {"bad_json": 1}),
    "wrong types": (
        "a.jsonl",
        around(
            b'{"text": 5}',
            b'{"text": ["a"]}',
            b'"text"',
            b"3",
            b"null",
            b"[]",
            b'{"text": null}',
            b'{"messages": 1}',
            b'{"messages": [1]}',
            b'{"messages": [{"role": 1}]}',
            b'{"tools": {}, "messages": [{"role": "assistant", "content": "a"}]}',
        ),
        12,
        {"bad_field": 5, "unknown_shape": 5, "unknown_role": 1},
    ),
    "missing fields": ("a.jsonl", around(b"{}", b'{"title": "x"}', b'{"instruction": "x"}'), 4, {"unknown_shape": 3}),
    "keys that stand twice": (
        "a.jsonl",
        around(
            b'{"text": "one of two texts", "text": "two of two texts"}',
            b'{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}',
            rb'{"\u0074ext": "one of two texts", "text": "two of two texts"}',
            rb'{"\u6587": "first text", "\u6587": "second text", "text": "a third text of some length"}',
        ),
        5,
        {"bad_json": 4},
    ),
    "a value that is a key": (
        "a.jsonl",
        around(b'{"type": "text", "text": "type and text are said once each"}'),
        3,
        {},
    ),
    "NaN and infinity": (
        "a.jsonl",
        around(b'{"text": NaN}', b'{"text": Infinity}', b'{"text": -Infinity}', b'{"text": 1e999}'),
        5,
        {"bad_json": 3, "bad_field": 1},
    ),
    "huge integers": (
        "a.jsonl",
        around(b'{"id": ' + b"9" * 40 + b', "text": "the id is of forty digits"}', b'{"id": ' + b"9" * 5000 + b"}"),
        4,
        {"bad_json": 1},
    ),
    "nesting of 100,000": (
        "a.jsonl",
        around(b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000, b'{"tools": ' + b"[" * 100_000 + b"}"),
        4,
        {"bad_json": 3},
    ),
    "nesting in tools": (
        "a.jsonl",
        around(
            *(
                b'{"messages": [{"role": "assistant", "content": "x"}], "tools": ['
                + b'{"a":' * depth
                + b"1"
                + b"}" * depth
                + b"]}"
                for depth in (252, 253, 254, 300)
            )
        ),
        5,
        {"bad_field": 4},
    ),
    "columns and cells that are none": (
        "a.parquet",
        parquet(
            [
                {"id": pyarrow.scalar(when, pyarrow.timestamp("us")), "text": good(number)}
                for number, when in enumerate((0, 1 << 62, 0))
            ]
        ),
        2,
        {"bad_field": 1},
    ),
    "nesting in an array": (
        "a.json",
        b'[\n{"text": "before the deep one"},\n{"a": ' + b"[" * 100_000 + b'},\n{"text": "after the deep one"}\n]',
        2,
        {"bad_json": 1},
    ),
    "an array with damage": (
        "a.json",
        b'[{"text": "before the damage"},\n{"text": "no end},\n{"text": "behind the damage"}]',
        2,
        {"bad_json": 1},
    ),
    "an array that is cut": ("a.json", b'[{"text": "before the cut"},\n{"text": "no e', 1, {"bad_json": 1}),
    "no end of line at the end": ("a.jsonl", line(0) + b"\n" + line(1), 2, {}),
    "an empty file": ("a.jsonl", b"", 0, {}),
    "an empty text": ("a.txt", b"", 0, {"empty": 1}),
    "blank lines only": ("a.jsonl", b"\n \n\r\n\t\n", 0, {}),
    "blanks only": ("a.txt", " \n\u3000\n\t\r\n".encode(), 0, {"empty": 1}),
    "an empty gzip": ("a.jsonl.gz", b"", 0, {}),
    "a cut gzip": ("a.jsonl.gz", gzip.compress(b"\n".join(line(n) for n in range(9)))[:-9], 9, {"damaged_file": 1}),
    "a gzip with a wrong check sum": ("a.jsonl.gz", flipped(gzip.compress(MORE), -6), 9, {"damaged_file": 1}),
    "a zstd with a wrong check sum": (
        "a.jsonl.zst",
        flipped(zstandard.ZstdCompressor(write_checksum=True).compress(MORE), -2),
        9,
        {"damaged_file": 1},
    ),
    "a gzip with a bad member behind a good one": (
        "a.jsonl.gz",
        gzip.compress(MORE + b"\n") + flipped(gzip.compress(MORE), 12),
        9,
        {"damaged_file": 1},
    ),
    "a cut zstd": ("a.jsonl.zst", zstandard.compress(around(b"{"))[:-3], 0, {"damaged_file": 1}),
    "a cut xz": ("a.jsonl.xz", lzma.compress(around(b"{"))[:-3], 2, {"bad_json": 1, "damaged_file": 1}),
    "a cut bzip2": ("a.jsonl.bz2", bz2.compress(around(b"{"))[:-3], 2, {"bad_json": 1, "damaged_file": 1}),
    "a cut parquet": ("a.parquet", parquet(MANY)[:-9], 0, {"damaged_file": 1}),
    "no parquet": ("a.parquet", b"PAR1 and not more", 0, {"damaged_file": 1}),
    "no gzip": ("a.jsonl.gz", b"not compressed", 0, {"damaged_file": 1}),
    "a gzip bomb": ("a.jsonl.gz", bomb(inflated), 2, {"decompression_bomb": 1}),
    "a zstd bomb": ("a.jsonl.zst", bomb(zstandard.compress), 2, {"decompression_bomb": 1}),
    "a gzip in a gzip": ("a.jsonl.gz.gz", gzip.compress(gzip.compress(line(0))), 0, {"unknown_format": 1}),
    "a zip that slips": ("a.zip", zipped("../../out.txt"), 0, {"unknown_format": 1}),
    "no format": ("a.exe", b"MZ", 0, {"unknown_format": 1}),
    "noise": ("a.txt", bytes(random.Random(0).randrange(128, 256) for _ in range(4000)), 0, {"unknown_encoding": 1}),
    "UTF-8 and GBK": ("a.jsonl", b"\n".join(line(n, "gbk" if n % 2 else "utf-8") for n in range(20)), 20, {}),
    "GBK with one line of UTF-8": (
        "a.jsonl",
        b"\n".join(line(n, "utf-8" if n == 7 else "gbk") for n in range(20)),
        20,
        {},
    ),
    "ASCII with a bad line": (
        "a.jsonl",
        b"".join([*ENGLISH[:500], b'{"text":"\xff\xfe\xfd bad"}\n', *ENGLISH[500:]]),
        1000,
        {"broken_characters": 1},
    ),
    "ASCII with half a character of UTF-8": (
        "a.jsonl",
        b"".join([*ENGLISH[:9], b'{"text":"They don\xe2\x80t say so"}\n', *ENGLISH[9:20]]),
        20,
        {"broken_characters": 1},
    ),
    "GBK with English lines in which a word is in UTF-8": (
        "a.jsonl",
        b"\n".join(line(n, "gbk") for n in range(20)) + '\n{"text":"The word 你好 means hello in Chinese."}'.encode(),
        21,
        {},
    ),
    "GBK and far behind the beginning UTF-8": (
        "a.jsonl",
        b"\n".join(line(n, "gbk" if n < 3000 else "utf-8") for n in range(3300)),
        3300,
        {},
    ),
    "UTF-8 and GBK in an array": (
        "a.json",
        b"[" + b",\n".join(line(n, "gbk" if n % 2 else "utf-8") for n in range(20)) + b"]",
        20,
        {},
    ),
    "UTF-8 and GBK in an array of one line": (
        "a.json",
        b"[" + b", ".join(line(n, "gbk" if n % 2 else "utf-8") for n in range(20)) + b"]",
        20,
        {},
    ),
    "a mark that the text denies": (
        "a.txt",
        b"\xff\xfe" + b"\n\n".join(good(n, "The furnace stood at the edge of the village.").encode() for n in range(4)),
        3,
        {"broken_characters": 1},
    ),
    "GBK with a broken line": (
        "a.jsonl",
        b"\n".join([*(line(n, "gbk") for n in range(9)), b'{"text": "\xff\xff\xff\xff"}', line(9)]),
        10,
        {"broken_characters": 1},
    ),
    "five encodings": (
        "a.jsonl",
        b"\n".join(line(n, ("utf-8", "gb18030", "big5", "shift_jis", "gbk")[n % 5]) for n in range(25)),
        25,
        {},
    ),
    "five encodings in a text": (
        "a.txt",
        b"\n\n".join(
            good(n, WRITTEN_IN[e]).encode(e) for n, e in enumerate(("utf-8", "gb18030", "big5", "shift_jis", "gbk") * 4)
        ),
        20,
        {},
    ),
    "UTF-16 in a file of UTF-8": ("a.jsonl", around(good(99, "plain").encode("utf-16-le")), 2, {"bad_json": 1}),
    **{
        f"all in {encoding}": (f"a.{kind}", text.encode(encoding), 6, {})
        for encoding, words in WRITTEN_IN.items()
        for kind, text in (
            ("jsonl", "".join(json.dumps({"text": good(n, words)}, ensure_ascii=False) + "\r\n" for n in range(6))),
            ("txt", "\n\n".join(good(n, words) for n in range(6))),
        )
    },
}
NEIGHBOURS = ["The first good neighbour is a file of its own.", "第二个好邻居也在一个自己的文件里，谁也不能丢掉它。"]


def accepted(folder: Path, out: Path) -> tuple[list[str], dict[str, int], str]:
    """Texts of the documents kept, what was refused by reason, and the sentence that says so; books are balanced."""
    ledger = run(folder, out, separator="blank line")
    report = ledger.report()
    documents, sizes = report["documents"], report["bytes"]
    assert documents["in"] == documents["written"] + documents["rejected"] + documents["duplicates"]
    assert sizes["in"] == sizes["written"] + sizes["rejected"] + sizes["duplicates"] + sizes["between"]
    reasons = {reason: counts["documents"] for reason, counts in report["reasons"].items()}
    because = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    told = f"accepted {documents['written']}, rejected {documents['rejected']} because {because if because else '-'}"
    return [record["text"] for record in written(out) if "text" in record], reasons, told


def prepared(top: Path, out: Path, workers: int = 1) -> tuple[list[str], dict[str, int]]:
    """The same of the whole stage, as a person's command makes it; duplicates are among the reasons."""
    out.mkdir()
    sources = {"path": str(top), "separator": "blank line"}
    prepare.run(read_settings(prepare.Config, {"sources": [sources], "workers": workers}, "test"), {}, out)
    reasons = json.loads((out / prepare.REPORT).read_bytes())["reasons"]
    texts = [record["text"] for record in written(out) if "text" in record]
    return texts, {reason: counts["documents"] for reason, counts in reasons.items()}


@pytest.mark.parametrize("harm", HARMS)
def test_RD2_bad_input_costs_no_good_neighbour(tmp_path, harm):
    name, data, kept, refused = HARMS[harm]
    top = tmp_path / "text"
    top.mkdir()
    for number, text in enumerate(NEIGHBOURS):
        (top / f"{'az'[number]}-neighbour.txt").write_text(text, encoding="utf-8")
    (top / name).write_bytes(data)
    texts, reasons, told = accepted(top, tmp_path / "out")
    print(f"{harm}: {told}")
    assert set(NEIGHBOURS) <= set(texts)
    assert len(texts) == kept + len(NEIGHBOURS)
    assert reasons == refused
    assert not [text for text in texts if "\ufffd" in text]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "text"], "nothing was unpacked beside it"


def no_files(top: Path) -> int:
    """Lay down all that has a name and is no file; how many there are."""
    os.mkfifo(top / "pipe.jsonl")
    (top / "gone.txt").symlink_to(top / "nowhere")
    (top / "ring.txt").symlink_to(top / "ring.txt")
    (top / "up").symlink_to(top.parent)
    (top / "null.txt").symlink_to("/dev/null")
    return 5


def test_RD2_what_is_no_file_costs_no_good_neighbour(tmp_path):
    top = tmp_path / "text"
    (top / "x.jsonl").mkdir(parents=True)
    (top / "x.jsonl" / "inside.jsonl").write_bytes(line(0))
    (top / "good.jsonl").write_bytes(line(1))
    count = no_files(top)
    texts, reasons, _ = accepted(top, tmp_path / "out")
    assert sorted(texts) == sorted(good(n) for n in range(2))
    assert reasons == {"not_a_file": count}
    for alone in ("pipe.jsonl", "gone.txt"):  # as a source of its own
        (one,) = source_files([Source(str(top / alone))])
        assert one.reason == "not_a_file"


@pytest.fixture
def small_shards(monkeypatch):
    """The processes of a pool cut where we do: a large file is shared among them."""
    monkeypatch.setattr(engine, "SHARD_BYTES", 50_000)


def test_RD2_all_harms_in_one_folder_are_the_same_to_any_number_of_processes(tmp_path, small_shards):
    top, kept, refused = tmp_path / "text", len(NEIGHBOURS), Counter[str]()
    for number, (name, data, count, reasons) in enumerate(HARMS.values()):
        (top / f"{number:03d}").mkdir(parents=True)
        (top / f"{number:03d}" / name).write_bytes(data)
        kept += count
        refused.update(reasons)
    for number, text in enumerate(NEIGHBOURS):
        (top / f"{'az'[number]}-neighbour.txt").write_text(text, encoding="utf-8")
    refused["not_a_file"] += no_files(top)
    for workers in (1, 2):
        texts, reasons = prepared(top, tmp_path / f"out-{workers}", workers)
        copies = sum(reasons.pop(reason, 0) for reason in DUPLICATES)
        assert set(NEIGHBOURS) <= set(texts)
        assert len(texts) + copies == kept, "good ones of several harms say the same"
        assert reasons == refused
    for name in (*FILES, prepare.REPORT):
        assert (tmp_path / "out-1" / name).read_bytes() == (tmp_path / "out-2" / name).read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_RD2_a_file_that_grows_while_it_is_read_is_read_as_it_was(tmp_path, workers, small_shards):
    """As a recipe is made: planned first, then read, while somebody writes all the time."""
    top = tmp_path / "text"
    top.mkdir()
    (top / "still.jsonl").write_bytes(line(0))
    (top / "grows.jsonl").write_bytes(b"".join(line(n) + b"\n" for n in range(1, 2000)))
    page = {"name": "log", "prepare": {"sources": str(top), "workers": workers}}
    stop = threading.Event()

    def grow() -> None:
        with (top / "grows.jsonl").open("ab", buffering=0) as file:
            for number in range(2000, 10**6):
                file.write(line(number) + b"\n")
                if stop.wait(0.002):
                    return

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        recipe = Recipe.from_dict(page)
        planned = (top / "grows.jsonl").stat().st_size
        made = running.run(recipe, runs=tmp_path / "runs")["prepare"]
    finally:
        stop.set()
        writer.join()
    kept = [int(record["text"].rpartition(" ")[2]) for record in written(made.folder)]
    assert made.metrics["rejected"] == 0
    assert sorted(kept) == list(range(len(kept))), "the neighbour, and the log from its beginning on"
    assert len(kept) >= 2000
    files = open_artifact(made.folder / "sources").config["files"]
    size = files["text/grows.jsonl"]["bytes"]
    assert planned <= size < (top / "grows.jsonl").stat().st_size
    was = (top / "grows.jsonl").read_bytes()[:size]
    assert files["text/grows.jsonl"]["sha256"] == hashlib.sha256(was).hexdigest()
    assert len(kept) == 1 + was.count(b"\n"), "what came behind is another time's"
    (step,) = Recipe.from_dict(page).plan(tmp_path / "runs")
    assert step.state == "stale", "which is noticed"


def test_RD2_trouble_of_the_system_stops_the_stage_and_costs_nothing(tmp_path, monkeypatch):
    """What cannot be read just now is not bad: nothing is sealed, and the same command goes on."""
    top, out = tmp_path / "text", tmp_path / "out"
    for folder in (top, out):
        folder.mkdir()
    for number in range(9):
        (top / f"{number}.txt").write_text(good(number))
    config = read_settings(prepare.Config, {"sources": str(top)}, "test")
    real = Path.open

    def refuse(path: Path, mode: str = "r", *rest: object, **named: object) -> object:
        if path.name == "7.txt" and mode == "rb":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return real(path, mode, *rest, **named)

    monkeypatch.setattr(stamps, "_hash", lambda *_: "hashed while all was well")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        with pytest.raises(SystemTrouble, match=r"too many files are open(.|\n)*7\.txt"):
            prepare.run(config, {}, out)
    assert not (out / "manifest.json").exists()
    assert prepare.run(config, {}, out).metrics["written"] == 9


def check_files(tmp_path: Path, count: int, workers: int) -> None:
    top = tmp_path / "text"
    for number in range(count):
        if number % 1000 == 0:
            (top / f"{number // 1000:04d}").mkdir(parents=True)
        (top / f"{number // 1000:04d}" / f"{number}.txt").write_bytes(
            b"" if number % 10 == 0 else good(number).encode()
        )
    texts, reasons = prepared(top, tmp_path / "out", workers)
    assert len(texts) == count - count // 10
    assert reasons == {"empty": count // 10}


@pytest.mark.parametrize("workers", [1, 2])
def test_RD2_ten_thousand_tiny_files(tmp_path, workers, small_shards):
    check_files(tmp_path, 10_000, workers)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_RD2_a_million_tiny_files(tmp_path):
    check_files(tmp_path, 1_000_000, 2)


LONG = {
    "jsonl": ('{"text": "%s"}\n{"text": "', '"}\n{"text": "%s"}\n'),
    "json": ('[{"text": "%s"},\n{"text": "', '"},\n{"text": "%s"}]\n'),
    "txt": ("%s\n\n", "\n\n%s\n"),
}
WORDS = "The old man lit the furnace of the village, and nobody asked him why he did it"
TEXTS: dict[str, Callable[[int], bytes]] = {
    # what a record is made of, a megabyte after the other, of which no line is like another
    "one letter": lambda part: b"a" * (1 << 20),
    "prose": lambda part: "".join(rf"{WORDS}, {part}-{n}.\n" for n in range(11_500)).encode(),
    "prose of four bytes a character": lambda part: f"😀{TEXTS['prose'](part).decode()}".encode(),
    "short words": lambda part: "".join(rf"{n % 97} {n % 89} 😀{part}-{n}\n" for n in range(42_000)).encode(),
    "Chinese": lambda part: "".join(rf"{SIMPLIFIED}{part}-{n}\n" for n in range(6_500)).encode(),
    "Chinese in GBK": lambda part: "".join(rf"{SIMPLIFIED}{part}-{n}\n" for n in range(9_000)).encode("gbk"),
}
MEASURE = """
import sys
from pathlib import Path
from danlu.base import console
from tests.proofs.test_bad_input import prepared
console.set_mode(quiet=True)
texts, reasons = prepared(Path(sys.argv[1]) / "text", Path(sys.argv[1]) / "out")
print(len(texts), *reasons)
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def check_long_record(tmp_path: Path, kind: str, text: str, megabytes: int) -> tuple[int, list[str]]:
    """A record of so many megabytes between two good ones, in a process whose memory is measured: what is kept, and
    the reasons against what is not."""
    top = tmp_path / "text"
    top.mkdir()
    before, after = LONG[kind]
    with (top / f"a.{kind}").open("wb") as file:
        file.write((before % good(0)).encode())
        for part in range(megabytes):
            file.write(TEXTS[text](part))
        file.write((after % good(1)).encode())
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert found.returncode == 0, found.stderr
    kept, peak = found.stdout.splitlines()[-2:]
    print(f"{kind} with {megabytes} MB of {text}: {kept}, peak {peak} MB")
    assert int(peak) <= MEMORY_MB
    count, *reasons = kept.split()
    return int(count), reasons


@pytest.mark.parametrize(
    ("kind", "text"),
    [("jsonl", "prose of four bytes a character"), ("json", "short words"), ("json", "Chinese")],
)
def test_RD2_a_record_just_below_the_limit_is_kept_in_512_MB_of_memory(tmp_path, kind, text):
    assert check_long_record(tmp_path, kind, text, 7) == (3, [])


@pytest.mark.parametrize(
    ("kind", "text", "megabytes"),
    [
        ("jsonl", "prose of four bytes a character", 60),
        ("jsonl", "Chinese in GBK", 60),
        ("json", "prose of four bytes a character", 60),
        ("json", "Chinese", 9),  # fewer characters than the limit has bytes
        ("txt", "one letter", 60),
    ],
)
def test_RD2_a_record_above_the_limit_is_refused_in_512_MB_of_memory(tmp_path, kind, text, megabytes):
    assert check_long_record(tmp_path, kind, text, megabytes) == (2, ["too_large"]), "both good ones are there"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["one letter", "prose of four bytes a character"])
@pytest.mark.parametrize("kind", LONG)
def test_RD2_a_line_of_1_GB_fits_in_512_MB_of_memory(tmp_path, kind, text):
    kept, reasons = check_long_record(tmp_path, kind, text, 1024)
    assert kept == 2
    assert reasons in (["too_large"], ["long_line"])


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(["user", "assistant", "\ud800", "text", "[]", "{}", "zh", "train"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("text", "id", "source", "language", "split", "task", "tools", "messages", "conversations"),
                    *("instruction", "input", "output", "system", "history", "role", "from", "value", "content"),
                    *("tool_calls", "function", "name", "arguments", "reasoning", "weight", "trainable", "\udfff"),
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(VALUES, min_size=1, max_size=6), st.sampled_from(["jsonl", "json"]))
@example([{"output": "0", "instruction": ""}], "jsonl")  # a conversation among documents
def test_RD2_whatever_json_says_it_is_accepted_or_refused(tmp_path_factory, values, kind):
    top = tmp_path_factory.mktemp("any")
    (top / "text").mkdir()
    values = [{"text": good(0)}, *values, {"text": good(1)}]
    lines = [json.dumps(value) for value in values]
    text = "[" + ",\n".join(lines) + "]" if kind == "json" else "\n".join(lines)
    (top / "text" / f"a.{kind}").write_text(text)
    texts, _, _ = accepted(top / "text", top / "out")
    assert {good(0), good(1)} <= set(texts)


IN_ENCODINGS = {
    "simplified": ("utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32"),
    "traditional": ("utf-8", "gb18030", "big5", "utf-16-le", "utf-16-be"),
    "japanese": ("utf-8", "shift_jis", "euc_jp", "utf-16-le"),
    "english": ("utf-8", "gb18030", "utf-16", "utf-16-be"),
    "with Chinese words": ("utf-8", "utf-16-le"),
}


@pytest.mark.parametrize(
    ("name", "encoding"), [(name, encoding) for name, encodings in IN_ENCODINGS.items() for encoding in encodings]
)
def test_RD3_99_of_100_files_of_200_bytes_are_read_right_and_the_others_refused(tmp_path, name, encoding):
    """Right means: the text comes out, by whatever name the encoding goes."""
    counts: Counter[str] = Counter()
    for text in texts_of.samples(name, encoding, 200):
        counts += ENCODINGS.judged(tmp_path, "a.txt", text.encode(encoding), [text])
    print(f"{name} in {encoding}: {counts['right'] / counts.total():.1%} right, {dict(counts)}")
    assert counts["right"] >= 0.99 * counts.total()
    assert not counts["wrong"]


def test_RD3_a_word_of_Chinese_alone_in_English_is_read_right_or_refused(tmp_path):
    """One or two characters in GBK prove nothing where nothing stands beside them: many must be refused."""
    counts: Counter[str] = Counter()
    for text in texts_of.samples("with Chinese words", "gb18030", 200):
        counts += ENCODINGS.judged(tmp_path, "a.txt", text.encode("gb18030"), [text])
    print(f"Chinese words in gb18030: {dict(counts)}")
    assert counts["right"] >= 0.9 * counts.total()
    assert counts["wrong"] <= 0.01 * counts.total()


@pytest.mark.parametrize("kind", ["jsonl", "json", "one line of json"])
@pytest.mark.parametrize("mixture", ENCODINGS.MIXTURES)
def test_RD3_99_of_100_samples_in_one_file_of_several_hands_are_read_right(tmp_path, mixture, kind):
    parts = ENCODINGS.MIXTURES[mixture]
    pairs = [(text, encoding) for name, encoding in parts for text in texts_of.samples(name, encoding, 100)]
    random.Random(0).shuffle(pairs)
    rows = [json.dumps({"text": text}, ensure_ascii=False).encode(encoding) for text, encoding in pairs]
    data = b"\n".join(rows) if kind == "jsonl" else b"[" + (b",\n" if kind == "json" else b", ").join(rows) + b"]"
    counts = ENCODINGS.judged(tmp_path, f"a.{kind.split()[-1]}", data, [text for text, _ in pairs])
    print(f"{mixture} in {kind}: {dict(counts)}")
    assert counts["right"] >= 0.99 * counts.total()
    assert counts["wrong"] <= 0.002 * counts.total()


def test_RD3_noise_of_any_length_is_never_given_a_name(tmp_path):
    draw = random.Random(3)
    named = 0
    for _ in range(400):
        noise = bytes(draw.randrange(128, 256) for _ in range(200))
        named += ENCODINGS.judged(tmp_path, "a.txt", noise, [""])["wrong"]
    assert named <= 4
