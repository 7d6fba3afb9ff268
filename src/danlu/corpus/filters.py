"""Rules that say of a text why it should not be learned from.

In: a text and the limits from the recipe. Out: None to keep it, else the measured cause in words; the name of
the rule is the reason that `rejected.jsonl` and the report show. Called by `clean`. Pure functions, one table.
To add one: a function, a line in FILTERS, a line in `units.REASONS`; one text kept and one dropped in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from danlu.corpus.language import HAN

SIGN = re.compile(r"[^\w\s]|_")
PLAIN_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + bytes(range(0xE5, 0xEA))
"""In UTF-8 each is one letter, digit or Han character from U+5000 to U+9FFF, and never a part of another."""
MOJIBAKE_SAMPLE = 2000
MOST_FLAWS = 1 / 3
"""Some bytes are lost on the way; genuine text gives a flaw for nearly every character."""
CLASSICS = ("锟斤拷", "烫烫烫", "屯屯屯")
"""What a replacement character read as GBK gives, and what a debugger's fill bytes look like."""

TO_LATIN_1 = str.maketrans(
    {bytes([byte]).decode("cp1252"): chr(byte) for byte in range(0x80, 0xA0) if byte not in b"\x81\x8d\x8f\x90\x9d"}
)
"""Windows-1252 differs from Latin-1 in these; the five bytes that it lacks are read as Latin-1 everywhere."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the rules draw their lines; `settings.Filters` explains each, and holds the same defaults."""

    min_characters: int = 8
    max_line_characters: int = 150_000
    max_word_characters: int = 2_000
    max_symbol_share: float = 0.6
    max_repeated_line_share: float = 0.5
    max_broken_share: float = 0.002


def empty(text: str, limits: Limits) -> str | None:
    """Nothing but space."""
    return None if text.strip() else "no visible character"


def too_short(text: str, limits: Limits) -> str | None:
    """Fewer visible characters than a sentence has."""
    if len(text) >= 4 * limits.min_characters + 64:
        return None
    visible = sum(map(len, text.split()))
    return f"{visible} characters" if visible < limits.min_characters else None


def long_line(text: str, limits: Limits) -> str | None:
    """A line longer than an encyclopaedia's article: minified code, a table without line ends."""
    if len(text) <= limits.max_line_characters:
        return None
    longest = max(map(len, text.split("\n")))
    return f"a line of {longest:,} characters" if longest > limits.max_line_characters else None


def long_word(text: str, limits: Limits) -> str | None:
    """Encoded data: visible ASCII characters without a space among them."""
    if len(text) <= limits.max_word_characters:
        return None
    found = re.search(rf"[!-~]{{{limits.max_word_characters + 1},}}", text)
    return f"{len(found[0]):,} characters without a space" if found is not None else None


def many_symbols(text: str, limits: Limits) -> str | None:
    """Tables of signs, rulers, drawings: hardly any letters, characters or digits."""
    encoded = text.encode("utf-8", "replace")
    plain = len(encoded) - len(encoded.translate(None, PLAIN_BYTES))
    if plain >= (1 - limits.max_symbol_share) * len(text):
        return None  # a glance: ASCII letters and digits, and the first bytes of Han characters
    visible = sum(map(len, text.split()))
    share = len(SIGN.findall(text)) / visible if visible else 0.0
    return f"{share:.0%} are signs" if share > limits.max_symbol_share else None


def repeated_lines(text: str, limits: Limits) -> str | None:
    """Menus, footers, logs: most of the text stands in lines that were there before."""
    listed = [line for line in text.split("\n") if line.strip()]
    if len(listed) < 4:
        return None
    repeated = sum(map(len, listed)) - sum(map(len, set(listed)))
    share = repeated / sum(map(len, listed))
    return f"{share:.0%} stand in repeated lines" if share > limits.max_repeated_line_share else None


def broken_characters(text: str, limits: Limits) -> str | None:
    """Replacement characters: bytes that were no characters, here or wherever the text was before."""
    broken = text.count("\ufffd")
    return f"{broken} of {len(text):,} characters" if broken > limits.max_broken_share * len(text) else None


def mojibake(text: str, limits: Limits) -> str | None:
    """UTF-8 that was read as Latin-1, Windows-1252 or GBK, known by turning back into UTF-8 without a flaw."""
    if text.isascii():
        return None
    if text.count(CLASSICS[0]) > 1 or any(sign in text for sign in CLASSICS[1:]):
        return "signs of a text that was decoded wrongly"
    sample = text[:MOJIBAKE_SAMPLE]
    has_han = HAN.search(sample) is not None  # which no text has that was read as Windows-1252
    mended = None if has_han else _mended(sample.translate(TO_LATIN_1), "latin-1")
    if mended is not None:
        return f"UTF-8 read as Windows-1252: {_told(mended)}"
    mended = _mended(sample, "gb18030")
    return f"UTF-8 read as GB18030: {_told(mended)}" if mended is not None else None


def _told(mended: str) -> str:
    """What convinces a person; ASCII does not, and half of a number that is private could not be found and hidden."""
    return "".join(character for character in mended if not character.isascii())[:20]


def _mended(sample: str, encoding: str) -> str | None:
    """What the wrongly decoded text was, or None where it was not decoded wrongly with this encoding."""
    try:
        text = sample.replace("\ufffd", "").encode(encoding).decode("utf-8", "replace")
    except UnicodeEncodeError:
        return None
    flaws = text.count("\ufffd")
    genuine = _beyond_ascii(text) - flaws
    beyond = _beyond_ascii(sample)
    if encoding == "gb18030" and len(HAN.findall(text)) < genuine / 2:  # what is read as GBK was Chinese
        return None
    return text if genuine >= max(3, beyond // 4) and flaws <= MOST_FLAWS * genuine else None


def _beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


FILTERS: dict[str, Callable[[str, Limits], str | None]] = {
    "mojibake": mojibake,
    "empty": empty,
    "broken_characters": broken_characters,
    "too_short": too_short,
    "long_line": long_line,
    "long_word": long_word,
    "many_symbols": many_symbols,
    "repeated_lines": repeated_lines,
}
RAW_FILTERS = ("mojibake",)
"""These look at the text as it was read: normalising drops control characters, the traces of a wrong decoding."""
DOCUMENT_FILTERS = tuple(name for name in FILTERS if name not in RAW_FILTERS)
CONVERSATION_FILTERS = ("empty", "broken_characters", "long_line", "long_word")
"""An answer may be one word, a sum is mostly signs, and turns repeat: the other rules are for documents."""


def reason_against(text: str, limits: Limits, names: tuple[str, ...]) -> tuple[str, str] | None:
    """`(name of the rule, measured cause)` of the first rule that speaks against the text, or None."""
    for name in names:
        detail = FILTERS[name](text, limits)
        if detail is not None:
            return name, detail
    return None
