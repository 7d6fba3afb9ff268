"""Decompression that notices damage, and lines that end where lines end."""

import bz2
import errno
import gzip
import io
import lzma
import os
import random
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import SystemTrouble
from danlu.corpus import streams
from danlu.corpus.streams import StreamDamaged, chunks, lines

PACK = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data),
    ".zst": lambda data: zstandard.compress(data),
    ".xz": lambda data: lzma.compress(data),
    ".bz2": lambda data: bz2.compress(data),
}
TEXT = ("丹炉 danlu\n" * 5000).encode()


def read(path):
    """All bytes that were handed out, and the damage that ended them."""
    data = []
    try:
        for chunk in chunks(path):
            data.append(chunk)
    except StreamDamaged as damage:
        return b"".join(data), damage
    return b"".join(data), None


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("data", [b"", b"x", TEXT], ids=["empty", "one byte", "text"])
def test_what_was_packed_comes_out(tmp_path, ending, data):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PACK[ending](data))
    assert read(path) == (data, None)


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending])
def test_several_members_are_one_text(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PACK[ending](b"one\n") + PACK[ending](TEXT) + PACK[ending](b"three\n"))
    assert read(path) == (b"one\n" + TEXT + b"three\n", None)


@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2"])
def test_zeros_behind_a_member_are_padding(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACK[ending](b"one") + b"\0" * 512)
    assert read(path) == (b"one", None)


@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2"])
def test_a_file_of_zeros_alone_is_damaged(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"\0" * 512)
    assert read(path)[1].reason == "damaged_file"


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending])
def test_a_file_cut_anywhere_is_noticed(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    whole = PACK[ending](TEXT)
    for cut in range(1, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:cut])
        data, damage = read(path)
        assert damage is not None
        assert damage.reason == "damaged_file"
        assert TEXT.startswith(data)


LINES = [f"{number} 丹炉 danlu\n".encode() for number in range(9)]


@pytest.mark.parametrize("ending", [".gz", ".zst", ".xz"])
def test_a_wrong_check_sum_costs_nothing_that_stands_before_it(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    pack = PACK | {".zst": zstandard.ZstdCompressor(write_checksum=True).compress}
    for data in (b"".join(LINES), TEXT):
        whole = bytearray(pack[ending](data))
        index_bytes = 4 * (int.from_bytes(whole[-8:-4], "little") + 1)  # of xz, between the sum and the last 12 bytes
        whole[{".gz": -6, ".zst": -2, ".xz": -14 - index_bytes}[ending]] ^= 1
        path.write_bytes(whole)
        found, damage = read(path)
        assert found == data
        assert damage.reason == "damaged_file"


def test_a_damaged_block_of_bzip2_costs_no_other_block(tmp_path):
    path = tmp_path / "a.bz2"
    noise = random.Random(0).randbytes(250_000).hex().encode()  # five blocks of 100,000
    whole = bytearray(bz2.compress(noise, compresslevel=1))
    whole[len(whole) * 7 // 10] ^= 1
    path.write_bytes(whole)
    found, damage = read(path)
    assert len(found) > 200_000
    assert noise.startswith(found), "a block is handed out once its sum is checked: a damaged one is another text"
    assert damage.reason == "damaged_file"


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending])
def test_a_bad_byte_anywhere_costs_none_of_the_members_before_it(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    first, second = PACK[ending](TEXT), PACK[ending](b"".join(LINES) * 20)
    for place in range(0, len(second), max(1, len(second) // 30)):
        broken = bytearray(second)
        broken[place] ^= 0xFF
        path.write_bytes(first + broken)
        assert read(path)[0].startswith(TEXT)


@pytest.mark.parametrize("ending", [".gz", ".xz"])
def test_everything_before_a_bad_byte_is_there(tmp_path, ending):
    """What an undamaged stream gives up to there, but for the few symbols in the last bytes."""
    path = tmp_path / f"a{ending}"
    text = "".join(f"{number} {random.Random(number).random()}\n" for number in range(20_000)).encode()
    whole = bytearray(PACK[ending](text))
    place = len(whole) // 2
    cut = tmp_path / f"cut{ending}"
    cut.write_bytes(whole[:place])
    until = read(cut)[0]
    whole[place : place + 64] = b"\xff" * 64
    path.write_bytes(whole)
    assert len(until) > 100_000
    assert read(path)[0].startswith(until[:-300])


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending])
def test_garbage_is_no_stream(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(b"this is no compressed file")
    assert read(path)[1].reason == "damaged_file"


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending])
def test_a_bomb_stops_early(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(streams, "FREE_BYTES", 1 << 20)
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PACK[ending](b"\0" * (1 << 25)))
    data, damage = read(path)
    assert damage.reason == "decompression_bomb"
    assert len(data) < 1 << 25


def test_a_file_that_cannot_be_read_is_damage(tmp_path):
    assert read(tmp_path / "absent.txt")[1].reason == "unreadable"


def test_lines_end_at_all_three_line_ends_and_at_nothing_else():
    data = "a\u2028b\x0b\x0c\x1c\x85c\r\nd\re\n\n\rf".encode()
    found = [line.decode() for line, _ in lines([data])]
    assert found == ["a\u2028b\x0b\x0c\x1c\x85c\r\n", "d\r", "e\n", "\n", "\r", "f"]


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(1, 5), max_size=40))
def test_lines_do_not_depend_on_where_chunks_are_cut(data, sizes):
    source, pieces = io.BytesIO(data), []
    for size in [*sizes, len(data)]:
        pieces.append(source.read(size))
    pieces.append(source.read())
    found = list(lines(piece for piece in pieces if piece))
    assert [line for line, _ in found] == data.splitlines(keepends=True)
    assert sum(size for _, size in found) == len(data)


def test_a_long_line_is_counted_but_not_held():
    chunk = b"x" * 1000
    found = list(lines([b"first\n", *[chunk] * 50, b"\n", b"last\n"], longest=2000))
    assert [size for _, size in found] == [6, 50_001, 5]
    assert len(found[1][0]) == 2000
    assert found[2][0] == b"last\n"


def test_the_unfinished_line_before_damage_is_carried():
    def stream():
        yield b"whole\nhalf"
        yield b" of it"
        raise StreamDamaged("damaged_file", "cut off")

    found = []
    with pytest.raises(StreamDamaged) as caught:
        found.extend(lines(stream()))
    assert (caught.value.partial, caught.value.partial_bytes) == (b"half of it", 10)


FACTS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
TROUBLE = {errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR}


@pytest.mark.parametrize("code", sorted(FACTS | TROUBLE), ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("moment", ["opened", "read"])
def test_what_is_said_of_the_system_stops_and_what_is_said_of_the_file_is_its_reason(
    tmp_path, monkeypatch, code, moment
):
    (tmp_path / "a.txt").write_text("a text")

    class Broken(io.BytesIO):
        def read(self, *size):
            raise OSError(code, os.strerror(code))

    def opened(path, mode):
        if moment == "opened":
            raise OSError(code, os.strerror(code), str(path))
        return Broken(b"a text")

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StreamDamaged if code in FACTS else SystemTrouble) as caught:
        list(chunks(tmp_path / "a.txt"))
    if code in FACTS:
        assert caught.value.reason == "unreadable"
    else:
        assert str(tmp_path / "a.txt") in str(caught.value)
        assert "to do: " in str(caught.value)


@pytest.mark.parametrize("ending", streams.PACKINGS)
def test_a_disk_that_fails_behind_damage_is_said_of_the_disk(tmp_path, ending):
    class Failing(io.BytesIO):
        is_broken = False

        def seek(self, *place):
            self.is_broken = True  # the damage was met: what stands before it is being read again
            return super().seek(*place)

        def read(self, size=-1):
            if self.is_broken and size == 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    whole = PACK[ending](bytes(random.Random(1).choices(b"abcdefgh\n", k=300_000)))
    half = len(whole) // 2
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        list(streams._members(Failing(whole[:half] + b"\xff" * 64 + whole[half + 64 :]), streams.PACKINGS[ending]))


@pytest.mark.parametrize("ending", PACK)
def test_of_a_file_that_grew_what_was_there_is_read_and_no_more(tmp_path, ending):
    text = bytes(random.Random(1).choices(b"abcdefgh\n", k=300_000))
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PACK[ending](text))
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(PACK[ending](b"written later"))
    assert b"".join(chunks(path, size)) == text
    assert b"".join(chunks(path)) == text + b"written later"


def test_the_beginning_of_a_file_is_read_from_anywhere_in_it(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789 and more")
    with streams.opened_raw(tmp_path / "a", 10) as file:
        assert file.seek(0, os.SEEK_END) == 10
        assert file.seek(-3, os.SEEK_END) == 7
        assert file.read() == b"789"
        assert (file.seek(2), file.read(3), file.tell()) == (2, b"234", 5)
    assert file.closed
