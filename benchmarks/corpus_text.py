"""As much text as a measurement of the corpus needs: real documents, near-duplicates of some, and more of their kind.

In: a folder of real text with `en/` and `zh/`. Out: JSON Lines files with the ids and texts of documents. Called by
`corpus_speed.py`. Documents are cut from the real ones, one of each file in turn, up to some 3 kB each like pages of
the web; every tenth comes again with two words put in. Beyond the size of the text its letters and characters are
exchanged for others, so that nothing else comes twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path

from texts import files, pieces, texts

COPY_EVERY = 10
COPY = "-copy"
FIRST_HAN, LAST_HAN = 0x4E00, 0x9FA5


def pages_of(path: Path, language: str, turn: int) -> Iterator[str]:
    """The pieces of a file's documents."""
    for text in texts(path):
        yield from pieces(text.translate(exchanged(turn)) if turn else text, language)


@cache
def exchanged(turn: int) -> dict[int, int]:
    """Every small letter and Chinese character -> the one that stands `turn` (times a prime) behind it."""
    letters = {97 + place: 97 + (place + turn) % 26 for place in range(26)}
    width = LAST_HAN - FIRST_HAN + 1
    return letters | {FIRST_HAN + place: FIRST_HAN + (place + 7919 * turn) % width for place in range(width)}


def documents(folder: Path, language: str) -> Iterator[tuple[str, str]]:
    """`(id, text)` without end: a piece of each file in turn, and copies of some with two words put in."""
    number = 0
    for turn in count():
        open_files = [pages_of(path, language, turn) for path in files(folder, language)]
        while open_files:
            for file in list(open_files):
                document = next(file, None)
                if document is None:
                    open_files.remove(file)
                    continue
                number += 1
                yield f"{language}-{number}", document
                if number % COPY_EVERY == 0:
                    middle = len(document) // 2
                    yield f"{language}-{number}{COPY}", f"{document[:middle]} 之一 {document[middle:]}"


def write_parts(folder: Path, language: str, paths: list[Path], part_bytes: int) -> int:
    """JSON Lines files of one language, each with about so many bytes of text; how many they have in all."""
    made = documents(folder, language)
    written = 0
    for path in paths:
        size = 0
        with path.open("w", encoding="utf-8") as file:
            while size < part_bytes:
                name, text = next(made)
                size += len(text.encode())
                file.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")
        written += size
    return written
