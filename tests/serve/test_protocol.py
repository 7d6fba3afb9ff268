"""The door: each limit at its boundary and beyond, each refusal with the parameter's name."""

from __future__ import annotations

import json

import pytest

from danlu.serve.protocol import MAX_DEPTH, ApiError, ChatRequest, CompletionRequest, read

HELLO = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(**changes) -> ChatRequest:
    return read(ChatRequest, json.dumps({"model": "m", "messages": HELLO, **changes}).encode())


def completion(**changes) -> CompletionRequest:
    return read(CompletionRequest, json.dumps({"model": "m", "prompt": "hi", **changes}).encode())


ALLOWED = [
    {"temperature": 0},
    {"temperature": 2},
    {"top_p": 0},
    {"top_p": 1},
    {"n": 16},
    {"max_tokens": 1},
    {"max_completion_tokens": 10_000_000},
    {"stop": "x"},
    {"stop": ["x"] * 16},
    {"seed": -(2**63)},
    {"seed": 2**63 - 1},
    {"presence_penalty": -2, "frequency_penalty": 2},
    {"logit_bias": {"5": -100}},
    {"logprobs": True, "top_logprobs": 20},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"response_format": {"type": "text"}},
    {"tools": [TOOL] * 128, "tool_choice": "none", "parallel_tool_calls": False},
    {"temperature": None, "stop": None, "tools": None, "logit_bias": None},
    {"user": "u", "metadata": {"a": "b"}, "store": True, "reasoning_effort": "low", "prediction": {}},
    {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1},
    {"tools": [{"type": "function", "function": {"name": "f", "description": None, "strict": None}}]},
    {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
]
REFUSED = [
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": 1.5}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 10_000_001}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": ""}, "stop.0"),
    ({"stop": ["x" * 257]}, "stop.0"),
    ({"seed": 2**63}, "seed"),
    ({"presence_penalty": 2.5}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"top_logprobs": 1}, "top_logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"tools": [TOOL] * 129}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"functions": []}, "functions"),
    ({"temprature": 1}, "temprature"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"repetition_penalty": 1e-7}, "repetition_penalty"),
    ({"model": "m" * 257}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": HELLO * 4097}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages.0.colour"),
    ({"messages": "hi"}, "messages"),
]


@pytest.mark.parametrize("changes", ALLOWED, ids=lambda changes: json.dumps(changes)[:40])
def test_what_is_allowed(changes):
    assert chat(**changes).model == "m"


@pytest.mark.parametrize(("changes", "param"), REFUSED, ids=lambda value: json.dumps(value)[:40])
def test_what_is_refused_names_its_parameter(changes, param):
    with pytest.raises(ApiError) as caught:
        chat(**changes)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert caught.value.body()["error"]["type"] == "invalid_request_error"


def test_a_misspelt_parameter_is_answered_with_the_right_one():
    with pytest.raises(ApiError, match="did you mean 'temperature'"):
        chat(temprature=1)


def test_a_missing_parameter_is_named():
    with pytest.raises(ApiError, match="Missing required parameter: 'messages'"):
        read(ChatRequest, b'{"model": "m"}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"model": NaN}',
        b"\xff\xfe",
        b'{"model": "\\ud800"}',
        b'{"a":' * 100_000,
        json.dumps({"model": "m", "messages": HELLO, "metadata": 1}).replace("1", "[" * 200 + "]" * 200).encode(),
    ],
)
def test_what_is_no_json_object_is_a_400(body):
    with pytest.raises(ApiError) as caught:
        read(ChatRequest, body)
    assert caught.value.status == 400


def test_nesting_is_bounded():
    deep = {"type": "object"}
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    with pytest.raises(ApiError, match="nested"):
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": deep}}])


def test_messages_become_records():
    asked = chat(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}]},
            {"role": "user", "content": "hi", "name": "mei"},
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "annotations": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "3", "tool_call_id": "c1"},
        ]
    )
    records = [message.record() for message in asked.messages]
    assert [(record.role, record.content) for record in records] == [
        ("system", "be kind"),
        ("user", "hi"),
        ("assistant", ""),
        ("tool", "3"),
    ]
    assert records[2].tool_calls[0].name == "f"


def test_tools_are_offered_as_they_were_written_unless_they_are_switched_off():
    assert chat(tools=[TOOL]).offered_tools == [TOOL]
    assert chat(tools=[TOOL], tool_choice="none").offered_tools == []


@pytest.mark.parametrize(
    ("prompt", "expected"), [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])]
)
def test_prompts_of_every_shape(prompt, expected):
    assert completion(prompt=prompt).prompt == expected


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"prompt": ["a"] * 20, "n": 16}, "n"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": 21}, "logprobs"),
        ({"suffix": "x"}, "suffix"),
    ],
)
def test_completions_refuse_by_name(changes, word):
    with pytest.raises(ApiError) as caught:
        completion(**changes)
    assert str(caught.value.param).split(".")[0] == word


def test_logit_bias_takes_existing_ids_only():
    assert chat(logit_bias={"7": 1}).biases(10) == ((7, 1.0),)
    for key in ("10", "-1", "x", "٣", "9" * 30):
        with pytest.raises(ApiError, match="logit_bias"):
            chat(logit_bias={key: 1}).biases(10)
