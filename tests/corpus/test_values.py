"""JSON lines: no key that stands twice passes, however it is spelled, and nothing else is mistaken for one."""

import pytest

from danlu.corpus.values import loads


@pytest.mark.parametrize(
    "line",
    [
        r'{"text": "one", "text": "two"}',
        r'{"\u6587": "one", "\u6587": "two"}',
        '{"文": "one", "\\u6587": "two"}',
        r'{"\u0074ext": "one", "text": "two"}',
        r'{"a\"b": "one", "a\u0022b": "two"}',
        r'{"a\\": "one", "a\\" : "two"}',
        '{"a"\t:1,"a"\r:2}',
        r'[{"x": {"\ud83d\ude00": 1, "😀": 2}}]',
    ],
)
def test_a_key_that_stands_twice_is_seen_however_it_is_spelled(line):
    with pytest.raises(ValueError, match="stands twice"):
        loads(line.encode())


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (r'{"text": "he said \"yes\": no"}', {"text": 'he said "yes": no'}),
        (r'{"text": "{\"text\": 1, \"text\" : 2}"}', {"text": '{"text": 1, "text" : 2}'}),
        (r'{"a": {"a": [{"a": 1}, {"a": 2}]}}', {"a": {"a": [{"a": 1}, {"a": 2}]}}),
        (r'{"\u0061": 1, "b": "\u0061"}', {"a": 1, "b": "a"}),
    ],
)
def test_quotes_and_colons_in_texts_and_keys_of_other_objects_are_no_second_key(line, value):
    assert loads(line.encode()) == value
