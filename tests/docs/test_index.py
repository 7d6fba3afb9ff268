"""The index of the documentation lists every page, in both languages, and decisions that are named exist."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEXES = {"en": DOCS / "README.md", "zh": DOCS / "README.zh.md"}
FOLDERS = ("stages", "对照")
"""Folders with an index of their own."""
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> set[Path]:
    """The files that a page links to."""
    found = (unquote(link).partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")))
    return {(page.parent / link).resolve() for link in found if link and "://" not in link}


def counterpart(page: Path, language: str) -> Path:
    """The page in a language, where there is one of its own."""
    chinese = page.with_name(f"{page.stem}.zh.md")
    return chinese if language == "zh" and chinese.is_file() else page


@pytest.mark.parametrize("language", INDEXES)
def test_the_index_lists_every_page(language):
    pages = [
        page for page in DOCS.rglob("*.md") if not page.name.endswith(".zh.md") and page.parent.name not in FOLDERS
    ]
    wanted = {counterpart(page, language) for page in [*pages, *(DOCS / name / "README.md" for name in FOLDERS)]}
    missing = wanted - links(INDEXES[language]) - set(INDEXES.values())
    assert not missing, sorted(str(page.relative_to(DOCS)) for page in missing)


@pytest.mark.parametrize("language", INDEXES)
@pytest.mark.parametrize("name", FOLDERS)
def test_each_folder_with_an_index_lists_its_pages(name, language):
    index = counterpart(DOCS / name / "README.md", language)
    pages = [page for page in (DOCS / name).glob("*.md") if not page.name.endswith(".zh.md") and page.stem != "README"]
    missing = {counterpart(page, language) for page in pages} - links(index)
    assert not missing, sorted(page.name for page in missing)


def test_every_decision_that_is_named_exists():
    named = re.compile(r"\b00\d\d-[a-z][a-z0-9-]+")
    places = [
        *PAGES,
        *(path for top in ("src", "tests", "benchmarks", "scripts") for path in (ROOT / top).rglob("*.py")),
    ]
    known = {path.stem for path in (DOCS / "decisions").glob("*.md")}
    wrong = [
        (path.name, name) for path in places for name in named.findall(path.read_text("utf-8")) if name not in known
    ]
    assert not wrong
