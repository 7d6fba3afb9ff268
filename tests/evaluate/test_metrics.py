"""Marks of single answers and means of many: values by hand, in Chinese and English; BLEU and ROUGE as the field's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.evaluate.metrics import (
    Overlap,
    bleu,
    exact_match,
    longest_common_subsequence,
    mean,
    normalise,
    rouge_l,
    rouge_n,
    rouge_tokens,
    token_f1,
    tokens,
)


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


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("don’t", "don't", 1.0),
        ("`cat`", "cat", 1.0),
        ("好的～", "好的", 1.0),
        ("50 %", "50%", 1.0),
        (".5", "5", 0.0),
        ("3+4", "34", 0.0),
        ("a", "A", 1.0),
        ("", "A", 0.0),
        ("the", "A", 0.0),
        ("。", "The", 0.0),
    ],
)
def test_what_is_written_in_two_ways_is_one_answer_and_nothing_is_none(answer, reference, expected):
    assert exact_match(answer, reference) == expected


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


ENGLISH = ["the cat sat on the mat", "On Monday, Anna found 20 melons at the teahouse.", "It rained."]
ENGLISH_WANTED = ["the cat is on the mat", "Anna found twenty melons at the teahouse on Monday.", "It rained all day."]
CHINESE, CHINESE_WANTED = ["安娜在茶馆找到二十个西瓜。"], ["星期一安娜在茶馆找到20个西瓜。"]


@pytest.mark.parametrize(
    ("answers", "wanted", "language"), [(ENGLISH, ENGLISH_WANTED, "en"), (CHINESE, CHINESE_WANTED, "zh")]
)
def test_bleu_is_sacrebleus_with_the_languages_tokenizer(answers, wanted, language):
    import sacrebleu

    found = bleu(answers, wanted, language=language)
    theirs = sacrebleu.corpus_bleu(answers, [wanted], tokenize={"en": "13a", "zh": "zh"}[language])
    assert found.score == theirs.score > 10
    assert found.precisions == tuple(theirs.precisions)
    assert (found.answer_length, found.reference_length) == (theirs.sys_len, theirs.ref_len)
    assert f"tok:{'zh' if language == 'zh' else '13a'}" in found.signature


def test_chinese_by_the_english_tokenizer_would_be_a_bleu_of_nothing():
    found = bleu(CHINESE, CHINESE_WANTED, language="en")
    assert found.answer_length == 1
    assert found.score == 0.0


def test_bleu_by_hand_and_its_penalty_for_short_answers():
    found = bleu(["the cat sat on the mat today"], ["the cat sat on the mat yesterday evening"], language="en")
    assert found.precisions == pytest.approx((600 / 7, 500 / 6, 400 / 5, 300 / 4))
    assert found.brevity_penalty == pytest.approx(math.exp(1 - 8 / 7))
    assert found.score == pytest.approx(100 * math.exp(1 - 8 / 7) * (6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)


def test_bleu_takes_the_best_of_several_references_and_wants_one_text_for_each_answer():
    one, other = ["a red apple on the table"], ["the tea house by the river"]
    assert bleu(one, other, one, language="en").score == pytest.approx(100)
    with pytest.raises(AssertionError):
        bleu(one, [*one, *other], language="en")


def test_rouge_by_hand_in_both_languages():
    answer, wanted = "the cat sat on the mat", "the cat is on the mat today"
    assert rouge_n(answer, wanted, 1) == Overlap(5 / 6, 5 / 7)
    assert rouge_n(answer, wanted, 2) == Overlap(3 / 5, 3 / 6)
    assert rouge_l(answer, wanted) == Overlap(5 / 6, 5 / 7)
    assert rouge_l(answer, wanted).f1 == pytest.approx(10 / 13)
    assert rouge_tokens("安娜在Mill，找到２０个") == ["安", "娜", "在", "mill", "找", "到", "20", "个"]
    assert rouge_l("安娜在河边", "安娜在山上的河") == Overlap(4 / 5, 4 / 7)
    assert rouge_n("", "安", 1) == rouge_n("安", "", 2) == Overlap(0, 0)
    assert Overlap(0, 0).f1 == 0.0


WORDS = st.lists(st.sampled_from(["a", "the", "Cat", "cat", "don't", "3.5", "snake_case", "-", "on"]), max_size=12)


@settings(deadline=None)  # the first case imports the library
@given(WORDS.map(" ".join), WORDS.map(" ".join))
def test_rouge_equals_rouge_score_on_english(one, other):
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is an extra of development")
    theirs = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(other, one)
    ours = {"rouge1": rouge_n(one, other, 1), "rouge2": rouge_n(one, other, 2), "rougeL": rouge_l(one, other)}
    for name, found in ours.items():
        wanted = theirs[name]
        assert (found.precision, found.recall) == (wanted.precision, wanted.recall), name
        assert found.f1 == pytest.approx(wanted.fmeasure)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_rouge_cuts_ascii_text_as_rouge_score_does(text):
    tokenize = pytest.importorskip("rouge_score.tokenize", reason="rouge-score is an extra of development")
    assert rouge_tokens(text) == tokenize.tokenize(text, None)


@given(st.text("abc", max_size=70), st.text("abc", max_size=70))
def test_the_longest_common_subsequence_is_the_tables(one, other):
    row = [0] * (len(one) + 1)
    for unit in other:
        above = row[:]
        for index, mine in enumerate(one):
            row[index + 1] = above[index] + 1 if mine == unit else max(above[index + 1], row[index])
    assert longest_common_subsequence(one, other) == row[-1]
