"""The chat template: ids, mask, text, tools, parsing back; refusals. Equality with Jinja is proof T2."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import DataError, UserError
from danlu.base.records import Conversation, Message, ToolCall
from danlu.tokenizer.chat import JINJA, ChatTemplate, body, parse
from danlu.tokenizer.tokenizer import Tokenizer
from tests.small import random_conversations, small_tokenizer
from tests.tokenizer.golden_conversations import TOOLS


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate(small_tokenizer())


def test_a_conversation_by_hand(template):
    encode = template.tokenizer.encode
    messages = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello 你好")]
    rendered = template.render(messages)
    answer = encode("Hello 你好")
    assert rendered.ids == [1, 3, *encode("Be kind."), 7, 4, *encode("Hi"), 7, 5, *answer, 7]
    assert rendered.mask == [False] * (len(rendered.ids) - len(answer) - 1) + [True] * (len(answer) + 1)
    text = "<|bos|><|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello 你好<|end|>"
    assert template.text(messages, generation_prompt=False) == text
    assert template.text(messages, generation_prompt=True) == text + "<|assistant|>"
    assert template.prompt(messages) == [*rendered.ids, 5]
    assert template.tokenizer.decode(rendered.ids, keep_special=True) == text


def test_an_untrainable_answer_is_read_and_not_learnt(template):
    messages = [Message("user", "a"), Message("assistant", "wrong", trainable=False), Message("assistant", "right")]
    rendered = template.render(messages)
    learnt = [id for id, is_learnt in zip(rendered.ids, rendered.mask, strict=True) if is_learnt]
    assert template.tokenizer.decode(learnt, keep_special=True) == "right<|end|>"


def test_tools_stand_in_the_system_turn(template):
    tools = '# Tools\n[{"name": "f", "说明": "<b>"}]'
    offered = [{"name": "f", "说明": "<b>"}]
    question = Message("user", "hi")
    rest = "<|user|>hi<|end|>"
    for messages, start in (
        ([question], f"<|system|>{tools}<|end|>{rest}"),
        ([Message("system", "Be kind."), question], f"<|system|>Be kind.\n\n{tools}<|end|>{rest}"),
        ([Message("system", ""), question], f"<|system|>{tools}<|end|>{rest}"),
        ([], f"<|system|>{tools}<|end|>"),
    ):
        assert template.text(messages, offered, generation_prompt=False) == "<|bos|>" + start
        assert not any(template.render(messages, offered).mask)


def test_reasoning_and_calls_as_text():
    calls = (ToolCall("f", '{"a": 1}', id="call-1"), ToolCall("g", "{}"))
    assert body(Message("assistant", "Well.", "hm", calls)) == (
        '<think>\nhm\n</think>\n\nWell.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )
    assert body(Message("assistant", "", "", calls[1:])) == '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'


plain = st.text(alphabet="ab 你好\n{}\"'<|>/", max_size=20).filter(lambda text: "<t" not in text)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | plain, lambda inner: st.lists(inner, max_size=3))
arguments = st.dictionaries(plain, json_values, max_size=3)
calls = st.lists(st.builds(lambda name, value: (name, value), plain.filter(bool), arguments), max_size=3)


@given(content=plain, reasoning=plain, calls=calls, indent=st.sampled_from([None, 2]))
@settings(max_examples=120, deadline=None)
def test_parse_is_the_inverse_of_body(content, reasoning, calls, indent):
    made = tuple(ToolCall(name, json.dumps(value, ensure_ascii=False, indent=indent)) for name, value in calls)
    message = Message("assistant", content, reasoning, made)
    assert parse(body(message)) == message


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nnot json\n</tool_call>",
        "<tool_call>\n[1]\n</tool_call>",
        '<tool_call>\n{"name": 3, "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "f"}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {}}',
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\nand then?',
        "<think>\nstill thinking",
        "see <tool_call>\n",
    ],
)
def test_what_is_not_well_formed_stays_in_the_content(text):
    assert parse(text) == Message("assistant", text)


def test_calls_written_otherwise_are_understood():
    text = '<tool_call>\n{"arguments": {"a": [1, 2]}, "name": "f"}\n</tool_call>\n\n'
    text += '  <tool_call>\n{"name":"g","arguments":{}}\n</tool_call>\n'
    assert parse(text).tool_calls == (ToolCall("f", '{"a": [1, 2]}'), ToolCall("g", "{}"))


def test_batch_equals_single(template):
    conversations = [*random_conversations(50), Conversation("tools", (Message("user", "x"),), "test", tools=TOOLS)]
    single = [template.render(conversation.messages, conversation.tools) for conversation in conversations]
    assert template.render_batch(conversations) == single


def test_an_unknown_role_is_named(template):
    with pytest.raises(DataError, match=r"'asistant' \(did you mean 'assistant'\?\)"):
        template.render([Message("asistant", "hi")])


def test_a_tokenizer_without_our_control_tokens_is_refused():
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models

    backend = Backend(models.BPE({"a": 0}, []))
    backend.decoder = decoders.ByteLevel()
    with pytest.raises(UserError, match=r"no <\|pad\|>"):
        ChatTemplate(Tokenizer(backend, {}))


def test_a_tokenizer_with_another_template_is_refused():
    tokenizer = small_tokenizer()
    ChatTemplate(Tokenizer(tokenizer.backend, {**tokenizer.settings, "chat_template": JINJA}))
    with pytest.raises(UserError, match="not the one of this danlu"):
        ChatTemplate(Tokenizer(tokenizer.backend, {**tokenizer.settings, "chat_template": JINJA + " "}))
