"""Numbers, addresses, names and keys that lead to a person or open a door: found, and hidden.

In: a string. Out: the places of what was found, and the string with a mark or a pseudonym in each. Called by `clean`.
FORMS is the table: numbers are recognised by form and check digit (`numbers`), secrets by form or name (`keys`), names
and postal addresses by what stands beside them (`persons`). Offsets are those of the text as given: every hidden place
maps back.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from danlu.corpus import keys, numbers, persons
from danlu.corpus.checks import is_public_address

Action = Literal["mask", "pseudonym", "drop", "keep"]
KindName = Literal[
    "identity_number",
    "credit_code",
    "card",
    "phone",
    "other_phone",
    "email",
    "ip_address",
    "api_key",
    "private_key",
    "address",
    "name",
]
USUAL: tuple[KindName, ...] = (
    "identity_number",
    "credit_code",
    "card",
    "phone",
    "email",
    "api_key",
    "private_key",
)
"""What is hidden unless the recipe says otherwise: what a served model must not give away, and texts hardly miss."""

MARKS: dict[KindName, str] = {
    "identity_number": "ID",
    "credit_code": "CREDIT_CODE",
    "card": "CARD",
    "phone": "PHONE",
    "other_phone": "PHONE",
    "email": "EMAIL",
    "ip_address": "IP",
    "api_key": "KEY",
    "private_key": "PRIVATE_KEY",
    "address": "ADDRESS",
    "name": "NAME",
}
"""What stands in brackets in place of each; no mark holds a quote or a backslash, so JSON stays JSON."""


@dataclass(frozen=True)
class Form:
    """One form of a kind; the group `it`, if there is one, is the datum. What cannot occur is seen at a glance: a text
    without a number of `digits` digits, or without one of the pieces, is not searched. `in_groups`: what was found may
    begin with another number, and, where it is of no fixed length (`may_shrink`), end in others. `unless` is what makes
    something else of it, right before it."""

    kind: KindName
    pattern: re.Pattern[str]
    is_genuine: Callable[[str], bool] = lambda datum: True
    digits: int = 0
    pieces: tuple[str, ...] = ()
    glance: Callable[[str], object] = len
    in_groups: bool = False
    may_shrink: bool = False
    unless: re.Pattern[str] | None = None

    def may_be_in(self, text: str, digits: int) -> bool:
        if digits < self.digits or (self.pieces and not any(piece in text for piece in self.pieces)):
            return False
        return bool(self.glance(text))

    def genuine(self, datum: str) -> int:
        """How many characters of what was found are the datum; 0 where it is none."""
        while datum and not self.is_genuine(datum):
            datum = numbers.without_last_group(datum) if self.may_shrink else ""
        return len(datum)

    def is_something_else(self, text: str, start: int) -> bool:
        return self.unless is not None and self.unless.search(text, max(start - BEFORE, 0), start) is not None


BEFORE = 24
"""Characters before a number among which the words stand that make something else of it."""
FORMS: tuple[Form, ...] = (
    Form("private_key", keys.PRIVATE_KEY, keys.is_key_body, pieces=("PRIVATE KEY",)),
    Form("api_key", keys.KNOWN_KEY, glance=keys.may_hold_a_known_key),
    Form("api_key", keys.NAMED_SECRET, keys.is_secret, glance=keys.may_name_a_secret),
    Form("api_key", keys.CHINESE_SECRET, keys.is_secret, pieces=keys.CHINESE),
    Form("api_key", keys.BEARER, keys.is_secret, pieces=("earer ", "Basic ")),
    Form("api_key", keys.IN_ADDRESS, keys.is_password, pieces=("://",)),
    Form(
        "email",
        re.compile(
            rf"(?:(?<![a-zA-Z0-9._%+-])(?!(?<=\\)[nrt])|{numbers.LINE_END})"
            r"(?!(?:git|hg|svn)@)[a-zA-Z0-9._%+-]{1,64}+@(?![0-9]++\.[0-9])(?![0-9.]{1,4}x\.)"
            rf"(?:[a-zA-Z0-9-]{{1,63}}+\.){{1,8}}(?!(?:{numbers.FILE_ENDS})(?![a-zA-Z0-9.-]))"
            r"[a-zA-Z]{2,24}+(?![a-zA-Z0-9]|-[a-zA-Z0-9])"
        ),
        pieces=("@",),
    ),
    Form("identity_number", numbers.IDENTITY_NUMBER, numbers.is_written_identity_number, digits=17, in_groups=True),
    Form(
        "card", numbers.CARD, numbers.is_written_card, digits=13, in_groups=True, may_shrink=True, unless=numbers.ORDER
    ),
    Form(
        "credit_code",
        numbers.CREDIT_CODE,
        numbers.is_written_credit_code,
        digits=6,  # of 18 signs, for the office may be letters: N2
        unless=numbers.ORDER,
    ),
    Form("phone", numbers.PHONE, numbers.is_written_mobile, digits=11, unless=numbers.ORDER),
    Form(
        "other_phone",
        numbers.INTERNATIONAL,
        numbers.is_written_phone,
        digits=7,
        pieces=("+", "852", "853", "00886"),
        in_groups=True,
        may_shrink=True,
    ),
    Form("other_phone", numbers.NATIONAL, digits=8, unless=numbers.ORDER),
    Form(
        "ip_address",
        numbers.IPV4,
        is_public_address,
        glance=re.compile(r"\.[0-9]{1,3}\.[0-9]").search,
        unless=numbers.VERSION,
    ),
    Form("ip_address", numbers.IPV6, is_public_address, glance=re.compile(r":[0-9a-fA-F]{0,4}:").search),
    Form("address", persons.CHINESE_ADDRESS, pieces=persons.HOUSE_PIECES),
    Form("address", persons.LABELLED_ADDRESS, pieces=persons.HOUSE_PIECES),
    Form("address", persons.ENGLISH_ADDRESS, pieces=persons.STREET_PIECES),
    Form("address", persons.LABELLED_ENGLISH_ADDRESS, pieces=persons.STREET_PIECES),
    Form("name", persons.LABELLED, pieces=persons.LABELS),
    Form("name", persons.TITLED, pieces=tuple(persons.TITLES)),
    Form("name", persons.MISTER, pieces=persons.ENGLISH_TITLES),
    Form("name", persons.NAMED, pieces=persons.ENGLISH_LABELS),
)
"""In the order of use: what an earlier form took is not looked at again, for an identity number contains a phone."""
FULL = "".join(chr(code) for code in range(0xFF01, 0xFF5F) if chr(code).isalnum()) + "＠＋－．＿／"
"""Full-width letters and digits, and the signs that stand within addresses and numbers."""
FULL_WIDTH = re.compile(f"[{FULL}]")
TO_HALF_WIDTH = {code: code - 0xFEE0 for code in map(ord, FULL)}
PSEUDONYM_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Found:
    """A private datum and its place: `text[start:end]`."""

    kind: KindName
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hidden:
    """A text without its private data; `places[i]` is where the replacement of `found[i]` stands in it."""

    text: str
    found: tuple[Found, ...]
    places: tuple[tuple[int, int], ...]

    def counts(self) -> Counter[str]:
        return Counter(one.kind for one in self.found)

    def with_originals(self, text: str) -> str:
        """The text that was given, put together again from the hidden one and the original's private pieces."""
        pieces, end = [], 0
        for one, (start, stop) in zip(self.found, self.places, strict=True):
            pieces += [self.text[end:start], text[one.start : one.end]]
            end = stop
        return "".join([*pieces, self.text[end:]])


class Privacy:
    """What a recipe wants hidden, and how; `key` makes pseudonyms that only its holder can compute again."""

    def __init__(self, kinds: tuple[KindName, ...] = USUAL, action: Action = "mask", key: bytes = b""):
        self.kinds, self.action, self.key = kinds, action, key
        self.forms = tuple(form for form in FORMS if form.kind in kinds and action != "keep")

    def find(self, text: str) -> tuple[Found, ...]:
        """Every private datum, by its place, none within another. Full-width digits are digits."""
        if not text.isascii() and FULL_WIDTH.search(text):
            text = text.translate(TO_HALF_WIDTH)  # one character for one, so places stay
        found: list[Found] = []
        digits = max(map(len, numbers.NUMBER.findall(text)), default=0)
        for form in self.forms:
            if form.may_be_in(text, digits):
                apart = list(_apart(_matches(form, text), found))
                found = sorted([*found, *apart], key=lambda one: one.start) if apart else found
        return tuple(found)

    def hide(self, text: str) -> Hidden:
        """The text with a mark or a pseudonym in place of each private datum."""
        found = self.find(text) if self.forms else ()
        if not found:
            return Hidden(text, (), ())
        pieces, places, end, length = [], [], 0, 0
        for one in found:
            replacement = self._replacement(one.kind, text[one.start : one.end])
            length += one.start - end
            pieces += [text[end : one.start], replacement]
            places.append((length, length + len(replacement)))
            length += len(replacement)
            end = one.end
        return Hidden("".join([*pieces, text[end:]]), found, tuple(places))

    def _replacement(self, kind: KindName, datum: str) -> str:
        """`[PHONE]`, or `[PHONE-4f1c09a2b7de]`: the same for the same number, however it is spaced."""
        if self.action != "pseudonym":
            return f"[{MARKS[kind]}]"
        plain = _plain(kind, datum.translate(TO_HALF_WIDTH))
        digest = hmac.new(self.key, f"{MARKS[kind]}:{plain}".encode("utf-8", "replace"), sha256).hexdigest()
        return f"[{MARKS[kind]}-{digest[:PSEUDONYM_CHARACTERS]}]"


def _matches(form: Form, text: str) -> Iterator[Found]:
    """What the form finds; behind a number that is none the search goes on within it, for it may begin too soon."""
    group = "it" if "it" in form.pattern.groupindex else 0
    match = form.pattern.search(text)
    while match:
        start, end = match.span(group)
        length = 0 if form.is_something_else(text, start) else form.genuine(match[group])
        if length:
            yield Found(form.kind, start, start + length)
            end = start + length
        match = form.pattern.search(text, end if length or not form.in_groups else match.start() + 1)


def _apart(matches: Iterable[Found], taken: Sequence[Found]) -> Iterator[Found]:
    """Those of the matches that overlap with nothing that is taken; both stand in the text's order."""
    place = 0
    for one in matches:
        while place < len(taken) and taken[place].end <= one.start:
            place += 1
        if place == len(taken) or one.end <= taken[place].start:
            yield one


def _plain(kind: KindName, datum: str) -> str:
    """One spelling for one datum: numbers without spacing, mainland ones without 86, the rest in lower case."""
    if kind in ("identity_number", "credit_code", "card", "phone", "other_phone"):
        datum = numbers.plain(datum)
        return re.sub(r"^(?:(?:\+|00)?86|0)(?=1)", "", datum) if kind == "phone" else datum
    return datum if kind in ("api_key", "private_key", "name") else datum.casefold()
