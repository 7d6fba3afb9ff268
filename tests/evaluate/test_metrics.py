"""Marks of single answers and means of many: values by hand, in Chinese and English."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.evaluate.metrics import exact_match, mean, normalise, token_f1, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Mill.", "mill"),
        ("  at   the\nmill! ", "at mill"),
        ("星期三。", "星期三"),
        ("在 河 边", "在河边"),
        ("买了 12 个苹果", "买了12个苹果"),
        ("Ｈｅｌｌｏ，１２３", "hello 123"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("-2", "-2"),
        ("−2", "-2"),
        ("well-known", "well known"),
        ("1,250", "1,250"),
        ("50%", "50%"),
        ("Anna's cat", "annas cat"),
        ("a an the", ""),
        ("《安娜》", "安娜"),
        ("", ""),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


def test_numbers_keep_what_makes_them_differ():
    assert exact_match("35", "3.5") == 0.0
    assert exact_match("2", "-2") == 0.0
    assert exact_match("１２", "12。") == 1.0


def test_exact_match_is_about_the_whole_answer():
    assert exact_match("Anna", "anna.") == 1.0
    assert exact_match("Anna and Tom", "Anna") == 0.0
    assert exact_match("", "Anna") == 0.0


def test_chinese_is_compared_by_character():
    assert tokens("安娜在mill 12") == ["安", "娜", "在", "mill", "12"]
    assert token_f1("安娜在河边", "安娜在山上") == pytest.approx(3 / 5)
    assert token_f1("红苹果", "苹果") == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))


def test_f1_counts_repetition_once_for_each_occurrence():
    assert token_f1("tea tea tea", "tea") == pytest.approx(0.5)
    assert token_f1("the red tea", "red tea") == 1.0
    assert token_f1("", "") == 1.0
    assert token_f1("tea", "") == 0.0
    assert token_f1("", "tea") == 0.0


def test_mean_and_standard_error_by_hand():
    found = mean([1.0, 0.0, 1.0, 1.0])
    assert (found.value, found.n) == (0.75, 4)
    assert found.error == pytest.approx(math.sqrt(0.25 / 4))
    assert mean([0.5]).error is None


@given(st.text(), st.text())
def test_marks_are_symmetric_bounded_and_agree(one, other):
    assert normalise(normalise(one)) == normalise(one)
    f1 = token_f1(one, other)
    assert 0.0 <= f1 <= 1.0
    assert f1 == token_f1(other, one)
    assert exact_match(one, one) == 1.0
    assert exact_match(one, other) <= f1
