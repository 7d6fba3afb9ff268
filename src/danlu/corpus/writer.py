"""The files of a corpus artefact: documents and conversations by side, and what was left out.

In: outcomes of the pipeline. Out: JSON Lines in an artefact's folder, flushed to disk, and the lines counted as they
lie there. Called by `stages.prepare`. Judges nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import orjson

from danlu.base.records import SPLITS, Document
from danlu.corpus.pipeline import Outcome
from danlu.corpus.units import Rejection

REJECTED = "rejected.jsonl"
FILES = (*(f"{side}.jsonl" for side in SPLITS), *(f"conversations-{side}.jsonl" for side in SPLITS), REJECTED)


def file_of(outcome: Outcome) -> str:
    """The file in which an outcome is written."""
    if isinstance(outcome.result, Rejection):
        return REJECTED
    return f"{outcome.side}.jsonl" if isinstance(outcome.result, Document) else f"conversations-{outcome.side}.jsonl"


class CorpusWriter:
    """Holds all files of FILES open; each exists afterwards, be it empty. Old files of these names are replaced."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> CorpusWriter:
        with self._stack:
            self._files = {name: self._stack.enter_context((self.folder / name).open("wb")) for name in FILES}
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                for file in self._files.values():
                    file.flush()
                    os.fsync(file.fileno())

    def write(self, outcome: Outcome) -> None:
        """Append one line."""
        line = orjson.dumps(outcome.result.to_dict(), option=orjson.OPT_APPEND_NEWLINE)
        self._files[file_of(outcome)].write(line)


def lines_on_disk(folder: Path) -> dict[str, int]:
    """Lines by `documents`, `conversations` and `rejected`, counted in the files themselves."""
    counts: Counter[str] = Counter()
    for name in FILES:
        kind = "rejected" if name == REJECTED else "conversations" if name.startswith("conversations-") else "documents"
        counts[kind] += sum(chunk.count(b"\n") for chunk in _chunks(folder / name))
    return dict(counts)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
