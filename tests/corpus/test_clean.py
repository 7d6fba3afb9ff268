"""Judging, masking, languages, what pages lose: each rule keeps one text and drops or changes another."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.records import Conversation, Document, Message, ToolCall
from danlu.corpus.clean import Cleaner
from danlu.corpus.filters import FILTERS, Limits
from danlu.corpus.language import language_of
from danlu.corpus.normalise import normalise
from danlu.corpus.privacy import KindName, Privacy
from danlu.corpus.quality import Judge
from danlu.corpus.quality_examples import FOX, TEA
from danlu.corpus.units import REASONS, Rejection, opening, told

STORY = "春天到了，孩子们在河边放风筝。老人坐在树下喝茶。"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
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


def one_answer(content="", arguments=None, question="Please help me with this."):
    calls = (ToolCall("call", arguments),) if arguments is not None else ()
    return Conversation("1", (Message("user", question), Message("assistant", content, tool_calls=calls)), "f")


TABLE = "Here's your HTML table: `<table><tr><th>Name</th></tr></table>`"


@pytest.mark.parametrize("wanted", ["auto", "remove", "keep"])
@pytest.mark.parametrize(
    "text",
    [TABLE, "What does <b> do in HTML?", "<p>One.</p>\n<p>Two &amp; three.</p>", "<html><body><p>x</p></body></html>"],
)
def test_conversations_keep_their_html(text, wanted):
    cleaner = Cleaner(html=wanted)
    clean = cleaner.clean(one_answer(text, question=text))
    assert [turn.content for turn in clean.messages] == [text, text]
    assert cleaner.left_out == cleaner.left_in == {}


@pytest.mark.parametrize(
    ("wanted", "text", "left_out", "left_in"),
    [
        ("auto", "One.\nTwo & three, four five.", {"HTML tags": 4, "HTML entities": 1}, {}),
        ("remove", "One.\nTwo & three, four five.", {"HTML tags": 4, "HTML entities": 1}, {}),
        ("keep", "<p>One.</p><p>Two &amp; three, four five.</p>", {}, {"documents with tags or entities": 1}),
    ],
)
def test_pages_lose_their_html_as_the_setting_says_and_it_is_counted(wanted, text, left_out, left_in):
    cleaner = Cleaner(html=wanted)
    page = "<p>One.</p><p>Two &amp; three, four five.</p>"
    assert cleaner.clean(Document("1", page, "f")).text == text
    assert (cleaner.left_out, cleaner.left_in) == (left_out, left_in)
    assert cleaner.change(page) == text
    assert isinstance(cleaner.clean(Document("2", "<p>x</p>", "f")), Rejection)
    assert cleaner.left_out == left_out  # what a rejected page lost is in no text


def test_a_document_that_speaks_of_html_keeps_it_and_is_counted():
    cleaner = Cleaner()
    assert cleaner.clean(Document("1", "What does <b> do in HTML?", "f")).text == "What does <b> do in HTML?"
    assert cleaner.left_out == {}
    assert cleaner.left_in == {"documents with tags or entities": 1}


@pytest.mark.parametrize(
    ("raw", "masked"),
    [
        ('{"phone": 13812345678}', '{"phone": "[PHONE]"}'),
        (r'{"body":"Hi\nbob@x.com","n": 1.0}', r'{"body":"Hi\n[EMAIL]","n": 1.0}'),
        (r'{"t":"\n13812345678"}', r'{"t":"\n[PHONE]"}'),
        ('{"to": ["a@b.com", {"cc": "c@d.org"}]}', '{"to": ["[EMAIL]", {"cc": "[EMAIL]"}]}'),
        ('{"q": "tea",  "top_k":5, "é": "\\u00e9", "x": null}', '{"q": "tea",  "top_k":5, "é": "\\u00e9", "x": null}'),
        ('"bob@x.com"', '"[EMAIL]"'),
        ("call bob@x.com {", "call [EMAIL] {"),
    ],
)
def test_arguments_of_calls_stay_json_and_their_other_values_as_they_were(raw, masked):
    cleaner = Cleaner()
    clean = cleaner.clean(one_answer("On it.", raw))
    assert clean.messages[1].tool_calls[0].arguments == masked
    assert cleaner.masked.total() == masked.count("[EMAIL]") + masked.count("[PHONE]")
    if "{" not in raw[1:]:
        json.loads(masked)


def test_turns_and_documents_that_are_json_stay_json():
    result = '{"name": "Li", "phone": 13812345678, "say": "&quot;hi&quot; <b>"}'
    masked = result.replace("13812345678", '"[PHONE]"')
    turns = (Message("user", "Who?"), Message("tool", result), Message("assistant", "[13812345678] it is"))
    clean = Cleaner().clean(Conversation("1", turns, "f"))
    assert [turn.content for turn in clean.messages] == ["Who?", masked, "[[PHONE]] it is"]
    assert Cleaner().clean(Document("1", result, "f")).text == masked


def test_the_key_of_a_value_is_its_label():
    privacy = Privacy(("name",))
    assert privacy.hide("姓名：王小明").text == "姓名：[NAME]"
    clean = Cleaner(privacy=privacy).clean(one_answer("好的", '{"姓名": "王小明", "城": "王小明"}'))
    assert clean.messages[1].tool_calls[0].arguments == '{"姓名": "[NAME]", "城": "王小明"}'


ID_NUMBER = "11010519491231002X"


@pytest.mark.parametrize("action", ["mask", "drop"])
@pytest.mark.parametrize("place", [0, 100, 141, 150, 158, 159, 160, 300, 319])
def test_an_excerpt_is_masked_before_it_is_cut(action, place):
    text = "短 " * (place // 2) + " " * (place % 2) + f"{ID_NUMBER} " * 3
    cleaner = Cleaner(Limits(max_line_characters=10), privacy=Privacy(action=action))
    rejected = cleaner.clean(Document("1", text, "f"))
    assert rejected.reason == "long_line"
    assert not any(character.isdigit() for character in rejected.excerpt)
    assert len(rejected.excerpt) <= 160
    read = Rejection("1", "f", "bad_json", opening(text.encode()), f"the key 'x': {ID_NUMBER}")
    written = cleaner.masked_rejection(read)
    assert not any(character.isdigit() for character in written.excerpt + written.detail)
    assert written.excerpt == rejected.excerpt


def test_a_value_that_is_told_is_not_cut_within_a_datum():
    for place in range(45):
        for datum in (ID_NUMBER, "138 1234 5678", "someone.long@example.com"):
            said = told("x" * place + " y " + datum + " and so on, for a long while")
            hidden = Cleaner().hide(said)
            assert not any(character.isdigit() or character == "@" for character in hidden), (said, hidden)
    assert told("short 12") == "'short 12'"


@pytest.mark.parametrize("raw", [rb'{"t":"\n13812345678"', "13812345678".encode("utf-16-le"), b"\xff13812345678\xff"])
def test_what_a_reader_could_not_use_shows_no_number(raw):
    written = Cleaner().masked_rejection(Rejection("1", "f", "bad_json", opening(raw)))
    assert "138" not in written.excerpt
    assert "[PHONE]" in written.excerpt


def test_the_end_of_a_key_that_is_long_never_stands_in_an_excerpt():
    lines = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n" * 30
    key = f"-----BEGIN PRIVATE KEY-----\n{lines}-----END PRIVATE KEY-----\n"
    cleaner = Cleaner(privacy=Privacy(("private_key",)))
    shown = cleaner.rejection(Document("1", key * 12, "f"), "duplicate", "").excerpt
    assert shown.startswith("[PRIVATE_KEY]")
    assert "MII" not in shown


def test_the_cause_shows_no_number():
    text = "短13812345678 是 我 的 电 话 号 码".encode().decode("latin-1")
    rejected = Cleaner().clean(Document("1", text, "f"))
    assert rejected.reason == "mojibake"
    assert "138" not in rejected.detail
    assert Cleaner().rejection(Document("1", "x", "f"), "duplicate", "kept: bob@x.com").detail == "kept: [EMAIL]"


def test_citations_go_with_or_without_a_line_and_are_counted():
    page = f"{FOX}[12] {FOX}\n{TEA}[3]"
    for text, expected in ((page, {"citations": 2}), (f"{page}\nmenu", {"citations": 2, "lines": 1})):
        cleaner = Cleaner(judge=Judge(["c4"]))
        assert cleaner.clean(Document("1", text, "f")).text == f"{FOX} {FOX}\n{TEA}"
        assert cleaner.left_out == expected


def test_a_subscript_is_no_citation():
    text = f"{FOX}\n{FOX} It sets x[0] and array[12].\n{TEA}"
    cleaner = Cleaner(judge=Judge(["c4"]))
    assert cleaner.clean(Document("1", text, "f")).text == text
    assert cleaner.left_out == {}


@settings(deadline=None)
@given(st.text(alphabet="<p>/b &amp;lt;a国\n`", max_size=40), st.sampled_from(["auto", "remove"]))
def test_cleaning_twice_is_cleaning_once(text, wanted):
    cleaner = Cleaner(Limits(min_characters=0, max_symbol_share=1.0), html=wanted)
    once = cleaner.clean(Document("1", text, "f"))
    if isinstance(once, Document):
        assert cleaner.clean(once) == once
