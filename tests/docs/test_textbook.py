"""The textbook pages run: each block prints what the page says it prints, and no number of the prose is invented.

In: the pages of `docs/对照`, in both languages. Out: red where a printed line, a number in the prose or in a formula, a
heading or a formula's spelling is not as it must be. A number with a decimal point or of three digits and more has to
stand in the page's code or in what the code printed, rounded to as many places as the prose gives; a sum that the prose
writes out has to be right.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import operator
import re
import runpy
from pathlib import Path

import pytest
import torch

from tests.docs import pages

FOLDER = pages.ROOT / "docs" / "对照"
ENGLISH = [page for page in sorted(FOLDER.glob("*.md")) if ".zh." not in page.name and page.name != "README.md"]
BOTH = [language for page in ENGLISH for language in (page, page.with_suffix(".zh.md"))]
SECTIONS = {
    ".md": ["The formula", "Derivation", "By hand", "By danlu", "Common misprints"],
    ".zh.md": ["公式", "推导", "手算", "用 danlu 计算", "常见误印"],
}
NUMBER = re.compile(r"(?<![A-Za-z0-9_.])\d++(?:[,_]\d{3})*+(?:\.\d+)?+(?:e-?\d+)?+(?!\.\d)")
SUM = re.compile(r"((?:[(]*−?\d[\d.]*[)]*\s*[×/+−]\s*)+−?[(]*\d[\d.]*[)]*) = (−?\d[\d,]*(?:\.\d+)?)")
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
END = "\x1e"
YEAR = range(1900, 2100)
INLINE = re.compile(r"\$([^$\n]+)\$")


@pytest.fixture(autouse=True)
def calm():
    """One thread and torch's usual printing, whatever a page has set."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_printoptions(profile="default", sci_mode=None)


def by_name(page: Path) -> str:
    return page.name


def printed(page: Path, to: Path) -> list[tuple[str, str]]:
    """What each Python block of the page prints, run in order, and what the page says it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        runpy.run_path(str(pages.as_program(page, to, behind_each=f"print({END!r}, end='')")))
    following = itertools.pairwise([*pages.blocks(page), pages.Block("", "", 0)])
    shown = [after.text if after.language == "text" else "" for block, after in following if block.language == "python"]
    return list(zip(output.getvalue().split(END)[:-1], shown, strict=True))


def told(page: Path) -> str:
    """Prose and formulas without the targets of links."""
    formulas = "\n".join(block.text for block in pages.blocks(page, "math"))
    return re.sub(r"\]\([^)]*\)", "]", pages.prose(page)) + formulas


def numbers(text: str) -> list[str]:
    return [re.sub("[,_]", "", found) for found in NUMBER.findall(text)]


def invented(page: Path, told_text: str) -> list[str]:
    """The numbers of the text that neither the page's code nor its output holds."""
    source = "\n".join(block.text for block in pages.blocks(page) if block.language in ("python", "text"))
    known = {float(number) for number in numbers(source)}
    wrong = []
    for number in numbers(told_text):
        places = len(number.partition(".")[2])
        is_small = number.isdecimal() and len(number) < 3
        is_year = number.isdecimal() and int(number) in YEAR
        allowed = 0.0 if "e" in number else 0.5 * 10**-places + 1e-9
        if not (is_small or is_year or any(abs(value - float(number)) <= allowed for value in known)):
            wrong.append(number)
    return wrong


def test_there_are_the_pages_that_the_readme_lists_in_both_languages():
    assert len(ENGLISH) == 10
    for suffix in SECTIONS:
        listed = [link for link in pages.links(FOLDER / f"README{suffix}") if "/" not in link and "README" not in link]
        assert sorted(listed) == sorted(page.with_suffix(suffix).name for page in ENGLISH)


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_each_block_prints_what_the_page_says(page, tmp_path):
    if "rouge_score" in page.read_text(encoding="utf-8"):
        pytest.importorskip("rouge_score", reason="rouge-score is an extra of development")
    results = printed(page, tmp_path)
    assert any(output for output, _ in results)
    for output, expected in results:
        assert output == expected


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_both_languages_have_the_same_blocks(page):
    """The blocks of the English page are run; that the Chinese ones are the same makes them right, too."""
    english, chinese = (
        [(block.language, block.text) for block in pages.blocks(one)] for one in (page, page.with_suffix(".zh.md"))
    )
    assert english == chinese


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_numbers_of_the_prose_are_computed(page):
    assert invented(page, told(page)) == []


@pytest.mark.parametrize(
    "pair", [(page, page.with_suffix(".zh.md")) for page in ENGLISH], ids=lambda pair: pair[0].name
)
def test_both_languages_tell_the_same_numbers_and_correct_the_same_misprints(pair):
    english, chinese = ({number for number in numbers(told(page)) if "." in number or len(number) > 2} for page in pair)
    assert english == chinese
    rows = [sum(line.startswith("|") for line in pages.prose(page).splitlines()) for page in pair]
    assert rows[0] == rows[1] >= 6


def value(sum_: ast.AST) -> float:
    """The value of an expression of numbers and the four operations."""
    match sum_:
        case ast.Expression(body):
            return value(body)
        case ast.Constant(float() | int() as number):
            return number
        case ast.UnaryOp(ast.USub(), operand):
            return -value(operand)
        case ast.BinOp(left, operation, right):
            return OPERATIONS[type(operation)](value(left), value(right))
    raise AssertionError(ast.dump(sum_))


def sums(page: Path) -> list[tuple[str, float, float, float]]:
    """The sums that the prose writes out: text, value, the result given, and two units of its last place."""
    found = []
    for written, result in SUM.findall(told(page)):
        expression = written.replace("×", "*").replace("−", "-")
        given = result.replace(",", "").replace("−", "-")
        places = len(given.partition(".")[2])
        found.append(
            (written, value(ast.parse(expression, mode="eval")), float(given), 2 * 10**-places if places else 0)
        )
    return found


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_sums_of_the_prose_are_right(page):
    found = sums(page)
    assert found
    for written, computed, given, unit in found:
        assert abs(computed - given) <= unit + 1e-9, written


def test_a_wrong_digit_would_be_noticed():
    page = FOLDER / "softmax.md"
    text = told(page)
    assert "0.6652" in text
    assert invented(page, text.replace("0.6652", "0.6625", 1)) == ["0.6625"]


def test_a_wrong_sum_or_a_wrong_output_would_be_noticed(tmp_path):
    text = (FOLDER / "softmax.md").read_text(encoding="utf-8")
    changed = tmp_path / "softmax.md"
    changed.write_text(text.replace("0.0900 × 0.9100 = 0.0819", "0.0900 × 0.9000 = 0.0819"), encoding="utf-8")
    assert any(abs(computed - given) > unit for _, computed, given, unit in sums(changed))
    changed.write_text(text.replace("[ 0.0819, -0.0220", "[ 0.0819, +0.0220"), encoding="utf-8")
    assert [output == expected for output, expected in printed(changed, tmp_path)] == [True, True, False]


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_sections_are_the_same_on_every_page(page):
    suffix = ".zh.md" if ".zh." in page.name else ".md"
    assert [heading.text for heading in pages.headings(page) if heading.level == 2] == SECTIONS[suffix]


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_formulas_are_spelt_so_that_github_draws_them(page):
    """An inline formula needs ASCII space or punctuation around it, and nothing in it that Markdown would take."""
    for line in pages.prose(page).splitlines():
        assert line.count("$") % 2 == 0, line
        for formula in INLINE.finditer(line):
            before, after = line[: formula.start()][-1:], line[formula.end() :][:1]
            assert before in ("", " ", "("), line
            assert after in ("", " ", ")", ".", ",", ":", ";", "?"), line
            assert not re.search(r"^\s|\s$|\}_|\\[\\{},;!|]|\*|\|", formula[1]), line
    assert "\\operatorname" not in told(page), "GitHub refuses this macro; \\mathrm does the same"
    for block in pages.blocks(page, "math"):
        assert block.text.count("{") == block.text.count("}"), block.text
        left, right = (re.findall(rf"\\{side}(?![a-z])", block.text) for side in ("left", "right"))
        assert len(left) == len(right), block.text
