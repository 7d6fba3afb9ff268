"""The pages of the quality rules show the limits of the table and examples that it judges so."""

import importlib.util

import pytest

from danlu.corpus.quality import RULES
from tests.docs.pages import ROOT

SPEC = importlib.util.spec_from_file_location("quality_page", ROOT / "scripts" / "quality_page.py")
quality_page = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quality_page)


@pytest.mark.parametrize("page", ["en", "zh"])
def test_the_tables_are_what_the_code_says(page):
    text = quality_page.PAGES[page].read_text(encoding="utf-8")
    assert text == quality_page.with_tables(text, page), "run scripts/quality_page.py"
    assert all(text.count(f"`{name}`") >= 1 for name in RULES)
