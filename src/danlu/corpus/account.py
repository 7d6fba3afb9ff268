"""The account of a corpus for people: its tables, and the refusal of one that teaches nothing.

In: the report of a run, as in `report.json`. Out: tables on the console; DataError where nothing is left to train on.
Called by `stages.prepare`. Counts nothing: the numbers are `ledger`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.base import console
from danlu.base.errors import DataError
from danlu.base.records import SPLITS
from danlu.corpus.units import REASONS


def say(report: Mapping[str, Any]) -> None:
    """What became of the records: by side and reason, by language, by evaluation file; what was masked."""
    documents, total = report["documents"], max(report["documents"]["in"], 1)
    read = (console.in_percent(1.0, "100%"), console.in_bytes(report["bytes"]["in"]))
    rows: list[tuple[object, ...]] = [("read", documents["in"], *read, "")]
    for kind, sides in report["sides"].items():
        rows += [
            (f"{kind}, {side}", count, console.in_percent(count / total), None, "") for side, count in sides.items()
        ]
    for reason, counts in report["reasons"].items():
        count = counts["documents"]
        size = console.in_bytes(counts["bytes"])
        rows.append((reason, count, console.in_percent(count / total), size, REASONS[reason]))
    console.table(["", "records", "share", "size", "meaning"], rows)
    console.table(
        ["language", "documents", "conversations", "text"],
        [
            (name, counts.get("documents", 0), counts.get("conversations", 0), console.in_bytes(counts["bytes"]))
            for name, counts in report["languages"].items()
        ],
    )
    if report.get("decontaminated"):
        console.table(
            ["evaluation file", "texts", "found in training text", "records left out"],
            [
                (name, counts["texts"], counts["found"], counts["records_left_out"])
                for name, counts in report["decontaminated"].items()
            ],
        )
    if report["masked"]:
        console.say("masked: " + ", ".join(f"{count:,} {name}" for name, count in report["masked"].items()))
    if report["left_out"]:
        console.say(
            "left out of texts: " + ", ".join(f"{count:,} {name}" for name, count in report["left_out"].items())
        )
    if report["left_in"]:
        left_in = ", ".join(f"{count:,} {name}" for name, count in report["left_in"].items())
        console.say(f"left as they are: {left_in}, which are no pages of the web (prepare.text.html)")


def refuse_nothing(report: Mapping[str, Any]) -> None:
    """DataError where nothing is left to train on; a warning where nothing is left to measure with."""
    held = {side: sum(kinds.get(side, 0) for kinds in report["sides"].values()) for side in SPLITS}
    if not held["train"]:
        reasons = ", ".join(f"{counts['documents']:,} {reason}" for reason, counts in report["reasons"].items())
        raise DataError(
            "no text is left to train on",
            where=", ".join(list(report["files"])[:5]),
            found=f"{report['documents']['in']:,} records in; left out: {reasons if reasons else 'none'}",
            remedy="look at rejected.jsonl, then correct prepare.sources or prepare.filters",
        )
    for side in ("validation", "test"):
        if not held[side]:
            console.warn_once(
                f"no record fell on the {side} side: give more documents, raise prepare.{side}_share, or name a "
                "separator where text files hold several documents"
            )
