"""One offline HTML page out of sections: what every report of danlu is written with.

In: titles, paragraphs, tables, curves, facts, samples, in reading order. Out: one file, complete in itself: no script,
no font, no picture, nothing fetched from anywhere; light, dark and print by its style sheet. Called by
`commands.report` and by whatever shows its result. Every text is escaped here; it does not know what it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Self

from danlu.base import chart

STYLE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the browser may load for this page: its own style and nothing else."""


def plain(value: object) -> str:
    """A table's or a fact's value as text: four significant digits, thousands marked, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return not value or (value[0] in "0123456789+-−–.±" and any(c.isdigit() for c in value))
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _are_numbers(values: Sequence[object]) -> bool:
    """True for a column that is set to the right: numbers, some perhaps missing."""
    return any(value not in (None, "") for value in values) and all(map(_is_number, values))


class Page:
    """Sections in the order in which they are added; every adder returns the page, so that calls can be chained."""

    def __init__(self, title: str, language: str = "en", *, subtitle: str = ""):
        self.title, self.language, self.subtitle = title, language, subtitle
        self._parts: list[str] = []
        self._contents: list[tuple[str, str]] = []

    def _add(self, part: str) -> Self:
        self._parts.append(part)
        return self

    def heading(self, text: str, other: str = "", *, level: int = 2) -> Self:
        """A title; `other` is the same in the other language, set smaller. Titles of level 2 make the contents."""
        anchor = ""
        if level == 2:
            name = f"s{len(self._contents) + 1}"
            self._contents.append((name, text))
            anchor = f' id="{name}"'
        small = f"<small>{escape(other)}</small>" if other else ""
        return self._add(f"<h{level}{anchor}>{escape(text)}{small}</h{level}>")

    def paragraph(self, text: str, other: str = "") -> Self:
        """A paragraph; `other` is the same in the other language, on a line of its own."""
        second = f'<p class="other">{escape(other)}</p>' if other else ""
        return self._add(f"<p>{escape(text)}</p>{second}")

    def figures(self, items: Iterable[tuple[str, object, str]]) -> Self:
        """The few numbers that matter, large: (label, value, note)."""
        cells = "".join(
            f"<div><dt>{escape(label)}</dt><dd>{escape(plain(value))}"
            + (f"<small>{escape(note)}</small>" if note else "")
            + "</dd></div>"
            for label, value, note in items
        )
        return self._add(f'<dl class="figures">{cells}</dl>') if cells else self

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        caption: str = "",
        strong: Iterable[int] = (),
    ) -> Self:
        """A table; columns of numbers are set to the right; the rows numbered in `strong` stand out."""
        listed = [list(row) for row in rows]
        emphasised = set(strong)
        numeric = [_are_numbers([row[i] for row in listed]) for i in range(len(columns))]
        marks = [' class="number"' if is_number else "" for is_number in numeric]
        head = "".join(f"<th{mark}>{escape(name)}</th>" for name, mark in zip(columns, marks, strict=True))
        body = "".join(
            ('<tr class="strong">' if index in emphasised else "<tr>")
            + "".join(f"<td{mark}>{escape(plain(value))}</td>" for value, mark in zip(row, marks, strict=True))
            + "</tr>"
            for index, row in enumerate(listed)
        )
        title = f"<caption>{escape(caption)}</caption>" if caption else ""
        return self._add(
            f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def curve(
        self,
        title: str,
        series: Mapping[str, Sequence[tuple[float, float]]],
        x_label: str,
        y_label: str,
        *,
        band: tuple[float, float] | None = None,
        band_label: str = "",
        half: bool = False,
    ) -> Self:
        """Curves by name over common axes; `band` shades a range of y (a forecast) over the whole width.

        Two neighbours with `half` stand beside each other where there is room.
        """
        keys = "".join(
            f'<span class="key s{index % chart.COLOURS}">{escape(name)}</span>' for index, name in enumerate(series)
        )
        if band is not None and band_label:
            keys += f'<span class="key band s0">{escape(band_label)}</span>'
        drawing = chart.curve(series, x_label, y_label, band, half=half)
        kind = ' class="half"' if half else ""
        return self._add(f"<figure{kind}><figcaption><b>{escape(title)}</b>{keys}</figcaption>{drawing}</figure>")

    def bars(
        self,
        title: str,
        rows: Sequence[tuple[str, float, float | None, int]],
        *,
        goal: float | None = None,
        note: str = "",
    ) -> Self:
        """Shares between 0 and 1 as bars: (label, value, half-width of the error mark or None, colour number)."""
        if not rows:
            return self
        legend = f"<span>{escape(note)}</span>" if note else ""
        drawing = chart.bars(rows, goal=goal)
        return self._add(f"<figure><figcaption><b>{escape(title)}</b>{legend}</figcaption>{drawing}</figure>")

    def facts(self, table: Mapping[str, Any]) -> Self:
        """Names and values in two columns."""
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(plain(value))}</dd>" for name, value in table.items())
        return self._add(f'<dl class="facts">{rows}</dl>')

    def samples(self, items: Iterable[tuple[str, str, str]]) -> Self:
        """Texts of a model: (label such as the step, prompt, what it wrote)."""
        cells = "".join(
            f'<div class="sample"><div class="label">{escape(label)}</div>'
            f'<div class="text"><span class="prompt">{escape(prompt)}</span>{escape(text)}</div></div>'
            for label, prompt, text in items
        )
        return self._add(f'<div class="samples">{cells}</div>')

    def footer(self, text: str) -> Self:
        return self._add(f"<footer>{escape(text)}</footer>")

    def html(self) -> str:
        """The whole page as text."""
        contents = "".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in self._contents)
        navigation = f"<nav>{contents}</nav>" if len(self._contents) > 2 else ""
        subtitle = f"<p>{escape(self.subtitle)}</p>" if self.subtitle else ""
        return (
            f'<!doctype html>\n<html lang="{escape(self.language)}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
            f"<body>\n<main>\n<header><h1>{escape(self.title)}</h1>{subtitle}</header>\n{navigation}\n"
            + "\n".join(self._parts)
            + "\n</main>\n</body>\n</html>\n"
        )
