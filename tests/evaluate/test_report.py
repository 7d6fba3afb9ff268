"""Marks by language and task: pooled over cases, beside the baselines, weighted as they must be."""

from __future__ import annotations

import json

import pytest

from danlu.evaluate.answers import Marked
from danlu.evaluate.report import answer_columns, answer_rows, bits, language_model, percent, tabulate, undefined_bits
from danlu.evaluate.score import Score


def marked(language: str, task: str, *exact: float) -> list[Marked]:
    return [Marked(f"{task}{i}", task, language, "q", "r", "a", one, one / 2, "stop") for i, one in enumerate(exact)]


def test_core_tasks_are_pooled_over_cases_not_over_tasks():
    ours = marked("zh", "who", 1.0, 1.0, 1.0) + marked("zh", "mood", 0.0) + marked("zh", "sum", 0.0, 0.0)
    theirs = marked("zh", "who", 0.0, 0.0, 1.0) + marked("zh", "mood", 1.0) + marked("zh", "sum", 1.0, 0.0)
    rows = tabulate(ours, {"guess": theirs})
    assert [row["task"] for row in rows] == ["core", "who", "mood", "sum"]
    core = rows[0]
    assert (core["n"], core["exact_match"], core["f1"]) == (4, 0.75, 0.375)
    assert core["baselines"]["guess"]["exact_match"] == 0.5
    assert rows[3]["exact_match"] == 0.0
    assert rows[3]["baselines"]["guess"]["exact_match"] == 0.5


def test_languages_stand_apart_and_other_tasks_have_no_pool():
    rows = tabulate(marked("en", "town", 1.0, 0.0) + marked("zh", "who", 1.0), {})
    assert [(row["language"], row["task"]) for row in rows] == [("en", "town"), ("zh", "core"), ("zh", "who")]
    assert rows[1]["exact_match_error"] is None
    assert tabulate([], {}) == []


def test_loss_is_weighted_by_tokens_and_bits_by_bytes():
    table = language_model({"en": [Score(10.0, 10, 40), Score(60.0, 20, 40)], "zh": [Score(30.0, 10, 20)], "xx": []})
    assert set(table) == {"en", "zh", "all"}
    assert table["en"]["loss"] == pytest.approx(70 / 30)
    assert table["all"]["loss"] == pytest.approx(100 / 40)
    assert table["all"]["bits_per_byte"] == pytest.approx(100 / 0.6931471805599453 / 100)
    assert table["all"]["documents"] == 3


def test_bits_per_byte_are_not_defined_where_tokens_are_unknown():
    table = language_model({"en": [Score(10.0, 10, 40)], "zh": [Score(30.0, 1000, 20, unknown=2)]})
    assert table["en"]["bits_per_byte"] == pytest.approx(10 / 0.6931471805599453 / 40)
    assert (table["zh"]["bits_per_byte"], table["all"]["bits_per_byte"]) == (None, None)
    assert table["zh"]["loss"] == 0.03
    said = undefined_bits(table)
    assert [sentence.split(":")[0] for sentence in said] == ["中文", "all"]
    assert "bits per byte are not defined where 2 of 1,000 tokens are unknown" in said[0]
    assert (str(bits(table["zh"])), bits(table["zh"]).facts["value"]) == ("–", None)
    assert bits(table["en"]) == table["en"]["bits_per_byte"]


def test_rows_for_the_table_fit_its_columns_and_are_json():
    rows = tabulate(marked("en", "who", 1.0, 0.0), {"guess": marked("en", "who", 0.0, 0.0)})
    shown = answer_rows(rows, ["guess"])
    assert all(len(row) == len(answer_columns(["guess"])) for row in shown)
    assert shown[0][:3] == ["English", "core", 2]
    assert json.loads(json.dumps(rows)) == rows
    assert percent(0.813, 0.012) == "81.3\u00a0±1.2"
    assert percent(1.0) == "100.0"
