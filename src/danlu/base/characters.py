"""Sets of characters by their Unicode category, as they are written between the brackets of a pattern.

In: categories, such as `P` (punctuation) or `Mn` (marks without width). Out: ranges such as `!-#%-*`. Called where a
pattern of ours must know all marks or all signs, which `re` has no name for. Source: the Unicode data of this Python.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

LAST = 0x10000
"""Sets end here: beyond it `re` looks through the ranges one by one, twenty times as slowly."""
VARIANTS = "\ufe00-\ufe0f"
"""Selectors of how the character before them looks. Unicode calls them marks; to a reader they say nothing."""


@cache
def ranges(*categories: str) -> str:
    """All characters below LAST whose category begins with one of these, but for VARIANTS."""
    hidden = re.compile(f"[{VARIANTS}]")
    found: list[list[int]] = []
    for code in range(LAST):
        character = chr(code)
        if not unicodedata.category(character).startswith(categories) or hidden.match(character):
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return "".join(
        re.escape(chr(first)) + ("" if first == last else f"-{re.escape(chr(last))}") for first, last in found
    )
