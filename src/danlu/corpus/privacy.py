"""Numbers, addresses, names and keys that lead to a person or open a door: found, and hidden.

In: a string. Out: the places of what was found, and the string with a mark or a pseudonym in each. Called by `clean`.
FORMS is the table: numbers are recognised by form and check digit, names and postal addresses by what stands beside
them (`persons`). Offsets are those of the text as given: every hidden place maps back.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from danlu.corpus import persons
from danlu.corpus.checks import is_card, is_credit_code, is_identity_number, is_phone, is_public_address, looks_random

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
USUAL: tuple[KindName, ...] = ("identity_number", "phone", "email")
"""What is hidden unless the recipe says otherwise: hardly a text loses anything by it."""

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
    without a number of `digits` digits, or without one of the pieces, is not searched."""

    kind: KindName
    pattern: re.Pattern[str]
    is_genuine: Callable[[str], bool] = lambda plain: True
    digits: int = 0
    pieces: tuple[str, ...] = ()
    glance: Callable[[str], object] = len

    def may_be_in(self, text: str, digits: int) -> bool:
        if digits < self.digits or (self.pieces and not any(piece in text for piece in self.pieces)):
            return False
        return bool(self.glance(text))


NUMBER = re.compile(r"[0-9](?:[ ().-]{0,2}[0-9]){5,}")
KEY_STARTS = "AKI ASIA LTAI sk- glpat- xox AIza _ eyJ"
SECRET_NAMES = ("key", "token", "secret", "passw", "密码", "口令")


def _names_a_secret(text: str) -> bool:
    """Whether a secret's name may be in a text, in any case: `casefold` goes at least as far as `(?i:...)` does."""
    folded = text.casefold()
    return any(name in folded for name in SECRET_NAMES)


FORMS: tuple[Form, ...] = (
    Form(
        "private_key",
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----[^-]{0,10000}"
            r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----"
        ),
        pieces=("KEY-----",),
    ),
    Form(
        "api_key",
        re.compile(
            r"(?<![0-9A-Za-z_-])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|LTAI[0-9A-Za-z]{12,24}|AKID[0-9A-Za-z]{13,40}"
            r"|sk-[0-9A-Za-z_-]{20,200}|gh[opsur]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255}"
            r"|glpat-[0-9A-Za-z_-]{20,64}|xox[abprs]-[0-9A-Za-z-]{10,250}|AIza[0-9A-Za-z_-]{35}|hf_[0-9A-Za-z]{30,64}"
            r"|npm_[0-9A-Za-z]{36}|[rs]k_live_[0-9A-Za-z]{16,99}"
            r"|eyJ[0-9A-Za-z_-]{8,2000}\.eyJ[0-9A-Za-z_-]{8,4000}\.[0-9A-Za-z_-]{8,1000})(?![0-9A-Za-z_-])"
        ),
        pieces=tuple(KEY_STARTS.split()),
    ),
    Form(
        "api_key",
        re.compile(
            r"(?:(?i:\b(?:api|access|secret|auth)[_-]?(?:key|token)|\b(?:secret|password|passwd))|密码|口令)"
            r"[\"']?(?:是|为)?\s{0,3}[:=：]\s{0,3}[\"']?(?P<it>[!-&(-~]{8,200})(?<![,;.)\]\"}])"
        ),
        looks_random,
        glance=_names_a_secret,
    ),
    Form(
        "email",
        re.compile(
            r"(?<![a-zA-Z0-9._%+-])[a-zA-Z0-9._%+-]{1,64}@(?:[a-zA-Z0-9-]{1,63}\.){1,8}[a-zA-Z]{2,24}(?![a-zA-Z0-9-])"
        ),
        pieces=("@",),
    ),
    Form(
        "identity_number",
        re.compile(
            r"(?<![0-9a-zA-Z])[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
            r"(?![0-9a-zA-Z])"
        ),
        is_identity_number,
        digits=17,
    ),
    Form(
        "credit_code",
        re.compile(r"(?<![0-9a-zA-Z])[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}(?![0-9a-zA-Z])"),
        is_credit_code,
        digits=6,  # of 18 signs, for the office may be letters: N2
    ),
    Form(
        "card",
        re.compile(
            r"(?<![0-9a-zA-Z.+-])[234568](?:[0-9]{12,18}|[0-9]{3}(?:[ -][0-9]{4}){2,3}(?:[ -][0-9]{1,4})?)"
            r"(?![0-9a-zA-Z])"
        ),
        is_card,
        digits=13,
    ),
    Form(
        "phone",
        re.compile(
            r"(?<![0-9a-zA-Z.])(?:(?:\+|00)86[ -]?)?1[3-9][0-9](?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4})(?![0-9a-zA-Z])"
        ),
        digits=11,
    ),
    Form(
        "other_phone",  # Hong Kong and Macau; any with its country's code
        re.compile(
            r"(?<![0-9a-zA-Z.+])(?:(?:\+|00)?85[23][ -]?[2-9][0-9]{3}[ -]?[0-9]{4}"
            r"|(?:\+|00(?=886))[1-9][0-9]{0,2}(?:[ .-]?\([0-9]{1,4}\))?(?:[ .-]?[0-9]{2,12}){1,5})(?![0-9a-zA-Z])"
        ),
        is_phone,
        digits=7,
        pieces=("+", "852", "853", "00886"),
    ),
    Form(
        "other_phone",  # mainland, fixed; Taiwan, mobile and fixed; North America
        re.compile(
            r"(?<![0-9a-zA-Z.+])(?:"
            r"(?:\(0[1-9][0-9]{1,2}\) ?|0(?:10|2[0-9]|[3-9][0-9]{2})[ -])[2-8][0-9]{2,3}[ -]?[0-9]{4}"
            r"|09[0-9]{2}(?:[0-9]{6}|[ -][0-9]{3}[ -][0-9]{3})"
            r"|\(0[2-8]\) ?[0-9]{3,4}-[0-9]{4}"
            r"|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-.][0-9]{4}"
            r")(?![0-9a-zA-Z])"
        ),
        digits=8,
    ),
    Form(
        "ip_address",
        re.compile(r"(?<![0-9a-zA-Z.:-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9a-zA-Z:-]|\.[0-9])(?<=[0-9])"),
        is_public_address,
        glance=re.compile(r"\.[0-9]{1,3}\.[0-9]").search,
    ),
    Form(
        "ip_address",
        re.compile(r"(?<![0-9a-zA-Z.:-])[0-9a-fA-F]{1,4}(?:::?[0-9a-fA-F]{1,4}){2,7}(?:::)?(?![0-9a-zA-Z:-]|\.[0-9])"),
        is_public_address,
        glance=re.compile(r":[0-9a-fA-F]{0,4}:").search,
    ),
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
FULL_WIDTH = re.compile(r"[０-９＠＋－．：]")
TO_HALF_WIDTH = {code: code - 0xFEE0 for code in map(ord, "０１２３４５６７８９＠＋－．：（）")}
SPACING = str.maketrans("", "", " -.()")
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
        digits = max(map(len, NUMBER.findall(text)), default=0)
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
    group = "it" if "it" in form.pattern.groupindex else 0
    for match in form.pattern.finditer(text):
        datum = match[group]
        if form.is_genuine(_plain(form.kind, datum) if form.kind in ("card", "other_phone") else datum):
            yield Found(form.kind, *match.span(group))


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
    if kind in ("card", "phone", "other_phone"):
        datum = datum.translate(SPACING)
        return re.sub(r"^(?:\+|00)86(?=1)", "", datum) if kind == "phone" else datum
    return datum if kind in ("api_key", "private_key", "name") else datum.casefold()
