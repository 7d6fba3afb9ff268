"""The documents that resemble another one, taken out of a corpus that is written.

In: a corpus's folder and what does not stay of it. Out: its files without those documents, a line with the reason in
`rejected.jsonl` for each, and the ledger set right. Called by `stages.prepare` once everything is written, because
which document stays is known only then. Decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from danlu.base.records import document_from_dict
from danlu.corpus.ledger import Ledger
from danlu.corpus.neardup import Gone, NearDuplicates
from danlu.corpus.units import Rejection, excerpt
from danlu.corpus.writer import REJECTED

REASON = "similar"


def prune(folder: Path, found: NearDuplicates, ledger: Ledger) -> None:
    """Move every document that `found` names from the file of its side to the rejected ones."""
    with (folder / REJECTED).open("ab") as rejected:
        for side, gone in found.gone():
            for one, line in _taken_out(folder / f"{side}.jsonl", gone):
                document = document_from_dict(orjson.loads(line))
                rejection = Rejection(document.id, document.source, REASON, excerpt(document.text), f"kept: {one.kept}")
                rejected.write(orjson.dumps(rejection.to_dict(), option=orjson.OPT_APPEND_NEWLINE))
                ledger.withdrawn(document, side, REASON, one.file, one.size_bytes)
        rejected.flush()
        os.fsync(rejected.fileno())


def _taken_out(path: Path, gone: Iterator[Gone]) -> Iterator[tuple[Gone, bytes]]:
    """What goes, in the order of the lines, with its line; once all is handed out, the file is left without them."""
    following = next(gone, None)
    if following is None:
        return
    working = path.with_name(f".{path.name}.{os.getpid()}-0.tmp")
    with path.open("rb") as lines, working.open("wb") as kept:
        for number, line in enumerate(lines):
            if following is not None and following.line == number:
                yield following, line
                following = next(gone, None)
            else:
                kept.write(line)
        kept.flush()
        os.fsync(kept.fileno())
    assert following is None, f"{path} has no line {following.line}"
    os.replace(working, path)
