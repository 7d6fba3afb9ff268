"""The text router: where pieces are cut makes no difference, stop strings never leak, nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from danlu.base.records import Message, ToolCall
from danlu.serve.stream import Assembled, Router, StopStrings, held_back
from danlu.tokenizer.chat import THINK, THINK_END, body, parse

FRAGMENTS = [
    "<think>\n",
    "\n</think>\n\n",
    "<tool_call>\n",
    "\n</tool_call>",
    "\n",
    "<",
    "a",
    "你",
    "🙂",
    " ",
    "}",
    "{",
]
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
texts = st.lists(st.sampled_from([*FRAGMENTS, CALL]), max_size=12).map("".join)


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


def stopped(stop: list[str], pieces: list[str]) -> tuple[str, str | None]:
    filter = StopStrings(stop)
    return "".join(map(filter.push, pieces)) + filter.finish(), filter.hit


def routed(pieces: list[str], *, tools: bool) -> Message:
    router, whole = Router(tools=tools), Assembled()
    for piece in pieces:
        whole.add(router.push(piece))
    return whole.add(router.finish()).message()


@pytest.mark.parametrize(
    ("text", "expected"), [("abc<", 1), ("abc<ta", 3), ("<tag", 4), ("<tags", 0), ("", 0), ("<<", 1)]
)
def test_held_back(text, expected):
    assert held_back(text, ["<tag>", "<tags!"][:1]) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.text("ab你🙂", max_size=30),
    st.lists(st.text("ab你🙂", min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(0, 5), max_size=12),
)
@example("abcd", ["abcd", "bc"], [])
def test_stop_strings_cut_the_same_wherever_the_pieces_are_cut(text, stop, sizes):
    one_by_one = stopped(stop, list(text))
    assert stopped(stop, cut(text, sizes)) == one_by_one
    shown, hit = one_by_one
    assert text.startswith(shown)
    assert not any(word in shown for word in stop)
    assert (hit is None and shown == text) or text.startswith(shown + str(hit))


@settings(max_examples=300, deadline=None)
@given(texts, st.lists(st.integers(0, 9), max_size=12), st.booleans())
def test_the_router_gives_the_same_wherever_the_pieces_are_cut(text, sizes, tools):
    assert routed(cut(text, sizes), tools=tools) == routed([text], tools=tools) == routed(list(text), tools=tools)


@settings(max_examples=300, deadline=None)
@given(texts)
@example(CALL)
@example("sure\n" + CALL + "\n" + CALL)
@example(THINK + "so" + THINK_END + CALL)
@example(THINK + "so" + THINK_END + "\n" + CALL)
def test_the_router_agrees_with_the_template(text):
    breaks_off = text.startswith(THINK) and THINK_END not in text
    if not breaks_off:
        assert routed(list(text), tools=True) == parse(text)


def test_every_reply_that_the_template_writes_comes_back():
    calls = (ToolCall("f", '{"a": 1}'), ToolCall("g", "{}"))
    for content in ("", "你好", "two\nlines"):
        for reasoning in ("", "因为"):
            for some in ((), calls[:1], calls):
                message = Message("assistant", content, reasoning, some)
                assert routed(list(body(message)), tools=True) == message


def test_without_tools_a_call_is_text():
    assert routed([CALL], tools=False) == Message("assistant", CALL)


def test_reasoning_that_breaks_off_stays_reasoning():
    assert routed([THINK, "half a tho"], tools=False) == Message("assistant", "", "half a tho")


def test_malformed_calls_are_shown_rather_than_lost():
    broken = "ok\n<tool_call>\n{not json}\n</tool_call>"
    assert routed(list(broken), tools=True).content == broken
