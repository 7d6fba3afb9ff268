"""JSON text whose values are changed and nothing else: keys, order, spacing and the spelling of all other values stay.

In: a text, and what becomes of a value. Out: the text with the values that it changed, still JSON; None for a text that
is none. Called by `clean` for the arguments of calls and for turns that are JSON. Never writes a value anew that was
not changed, because a number or an escape that is spelled otherwise is another text to learn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import zip_longest

from danlu.corpus.normalise import SURROGATE

TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+-]*|[{}\[\],:]', re.DOTALL)


def with_values(text: str, change: Callable[[str, str], str]) -> str | None:
    """The JSON text with every string and number as `change(value, key)` gives it, a changed number as a string.

    `key` is that of the object around the value, also around a list of such values, or empty. None where it is no JSON.
    """
    if not _is_json(text):
        return None
    kept, place = [], 0
    around: list[str] = []  # the key of each value that is open
    key = ""
    tokens = list(TOKEN.finditer(text))
    for token, following in zip_longest(tokens, tokens[1:]):
        sign = token[0]
        if sign in "{[":
            around.append(key)
        elif sign in "}]":
            key = around.pop()
        elif sign in ",:":
            continue
        elif following is not None and following[0] == ":":
            key = json.loads(sign)
        else:
            changed = _changed(sign, key, change)
            if changed != sign:
                kept += [text[place : token.start()], changed]
                place = token.end()
    return "".join([*kept, text[place:]])


def _changed(token: str, key: str, change: Callable[[str, str], str]) -> str:
    """The token of a string or a number after the change."""
    value = json.loads(token) if token[0] == '"' else token
    changed = change(value, key)
    if changed == value:
        return token
    return json.dumps(changed, ensure_ascii=token.isascii() or SURROGATE.search(changed) is not None)


def _is_json(text: str) -> bool:
    """Whether the text is one JSON value; numbers are not computed, for they may be of any length."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True
