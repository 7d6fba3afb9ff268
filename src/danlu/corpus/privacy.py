"""Numbers and addresses that lead to a person, replaced by what they are.

In: a string. Out: the string with marks in their places, and how many of each kind. Called by `clean`. Covers mainland
identity numbers (with their check digit), mainland mobile phones and e-mail addresses; names and postal addresses are
not found. Source of the check digit: GB 11643-1999, ISO 7064 MOD 11-2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECK_DIGITS = "10X98765432"


def is_identity_number(digits: str) -> bool:
    """True where the last of 18 characters is the check digit of the first 17."""
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, digits, strict=False))
    return ID_CHECK_DIGITS[total % 11] == digits[-1].upper()


@dataclass(frozen=True)
class Kind:
    """One kind of private datum. `hint` is a character without which it cannot occur, for speed."""

    mark: str
    pattern: re.Pattern[str]
    hint: str
    is_genuine: Callable[[str], bool] = lambda found: True


ELEVEN_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){10}")
KINDS: dict[str, Kind] = {
    "identity_number": Kind(
        "[ID]",
        re.compile(
            r"(?<![0-9a-zA-Z])[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
            r"(?![0-9a-zA-Z])"
        ),
        "1",
        is_identity_number,
    ),
    "phone": Kind(
        "[PHONE]",
        re.compile(
            r"(?<![0-9a-zA-Z.])(?:(?:\+|00)86[ -]?)?1[3-9][0-9](?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4})(?![0-9a-zA-Z])"
        ),
        "1",
    ),
    "email": Kind(
        "[EMAIL]",
        re.compile(
            r"(?<![a-zA-Z0-9._%+-])[a-zA-Z0-9._%+-]{1,64}@(?:[a-zA-Z0-9-]{1,63}\.){1,8}[a-zA-Z]{2,24}(?![a-zA-Z0-9-])"
        ),
        "@",
    ),
}
"""In the order of use: an identity number contains what looks like a phone."""


def may_hold_private(text: str) -> bool:
    """False where a glance shows that `mask` has nothing to do."""
    return "@" in text or ELEVEN_DIGITS.search(text) is not None


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with `[ID]`, `[PHONE]`, `[EMAIL]` in place of each, and the count by kind."""
    counts: Counter[str] = Counter()
    for name, kind in KINDS.items():
        if kind.hint in text:
            found = sum(kind.is_genuine(match[0]) for match in kind.pattern.finditer(text))
            if found:
                text = kind.pattern.sub(partial(_replaced, kind), text)
                counts[name] = found
    return text, counts


def _replaced(kind: Kind, found: re.Match[str]) -> str:
    return kind.mark if kind.is_genuine(found[0]) else found[0]
