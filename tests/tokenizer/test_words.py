"""Segmentation: nothing of a text is lost, Chinese words by dictionary or by rule, the rest by rule."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base import console
from danlu.tokenizer import words
from danlu.tokenizer.words import segment
from tests.small import CHINESE, ODDITIES, random_texts


@pytest.fixture
def without_library(monkeypatch):
    """As on a machine without rjieba and jieba."""
    monkeypatch.setitem(sys.modules, "rjieba", None)
    monkeypatch.setitem(sys.modules, "jieba", None)
    monkeypatch.setattr(console, "_said", set())
    words._rjieba.cache_clear()
    yield
    words._rjieba.cache_clear()


def check_nothing_is_lost():
    for text in ["", ODDITIES, CHINESE, "𠮷野家 々〇", "don't\u3000", *random_texts(500)]:
        for language in ("zh", "en", "other"):
            assert "".join(segment(text, language)) == text


def test_nothing_is_lost():
    check_nothing_is_lost()


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_of_any_text(text):
    assert "".join(segment(text)) == text


def test_english_digits_and_marks_are_cut_by_rule():
    assert segment("Don't (stop) 2024!", "en") == ["Don't", " ", "(", "stop", ")", " ", "2", "0", "2", "4", "!"]
    assert segment("ab中国cd", "en") == ["ab", "中国", "cd"]


def test_chinese_words_by_dictionary():
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    assert segment("我们在图书馆学习中文") == ["我们", "在", "图书馆", "学习", "中文"]
    assert words.segmenter().startswith("rjieba ")


def test_chinese_words_by_rule_and_the_reason_once(without_library, capsys):
    assert segment("我在图书馆学习了中文") == ["我", "在", "图书", "馆学", "习", "了", "中文"]
    assert words.segmenter() == "rule"
    check_nothing_is_lost()
    assert capsys.readouterr().err.count("rjieba is not installed") == 1
