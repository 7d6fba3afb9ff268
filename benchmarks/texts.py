"""Real text for the benchmarks: a folder with `en/` and `zh/`, read document by document, cut into pieces like pages.

In: files of plain text or JSON Lines, perhaps packed. Out: texts. Called by every benchmark that takes `--text`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

LANGUAGES = ("en", "zh")
PIECE_CHARACTERS = {"en": 3_000, "zh": 1_000}
"""Some 3 kB, as a page of the web has."""


def files(folder: Path, language: str) -> list[Path]:
    """The files of one language, in the order of their names."""
    return sorted((folder / language).iterdir())


def texts(path: Path) -> Iterator[str]:
    """The documents of one file."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from (json.loads(line)["text"] for line in file) if ".jsonl" in path.name else [file.read()]


def pieces(text: str, language: str) -> Iterator[str]:
    """Pieces of a document that end with a line; a rest that is short by far is left out."""
    most = PIECE_CHARACTERS[language]
    held: list[str] = []
    size = 0
    for line in text.split("\n"):
        held.append(line)
        size += len(line)
        if size >= most:
            yield "\n".join(held)
            held, size = [], 0
    if size >= most // 4:
        yield "\n".join(held)
