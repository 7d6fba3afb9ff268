"""Row sets that are finished in an artefact that is not: what a killed `shard` need not make again.

In: the folder of a row set, the name of all that it is made from, what its making reported. Out: a note with the hashes
of its files; later that report, where the set is whole and was made from the same. Called by the `shard` stage. Each
file is read again before a set is taken, so that what a loss of power tore is made anew. Writes no rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base.artifact import damage, digest, hash_files, states_its_hash, write_atomically


@dataclass(frozen=True)
class Finished:
    """What the making of a row set reported; `earlier_seconds` were spent on it before this run."""

    report: Mapping[str, Any]
    earlier_seconds: float = 0.0


@dataclass(frozen=True)
class Notes:
    """The notes of row sets that are made from what `made_from` names; they lie in a folder of their own."""

    folder: Path
    made_from: str

    def write(self, row_set: Path, report: Mapping[str, Any], seconds: float) -> Finished:
        """Note that a row set is finished, after so many seconds."""
        note = {"made_from": self.made_from, "report": dict(report), "seconds": seconds, "files": hash_files(row_set)}
        write_atomically(self._path(row_set), json.dumps({**note, "sha256": digest(note)}, indent=1) + "\n")
        return Finished(report)

    def read(self, row_set: Path) -> Finished | None:
        """What was noted of a row set; None where nothing was, where it was made from something else, or is damaged."""
        try:
            note = json.loads(self._path(row_set).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(note, dict) or not states_its_hash(note) or note["made_from"] != self.made_from:
            return None
        return None if damage(row_set, note) else Finished(note["report"], note["seconds"])

    def _path(self, row_set: Path) -> Path:
        return self.folder / f"{row_set.name}.json"
