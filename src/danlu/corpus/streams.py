"""Bytes of a file, decompressed piece by piece, and their lines.

In: a path, plain or ending in .gz, .zst, .xz or .bz2. Out: chunks of bytes; lines with their ends, never more than a
stated size in memory. Called by `readers`. A damaged or bursting file raises `StreamDamaged` after everything before
the damage has been handed out, so that good neighbours survive. Does not decode text (`encodings` does).
"""

from __future__ import annotations

import bz2
import errno
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from danlu.base.errors import TROUBLES, SystemTrouble

CHUNK_BYTES = 1 << 16
FREE_BYTES = 1 << 24
MAX_RATIO = 250
"""Text compresses 3 to 20 times, logs perhaps 100; gzip ends at 1,032, the others at many thousands. Files below
FREE_BYTES are never suspected."""
MAX_RECORD_BYTES = 1 << 23
"""The largest record: a line, a value of an array, a row. Rules take a text apart into words, which are many times its
bytes in memory; this is what all of them do in 512 MB. The longest novels that one person wrote are below it."""
MAX_WINDOW_BYTES = 1 << 27
"""A zstd or xz file states how much of what lies behind must be remembered; the packers' own settings stay below."""


@dataclass(frozen=True, slots=True)
class Packing:
    """A way to compress. `begin` makes the decompressor of one member; `step_bytes` of input bound what one call of it
    can return to 64 MiB."""

    name: str
    begin: Callable[[], Any]
    step_bytes: int


PACKINGS = {
    ".gz": Packing("gzip", lambda: zlib.decompressobj(wbits=31), 1 << 14),  # 1,032 times as much
    # a block of 128 KiB may cost four bytes
    ".zst": Packing("zstd", zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj, 1 << 11),
    ".xz": Packing("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES), 1 << 11),
    # a block of 46 MB may cost 39 bytes; no step ends two, so that a bad one does not take a good one with it
    ".bz2": Packing("bzip2", bz2.BZ2Decompressor, 1 << 4),
}
"""Ending of the name -> how the file is unpacked."""
PACKING_ERRORS = (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError)
"""What the libraries raise about damage; bzip2 calls its own errors OSError."""


class StreamDamaged(Exception):
    """The stream cannot be read on; `reason` is a key of REASONS, `partial` the unfinished line before it."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail
        self.partial, self.partial_bytes = b"", 0


FACTS = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.ENAMETOOLONG, errno.ENXIO),
)
"""What the system says of a file that cannot be read. All else, such as too many open files or a broken disk, is said
of the system: another time the file may be read, so it must not be counted as bad."""


def refused(error: OSError, path: Path) -> StreamDamaged | SystemTrouble:
    """What it means that the system did not let us read a raw file."""
    said = error.strerror if error.strerror else type(error).__name__
    if error.errno in FACTS:
        return StreamDamaged("unreadable", said)
    what, remedy = TROUBLES.get(error.errno if error.errno is not None else 0, ("the system fails", "mend it"))
    return SystemTrouble(
        f"a raw file could not be read: {what}",
        where=path,
        found=said,
        remedy=f"{remedy}; then the same command goes on from what was finished",
    )


class _Beginning(io.RawIOBase):
    """The first bytes of an open file, as if it ended there."""

    def __init__(self, file: IO[bytes], size_bytes: int):
        super().__init__()
        self._file, self._size = file, size_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(self._size + place) if whence == os.SEEK_END else self._file.seek(place, whence)

    def readinto(self, buffer: Any) -> int:
        left = max(0, self._size - self._file.tell())
        data = self._file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def opened_raw(path: Path, size_bytes: int | None = None) -> IO[bytes]:
    """A raw file, opened, or its beginning: what is written behind so many bytes is not there."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise refused(error, path) from error
    if size_bytes is None or os.fstat(file.fileno()).st_size <= size_bytes:
        return file
    return io.BufferedReader(_Beginning(file, size_bytes), CHUNK_BYTES)


def chunks(path: Path, size_bytes: int | None = None) -> Iterator[bytes]:
    """The decompressed bytes of a file, or of its first `size_bytes`, by the ending of its name.

    StreamDamaged where they end before their time, SystemTrouble where the fault is not the file's.
    """
    try:
        with opened_raw(path, size_bytes) as file:
            match path.suffix.lower():
                case ending if ending in PACKINGS:
                    yield from _watched(_members(file, PACKINGS[ending]), file)
                case _:
                    left = file.seek(0, os.SEEK_END)  # one that grows faster than it is read would never end
                    file.seek(0)
                    while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                        left -= len(chunk)
                        yield chunk
    except OSError as error:
        raise refused(error, path) from error


def _watched(decompressed: Iterable[bytes], file: Any) -> Iterator[bytes]:
    """Pass chunks on until they exceed what text can swell to."""
    total = 0
    for chunk in decompressed:
        total += len(chunk)
        check_swelling(total, file.tell())
        if chunk:
            yield chunk


def check_swelling(size: int, packed: int) -> None:
    """StreamDamaged where so many bytes come out of so few that it can be no text."""
    if size > FREE_BYTES and size > MAX_RATIO * packed:
        raise StreamDamaged("decompression_bomb", f"{size:,} bytes out of {packed:,}, more than {MAX_RATIO} times")


def _members(file: Any, packing: Packing) -> Iterator[bytes]:
    """Members of a packed file, one after the other, and of a damaged one everything that stands before the damage."""
    member, begun_at = packing.begin(), 0
    while data := file.read(packing.step_bytes):
        while data:
            if member.eof:
                data = data.lstrip(b"\0")  # zeros behind a member are padding of tapes and blocks
                if not data:
                    break
                member, begun_at = packing.begin(), file.tell() - len(data)
            try:
                unpacked = _unpacked(member, data)
            except PACKING_ERRORS as error:
                yield from _byte_by_byte(file, packing, begun_at, file.tell() - len(data))
                is_bomb = any(sign in str(error) for sign in ("too much memory", "Memory usage limit"))
                reason = "decompression_bomb" if is_bomb else "damaged_file"
                raise StreamDamaged(reason, f"{packing.name}: {error}") from None
            yield unpacked
            data = member.unused_data if member.eof else b""
    if file.tell() and not member.eof:
        raise StreamDamaged("damaged_file", f"{packing.name}: the file is cut off")


def _byte_by_byte(file: Any, packing: Packing, begun_at: int, failed_at: int) -> Iterator[bytes]:
    """What the failing step of a member would have given before it failed: the libraries drop it with their error.

    They cannot go back one step either, so the member is unpacked anew; of damage there is one in a file.
    """
    member = packing.begin()
    file.seek(begun_at)
    while (left := failed_at - file.tell()) > 0:
        _unpacked(member, file.read(min(packing.step_bytes, left)))
    while not member.eof and (byte := file.read(1)):
        try:
            unpacked = _unpacked(member, byte)
        except PACKING_ERRORS:
            return
        yield unpacked


def _unpacked(member: Any, data: bytes) -> bytes:
    """All that a decompressor gives for some input; bzip2 gives a block in parts, and checks it with the last one."""
    unpacked = [member.decompress(data)]
    while unpacked[-1] and not member.eof:
        unpacked.append(member.decompress(b""))
    return b"".join(unpacked)


def lines(stream: Iterable[bytes], longest: int = MAX_RECORD_BYTES) -> Iterator[tuple[bytes, int]]:
    r"""`(line with its end, its size)`; lines end with \n, \r\n or \r and nowhere else.

    Of a line above `longest` only the beginning is kept, and its size says so. StreamDamaged carries the unfinished
    line in `partial`.
    """
    pending: list[bytes] = []
    size = 0
    after_return = False
    try:
        for chunk in stream:
            for piece in chunk.splitlines(keepends=True):  # of bytes: only \n, \r and \r\n
                if after_return and piece != b"\n":
                    yield b"".join(pending), size
                    pending, size = [], 0
                size += len(piece)
                if size <= longest or not pending:
                    pending.append(piece)
                after_return = piece.endswith(b"\r")
                if piece.endswith(b"\n"):
                    yield b"".join(pending), size
                    pending, size = [], 0
    except StreamDamaged as damage:
        if pending:
            damage.partial, damage.partial_bytes = b"".join(pending), size
        raise
    if pending:
        yield b"".join(pending), size
