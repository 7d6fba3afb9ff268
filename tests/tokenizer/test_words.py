"""Segmentation: nothing of a text is lost, Chinese words by dictionary or by rule, the rest by rule."""

from __future__ import annotations

import sys
from types import SimpleNamespace

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
    assert segment("Don't (stop) 2024!", "en") == ["Don't", " ", "(", "stop", ")", " ", "2024", "!"]
    assert segment("ab中国cd", "en") == ["ab", "中国", "cd"]


def test_chinese_words_by_dictionary():
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    assert segment("我们在图书馆学习中文") == ["我们", "在", "图书馆", "学习", "中文"]
    assert words.segmenter().startswith("rjieba ")


@pytest.mark.parametrize("method", ["rule", "forward", "backward", "ngram"])
def test_numbers_latin_words_and_emoji_stay_whole(method):
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    for text, cut in (
        ("2024年花了3.14元", "2024|年|花|了|3.14|元"),
        ("涨了12.5%，卖1,250元", "涨|了|12.5%|，|卖|1,250|元"),
        ("第３章", "第|３|章"),
        ("用GPT4和iPhone15", "用|GPT4|和|iPhone15"),
        ("他说don’t go", "他|说|don’t| |go"),
        ("好👍🏽的👨‍👩‍👧‍👦", "好|👍🏽|的|👨‍👩‍👧‍👦"),
        ("去🇨🇳🇬🇧吧❤️1️⃣", "去|🇨🇳|🇬🇧|吧|❤️|1️⃣"),
        ("3.14abc", "3|.|14abc"),
        ("1.2.3, 4.", "1.2.3|,| |4|."),
    ):
        assert segment(text, method=method) == cut.split("|"), text
    assert segment("वह जाता है", "hi") == ["वह", " ", "जाता", " ", "है"], "marks belong to their letters"


def test_chinese_words_by_maximum_matching():
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    for text, forward, backward, rule in (
        ("我在图书馆学习了中文", "我|在|图书馆学|习|了|中文", "我|在|图书馆|学习|了|中文", "我|在|图书馆|学习|了|中文"),
        ("研究生命起源", "研究生|命|起源", "研究|生命|起源", "研究|生命|起源"),
        ("他是研究生物化学的", "他|是|研究生|物化|学|的", "他|是|研究|生物化学|的", "他|是|研究|生物化学|的"),
    ):
        found = [segment(text, method=method) for method in ("forward", "backward", "rule")]
        assert found == [cut.split("|") for cut in (forward, backward, rule)]
    check_nothing_is_lost("rule")


def test_of_two_cuts_the_one_with_fewer_words_then_fewer_single_characters_then_backward(monkeypatch):
    dictionary = {"ab", "bc", "cd", "abc", "de", "bcd"}
    monkeypatch.setattr(words, "_library", lambda: SimpleNamespace(has_word=dictionary.__contains__))
    assert words._by_rule("abcd") == ["a", "bcd"], "two words each, a single one each: backward"
    assert words._by_rule("abcde") == ["abc", "de"]
    assert words._by_rule("") == []


def test_jieba_has_the_same_dictionary(monkeypatch):
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    pytest.importorskip("jieba", reason="jieba is not installed")
    wanted = segment("他是研究生物化学的", method="rule")
    monkeypatch.setitem(sys.modules, "rjieba", None)
    words._installed.cache_clear()
    try:
        assert segment("他是研究生物化学的", method="rule") == wanted
        assert max(map(len, sys.modules["jieba"].dt.FREQ)) == words.LONGEST
    finally:
        words._installed.cache_clear()


def test_without_a_library_chinese_is_refused_with_the_install_line_and_nothing_else_is(without_library):
    assert words.segmenter() == "none"
    assert segment("two words, 2024", "en") == ["two", " ", "words", ",", " ", "2024"]
    for asked in (
        lambda: segment("我在图书馆"),
        lambda: segment("我在图书馆", method="ngram"),
        lambda: segment("我在图书馆", method="rule"),
        words.require_segmenter,
    ):
        with pytest.raises(MissingPackage, match=r"pip install 'danlu\[words\]'"):
            asked()
