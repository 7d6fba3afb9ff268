"""Normalising, judging, masking, languages: each rule keeps one text and drops another."""

import json
import unicodedata
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.records import Conversation, Document, Message, ToolCall
from danlu.corpus.clean import Cleaner
from danlu.corpus.filters import FILTERS, Limits
from danlu.corpus.language import language_of
from danlu.corpus.normalise import STEPS, normalise, normaliser
from danlu.corpus.privacy import KindName, Privacy
from danlu.corpus.units import REASONS, Rejection

STORY = "春天到了，孩子们在河边放风筝。老人坐在树下喝茶。"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("e\u0301t\u00e9", "été"),
        ("a\r\nb\rc\u2028d\x85e\x0bf", "a\nb\nc\nd\ne\nf"),
        ("a\0b\x07c\x1bd\te\x7f", "abcd\te"),
        ("零\u200b宽\ufeff字\u2060符", "零宽字符"),
        ("水\u200d印", "水印"),
        ("👩\u200d👩\u200d👧 नि\u200dष", "👩\u200d👩\u200d👧 नि\u200dष"),
        ("a\u00a0b\u2009c\u3000d", "a b c\u3000d"),
        ("a  \nb\t\n\n\n\n\nc \n", "a\nb\n\nc"),
        ("    indented\n        code", "    indented\n        code"),
        ("\ud800半个", "\ufffd半个"),
        ("<p>你好</p><br/><b>再见</b>", "你好\n\n再见"),
        ("<div class='x'><!-- note --><script>x < 1</script>text</div>", "text"),
        ("R&amp;D &lt; &#65;&nbsp;B", "R&D < A B"),
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
        ({"form": "nfkc"}, "ﬁ①Ａ，e\u0301", "fi1A,é"),
        ({"form": "nfkc"}, "a\u00b4", "a \u0301"),
        ({"form": "nfkc", "width": "half"}, "plain", "plain"),
    ],
)
def test_forms_and_widths_are_options(options, raw, clean):
    assert normaliser(**options)(raw) == clean


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


def test_a_text_about_tags_keeps_them():
    text = "The element <b> makes text bold. " + "Nobody needs it in a book about something else. " * 20
    assert normalise(text) == text.rstrip()


@settings(deadline=None)
@given(st.text())
def test_normalised_text_can_be_written_and_is_in_one_form(text):
    clean = normalise(text)
    clean.encode()
    assert unicodedata.is_normalized("NFC", clean)
    assert "\r" not in clean
    assert "\0" not in clean


@settings(deadline=None)
@given(
    st.one_of(
        st.text(alphabet="a国e\u0301 \t\n\r\u3000\u00a0\u200b\u200d<&;\ufeff\x07\u2028", max_size=30),
        st.text(alphabet="ab \t\n\r\v\x1c\x1f\x7f\0<&;", max_size=12),
    )
)
def test_the_glance_that_saves_work_changes_nothing(text):
    slow = text
    for step in STEPS:
        slow = step(slow)
    assert normalise(text) == slow


@settings(deadline=None)
@given(st.text(alphabet="a国e\u0301 \t\n\r\u3000\u00a0\u200b\u200d\ufeff\x07\u2028b", max_size=30))
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<!--",
        "<b><!--",
        "<b><script>",
        "<b><!doctype",
        "&#1",
        "\u200d",
        "a.",
        "a@",
        "@a.",
        "1 ",
        " \n",
        "　",
        "1.",
        "1:",
        "::",
        "+1",
        "(",
        "A",
        "姓名：",
        "王",
        "Mr ",
        "password",
        "token=",
        "eyJ",
        "sk-",
    ],
)
def test_no_pattern_takes_quadratic_time(piece):
    """A million characters pass in a second; a quadratic pattern would need hours and meet the timeout."""
    hostile = piece * (1_000_000 // len(piece))
    Privacy(get_args(KindName)).hide(normalise(hostile))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The furnace stood at the edge of the village.", "en"),
        ("丹炉在村子的边上。", "zh"),
        ("我们用 Python 写程序，然后用 pytest 测试它。", "zh"),
        ("The word 丹炉 means furnace in Chinese.", "en"),
        ("Весной дети запускают змеев у реки.", "other"),
        ("春になると、子どもたちは川のそばで凧をあげます。", "other"),
        ("12345 !!!", "other"),
    ],
)
def test_language(text, language):
    assert language_of(text) == language


KEPT_AND_DROPPED = {
    "mojibake": ("Café déjà fermé, où étaient les élèves ? " + STORY, STORY.encode().decode("cp1252", "ignore")),
    "empty": ("a", " \n\t "),
    "broken_characters": (STORY * 40 + "\ufffd", STORY + "\ufffd"),
    "too_short": ("丹炉在村子的边上", "丹炉 在 村子"),
    "long_line": ("word " * 10_000, "word " * 30_001),
    "long_word": ("word " * 1000 + "长" * 5000, "word " + "x" * 2001),
    "many_symbols": ("| a | b |\n| 1 | 2 | three four five |", "+----+----+\n|====|====|\n+----+----+"),
    "repeated_lines": ("one\ntwo\nthree\none\nfour", "menu item\nmenu item\nmenu item\nmenu item\nend"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_keeps_one_text_and_drops_another(name):
    kept, dropped = KEPT_AND_DROPPED[name]
    assert FILTERS[name](kept, Limits()) is None
    assert FILTERS[name](dropped, Limits())
    assert name in REASONS


@pytest.mark.parametrize(
    "text",
    [
        STORY.encode().decode("latin-1"),
        STORY.encode().decode("gb18030", "replace"),
        "锟斤拷锟斤拷锟斤拷",
        "它打印烫烫烫烫烫烫",
    ],
)
def test_mojibake_of_every_kind_is_found(text):
    assert isinstance(Cleaner().clean(Document("1", text, "f")), Rejection)
    assert FILTERS["mojibake"](text, Limits())


@pytest.mark.parametrize(
    "text", [STORY, "Ünïcödé naïve façade", "©2024 – “quoted” … €5", "Ελληνικά και Ρωσικά", "日本語のテキスト"]
)
def test_genuine_text_is_no_mojibake(text):
    assert FILTERS["mojibake"](text, Limits()) is None


def test_limits_come_from_the_recipe():
    text = "x" * 500
    assert Cleaner(Limits(max_line_characters=499)).clean(Document("1", text, "f")).reason == "long_line"
    assert Cleaner(Limits(max_line_characters=500)).clean(Document("1", text, "f")).text == text


@pytest.mark.parametrize(
    ("text", "masked", "kind"),
    [
        ("身份证11010519491231002X，", "身份证[ID]，", "identity_number"),
        ("身份证11010519491231002x。", "身份证[ID]。", "identity_number"),
        ("电话13812345678。", "电话[PHONE]。", "phone"),
        ("+86 138-1234-5678", "[PHONE]", "phone"),
        ("138 1234 5678 and", "[PHONE] and", "phone"),
        ("write to a.b+c@mail.example.com!", "write to [EMAIL]!", "email"),
        ("邮箱：wang@例子", "邮箱：wang@例子", None),
        ("110105194912310021", "110105194912310021", None),
        ("0.13812345678", "0.13812345678", None),
        ("138123456789", "138123456789", None),
        ("12812345678", "12812345678", None),
        ("hash a13812345678f", "hash a13812345678f", None),
        ("@decorator and x@y", "@decorator and x@y", None),
    ],
)
def test_private_data_are_masked_and_counted(text, masked, kind):
    hidden = Privacy().hide(text)
    assert hidden.text == masked
    assert dict(hidden.counts()) == ({kind: 1} if kind else {})


def test_masking_reaches_turns_arguments_and_rejections_but_can_be_off():
    call = ToolCall("mail", json.dumps({"to": "li@example.com"}))
    turns = (
        Message("user", "我的电话是13812345678"),
        Message("assistant", "好的", reasoning="13812345678", tool_calls=(call,)),
    )
    cleaner = Cleaner()
    clean = cleaner.clean(Conversation("1", turns, "f"))
    assert clean.messages[0].content == "我的电话是[PHONE]"
    assert clean.messages[1].reasoning == "[PHONE]"
    assert clean.messages[1].tool_calls[0].arguments == '{"to": "[EMAIL]"}'
    assert cleaner.masked == {"phone": 2, "email": 1}
    assert "138" not in cleaner.rejection(Document("1", "13812345678", "f"), "duplicate", "").excerpt
    kept = Cleaner(privacy=Privacy(action="keep")).clean(Conversation("1", turns, "f"))
    assert kept.messages == turns


def test_conversations_are_judged_by_their_own_rules():
    def talk(*contents):
        turns = tuple(
            Message(role, content) for role, content in zip(["user", "assistant"] * 2, contents, strict=False)
        )
        return Cleaner().clean(Conversation("1", turns, "f"))

    assert talk("1+1=", "2").messages[1].content == "2"
    assert talk("问", " ").reason == "no_answer"
    assert talk(" ", "\n").reason == "empty"
    assert talk("问\ufffd", "答").reason == "broken_characters"


def test_languages_are_named_unless_the_record_does_and_can_be_chosen():
    assert Cleaner().clean(Document("1", STORY, "f")).language == "zh"
    assert Cleaner().clean(Document("1", STORY, "f", "yue")).language == "yue"
    assert Cleaner(languages=("en",)).clean(Document("1", STORY, "f")).reason == "other_language"
