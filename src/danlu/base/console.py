"""Everything that danlu says to a person, in one place.

In: lines, tables, progress. Out: a coloured terminal, plain lines where there is none, or one JSON object a line
with `--json`. Called from stages and commands; the only file that prints. Ranks other than the first stay silent
(`set_mode(quiet=True)`). Holds the one piece of global state of the package: how to speak.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

SILENT_SECONDS = 2.0
"""Work that is over by then is not worth a line."""
PLAIN_INTERVAL_SECONDS = 5.0
PLAIN_WIDTH = 140
"""Columns of a table in a file or a pipe."""
Item = TypeVar("Item")
_mode = {"json": False, "quiet": False}
_terminal = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
_said: set[str] = set()


class Quantity(str):
    """A cell of a table: a person reads the text, a script the `facts`, such as `{"value": 12300000, "unit": "bytes"}`.

    A value without a unit stands in JSON as it is. Made by `in_bytes`, `in_seconds`, `in_percent`, or by hand.
    """

    facts: dict[str, Any]

    def __new__(cls, text: str, value: Any, unit: str = "", **more: Any) -> Quantity:
        made = super().__new__(cls, text)
        made.facts = {"value": value, **({"unit": unit} if unit else {}), **more}
        return made


def set_mode(*, json_lines: bool = False, quiet: bool = False) -> None:
    """Choose how to speak: `json_lines` for scripts, `quiet` for all ranks but the first."""
    _mode["json"], _mode["quiet"] = json_lines, quiet


def is_json() -> bool:
    return _mode["json"]


def has_colour() -> bool:
    """False where colours are lost (a pipe, a file, NO_COLOR), so that what they tell must be told otherwise."""
    return _terminal.is_terminal and not _terminal.no_color and not _mode["json"]


def emit(event: str, **values: Any) -> None:
    """With `--json`, print one object `{"event": …, …}`; otherwise nothing. Commands print their result with it."""
    if _mode["json"] and not _mode["quiet"]:
        print(json.dumps({"event": event, **values}, ensure_ascii=False, default=str), flush=True)


def say(text: str = "", *, style: str = "") -> None:
    """Print one line for a person; `style` is a rich style such as `bold` or `dim`."""
    if _mode["quiet"]:
        return
    if _mode["json"]:
        emit("log", text=text)
    else:
        _terminal.print(escape(text), style=style or None, soft_wrap=True)


def say_markup(markup: str) -> None:
    """Print a line that holds rich markup; the caller has escaped what came from data."""
    if _mode["json"]:
        say(Text.from_markup(markup).plain)
    elif not _mode["quiet"]:
        _terminal.print(markup, soft_wrap=True)


def heading(text: str) -> None:
    """Print the title of a part: a blank line and a bold line."""
    if not _mode["json"]:
        say()
    say(text, style="bold")


def warn_once(text: str, *, about: str | None = None) -> None:
    """Print a warning to standard error the first time this text, or one `about` the same, is given."""
    key = text if about is None else about
    if key in _said or _mode["quiet"]:
        return
    _said.add(key)
    print(f"warning: {text}", file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print an error to standard error."""
    print(text, file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Write to standard output as it is, without a line end: streamed replies."""
    if not _mode["quiet"]:
        sys.stdout.write(text)
        sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table; numbers are right-aligned. With `--json` it becomes one event whose rows hold the values."""
    if _mode["json"]:
        emit("table", title=title, columns=list(columns), rows=[[_plain(value) for value in row] for row in rows])
        return
    if _mode["quiet"]:
        return
    listed = [[_cell(value) for value in row] for row in rows]
    drawn = Table(
        title=title or None,
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="bold",
        show_header=any(columns),
    )
    for index, name in enumerate(columns):
        numeric = bool(listed) and all(row[index][:1] in "0123456789-+−.$" or not row[index] for row in listed)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        drawn.add_row(*(escape(value) for value in row))
    _terminal.print(drawn)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _plain(value: object) -> object:
    """A cell for a script: numbers stay numbers, and one with a unit is an object that names it."""
    if isinstance(value, Quantity):
        facts = {name: _plain(fact) for name, fact in value.facts.items()}
        return facts["value"] if len(facts) == 1 else facts
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return value


class Progress:
    """Rate and time left of one piece of work; a moving line on a terminal, a line every few seconds elsewhere."""

    def __init__(self, what: str, total: float | None, unit: str, done: float = 0.0):
        self.what, self.total, self.unit = what, total, unit
        self.done = self.done_before = done
        self.started_at = time.monotonic()
        self.speaks_at = self.started_at + SILENT_SECONDS
        self.has_spoken = False

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count `amount` more units as done and, if it is time, say so; `note` stands at the end of the line."""
        self.done += amount
        now = time.monotonic()
        if now >= self.speaks_at:
            interval = 0.2 if _terminal.is_terminal and not _mode["json"] else PLAIN_INTERVAL_SECONDS
            self.speaks_at, self.has_spoken = now + interval, True
            self._speak(now, note, end="\r")

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, each counted as done when the next is asked for."""
        for item in items:
            yield item
            self.advance()

    def _speak(self, now: float, note: str, end: str) -> None:
        elapsed = max(now - self.started_at, 1e-9)
        rate = (self.done - self.done_before) / elapsed
        left = (self.total - self.done) / rate if self.total is not None and rate > 0 else None
        if _mode["json"]:
            emit(
                "progress",
                what=self.what,
                done=self.done,
                total=self.total,
                unit=self.unit,
                per_second=rate,
                seconds_left=left,
            )
            return
        share = f"{100 * self.done / self.total:3.0f} % " if self.total else ""
        parts = [
            f"  {self.what} {share}",
            f"{self.done:,.0f} {self.unit}",
            f"{rate:,.0f}/s",
            duration(left) + " left" if left is not None else "",
        ]
        line = "  ".join(part for part in [*parts, note] if part)
        if _mode["quiet"]:
            return
        if _terminal.is_terminal:
            width = _terminal.width - 1
            sys.stdout.write(end + line[:width].ljust(width))
            sys.stdout.flush()
        else:
            print(line, flush=True)

    def close(self) -> None:
        """End the moving line; says nothing where the work was too short to have been mentioned."""
        if self.has_spoken and _terminal.is_terminal and not _mode["json"] and not _mode["quiet"]:
            self._speak(time.monotonic(), "", end="\r")
            sys.stdout.write("\n")


@contextmanager
def progress(what: str, total: float | None = None, unit: str = "", done: float = 0) -> Iterator[Progress]:
    """Show rate and time left while the block runs; work under two seconds stays silent. `done` was done before."""
    shown = Progress(what, total, unit, done)
    try:
        yield shown
    finally:
        shown.close()


def duration(seconds: float | None) -> str:
    """`95` → `1 min 35 s`; `None` → an empty string."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float, unit: str = "B") -> str:
    """`12_345_678` → `12.3 MB`; with another `unit`, `12.3 M` tokens and the like."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= factor:
            return f"{count / factor:.3g} {prefix}{unit}"
    return f"{count:.0f} {unit}".rstrip()


def plainly(value: Any) -> Quantity:
    """A setting as it stands on a page: no thousands are set apart, and what was not given says so."""
    return Quantity("not given" if value is None else str(value), value)


def in_bytes(count: float) -> Quantity:
    """`12_345_678` → the cell `12.3 MB`."""
    return Quantity(size(count), count, "bytes")


def in_tokens(count: float) -> Quantity:
    """`12_345_678` → the cell `12.3 M`."""
    return Quantity(size(count, ""), count, "tokens")


def in_seconds(seconds: float) -> Quantity:
    """`95` → the cell `1 min 35 s`."""
    return Quantity(duration(seconds), seconds, "seconds")


def in_percent(share: float, text: str | None = None, **more: Any) -> Quantity:
    """`0.125` → the cell `12.5%`, or another text for it; a script gets the percentage."""
    return Quantity(f"{share:.1%}" if text is None else text, 100 * share, "percent", **more)
