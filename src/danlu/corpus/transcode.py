"""The bytes of a file as UTF-8, whatever its parts are written in; memory holds one window of it.

In: a stream of bytes. Out: a stream of UTF-8 bytes, and the names of what was met. Called by `readers`. Each line is
judged by itself (`encodings`); one that does not tell is read like its neighbours where they agree. What no encoding
explains is passed on as it is: no valid UTF-8, so that it is refused with its record, and its neighbours are not. Only
a beginning of which most is unexplained is kept back and counted: that is no text.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from danlu.corpus.encodings import (
    UTF8,
    certain_encoding,
    common_encoding,
    encoding_of_neighbours,
    fits_wide,
    is_damaged_utf8,
    is_utf8,
    utf8_runs,
    whole_characters,
    wide_encoding,
)
from danlu.corpus.streams import StreamDamaged

WINDOW_BYTES = 1 << 18
LONG_LINE_BYTES = 512
"""A longer line may hold many records: it is judged in the pieces between its quotation marks."""
QUOTED = re.compile(rb'[^"]*"|[^"]+')
MOST_UNEXPLAINED = 0.5
NO_TRAIL = bytes(range(0x30, 0x100))
"""Bytes that may be the end of a character in some encoding; behind any other one a character begins."""
PLAIN_BYTES = bytes(byte for byte in range(0x80) if byte >= 0x20 or byte in b"\0\t\n\v\f\r\x1b")
LATIN_IN_WIDE = re.compile(rb"[\t\n\r\x20-\x7e]{32,}")
LEAST_VARIETY = 8
"""UTF-16 and UTF-32 put zeros between Latin letters; Chinese looks like so many of them in rows of one character."""


class AsUtf8:
    """To be iterated once; then its `encoding` is known, and what was kept back: `refused_bytes`, `refused` the first.

    Raises the StreamDamaged of the stream behind everything that came before.
    """

    def __init__(self, stream: Iterator[bytes]):
        self.refused, self.refused_bytes = b"", 0
        self._stream, self._held = stream, b""
        self._damage: StreamDamaged | None = None
        self._found: Counter[str] = Counter()  # name -> bytes of the pieces that were read so
        self._likely: str | None = None

    @property
    def encoding(self) -> str:
        """The names of what was met, that of most bytes first; UTF-8 where all is ASCII, none where all is refused."""
        names = [name for name, _ in sorted(self._found.items(), key=lambda pair: (-pair[1], pair[0]))]
        return ", ".join(names) if names or self.refused_bytes else UTF8

    def __iter__(self) -> Iterator[bytes]:
        self._fill()
        wide = wide_encoding(self._held)
        if wide is not None:
            name, mark_bytes = wide
            self._take(mark_bytes)
            yield from self._read_wide(name)
        else:
            yield from self._read_narrow()
        if self._damage is not None:
            raise self._damage

    def _fill(self) -> bool:
        """Hold a window, or what is left of the stream; False where nothing is."""
        pieces, size = [self._held], len(self._held)
        try:
            while size < WINDOW_BYTES and self._damage is None and (chunk := next(self._stream, None)) is not None:
                pieces.append(chunk)
                size += len(chunk)
        except StreamDamaged as damage:
            self._damage = damage
        self._held = b"".join(pieces)
        return size > 0

    def _take(self, size: int) -> bytes:
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _read_narrow(self) -> Iterator[bytes]:
        if self._held.startswith(codecs.BOM_UTF8):
            self._take(len(codecs.BOM_UTF8))
        is_text = False
        while self._fill():
            window = self._take(_cut(self._held[:WINDOW_BYTES]))
            text, unexplained = self._read(window)
            is_text = is_text or unexplained <= MOST_UNEXPLAINED * len(window)
            if is_text:
                yield text
            else:
                self.refused = self.refused if self.refused else window
                self.refused_bytes += len(window)

    def _read_wide(self, name: str) -> Iterator[bytes]:
        """A file of UTF-16 or UTF-32; what another hand added to it in another encoding is read for itself."""
        while self._fill():
            window = self._take(_wide_cut(self._held[:WINDOW_BYTES], name))
            for part, is_wide in _wide_parts(window, name):
                if is_wide:
                    self._found[name] += len(part)
                    yield part.decode(name, "replace").encode("utf-8", "replace")
                else:
                    yield self._read(part)[0]

    def _read(self, window: bytes) -> tuple[bytes, int]:
        """A window as UTF-8, and how many bytes of it nothing explains; its last character may wait for the next."""
        if window.isascii() or (self._likely is None and is_utf8(window)):
            self._found.update({} if window.isascii() else {UTF8: len(window)})
            return window, 0
        pieces = list(_pieces(window))
        names = self._names(pieces)
        last = names[-1]
        if len(window) == WINDOW_BYTES and last is not None and last != UTF8 and window[-1] in NO_TRAIL:
            whole = whole_characters(pieces[-1], last)
            self._held = pieces[-1][whole:] + self._held
            pieces[-1] = pieces[-1][:whole]
        unexplained, made = 0, []
        for piece, name in zip(pieces, names, strict=True):
            if (name is None or name == UTF8) and not is_damaged_utf8(piece):
                unexplained += len(piece.translate(None, PLAIN_BYTES))
            elif not piece.isascii():
                self._found[name if name is not None else UTF8] += len(piece)
            made.append(piece if name is None or name == UTF8 else piece.decode(name, "replace").encode())
        return b"".join(made), unexplained

    def _names(self, pieces: Sequence[bytes]) -> list[str | None]:
        """The encoding of each piece, by itself, by its neighbours, or together with others that do not tell."""
        names: list[str | None] = []
        around = {self._likely} if self._likely is not None else set()
        for piece in pieces:
            name = UTF8 if piece.isascii() else certain_encoding(piece, self._likely)
            names.append(name)
            if name is not None and name != UTF8:
                around.add(name)
                self._likely = name
        for index, piece in enumerate(pieces):
            if names[index] is None:
                names[index] = encoding_of_neighbours(piece, around)
        silent = [index for index, name in enumerate(names) if name is None]
        common = common_encoding(pieces[index] for index in silent) if silent else None
        self._likely = common if common is not None else self._likely
        for index in silent:
            names[index] = encoding_of_neighbours(pieces[index], (common,)) if common is not None else None
        return names


def _cut(window: bytes) -> int:
    """How much of a window to read: to the end of its last line, else to where a character surely ends."""
    if len(window) < WINDOW_BYTES:  # the last one
        return len(window)
    line = max(window.rfind(b"\n"), window.rfind(b"\r")) + 1
    safe = line if line else len(window.rstrip(NO_TRAIL))
    return safe if safe else len(window)


def _pieces(window: bytes) -> Iterator[bytes]:
    """Lines, of long ones what stands between quotation marks, and words of UTF-8 among other bytes for themselves."""
    for line in window.splitlines(keepends=True):
        if is_utf8(line):
            yield line
            continue
        for piece in QUOTED.findall(line) if len(line) > LONG_LINE_BYTES else (line,):
            start = 0
            for begin, end in utf8_runs(piece) if not is_utf8(piece) else ():
                yield from (part for part in (piece[start:begin], piece[begin:end]) if part)
                start = end
            if start < len(piece):
                yield piece[start:]


def _wide_cut(window: bytes, name: str) -> int:
    """How much of a window to read: to the end of its last line, else to that of its last character."""
    if len(window) < WINDOW_BYTES:
        return len(window)
    end = "\n".encode(name)
    at = window.rfind(end)
    while at >= 0 and at % len(end):
        at = window.rfind(end, 0, at + len(end) - 1)
    return at + len(end) if at >= 0 else whole_characters(window, name)


def _wide_parts(window: bytes, name: str) -> Iterator[tuple[bytes, bool]]:
    """`(bytes, is in this encoding)`: the whole window, or lines where some of them are in another one."""
    if _latin(window) < 0 and fits_wide(window, name):
        yield window, True
        return
    end = "\n".encode(name)
    for line in _wide_lines(window, end):
        start = _latin(line)
        if start < 0:
            yield line, 0 in line or fits_wide(line, name) or certain_encoding(line) is None
        else:
            start += -start % len(end)  # the rest of a character that ends like a letter
            yield from ((part, is_wide) for part, is_wide in ((line[:start], True), (line[start:], False)) if part)


def _latin(data: bytes) -> int:
    """Where Latin letters begin that are written in one byte each, or -1."""
    found = (one for one in LATIN_IN_WIDE.finditer(data) if len(set(one[0])) >= LEAST_VARIETY)
    return next((one.start() for one in found), -1)


def _wide_lines(window: bytes, end: bytes) -> Iterator[bytes]:
    start = at = 0
    while (at := window.find(end, at)) >= 0:
        if at % len(end):  # within two characters
            at += 1
            continue
        at += len(end)
        yield window[start:at]
        start = at
    if start < len(window):
        yield window[start:]
