"""Values of JSON texts change, and nothing else of them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.corpus.json_text import with_values

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def hidden(value, key):
    return value.replace("123", "[X]")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('{"phone": 123}', '{"phone": "[X]"}'),
        ('{ "a":\t1.50, "b" : [ "x123y", 5E3 ], "123": null }', '{ "a":\t1.50, "b" : [ "x[X]y", 5E3 ], "123": null }'),
        (r'{"t":"\n123","u":"\u00e9 \/"}', r'{"t":"\n[X]","u":"\u00e9 \/"}'),
        ('{"t":"é123"}', '{"t":"é[X]"}'),
        (r'{"t":"é\ud800 123"}', r'{"t":"\u00e9\ud800 [X]"}'),
        (r'"a \" 123"', r'"a \" [X]"'),
        ('{"a":"123","a":true}', '{"a":"[X]","a":true}'),
        ("[]", "[]"),
    ],
)
def test_changed_values_are_written_anew_and_all_else_stays(text, changed):
    assert with_values(text, hidden) == changed
    json.loads(changed)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "123 456", '{"a": 1} x', "[" * 100_000, '{"a":"\n"}'])
def test_what_is_no_json_is_not_touched(text):
    assert with_values(text, hidden) is None


def test_a_value_comes_with_its_key():
    seen = []
    with_values(
        '{"a": 1, "b": ["x", {"c": "y"}, "z"], "d": {"e": []}, "f": "w"}', lambda v, k: seen.append((k, v)) or v
    )
    assert seen == [("a", "1"), ("b", "x"), ("c", "y"), ("b", "z"), ("f", "w")]


@settings(deadline=None)
@given(ANY, st.booleans(), st.sampled_from([None, 1]))
def test_nothing_changes_where_nothing_is_to_change(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert with_values(text, lambda one, key: one) == text
    doubled = with_values(text, lambda one, key: one + "!")
    assert doubled is not None
    json.loads(doubled)
