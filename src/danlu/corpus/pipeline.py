"""From raw files to records with their sides: every unit leaves as something.

In: source files and the rules of a run. Out: one `Outcome` for each unit, in the order of the files' names; the ledger
filled. Called by `stages.prepare`. The order of the steps is here and nowhere else: read, clean, deduplicate, name,
split. A record that would be learned from and holds words of an evaluation text goes before duplicates are looked for,
so that nothing is said to be kept in it. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from danlu.base.records import Document, Split
from danlu.corpus.clean import Cleaner
from danlu.corpus.decontaminate import Decontaminator
from danlu.corpus.dedup import Seen
from danlu.corpus.engine import Piece, cleaned
from danlu.corpus.ledger import Ledger
from danlu.corpus.neardup import NearDuplicates
from danlu.corpus.sources import SourceFile
from danlu.corpus.split import Splitter
from danlu.corpus.units import Closed, Record, Rejection, Unit


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit: a record with its side, or a Rejection without one."""

    result: Record | Rejection
    side: Split | None
    size_bytes: int


@dataclass(frozen=True)
class Pipeline:
    """The rules of one run and its memory; good for one pass over the files."""

    cleaner: Cleaner
    seen: Seen
    splitter: Splitter
    ledger: Ledger
    similar: NearDuplicates | None = None
    decontaminator: Decontaminator | None = None

    def outcomes(self, files: Iterable[SourceFile]) -> Iterator[Outcome]:
        """One Outcome for every unit of every file, read and cleaned here."""
        return self.settled(cleaned(files, self.cleaner))

    def settled(self, pieces: Iterable[Piece]) -> Iterator[Outcome]:
        """One Outcome for every unit, read and cleaned elsewhere, in the order of the files."""
        for piece in pieces:
            if isinstance(piece, Closed):
                self.ledger.closed(piece)
                continue
            self.ledger.arrived(piece)
            result = self._result(piece)
            side = None if isinstance(result, Rejection) else self.splitter.side(result)
            self.ledger.settled(piece, result, side if side is not None else "")
            if self.similar is not None and side is not None and isinstance(result, Document):
                self.similar.add(result, side, piece.file, piece.size_bytes)
            yield Outcome(result, side, piece.size_bytes)

    def report(self) -> dict[str, Any]:
        """What became of the records of the pass, as plain JSON."""
        cleaner = self.cleaner
        counted = {name: dict(sorted(getattr(cleaner, name).items())) for name in ("masked", "left_out", "left_in")}
        report = {**self.ledger.report(), **counted}
        return report if self.decontaminator is None else {**report, "decontaminated": self.decontaminator.report()}

    def _result(self, unit: Unit) -> Record | Rejection:
        cleaned = unit.content
        if isinstance(cleaned, Rejection):
            return cleaned
        if self.decontaminator is not None and self._is_learned_from(cleaned, unit.file):
            leaked = self.decontaminator.against(cleaned)
            if leaked is not None:
                return self.cleaner.rejection(cleaned, "contaminated", leaked)
        found = self.seen.duplicate_of(cleaned)
        if found is not None:
            reason, kept = found
            return self.cleaner.rejection(cleaned, reason, f"kept: {kept}")
        name = self.seen.unique_id(cleaned, unit.file)
        return cleaned if name == cleaned.id else replace(cleaned, id=name)

    def _is_learned_from(self, record: Record, place: str) -> bool:
        """Whether the record would fall on the training side; one that is kept for measuring may hold what it likes."""
        return self.splitter.side(replace(record, id=self.seen.free_id(record, place))) == "train"
