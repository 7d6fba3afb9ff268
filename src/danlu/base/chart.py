"""Drawings of numbers as SVG text: curves over steps, bars with error marks.

In: points and labels. Out: one `<svg>` element whose colours come from the page's style sheet, so that it follows
light, dark and print. Called by `base.page` alone. Draws no legend and no title (the page does); loads nothing; has
no script: a point shows its value through SVG's own `<title>`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

Point = tuple[float, float]
Place = Callable[[Point], Point]
"""From a value to its place in the drawing."""
WIDTH, HEIGHT = 880, 320
HALF_WIDTH, HALF_HEIGHT = 430, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 14, 44
MOST_POINTS = 440
"""More points than this per curve are averaged in groups: two pixels a point is all that a reader can see."""
MARKED_POINTS = 40
COLOURS = 6


def number(value: float) -> str:
    """A number for a reader: `0.0031`, `2.41`, `1,250`, `3.2M`."""
    size = abs(value)
    if not math.isfinite(value):
        return "∞" if size == math.inf else "–"
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= factor:
            return f"{value / (1e3 if unit == 'k' else factor):.3g}{unit}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: the means of equal groups of neighbours; the last point is kept as it is."""
    if len(points) <= most:
        return list(points)
    size = math.ceil((len(points) - 1) / (most - 1))
    body = points[:-1]
    groups = [body[start : start + size] for start in range(0, len(body), size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [*means, points[-1]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that lie within `low..high`, about `count` of them, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _bounds(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Lowest and highest of `values`, widened by `margin` of their span; never an empty span."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    return low - margin * spread, high + margin * spread


def curve(
    series: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    band: tuple[float, float] | None = None,
    *,
    half: bool = False,
) -> str:
    """The curves of `series` over common axes; `band` is a range of y that is shaded over the whole width.

    `half` draws for half of the page's width. Points that are not finite are left out; where none is left, a dash says
    so.
    """
    width, height = (HALF_WIDTH, HALF_HEIGHT) if half else (WIDTH, HEIGHT)
    drawn = {
        name: thin([(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)])
        for name, points in series.items()
    }
    everything = [point for points in drawn.values() for point in points]
    if not everything:
        return f'<svg viewBox="0 0 {width} 60"><text x="{width // 2}" y="34" text-anchor="middle">–</text></svg>'
    x_low, x_high = _bounds([x for x, _ in everything], 0.0)
    y_low, y_high = _bounds([y for _, y in everything] + list(band or ()), 0.05)

    def place(point: Point) -> tuple[float, float]:
        across = LEFT + (point[0] - x_low) / ((x_high - x_low) or 1.0) * (width - LEFT - RIGHT)
        down = TOP + (y_high - point[1]) / (y_high - y_low) * (height - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    parts = _grid(
        ticks(y_low, y_high), ticks(x_low, x_high, width // 110) if x_high > x_low else [], width, height, place
    )
    parts.append(f'<text x="{width - RIGHT}" y="{height - 6}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text x="0" y="{height - 6}">{escape(y_label)}</text>')
    if band is not None:
        top, foot = place((x_low, max(band)))[1], place((x_low, min(band)))[1]
        size = f'width="{width - LEFT - RIGHT}" height="{max(foot - top, 1):.1f}"'
        parts.append(f'<rect class="band" x="{LEFT}" y="{top}" {size}/>')
    parts += [_line(name, points, index, place) for index, (name, points) in enumerate(drawn.items())]
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(y_label)}">{"".join(parts)}</svg>'


def _grid(ys: Sequence[float], xs: Sequence[float], width: int, height: int, place: Place) -> list[str]:
    """A line and a number for each of `ys`, a number below the axis for each of `xs`."""
    parts = []
    for value in ys:
        y = place((0.0, value))[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in xs:
        x = place((value, 0.0))[0]
        parts.append(f'<text x="{x}" y="{height - BOTTOM + 18}" text-anchor="middle">{number(value)}</text>')
    return parts


def _line(name: str, points: Sequence[Point], index: int, place: Place) -> str:
    """One curve; where its points are few they are marked, and each mark tells its value."""
    path = " ".join(f"{'M' if i == 0 else 'L'}{x} {y}" for i, (x, y) in enumerate(map(place, points)))
    marks = ""
    if len(points) <= MARKED_POINTS:
        marks = "".join(
            f'<circle cx="{place(point)[0]}" cy="{place(point)[1]}" r="3">'
            f"<title>{escape(name)}: {number(point[1])} · {number(point[0])}</title></circle>"
            for point in points
        )
    return f'<g class="s{index % COLOURS}"><path d="{path}"/>{marks}</g>'


def bars(
    rows: Sequence[tuple[str, float, float | None, int]],
    *,
    most: float = 1.0,
    goal: float | None = None,
    percent: bool = True,
) -> str:
    """Horizontal bars, one a row: label, value, half-width of its error mark (or None), number of its colour.

    `most` is the value of a full bar; `goal` draws a dashed line.
    """
    height, left, right = 27, 250, 96
    width = WIDTH - left - right
    parts = []
    for index, (label, value, error, colour) in enumerate(rows):
        y = 6 + index * height
        shown = f"{100 * value:.1f} %" if percent else number(value)
        length = max(0.0, min(value / most, 1.0)) * width
        parts.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect class="track" x="{left}" y="{y}" width="{width}" height="18" rx="3"/>')
        parts.append(
            f'<g class="s{colour % COLOURS}">'
            f'<rect class="bar" x="{left}" y="{y}" width="{length:.1f}" height="18" rx="3"/></g>'
        )
        if error:
            begin, end = (left + max(0.0, min(v / most, 1.0)) * width for v in (value - error, value + error))
            parts.append(f'<line class="whisker" x1="{begin:.1f}" x2="{end:.1f}" y1="{y + 9}" y2="{y + 9}"/>')
        parts.append(f'<text class="value" x="{WIDTH - right + 12}" y="{y + 14}">{escape(shown)}</text>')
    total = 10 + len(rows) * height
    if goal is not None:
        x = left + goal / most * width
        parts.append(f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{total}"/>')
    return f'<svg viewBox="0 0 {WIDTH} {total}" role="img">{"".join(parts)}</svg>'
