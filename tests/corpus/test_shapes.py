"""Every shape of record that the field uses becomes ours, and nothing else makes it fall over."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.records import Conversation, Document, Message, ToolCall
from danlu.corpus.dedup import exact_key
from danlu.corpus.shapes import Misshapen, to_record
from danlu.corpus.units import REASONS


def record(**fields):
    return to_record(fields, "file#1", "file")


def turns(**fields):
    return [(turn.role, turn.content) for turn in record(**fields).messages]


def test_text_is_a_document_with_made_id_and_source():
    assert record(text="hello") == Document("file#1", "hello", "file")


def test_a_documents_own_fields_are_honoured():
    made = record(text="你好", id="a-7", source="https://x.org", language="zh-CN", split="dev")
    assert made == Document("a-7", "你好", "file: https://x.org", "zh", "validation")


def test_a_numeric_id_is_told_apart_by_its_file():
    assert record(text="x", id=7).id == "file#1:7"


def test_another_field_may_hold_the_text():
    assert to_record({"body": "x"}, "f#1", "f", text_field="body").text == "x"


def test_a_task_is_a_name_and_no_description():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert record(messages=turns, task=" who ").task == "who"
    assert record(messages=turns, task="你要去一个餐馆(id=1)用餐。" * 9).task == ""
    assert record(messages=turns, task="book a table\nthen a room").task == ""


def test_openai_messages():
    made = record(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
            },
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "two", "weight": 0},
        ],
        tools=[{"type": "function", "function": {"name": "f"}}],
        task="call",
    )
    assert isinstance(made, Conversation)
    assert made.messages == (
        Message("system", "be brief"),
        Message("user", "ab"),
        Message("assistant", "", "hm", (ToolCall("f", '{"x":1}', "c1"),)),
        Message("tool", "2"),
        Message("assistant", "two", trainable=False),
    )
    assert made.task == "call"
    assert made.tools[0]["function"]["name"] == "f"


def test_sharegpt_conversations():
    made = record(
        conversations=[
            {"from": "human", "value": "weather?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"day": "today"}}'},
            {"from": "observation", "value": "rain"},
            {"from": "gpt", "value": "It rains."},
        ],
        system="You look things up.",
        tools='[{"name": "weather"}]',
    )
    assert [turn.role for turn in made.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert made.messages[2].tool_calls == (ToolCall("weather", '{"day":"today"}'),)
    assert made.tools == ({"name": "weather"},)


def test_alpaca():
    assert turns(instruction="Add", input="1 and 2", output="3", system="Maths", history=[["Hi", "Hello"]]) == [
        ("system", "Maths"),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Add\n1 and 2"),
        ("assistant", "3"),
    ]


def test_an_empty_input_adds_no_line():
    assert turns(instruction="Sing", input="", output="La")[0] == ("user", "Sing")


def test_instances_of_one_instruction_follow_one_another():
    assert turns(instruction="Add", instances=[{"input": "1 2", "output": "3"}, {"input": "", "output": "4"}]) == [
        ("user", "Add\n1 2"),
        ("assistant", "3"),
        ("user", "Add"),
        ("assistant", "4"),
    ]


def test_of_a_tree_the_best_replies_are_taken():
    def said(text, role, *replies, **marks):
        return {"text": text, "role": role, "replies": list(replies), **marks}

    worse = said("Go away", "assistant", rank=1)
    deleted = said("!", "assistant", rank=-1, deleted=True)
    first, second = said("Fine", "assistant"), said("Well", "assistant")
    better = said("Hello", "assistant", said("How are you?", "prompter", first, second), rank=0)
    assert turns(prompt=said("Hi", "prompter", worse, deleted, better)) == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "How are you?"),
        ("assistant", "Fine"),
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "unknown_shape"),
        ({"turns": ["Who?", "And why?"]}, "unknown_shape"),
        ({"instruction": "x", "instances": []}, "no_answer"),
        ({"instruction": "x", "instances": ["y"]}, "bad_field"),
        ({"prompt": {"text": "x", "role": "prompter", "replies": []}}, "no_answer"),
        ({"prompt": {"text": "x", "replies": []}}, "unknown_role"),
        ({"prompt": {"text": 5, "role": "prompter", "replies": []}}, "bad_field"),
        ({"title": "x"}, "unknown_shape"),
        ({"text": 5}, "bad_field"),
        ({"text": "x", "split": "holdout"}, "bad_field"),
        ({"text": "x", "language": 3}, "bad_field"),
        ({"messages": []}, "bad_field"),
        ({"messages": "[1"}, "bad_field"),
        ({"messages": [5]}, "bad_field"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no_answer"),
        ({"messages": [{"role": "assistant", "content": {"image": 1}}]}, "bad_field"),
        ({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}, "bad_field"),
        ({"messages": [{"role": "assistant", "tool_calls": "f"}]}, "bad_field"),
        ({"messages": [{"role": "assistant", "content": "x"}], "tools": 5}, "bad_field"),
        ({"messages": [{"role": "assistant", "content": "x"}], "tools": [{"n": 1 << 70}]}, "bad_field"),
        ({"messages": [{"role": "assistant", "content": "x"}], "tools": '[{"a": 1, "\\u0061": 2}]'}, "bad_field"),
        ({"messages": '[{"role": "assistant", "content": "x", "content": "y"}]'}, "bad_field"),
        ({"instruction": "x", "output": "y", "history": 5}, "bad_field"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "bad_field"),
    ],
)
def test_what_cannot_be_used_says_why(fields, reason):
    with pytest.raises(Misshapen) as caught:
        record(**fields)
    assert caught.value.reason == reason
    assert caught.value.detail


@pytest.mark.parametrize("depth", [*range(99, 103), *range(249, 257), 900])
def test_tools_of_any_depth_are_refused_or_can_be_written_wherever_records_are(depth):
    tool: dict = {"name": "f"}
    for _ in range(depth - 1):
        tool = {"a": tool}
    talk = {"messages": [{"role": "assistant", "content": "x"}], "tools": [tool]}
    if depth > 100:
        with pytest.raises(Misshapen, match="nested more than 100 deep"):
            record(**talk)
    else:
        made = record(**talk)
        assert orjson.loads(orjson.dumps([[made.to_dict()]]))[0][0]["tools"] == [tool]
        assert exact_key(made)


NAMES = ("text", "id", "split", "messages", "role", "content", "tools", "conversations", "from", "value", "tool_calls")
NAMES += ("instruction", "input", "output", "instances", "prompt", "replies", "rank")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["user", "gpt"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_no_value_makes_it_fall_over(value):
    try:
        reason = to_record(value, "f#1", "f") and "none"
    except Misshapen as error:
        reason = error.reason
    assert reason in ("none", *REASONS)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("zh-CN", "zh"),
        ("Chinese", "zh"),
        ("zh-Hant", "zh-Hant"),
        ("zh_TW", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"),
        ("zh-Hans", "zh-Hans"),
        ("en-GB", "en"),
        ("pt-BR", "pt-br"),
    ],
)
def test_a_script_of_chinese_that_is_told_stays(written, named):
    assert record(text="你好", id="a-7", language=written).language == named
