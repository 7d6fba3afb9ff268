"""docs/proofs.md names every proof, with the words of the table that `danlu prove` prints; the Chinese page too."""

import re

import pytest

from danlu.proofs.table import PROOFS
from tests.docs.pages import ROOT
from tests.proofs import mutants

PAGES = ("docs/proofs.md", "docs/proofs.zh.md")


def rows(page: str, columns: int) -> list[list[str]]:
    """The body rows of the page's tables that have so many columns."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| [A-Z]+\d", line)]
    return [row for row in found if len(row) == columns]


def test_what_a_user_can_prove_stands_there_word_for_word():
    wanted = [[id, proof.needs, f"**{proof.title}**: {proof.proves}", proof.does_not] for id, proof in PROOFS.items()]
    assert rows(PAGES[0], 4) == wanted


@pytest.mark.parametrize("page", PAGES)
def test_every_proof_is_named_with_its_file_and_its_trap(page):
    files: dict[str, set[str]] = {}
    for entry in mutants.tables():
        files.setdefault(entry.id, set()).add(f"../tests/proofs/{entry.tests.name}")
    found = {row[0]: set(re.findall(r"\((.*?)\)", row[2])) for row in rows(page, 3)}
    assert found == files
    assert all(len(row[1]) > 3 for row in rows(page, 3))


def test_both_languages_have_the_same_rows():
    for columns in (3, 4):
        english, chinese = (rows(page, columns) for page in PAGES)
        assert [row[0] for row in english] == [row[0] for row in chinese]
        assert all(re.search(r"[\u4e00-\u9fff]", row[1] + row[2]) for row in chinese)
