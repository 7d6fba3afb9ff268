"""Unicode form, line ends, invisible marks, widths: each step changes one text and keeps another, once for all."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.corpus.normalise import STEPS, normalise, normaliser

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
ODD = "a国e\u0301 \t\n\r\u3000\u00a0\u200b\u200d\u034f\ufeff\x07\u2028b\ufffe\u061c\U000e0041\u212a"
WIDE = "Ａａ１！，（～\u3000ｶﾞﾞｱ\u0301\u3099é²½…①ﬁ\u00b4\u200dx "


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("e\u0301t\u00e9", "été"),
        ("a\r\nb\rc\u2028d\x85e\x0bf", "a\nb\nc\nd\ne\nf"),
        ("a\0b\x07c\x1bd\te\x7f", "abcd\te"),
        ("零\u200b宽\ufeff字\u2060符\u206a", "零宽字符"),
        ("水\u200d印", "水印"),
        ("👩\u200d👩\u200d👧 नि\u200dष", "👩\u200d👩\u200d👧 नि\u200dष"),
        ("a\u00a0b\u2009c\u3000d", "a b c\u3000d"),
        ("a  \nb\t\n\n\n\n\nc \n", "a\nb\n\nc"),
        ("    indented\n        code", "    indented\n        code"),
        ("\ud800半个", "\ufffd半个"),
        ("\u061cمرحبا", "مرحبا"),
        ("no\ufffe\uffff\ufdd0\U0001ffffcharacter", "nocharacter"),
        ("\ufdcf\ufdf0\ufffd", "\ufdcf\ufdf0\ufffd"),
        ("hidden\U000e0001\U000e0068\U000e0069 words", "hidden words"),
        (f"{SCOTLAND} 🏴\U000e0041", f"{SCOTLAND} 🏴"),
        ("\u05d0\u05b8\u034f\u05bd and a\u034fb", "\u05d0\u05b8\u034f\u05bd and ab"),
        ("\ue000 \U000f0000 private", "\ue000 \U000f0000 private"),
        ("\u212a\u200d", "K"),
        ("<p>R&amp;D</p> &param; p = &param;", "<p>R&amp;D</p> &param; p = &param;"),
        ("a < b and c > d, vector<int> x; if (p<q) {}", "a < b and c > d, vector<int> x; if (p<q) {}"),
    ],
)
def test_normalise(raw, clean):
    assert normalise(raw) == clean


@pytest.mark.parametrize(
    ("options", "raw", "clean"),
    [
        ({}, "ＡＢ１２，ﬁ①", "ＡＢ１２，ﬁ①"),
        ({"width": "letters"}, "ＡＢ１２，\u3000ｶﾞｷﾞ", "AB12，\u3000ガギ"),
        ({"width": "half"}, "ＡＢ１２，（\u3000）", "AB12,( )"),
        ({"width": "letters"}, "Ａ\u0301", "Á"),
        ({"width": "half"}, "Ａ\u3000\n\n\n\u3000", "A"),
        ({"form": "nfkc"}, "ﬁ①Ａ１e\u0301", "fi1A1é"),
        ({"form": "nfkc"}, "你好，世界！（是：吗？）\u3000～￥", "你好，世界！（是：吗？）\u3000～￥"),
        ({"form": "nfkc", "width": "letters"}, "Ａ，！", "A，！"),
        ({"form": "nfkc", "width": "half"}, "Ａ，！：（）？\u3000～", "A,!:()? ~"),
        ({"form": "nfkc"}, "x² + ½ ㎡ 等等……", "x2 + 1\u20442 m2 等等......"),
        ({"form": "nfkc"}, "a\u00b4", "a \u0301"),
        ({"form": "nfkc"}, "ﬁ\u200d", "fi"),
        ({"form": "nfkc", "width": "half"}, "plain", "plain"),
    ],
)
def test_forms_and_widths_are_options(options, raw, clean):
    assert normaliser(**options)(raw) == clean


@settings(deadline=None)
@given(
    st.text(alphabet=WIDE, max_size=20),
    st.sampled_from(["nfc", "nfkc"]),
    st.sampled_from(["keep", "letters", "half"]),
)
def test_every_option_leaves_one_form_and_nothing_for_a_second_time(text, form, width):
    change = normaliser(form, width)
    assert unicodedata.is_normalized("NFC", change(text))
    assert change(change(text)) == change(text)


@pytest.mark.parametrize(
    ("script", "raw", "clean"),
    [
        ("simplified", "這個問題，頭髮和出發", "这个问题，头发和出发"),
        ("traditional", "头发和出发", "頭髮和出發"),
        ("keep", "頭髮", "頭髮"),
    ],
)
def test_the_script_of_chinese_is_an_option(script, raw, clean):
    pytest.importorskip("opencc", reason="OpenCC is in danlu[chinese]")
    assert normaliser(script=script)(raw) == clean
    assert normaliser(script=script)("plain") == "plain"


@settings(deadline=None)
@given(st.text())
def test_normalised_text_can_be_written_and_is_in_one_form(text):
    clean = normalise(text)
    clean.encode()
    assert unicodedata.is_normalized("NFC", clean)
    assert "\r" not in clean
    assert "\0" not in clean
    assert normalise(clean) == clean


@settings(deadline=None)
@given(
    st.one_of(
        st.text(alphabet=ODD + "\U000e007f🏴\ufdd0\U0010ffff", max_size=30),
        st.text(alphabet="ab \t\n\r\v\x1c\x1f\x7f\0<&;", max_size=12),
    )
)
def test_the_glance_that_saves_work_changes_nothing(text):
    slow = text
    for step in STEPS:
        slow = step(slow)
    assert normalise(text) == slow


@settings(deadline=None)
@given(st.text(alphabet=ODD + "<&;", max_size=30))
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)
