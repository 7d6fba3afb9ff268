"""No text makes the search for private data slow: counted in characters and in ways, not in seconds."""

import re
from collections.abc import Iterable
from dataclasses import replace
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from danlu.corpus.privacy import FORMS, Form, Privacy, _matches

MOST_WAYS = 30_000
"""In which a pattern may take a text from one place, counted as if every part had all its choices. They are few in
truth, for most of them cannot follow one another; what matters is that the number does not depend on the text."""
MOST_READ = 12
"""Times that a character of a long text is within what a search has found or has refused."""
NUMBERS_AND_KEYS = [form for form in FORMS if form.kind not in ("address", "name")]
STARTS = (
    *("1", "4111 ", "+1 ", "138 ", "110105 ", "9", "8.", "2001:", "eyJaaaaaaaa.", "sk-", "sk-a1", "ghp_", "xoxb-"),
    *("password=", "token: ", "api_key", "密码", "密码是", "Bearer ", "://a:", "://", "a@", "a@b.", "@", "-", "－"),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nA",
        "-----END PRIVATE KEY-----",
        'key="',
        "(0",
        "86",
    ),
)
LINE = 100_000


def ways(nodes: Iterable[tuple[Any, Any]]) -> float:
    """In how many ways a parsed pattern may take a text from one place; without end where a repeat has none and may
    give back. What is possessive, atomic or only looks ahead or behind has one way when it is left."""
    product = 1.0
    for kind, argument in nodes:
        product *= _ways_of(kind, argument)
    return product


def _ways_of(kind: Any, argument: Any) -> float:
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, most, inner = argument
        each = ways(inner)
        return float("inf") if most is op.MAXREPEAT else sum(each**count for count in range(least, most + 1))
    if kind is op.BRANCH:
        return sum(map(ways, argument[1]))
    if kind is op.SUBPATTERN:
        return ways(argument[3])
    if kind is op.GROUPREF_EXISTS:
        return sum(ways(part) for part in argument[1:] if part)
    return 1.0


@pytest.mark.parametrize("form", NUMBERS_AND_KEYS, ids=lambda form: form.kind)
def test_a_pattern_has_few_ways_whatever_the_text(form):
    assert ways(parser.parse(form.pattern.pattern, form.pattern.flags)) <= MOST_WAYS


def test_a_pattern_that_gives_back_without_end_would_be_noticed():
    assert ways(parser.parse("(?:a+b?)*c")) == float("inf")
    assert ways(parser.parse("a{1,64}@")) == 64
    assert ways(parser.parse("(?:a{1,3}b?){2}")) == 36
    assert ways(parser.parse("(?:a++b)*+c")) == 1


class Counting:
    """A pattern that adds up how many characters lie within what its searches find."""

    def __init__(self, pattern: re.Pattern[str]):
        self.pattern, self.groupindex, self.read = pattern, pattern.groupindex, 0

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        match = self.pattern.search(text, start)
        self.read += 1 + (match.end() - match.start() if match else 0)
        return match


@pytest.mark.parametrize("form", NUMBERS_AND_KEYS, ids=lambda form: form.kind)
@pytest.mark.parametrize("filling", STARTS)
def test_a_line_of_what_nearly_matches_is_read_a_few_times_only(form: Form, filling: str):
    for start in ("", "password=", "-----BEGIN PRIVATE KEY-----")[: 3 if form.kind.endswith("key") else 1]:
        text = (start + filling * (LINE // len(filling)))[:LINE] + start
        counting = Counting(form.pattern)
        list(_matches(replace(form, pattern=counting), text))  # type: ignore[arg-type]
        assert counting.read <= MOST_READ * len(text) + 10


def test_a_text_of_private_data_only_is_hidden_to_the_end():
    """Each finding is set among the earlier ones once, not once for every other."""
    text = "13812345678 a@b.cn " * 2_000
    assert Privacy().hide(text).text == "[PHONE] [EMAIL] " * 2_000
