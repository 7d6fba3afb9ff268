"""Words as an operator: methods, stop words, marks that stay whole, sub-words; jieba where rjieba is not."""

import sys

import pytest

from danlu.tokenizer import words
from danlu.tokenizer.cutting import Cutter
from danlu.tokenizer.words import METHODS, segment
from tests import tiny

TEXT = "小明来到了北京清华大学。"


@pytest.fixture
def rjieba():
    return pytest.importorskip("rjieba", reason="rjieba is in danlu[words]")


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_lost_whatever_cuts(method, rjieba):
    assert "".join(segment(TEXT, "zh", method)) == TEXT
    assert segment("A line, two.", "en", method) == ["A", " ", "line", ",", " ", "two", "."]


def test_a_dictionary_knows_words_and_the_model_knows_more(rjieba):
    assert Cutter("ngram", False)("他来到了网易杭研大厦", "zh")[0] == "他 来到 了 网易 杭 研 大厦"
    assert Cutter("hmm", False)("他来到了网易杭研大厦", "zh")[0] == "他 来到 了 网易 杭研 大厦"
    assert Cutter("rule", False)("他来到了网易杭研大厦", "zh")[0] == "他 来到 了 网易 杭 研 大厦"


def test_jieba_cuts_where_rjieba_is_not(monkeypatch, rjieba):
    pytest.importorskip("jieba", reason="jieba is a fallback")
    wanted = segment(TEXT)
    monkeypatch.setitem(sys.modules, "rjieba", None)
    words._installed.cache_clear()
    try:
        assert segment(TEXT) == wanted
        assert words.segmenter().startswith("jieba ")
    finally:
        words._installed.cache_clear()


def test_stop_words_go_and_are_counted():
    assert Cutter("keep", True)("The cat is on the mat.\n\nYes", "en") == ("cat mat.\n\nYes", 4)
    assert Cutter("rule", True)("The cat [PHONE] and I", "en") == ("cat [PHONE]", 3)
    assert Cutter("rule", False)("call [PHONE-0123456789ab]!", "en") == ("call [PHONE-0123456789ab] !", 0)


def test_names_in_capitals_are_no_stop_words():
    cut = Cutter("keep", True)
    assert cut("The US and WHO met IT staff", "en") == ("US WHO met IT staff", 2)
    assert cut("THE CAT IS ON THE MAT", "en") == ("CAT MAT", 4)
    assert cut("I saw A cat", "en") == ("saw cat", 2)


def test_stop_words_are_those_of_the_language_of_the_text(rjieba):
    cut = Cutter("keep", True)
    assert cut("Was ist an dem Ort?", "de") == ("Was ist an dem Ort?", 0)
    assert cut("Was ist an dem Ort?", "other") == ("Was ist an dem Ort?", 0)
    assert Cutter("hmm", True)("我们在 The Beatles 的歌", "zh") == ("The Beatles 歌", 3)
    assert Cutter("rule", True)("這是我的貓", "zh-Hant") == ("貓", 4)


def test_chinese_stop_words_go(rjieba):
    assert Cutter("hmm", True)("我的猫在桌子上。", "zh") == ("猫 桌子 。", 4)


def test_sub_words_are_the_tokens_of_a_vocabulary(tmp_path):
    from danlu.tokenizer.cutting import pieces_of

    tokenizer = tiny.tokenizer()
    tokenizer.save(tmp_path)
    text = "the furnace 丹炉🀄 stood"
    pieces = pieces_of(tmp_path)(text)
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert Cutter("subword", False, pieces_of(tmp_path))(text, "en")[0].replace(" ", "") == text.replace(" ", "")
