"""The page of every report: complete in itself, everything escaped, every kind of section drawn."""

from __future__ import annotations

import itertools
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from danlu.base import chart
from danlu.base.page import STYLE, Page

HOSTILE = "<script>alert('x')</script>&\"'中文"


def whole_page(text: str = HOSTILE) -> str:
    page = Page(text, "zh", subtitle=text)
    for number in range(3):
        page.heading(f"{text}{number}", text)
    page.heading(text, level=3).paragraph(text, text).figures([(text, 0.5, text), (text, 12345, "")])
    page.table([text, "n"], [[text, 1], [text, None]], caption=text, strong=[1])
    page.curve(text, {text: [(0, 1), (1, 2)], "b": []}, text, text, band=(1.2, 1.4), band_label=text)
    page.curve(text, {text: [(0, 1.0)]}, text, text, half=True)
    page.bars(text, [(text, 0.5, 0.1, 0), (text, 1.5, None, 9)], goal=0.8, note=text)
    page.facts({text: text, "flag": True}).samples([(text, text, text)]).footer(text)
    return page.html()


class Reader(HTMLParser):
    """Counts what opens and closes, and what would load something."""

    VOID = frozenset({"meta", "br", "img", "link"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def test_page_is_well_formed_and_loads_nothing():
    html = whole_page()
    found = read(html)
    assert found.open == []
    assert not set(found.tags) & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    names = {name for name, _ in found.attributes}
    assert not any(name.startswith("on") for name in names)
    assert all(value.startswith("#") for name, value in found.attributes if name in ("href", "src"))
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_page_escapes_everything_it_is_given():
    html = whole_page()
    assert "<script" not in html
    assert "alert(" in html
    assert read(html).tags.count("script") == 0


def test_page_names_its_language_and_has_contents():
    html = whole_page("a title")
    assert '<html lang="zh">' in html
    assert html.count('<a href="#s') == 3
    assert 'id="s3"' in html


def test_table_sets_numbers_to_the_right():
    html = Page("t").table(["name", "n", "share", "none"], [["a", 1, "5 %", None], ["b", None, "", None]]).html()
    assert re.findall(r"<th( class=\"number\")?>(\w+)", html) == [
        ("", "name"),
        (' class="number"', "n"),
        (' class="number"', "share"),
        ("", "none"),
    ]


@pytest.mark.parametrize("points", [[], [(0, math.nan)], [(1, math.inf)], [(3, 2.0)], [(0, 1e-30), (1, 1e30)]])
def test_curve_survives_odd_points(points):
    svg = ElementTree.fromstring(chart.curve({"a": points}, "x", "y"))
    assert svg.tag == "svg"


def test_curve_places_points_where_they_belong():
    svg = ElementTree.fromstring(chart.curve({"a": [(0, 0.0), (10, 5.0), (20, 10.0)]}, "x", "y", band=(4.0, 6.0)))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in svg.iter("circle")]
    assert circles[0][0] == chart.LEFT
    assert circles[2][0] == chart.WIDTH - chart.RIGHT
    assert circles[1] == pytest.approx(((circles[0][0] + circles[2][0]) / 2, (circles[0][1] + circles[2][1]) / 2))
    band = next(r for r in svg.iter("rect") if r.get("class") == "band")
    middle = float(band.get("y")) + float(band.get("height")) / 2
    assert middle == pytest.approx(circles[1][1], abs=0.2)


def test_thinning_keeps_mean_and_end():
    points = [(float(i), float(i % 7)) for i in range(10_000)]
    thinned = chart.thin(points)
    assert len(thinned) <= chart.MOST_POINTS
    assert thinned[-1] == points[-1]
    assert [x for x, _ in thinned] == sorted(x for x, _ in thinned)
    assert sum(y for _, y in thinned) / len(thinned) == pytest.approx(3.0, abs=0.1)
    assert chart.thin(points[:5]) == points[:5]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.43, 1.61), (-3.0, 1e6), (1e-9, 2e-9), (0.1, 0.3)])
def test_ticks_are_round_and_inside(low, high):
    found = chart.ticks(low, high)
    assert 2 <= len(found) <= 11
    assert all(low - 1e-9 * abs(high) <= tick <= high + 1e-9 * abs(high) for tick in found)
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00312, "0.00312"), (2.414, "2.41"), (1250, "1,250"), (3_200_000, "3.2M"), (12_000, "12k"), (-0.5, "-0.5")],
)
def test_numbers_are_short(value, text):
    assert chart.number(value) == text


def test_paper_is_light_and_does_not_scroll():
    """Each colour of the dark scheme is set again for print, which also opens what a screen would scroll."""
    style = STYLE.read_text(encoding="utf-8")
    screen, paper = style.split("@media print")
    dark = set(re.findall(r"(--\w+):", screen.split("prefers-color-scheme: dark")[1]))
    assert dark
    assert dark <= set(re.findall(r"(--\w+):", paper))
    assert "color-scheme: light;" in paper
    assert re.search(r"\.scroll \{[^}]*overflow: visible", paper)
    assert re.search(r"figure, tr[^{]*\{ break-inside: avoid", paper)
