"""Bytes of a file, decompressed piece by piece, and their lines.

In: a path, plain or ending in .gz, .zst, .xz or .bz2. Out: chunks of bytes; lines with their ends, never more than a
stated size in memory. Called by `readers`. A damaged or bursting file raises `StreamDamaged` after everything before
the damage has been handed out, so that good neighbours survive. Does not decode text (`encodings` does).
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import zstandard

CHUNK_BYTES = 1 << 16
ZSTD_CHUNK_BYTES = 1 << 11
"""A block of 128 KiB may cost four bytes in zstd: 2 KiB of input bound what one call can return to 64 MiB."""
FREE_BYTES = 1 << 24
MAX_RATIO = 250
"""Text compresses 3 to 20 times, logs perhaps 100; gzip ends at 1,032, the others at many thousands. Files below
FREE_BYTES are never suspected."""
MAX_LINE_BYTES = 1 << 26
MAX_WINDOW_BYTES = 1 << 27
"""A zstd or xz file states how much of what lies behind must be remembered; the packers' own settings stay below."""
PIECE_BYTES = 1 << 20
"""What one step of decompression may give."""


class StreamDamaged(Exception):
    """The stream cannot be read on; `reason` is a key of REASONS, `partial` the unfinished line before it."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail
        self.partial, self.partial_bytes = b"", 0


def chunks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of a file, by the ending of its name; StreamDamaged where they end before their time."""
    try:
        with path.open("rb") as file:
            match path.suffix.lower():
                case ".gz":
                    yield from _watched(_inflate(file), file)
                case ".zst":
                    yield from _watched(_unzstd(file), file)
                case ".xz":
                    yield from _watched(_members(file, _begin_xz, "xz"), file)
                case ".bz2":
                    yield from _watched(_members(file, bz2.BZ2Decompressor, "bzip2"), file)
                case _:
                    left = os.fstat(file.fileno()).st_size  # one that grows faster than it is read would never end
                    while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                        left -= len(chunk)
                        yield chunk
    except OSError as error:
        raise StreamDamaged("unreadable", error.strerror or type(error).__name__) from error


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


def _inflate(file: Any) -> Iterator[bytes]:
    """Members of a gzip file, one after the other."""
    member = zlib.decompressobj(wbits=31)
    started = False
    while data := file.read(CHUNK_BYTES):
        while data:
            if member.eof:
                if not data.strip(b"\0"):  # zeros after the last member are padding of tapes and blocks
                    break
                member = zlib.decompressobj(wbits=31)
            started = True
            try:
                yield member.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise StreamDamaged("damaged_file", f"gzip: {error}") from None
            data = member.unused_data if member.eof else member.unconsumed_tail
    if started and not member.eof:
        yield member.flush()  # what the limit on the last call's output held back
        if not member.eof:
            raise StreamDamaged("damaged_file", "gzip: the file is cut off")


def _unzstd(file: Any) -> Iterator[bytes]:
    """Frames of a zstd file, one after the other; the library's own reader does not notice a missing end."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    started = False
    while data := file.read(ZSTD_CHUNK_BYTES):
        while data:
            if frame.eof:
                frame = decompressor.decompressobj()
            started = True
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                reason = "decompression_bomb" if "too much memory" in str(error) else "damaged_file"
                raise StreamDamaged(reason, f"zstd: {error}") from None
            data = frame.unused_data if frame.eof else b""
    if started and not frame.eof:
        raise StreamDamaged("damaged_file", "zstd: the file is cut off")


def _begin_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES)


def _members(file: Any, begin: Callable[[], Any], name: str) -> Iterator[bytes]:
    """Members of an xz or bzip2 file, one after the other, never much at a time."""
    member, started = begin(), False
    while data := file.read(CHUNK_BYTES):
        started = True
        while data.strip(b"\0") if member.eof else data or not member.needs_input:
            member = begin() if member.eof else member  # zeros behind one are padding, as with gzip
            try:
                yield member.decompress(data, PIECE_BYTES)
            except (lzma.LZMAError, OSError) as error:  # bzip2 calls its own errors so
                reason = "decompression_bomb" if "Memory usage limit" in str(error) else "damaged_file"
                raise StreamDamaged(reason, f"{name}: {error}") from None
            data = member.unused_data if member.eof else b""
    if started and not member.eof:
        raise StreamDamaged("damaged_file", f"{name}: the file is cut off")


def lines(stream: Iterable[bytes], longest: int = MAX_LINE_BYTES) -> Iterator[tuple[bytes, int]]:
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
