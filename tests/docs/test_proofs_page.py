"""docs/proofs.md names every proof, with the words of the table that `danlu prove` prints; the Chinese page too."""

import ast
import re

import pytest

from danlu.proofs.table import PROOFS
from tests.docs.pages import ROOT
from tests.proofs import mutants

PAGES = ("docs/proofs.md", "docs/proofs.zh.md")
EMPTY_WORDS = "each from have into none only other same test than that their them there they this what when"

TRAPS = {"D": 21, "T": 5, "M": 11, "O": 18, "F": 9, "E": 8, "X": 12, "P": 5}
"""The list of traps: how many there are of each letter."""


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
    for path, ids in mutants.proofs().items():
        for id in ids:
            files.setdefault(id, set()).add(f"../tests/proofs/{path.name}")
    found = {row[0]: set(re.findall(r"\((.*?)\)", row[2])) for row in rows(page, 3)}
    assert found == files
    assert all(len(row[1]) > 3 for row in rows(page, 3))


def test_a_row_speaks_of_what_its_tests_speak_of():
    """At least one word of each trap stands in the name or the first sentence of a test of it: a row that was written
    for another trap of that number does not."""
    said: dict[str, str] = {}
    for path in mutants.proofs():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match = mutants.TEST_NAME.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if match is not None:
                said[match[1]] = f"{said.get(match[1], '')} {node.name} {ast.get_docstring(node)}"
    strangers = {row[0]: row[1] for row in rows(PAGES[0], 3) if not stems(row[1]) & stems(said[row[0]])}
    assert not strangers


def stems(text: str) -> set[str]:
    """The first four letters of every word that says something."""
    return {word[:4] for word in re.findall(r"[a-z]{4,}", text.lower()) if word not in EMPTY_WORDS.split()}


def test_both_languages_have_the_same_rows():
    for columns in (3, 4):
        english, chinese = (rows(page, columns) for page in PAGES)
        assert [row[0] for row in english] == [row[0] for row in chinese]
        assert all(re.search(r"[\u4e00-\u9fff]", row[1] + row[2]) for row in chinese)


def spelt(ids: list[str]) -> set[str]:
    """`D1–D3` and `E4` as D1, D2, D3, E4."""
    found: set[str] = set()
    for one in ids:
        letter, first, last = re.fullmatch(r"([A-Z])(\d+)(?:–[A-Z](\d+))?", one).groups()
        found |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_how_many_of_the_traps_have_a_proof_is_counted():
    """The pages and both READMEs say the number that the tables of mutants have, and name the rest."""
    traps = {f"{letter}{number}" for letter, count in TRAPS.items() for number in range(1, count + 1)}
    proved = {entry.id for entry in mutants.tables()}
    landed, total, others = len(traps & proved), len(traps), len(proved - traps)
    for page, said in zip(
        PAGES,
        (
            [f"a list of {total} such traps", f"**{landed} of the {total} have a proof here**", f"so have {others} of"],
            [f"{total} 个这类陷阱", f"**{total} 个里有 {landed} 个在这里有证明**", f"方面的 {others} 个"],
        ),
        strict=True,
    ):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert not [one for one in said if one not in text]
        listed, missing = (re.findall(r"[A-Z]\d+(?:–[A-Z]\d+)?", part) for part in introduction(text))
        assert spelt(listed) == traps
        assert spelt(missing) == traps - proved
    readme, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert f"of the {total} classic silent bugs that we have collected, {landed} have a test" in readme
    assert f"{total} 种典型的“静默错误”里，有 {landed} 种" in chinese


def introduction(text: str) -> tuple[str, str]:
    """The brackets with all traps, and the sentence with those that have no proof."""
    _, _, whole, without, *_ = text.split("\n\n")
    return re.search(r"[(（](.*?)[)）]", whole.replace("\n", ""))[1], re.split(r"[.。] ?", without, maxsplit=1)[0]
