"""Segmentation: nothing of a text is lost, Chinese words by dictionary or by rule, the rest by rule."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import MissingPackage
from danlu.tokenizer import words
from danlu.tokenizer.words import segment
from tests.small import CHINESE, ODDITIES, random_texts


@pytest.fixture
def without_library(monkeypatch):
    """As on a machine without rjieba and jieba."""
    monkeypatch.setitem(sys.modules, "rjieba", None)
    monkeypatch.setitem(sys.modules, "jieba", None)
    words._installed.cache_clear()
    yield
    words._installed.cache_clear()


def check_nothing_is_lost(method):
    for text in ["", ODDITIES, CHINESE, "𠮷野家 々〇", "don't\u3000", *random_texts(500)]:
        for language in ("zh", "en", "other"):
            assert "".join(segment(text, language, method)) == text


def test_nothing_is_lost():
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    check_nothing_is_lost("hmm")


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_of_any_text(text):
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    assert "".join(segment(text)) == text


def test_english_digits_and_marks_are_cut_by_rule():
    assert segment("Don't (stop) 2024!", "en") == ["Don't", " ", "(", "stop", ")", " ", "2", "0", "2", "4", "!"]
    assert segment("ab中国cd", "en") == ["ab", "中国", "cd"]


def test_chinese_words_by_dictionary():
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    assert segment("我们在图书馆学习中文") == ["我们", "在", "图书馆", "学习", "中文"]
    assert words.segmenter().startswith("rjieba ")


def test_chinese_words_by_rule(without_library):
    assert segment("我在图书馆学习了中文", method="rule") == ["我", "在", "图书", "馆学", "习", "了", "中文"]
    check_nothing_is_lost("rule")


def test_without_a_library_chinese_is_refused_with_the_install_line_and_nothing_else_is(without_library):
    assert words.segmenter() == "none"
    assert segment("two words, 2024", "en") == ["two", " ", "words", ",", " ", "2", "0", "2", "4"]
    for asked in (
        lambda: segment("我在图书馆"),
        lambda: segment("我在图书馆", method="ngram"),
        words.require_segmenter,
    ):
        with pytest.raises(MissingPackage, match=r"pip install 'danlu\[words\]'"):
            asked()
