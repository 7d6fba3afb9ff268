"""Markdown pages as data: headings, fenced blocks, links. For the tests of the documentation.

In: a path. Out: lists in the order of the page. Knows as much of Markdown as our pages use: fences, `#` headings and
inline links; what stands in a fence is no heading and no link.
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is the number, from 0, of its first line within the page."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Heading:
    """A heading and how deep it is."""

    level: int
    text: str


def all_pages() -> list[Path]:
    """Every Markdown page that belongs to the repository's documentation."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, of one language or of all."""
    text = page.read_text(encoding="utf-8")
    found = [Block(m[1], m[2], text[: m.start()].count("\n") + 1) for m in FENCE.finditer(text)]
    return [block for block in found if language in (None, block.language)]


def as_program(page: Path, to: Path, behind_each: str = "") -> Path:
    """The page as a program in the folder `to`: what is no Python becomes empty lines, and lines keep their numbers.

    `behind_each` is a line to run where the fence of a block closes.
    """
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block in blocks(page, "python"):
        body = [*block.text.splitlines(), behind_each]
        lines[block.line : block.line + len(body)] = body
    program = to / f"{page.stem}.py"
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return program


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[Heading]:
    """The headings of a page."""
    return [Heading(len(m[1]), m[2].strip()) for m in HEADING.finditer(prose(page))]


def links(page: Path) -> list[str]:
    """The targets of all links and pictures of a page."""
    return [unquote(m[2]) for m in LINK.finditer(prose(page))]


def anchor(heading: str) -> str:
    """The name by which GitHub lets a heading be linked to."""
    kept = re.sub(r"[^\w\s-]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def benchmark(name: str) -> ModuleType:
    """A script of `benchmarks/` as a module; they import one another from their own folder."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)
