"""From raw files to records with their sides: every unit leaves as something.

In: source files and the rules of a run. Out: one `Outcome` for each unit, in the order of the files' names; the ledger
filled. Called by `stages.prepare`. The order of the steps is here and nowhere else: read, clean, deduplicate, name,
split. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from danlu.base.records import Split
from danlu.corpus.clean import Cleaner
from danlu.corpus.dedup import Seen
from danlu.corpus.ledger import Ledger
from danlu.corpus.readers import FileReader
from danlu.corpus.sources import SourceFile
from danlu.corpus.split import Splitter
from danlu.corpus.units import Record, Rejection, Unit


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

    def outcomes(self, files: Iterable[SourceFile]) -> Iterator[Outcome]:
        """One Outcome for every unit of every file."""
        for file in files:
            reader = FileReader(file)
            for unit in reader:
                self.ledger.arrived(unit)
                result = self._result(unit)
                side = None if isinstance(result, Rejection) else self.splitter.side(result)
                self.ledger.settled(unit, result, side if side is not None else "")
                yield Outcome(result, side, unit.size_bytes)
            self.ledger.closed(reader)

    def _result(self, unit: Unit) -> Record | Rejection:
        if isinstance(unit.content, Rejection):
            return replace(unit.content, excerpt=self.cleaner.hide(unit.content.excerpt))
        cleaned = self.cleaner.clean(unit.content)
        if isinstance(cleaned, Rejection):
            return cleaned
        found = self.seen.duplicate_of(cleaned)
        if found is not None:
            reason, kept = found
            return self.cleaner.rejection(cleaned, reason, f"kept: {kept}")
        name = self.seen.unique_id(cleaned, unit.file)
        return cleaned if name == cleaned.id else replace(cleaned, id=name)
