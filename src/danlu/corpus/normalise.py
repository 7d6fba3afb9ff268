"""Text as it should have been written: one form for one content, nothing that a reader cannot see.

In: a string, also one with lone surrogates. Out: a string that is valid UTF-8. Called by `clean`. Every step is a pure
function and stands in STEPS in the order of its use; none drops visible characters, except HTML where a text is full of
it. Full and half width, ligatures and both scripts of Chinese stay as written, unless `normaliser` is asked for one
form. Sources: Unicode Standard Annex 15 (forms), HTML Living Standard (elements), OpenCC (Chinese).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Literal

from danlu.base.errors import require

Form = Literal["nfc", "nfkc"]
Width = Literal["keep", "letters", "half"]
Script = Literal["keep", "simplified", "traditional"]

MARKUP_SHARE = 0.01
"""From this share of its characters on, tags are remains of a page; below it, a text speaks about tags."""
ELEMENTS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|button|caption|center|cite|code|dd|del|div|dl|dt|em|figcaption|figure|"
    "font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|meta|nav|ol|option|p|pre|q|s|"
    "section|select|small|span|strike|strong|sub|sup|table|tbody|td|textarea|tfoot|th|thead|title|tr|u|ul"
)
TAG = re.compile(rf"</?(?:{ELEMENTS})(?:\s[^<>]{{0,2000}})?/?>", re.IGNORECASE)
LINE_TAG = re.compile(
    r"<(?:br|hr)\s{0,8}/?>|</(?:article|aside|blockquote|div|dd|dt|figure|h[1-6]|li|p|section|table|tr|title)>",
    re.IGNORECASE,
)
UNSEEN = (
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<script\b[^<>]{0,2000}>", re.IGNORECASE), re.compile(r"</script\s{0,8}>", re.IGNORECASE)),
    (re.compile(r"<style\b[^<>]{0,2000}>", re.IGNORECASE), re.compile(r"</style\s{0,8}>", re.IGNORECASE)),
    (re.compile(r"<!doctype\b", re.IGNORECASE), re.compile(r">")),
)
"""Beginning and end of what a page holds and does not show. One pattern from end to end would take quadratic time."""
ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
CONTROL = re.compile(r"[\0-\x08\x0e-\x1f\x7f-\x9f]")
ZERO_WIDTH = re.compile(r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
JOINERS = re.compile(r"[\u200c\u200d]+")
JOINS_NOTHING = re.compile(r"[\0-\x7f\u3000-\u9fff\uff00-\uffef]")
ODD_SPACE = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
SUSPECT = re.compile(
    r"[<&\r\v\f\0-\x08\x0e-\x1f\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]"
    r"|[ \t\u3000]\n|\n\n\n|\A\n|\s\Z"
)
"""What any of the steps below can act upon, but for the composed form."""
SUSPECT_ASCII = b"<&\x7f" + bytes(byte for byte in range(0x20) if byte not in b"\t\n")
SUSPECT_SPACING = (" \n", "\t\n", "\n\n\n")
"""The same, of ASCII."""
SURROGATE = re.compile(r"[\ud800-\udfff]")


def surrogates(text: str) -> str:
    """Halves of characters, which no UTF-8 can hold, become U+FFFD; `broken_characters` judges their share."""
    return SURROGATE.sub("\ufffd", text)


def markup(text: str) -> str:
    """Entities become characters; tags, comments, scripts and styles go where a text is full of them."""
    if "<" in text and _markup_share(text) >= MARKUP_SHARE:
        for opening, closing in UNSEEN:
            text = _without(text, opening, closing)
        text = TAG.sub("", LINE_TAG.sub("\n", text))
    return ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def _markup_share(text: str) -> float:
    return sum(len(match[0]) for match in TAG.finditer(text)) / len(text)


def _without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The text without every piece from an opening to the next closing; one that is never closed stays."""
    kept, place = [], 0
    while (begin := opening.search(text, place)) and (end := closing.search(text, begin.end())):
        kept.append(text[place : begin.start()])
        place = end.end()
    return "".join([*kept, text[place:]])


def line_ends(text: str) -> str:
    r"""Every kind of line end, the Unicode ones too, becomes \n."""
    return LINE_END.sub("\n", text)


def controls(text: str) -> str:
    """Control characters go, but for the tab and the line end."""
    return CONTROL.sub("", text)


def zero_width(text: str) -> str:
    """Invisible marks go; joiners stay where scripts and emoji need them, not beside ASCII, Han and kana."""
    if text.isascii():
        return text
    return JOINERS.sub(_joiner, ZERO_WIDTH.sub("", text))


def _joiner(found: re.Match[str]) -> str:
    """Nothing where ASCII, Han or kana stand on either side; a pattern that looked ahead would take quadratic time."""
    text, begin, end = found.string, found.start(), found.end()
    beside = text[max(begin - 1, 0) : begin] + text[end : end + 1]
    return "" if JOINS_NOTHING.search(beside) else found[0]


def spaces(text: str) -> str:
    """The many widths of space become the plain one; the ideographic space is kept, for it indents paragraphs."""
    return ODD_SPACE.sub(" ", text)


def composed(text: str) -> str:
    """Unicode form NFC: a letter and its accent are one character where there is one."""
    return unicodedata.normalize("NFC", text)


def whitespace(text: str) -> str:
    """Line ends lose the spaces before them; at most one blank line stays; both ends are bare."""
    text = "\n".join(line.rstrip(" \t\u3000") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n").rstrip()


STEPS: tuple[Callable[[str], str], ...] = (
    surrogates,
    markup,
    line_ends,
    controls,
    spaces,
    zero_width,
    composed,
    whitespace,
)


def _may_need_work(text: str) -> bool:
    """True where a step can act. Of ASCII the same is asked in ways that are ten times as fast as a pattern."""
    if not text.isascii():
        return SUSPECT.search(text) is not None or not unicodedata.is_normalized("NFC", text)
    encoded = text.encode()
    if len(encoded.translate(None, SUSPECT_ASCII)) < len(encoded) or any(piece in text for piece in SUSPECT_SPACING):
        return True
    return text.startswith("\n") or text[-1:].isspace()


def normalise(text: str) -> str:
    """All steps, one after the other; most texts are seen at a glance to need none."""
    if not _may_need_work(text):
        return text
    for step in STEPS:
        text = step(text)
    return text


FULL_WIDTH = re.compile(r"[\uff01-\uff5e\uff61-\uff9f\u3000]")
KATAKANA = re.compile(r"[\uff61-\uff9f]+")
LETTERS_TO_HALF = {
    code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
}
ALL_TO_HALF = {0x3000: " ", **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}}
CONVERSIONS: dict[Script, str] = {"simplified": "t2s", "traditional": "s2t"}
"""Names of OpenCC's tables: https://github.com/BYVoid/OpenCC"""


def normaliser(form: Form = "nfc", width: Width = "keep", script: Script = "keep") -> Callable[[str], str]:
    """A function for all steps with these options, each of which comes after them."""
    steps: list[Callable[[str], str]] = [normalise]
    if script in CONVERSIONS:
        steps.append(_converter(script))
    if form == "nfkc":
        steps += [compatible, whitespace]
    if width != "keep":
        steps.append(lambda text: one_width(text, ALL_TO_HALF if width == "half" else LETTERS_TO_HALF))
    return normalise if len(steps) == 1 else lambda text: _in_turn(text, steps)


def _in_turn(text: str, steps: list[Callable[[str], str]]) -> str:
    for step in steps:
        text = step(text)
    return text


def compatible(text: str) -> str:
    """Unicode form NFKC: ligatures, circled numbers, full-width letters and their like become plain characters."""
    return unicodedata.normalize("NFKC", text)


def one_width(text: str, table: dict[int, Any]) -> str:
    """Full-width letters and digits, or all of ASCII, in the width of Latin; katakana of half width in that of kana."""
    if text.isascii() or not FULL_WIDTH.search(text):
        return text
    return KATAKANA.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text.translate(table))


def converter() -> str:
    """What turns one script of Chinese into the other here: `opencc 1.1.9`."""
    return f"opencc {require('opencc', 'chinese').__version__}"


def _converter(script: Script) -> Callable[[str], str]:
    """OpenCC's conversion, phrase by phrase; text without Chinese is passed by."""
    convert = require("opencc", "chinese").OpenCC(CONVERSIONS[script]).convert
    return lambda text: text if text.isascii() else convert(text)
