"""Text as it should have been written: one form for one content, nothing that a reader cannot see.

In: a string, also one with lone surrogates. Out: a string that is valid UTF-8. Called by `clean`. Every step is a pure
function and stands in STEPS in the order of its use; none drops visible characters. Full and half width, ligatures and
both scripts of Chinese stay as written, unless `normaliser` is asked for one form. HTML is `markup`'s. Sources: Unicode
Standard Annex 15 (forms), chapters 23.7 (noncharacters) and 23.9 (tags) of the Unicode Standard, OpenCC (Chinese).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Literal

from danlu.base.errors import require

Form = Literal["nfc", "nfkc"]
Width = Literal["keep", "letters", "half"]
Script = Literal["keep", "simplified", "traditional"]

LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
CONTROL = re.compile(r"[\0-\x08\x0e-\x1f\x7f-\x9f]")
NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr((plane << 16) + 0xFFFE)}-{chr((plane << 16) + 0xFFFF)}" for plane in range(17)
)
TAGS = "\U000e0000-\U000e007f"
UNSEEN = re.compile(
    r"(?P<flag>\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)"
    rf"|[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb{NONCHARACTERS}{TAGS}]"
)
"""Marks of direction and of line breaks, noncharacters, and tags, which spell a flag such as Scotland's or nothing."""
JOINERS = re.compile(r"[\u034f\u200c\u200d]+")
"""U+034F joins too: it keeps the order of marks, in Hebrew for one."""
JOINS_NOTHING = re.compile(r"[\0-\x7f\u3000-\u9fff\uff00-\uffef]")
ODD_SPACE = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
SUSPECT = re.compile(
    r"[\r\v\f\0-\x08\x0e-\x1f\x7f-\xa0\xad\u034f\u061c\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\ud800-\udfff\ufeff"
    r"\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\U0001fffe-\U0010ffff]"
    r"|[ \t\u3000]\n|\n\n\n|\A\n|\s\Z"
)
"""What any of the steps below can act upon, but for the composed form. Far beyond U+FFFF it holds more, for speed."""
SUSPECT_ASCII = b"\x7f" + bytes(byte for byte in range(0x20) if byte not in b"\t\n")
SUSPECT_SPACING = (" \n", "\t\n", "\n\n\n")
"""The same, of ASCII."""
SURROGATE = re.compile(r"[\ud800-\udfff]")


def surrogates(text: str) -> str:
    """Halves of characters, which no UTF-8 can hold, become U+FFFD; `broken_characters` judges their share."""
    return SURROGATE.sub("\ufffd", text)


def line_ends(text: str) -> str:
    r"""Every kind of line end, the Unicode ones too, becomes \n."""
    return LINE_END.sub("\n", text)


def controls(text: str) -> str:
    """Control characters go, but for the tab and the line end."""
    return CONTROL.sub("", text)


def unseen(text: str) -> str:
    """Invisible marks go; what means something though nobody sees it, such as characters of private use, stays."""
    return text if text.isascii() else UNSEEN.sub(lambda match: match["flag"] or "", text)


def joiners(text: str) -> str:
    """Joiners stay where scripts and emoji need them, not beside ASCII, Han and kana."""
    return text if text.isascii() else JOINERS.sub(_joiner, text)


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
    line_ends,
    controls,
    spaces,
    unseen,
    composed,  # what a joiner stands beside is known only now, and without it more may be one character
    joiners,
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
FULL_WIDTH_SIGNS = re.compile(r"([\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff60\uffe0-\uffe6\u3000]+)")
KATAKANA = re.compile(r"[\uff61-\uff9f]+")
LETTERS_TO_HALF = {
    code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
}
ALL_TO_HALF = {0x3000: " ", **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}}
CONVERSIONS: dict[Script, str] = {"simplified": "t2s", "traditional": "s2t"}
"""Names of OpenCC's tables: https://github.com/BYVoid/OpenCC"""


def normaliser(form: Form = "nfc", width: Width = "keep", script: Script = "keep") -> Callable[[str], str]:
    """A function for all steps with these options, which come after them and are followed by them once more."""
    steps: list[Callable[[str], str]] = []
    if script in CONVERSIONS:
        steps.append(_converter(script))
    if form == "nfkc":
        steps.append(compatible if width == "half" else compatible_but_signs)
    if width != "keep":
        steps.append(lambda text: one_width(text, ALL_TO_HALF if width == "half" else LETTERS_TO_HALF))
    return normalise if not steps else lambda text: _in_turn(text, [normalise, *steps, normalise])


def _in_turn(text: str, steps: list[Callable[[str], str]]) -> str:
    for step in steps:
        text = step(text)
    return text


def compatible(text: str) -> str:
    """Unicode form NFKC: ligatures, circled numbers, full-width letters and signs and their like become plain."""
    return unicodedata.normalize("NFKC", text)


def compatible_but_signs(text: str) -> str:
    """NFKC for all but full-width punctuation, which is how Chinese is written: its width is for `width` to say."""
    if text.isascii() or not FULL_WIDTH_SIGNS.search(text):
        return compatible(text)
    return "".join(piece if n % 2 else compatible(piece) for n, piece in enumerate(FULL_WIDTH_SIGNS.split(text)))


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
