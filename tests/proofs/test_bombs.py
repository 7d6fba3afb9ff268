"""Proofs of RD2 for files that swell: a few kilobytes that stand for gigabytes are refused, in 512 MB of memory.

In: files of every compression and of Parquet in which good documents stand before the bomb: endless runs of one
letter, windows and dictionaries larger than memory, pages that decompress to anything, values that are written once
and meant a million times, lists without an end. All are read by one process, whose memory is measured. Out:
red where a good document is not kept, where the refusal has another reason, or where memory follows the file.
"""

from __future__ import annotations

import bz2
import json
import lzma
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tests.proofs.mutant import Mutant
from tests.proofs.test_bad_input import MEMORY_MB, ROOT, good, inflated, line

MUTANTS = {
    "RD2": Mutant(
        "src/danlu/corpus/tables.py",
        "        return max(1, min(ROWS_AT_ONCE, BATCH_BYTES // max(1, row_bytes)))\n",
        "        return ROWS_AT_ONCE\n",
    ),
}
LETTERS = "a" * (1 << 20)
LARGEST_FILE = 1 << 20
MEASURE = """
import json, sys
from pathlib import Path
from tests.proofs.test_bad_input import accepted
for folder in map(Path, sys.argv[1:]):
    told = accepted(folder / "text", folder / "out")[2]
    peak = next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps([folder.name, told, peak]), flush=True)
"""


def streamed(pack: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Two good lines, and behind them a gigabyte of one letter in one line."""

    def write(path: Path) -> None:
        beginning, run = pack(line(0) + b"\n" + line(1) + b'\n{"text": "'), pack(LETTERS.encode() * 16)
        path.write_bytes(beginning + run * 64)

    return write


def long_zstd(path: Path) -> None:
    """Two good lines, and a frame that wants a gigabyte of what came before to be remembered."""
    far = zstandard.ZstdCompressionParameters.from_level(1, window_log=30, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=far).compressobj()
    path.write_bytes(zstandard.compress(line(0) + b"\n" + line(1) + b"\n") + packer.compress(b"{}\n") + packer.flush())


def long_xz(path: Path) -> None:
    """The same for xz, whose dictionary is stated in the header of a block."""
    data = bytearray(lzma.compress(b"{}\n", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    at = data.index(b"\x21\x01", 12) + 2  # the filter's number, and how many bytes of settings follow
    data[at] = 40  # 4 GiB
    header = bytes(data[12 : 12 + 4 * (data[12] + 1) - 4])
    data[12 + len(header) : 16 + len(header)] = zlib.crc32(header).to_bytes(4, "little")
    path.write_bytes(lzma.compress(line(0) + b"\n" + line(1) + b"\n") + bytes(data))


def repeated(text: str, times: int) -> pyarrow.DictionaryArray:
    """A column that says one text so often; in memory it stands once."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * times, pyarrow.int32()), pyarrow.array([text]))


def table(bomb: pyarrow.Array, **options: object) -> Callable[[Path], None]:
    """A Parquet file with a row group of two good documents, and behind it one of the bomb."""

    def write(path: Path) -> None:
        harmless = pyarrow.array([good(0), good(1)]).dictionary_encode()
        columns = {"text": harmless} if not isinstance(bomb, pyarrow.ListArray) else {"messages": chats()}
        first = pyarrow.table(columns)
        with pyarrow.parquet.ParquetWriter(path, first.schema, store_schema=False, **options) as writer:
            writer.write_table(first)
            writer.write_table(pyarrow.table({first.column_names[0]: bomb.cast(first.schema.field(0).type)}))

    return write


def turns(text: str, times: int) -> pyarrow.StructArray:
    return pyarrow.StructArray.from_arrays([repeated("assistant", times), repeated(text, times)], ["role", "content"])


def chats() -> pyarrow.ListArray:
    return pyarrow.ListArray.from_arrays(
        pyarrow.array([0, 1, 2], pyarrow.int32()),
        pyarrow.StructArray.from_arrays(
            [repeated("assistant", 2), pyarrow.array([good(0), good(1)]).dictionary_encode()], ["role", "content"]
        ),
    )


def endless(text: str, times: int) -> pyarrow.ListArray:
    """One conversation of so many turns."""
    return pyarrow.ListArray.from_arrays(pyarrow.array([0, times], pyarrow.int32()), turns(text, times))


LONG = 100_000
BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "gzip": ("a.jsonl.gz", streamed(inflated)),
    "zstd": ("a.jsonl.zst", streamed(zstandard.compress)),
    "xz": ("a.jsonl.xz", streamed(lzma.compress)),
    "bzip2": ("a.jsonl.bz2", streamed(bz2.compress)),
    "a window of zstd": ("a.jsonl.zst", long_zstd),
    "a dictionary of xz": ("a.jsonl.xz", long_xz),
    **{
        f"a {codec} page": (
            "a.parquet",
            table(repeated(LETTERS * 64, 1), use_dictionary=False, compression=codec, write_statistics=False),
        )
        for codec in ("gzip", "zstd", "brotli")
    },
    "a value meant many times": ("a.parquet", table(repeated(LETTERS[:LONG], 500_000))),
    "a long value meant many times": ("a.parquet", table(repeated(LETTERS * 3, 5000))),
    "a value that is the one before": (
        "a.parquet",
        table(repeated(LETTERS[:LONG], 4000), use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}),
    ),
    "a list without an end": ("a.parquet", table(endless(LETTERS[:LONG], 300_000))),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, tuple[str, int]]:
    """What was said of each bomb, and the most memory until then; one process reads them all."""
    folders = []
    for name, (file, write) in BOMBS.items():
        folders.append(tmp_path_factory.mktemp("bombs") / name)
        (folders[-1] / "text").mkdir(parents=True)
        write(folders[-1] / "text" / file)
        assert (folders[-1] / "text" / file).stat().st_size < LARGEST_FILE
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, folders)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    print(done.stderr[-2000:])
    return {name: (told, peak) for name, told, peak in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_RD2_a_bomb_is_refused_and_what_stands_before_it_is_kept(found, name):
    assert name in found, "reading came to an end"
    told, peak = found[name]
    print(f"{name}: {told}, peak {peak} MB")
    assert told.startswith("accepted 2,"), "both good ones are there"
    assert "decompression_bomb 1" in told
    assert peak <= MEMORY_MB
