"""The books of a corpus: what came in, what went where and why, and the law that nothing vanishes.

In: every unit that a reader hands out, and its fate. Out: counts by file, reason, language and task; `LawBroken` where
documents or bytes in are not those written + rejected + duplicates. Called by `pipeline` and `stages.prepare`.
Counts arrivals and fates separately, because a law that is checked against itself proves nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from danlu.base.books import LawBroken
from danlu.base.records import Document, Split
from danlu.corpus.units import DUPLICATES, Closed, Record, Rejection, Unit, text_of

WRITTEN, REJECTED, DUPLICATE = "written", "rejected", "duplicates"


TURNS = re.compile(r"(messages|conversations?|instruction|input|output|history|instances|prompt|system|tools)\b")
"""How the detail of a `bad_field` begins where the field is one of a conversation's."""


class Ledger:
    """Counts of one run. `arrived` and `settled` are called once for every unit, `closed` once for every file."""

    def __init__(self) -> None:
        self.units_in: Counter[str] = Counter()  # file -> units
        self.bytes_in: Counter[str] = Counter()  # file -> bytes that were read
        self.bytes_between: Counter[str] = Counter()
        self.units_out: dict[str, Counter[str]] = defaultdict(Counter)  # file -> fate -> units
        self.bytes_out: dict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: Counter[str] = Counter()
        self.reason_bytes: Counter[str] = Counter()
        self.unusable: Counter[str] = Counter()  # reason -> conversations in which something is wrong
        self.sides: dict[str, Counter[str]] = {"documents": Counter(), "conversations": Counter()}
        self.languages: dict[str, Counter[str]] = defaultdict(Counter)
        self.tasks: Counter[str] = Counter()
        self.encodings: dict[str, str] = {}
        self.text_bytes = 0

    def arrived(self, unit: Unit) -> None:
        """A reader handed this unit out."""
        self.units_in[unit.file] += 1

    def settled(self, unit: Unit, outcome: Record | Rejection, side: str = "") -> None:
        """The unit's fate is `outcome`; `side` is the split of a record that was written."""
        if isinstance(outcome, Rejection):
            fate = DUPLICATE if outcome.reason in DUPLICATES else REJECTED
            self.reasons[outcome.reason] += 1
            self.reason_bytes[outcome.reason] += unit.size_bytes
            self.unusable[outcome.reason] += _is_conversation(outcome)
        else:
            fate = WRITTEN
            self._written(outcome, side)
        self.units_out[unit.file][fate] += 1
        self.bytes_out[unit.file][fate] += unit.size_bytes

    def _written(self, record: Record, side: str) -> None:
        kind = "documents" if isinstance(record, Document) else "conversations"
        size = len(text_of(record).encode())
        self.sides[kind][side] += 1
        self.languages[record.language].update({kind: 1, "bytes": size})
        self.text_bytes += size
        if kind == "conversations":
            self.tasks[getattr(record, "task", "") or "none"] += 1

    def withdrawn(self, document: Document, side: Split, reason: str, file: str, size_bytes: int) -> None:
        """A document that was settled as written is a duplicate after all; `file` and `size_bytes` are its unit's."""
        for counts, amount in ((self.units_out[file], 1), (self.bytes_out[file], size_bytes)):
            counts[WRITTEN] -= amount
            counts[DUPLICATE] += amount
        self.reasons[reason] += 1
        self.reason_bytes[reason] += size_bytes
        size = len(document.text.encode())
        self.sides["documents"][side] -= 1
        self.languages[document.language].subtract({"documents": 1, "bytes": size})
        self.text_bytes -= size

    def closed(self, file: Closed) -> None:
        """The file's reader has handed out its last unit and knows its bytes."""
        self.bytes_in[file.file] += file.bytes_read
        self.bytes_between[file.file] += file.bytes_between
        self.encodings[file.file] = file.encoding

    def check(self, lines_written: Mapping[str, int] | None = None) -> None:
        """LawBroken where a file's units or bytes do not add up, or where the files on disk hold other counts.

        `lines_written` are the lines found on disk by `documents`, `conversations` and `rejected`.
        """
        gaps = []
        for name in sorted(set(self.units_in) | set(self.bytes_in)):
            units, size = self.units_out[name].total(), self.bytes_out[name].total() + self.bytes_between[name]
            if self.units_in[name] != units:
                gaps.append(f"{name}: {self.units_in[name]} documents in, {units} out")
            if self.bytes_in[name] != size:
                gaps.append(f"{name}: {self.bytes_in[name]} bytes in, {size} out")
        expected = {kind: sides.total() for kind, sides in self.sides.items()} | {"rejected": self.reasons.total()}
        for kind, found in (lines_written or {}).items():
            if found != expected[kind]:
                gaps.append(f"{kind}: {expected[kind]} counted, {found} on disk")
        if gaps:
            raise LawBroken("documents in are not documents out:\n  " + "\n  ".join(gaps))

    def report(self) -> dict[str, Any]:
        """The counts as plain JSON, for `report.json` and for tables."""
        fates, sizes = _summed(self.units_out), _summed(self.bytes_out)
        return {
            "documents": {
                "in": self.units_in.total(),
                **{fate: fates[fate] for fate in (WRITTEN, REJECTED, DUPLICATE)},
            },
            "bytes": {
                "in": self.bytes_in.total(),
                **{fate: sizes[fate] for fate in (WRITTEN, REJECTED, DUPLICATE)},
                "between": self.bytes_between.total(),
                "text_written": self.text_bytes,
            },
            "sides": {kind: dict(sorted(sides.items())) for kind, sides in self.sides.items()},
            "reasons": {
                reason: {"documents": count, "bytes": self.reason_bytes[reason]}
                for reason, count in sorted(self.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
            },
            "unusable_conversations": {reason: count for reason, count in sorted(self.unusable.items()) if count},
            "languages": {name: dict(counts) for name, counts in sorted(self.languages.items())},
            "tasks": dict(sorted(self.tasks.items())),
            "files": {
                name: {
                    "in": self.units_in[name],
                    **{fate: self.units_out[name][fate] for fate in (WRITTEN, REJECTED, DUPLICATE)},
                    "bytes": self.bytes_in[name],
                    "encoding": self.encodings.get(name, ""),
                }
                for name in sorted(self.bytes_in)
            },
        }


def _is_conversation(rejected: Rejection) -> bool:
    """True for what was meant as a conversation and cannot be read as one; `shard` counts these as well."""
    if rejected.reason == "bad_field":
        return TURNS.match(rejected.detail) is not None
    return rejected.reason in ("unknown_role", "no_answer")


def _summed(table: Mapping[str, Counter[str]]) -> Counter[str]:
    return sum(table.values(), start=Counter())
