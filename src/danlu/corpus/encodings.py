"""Which encoding a piece of text is in, or that no encoding explains it; never a guess.

In: the beginning of a file, a line, some lines together. Out: the name of an encoding as Python spells it, or None.
Called by `transcode`. Marks and zeros tell UTF-16 and UTF-32 where the text agrees; UTF-8 tells itself. Everything else
must pass a test: the characters that the bytes give must be the ones people write (`plausible`). Where two pass, or
none, there is no answer. Reads no files and remembers nothing.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

import charset_normalizer

from danlu.corpus import plausible
from danlu.corpus.plausible import WESTERN_LETTERS, is_usual_word

UTF8 = "utf-8"
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDE_SAMPLE_BYTES = 1 << 12
"""So much of a beginning tells UTF-16; more might hold the text of another file that somebody joined to it."""
TOGETHER_BYTES = 1 << 15
PASS = 0.8
MARGIN = 0.1
FLOOR = 1 / 3
"""What a reading must reach that its neighbours speak for."""
LEAST_EVIDENCE = 4
"""Characters beyond ASCII below which Chinese, Japanese and Korean readings are chance."""
MOST_BROKEN = 1 / 20
"""Of the characters of a text in an old encoding; some bytes are lost on the way."""
PLAIN = re.compile(r"[\0\t\n\v\f\r -~]+")
"""What says nothing about an encoding: ASCII without control characters, and the zeros of holes in files."""
WIDE_USUAL = re.compile(
    r"[\t\n\r\x20-\x7e\xa0-\u17ff\u1e00-\u206f\u20a0-\u27bf\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef\U00010000-\U0001faff]"
)
LEAST_LETTERS = 32

UTF8_RUN = re.compile(rb"[\xe2-\xf4][\x80-\xbf]{2,3}(?:[\xc2-\xf4][\x80-\xbf]{1,3})+(?![\x80-\xff])")
"""Up to the next ASCII, nothing but characters as UTF-8 writes them."""
UTF8_INSIDE = re.compile(rb"(?:[\xe3-\xed][\x80-\xbf][\x80-\xbf]){3,}")
WITHIN_WORDS = re.compile(f"(?<=[a-z])[{WESTERN_LETTERS}]|[{WESTERN_LETTERS}](?=[a-z])")
"""Accented letters beside Latin ones."""
UTF8_TRACE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]")
"""How every character beyond ASCII begins in UTF-8; in Western text two such bytes hardly ever follow each other."""


def wide_encoding(sample: bytes) -> tuple[str, int] | None:
    """UTF-16 or UTF-32 and the length of its mark, where the sample begins with it; a mark alone decides nothing."""
    sample = sample[:WIDE_SAMPLE_BYTES]
    for mark, name in MARKS:
        if sample.startswith(mark) and fits_wide(sample[len(mark) :], name):
            return name, len(mark)
    if sample.count(0) > len(sample) // 20:
        zeros = {"utf-16-le": sample[1::2].count(0), "utf-16-be": sample[::2].count(0)}
        share, _, name = max((_usual_wide(sample.decode(name, "replace")), zeros[name], name) for name in zeros)
        return (name, 0) if share >= PASS else None
    if is_utf8(sample):
        return None
    score, name = max((_score(name, sample), name) for name in TESTS if name not in NARROW)
    return (name, 0) if score >= PASS and score - _best_two(sample)[0][0] >= MARGIN else None


def fits_wide(data: bytes, name: str) -> bool:
    """Whether the bytes, read in this encoding of two or four bytes for each character, are text."""
    text = data.decode(name, "replace")
    if not text.strip("\ufffd\0"):
        return not text
    if text.count("\ufffd") > max(1, MOST_BROKEN * len(text)) or _usual_wide(text) < PASS:
        return False
    narrow = data.lstrip(b"\0")
    if 0 not in narrow and is_utf8(narrow):  # two Latin letters look like one Chinese character
        return False
    beyond = PLAIN.sub("", text)
    if len(text) - len(beyond) >= 0.02 * len(text):  # every other byte of a space or a line end is zero
        return True
    return max(test(beyond) for test in (plausible.east_asian, plausible.korean, plausible.alphabet)) >= FLOOR


def _usual_wide(text: str) -> float:
    """Share of characters that are of a living script or its punctuation."""
    return len(WIDE_USUAL.findall(text)) / max(1, len(text))


def is_utf8(data: bytes) -> bool:
    """Valid UTF-8; a character cut at the end is none of its faults."""
    return _as_utf8(data) is not None


def certain_encoding(piece: bytes, likely: str | None = None) -> str | None:
    """The encoding that a piece tells by itself, or None; `likely` is that of its neighbours, and is asked first."""
    text = _as_utf8(piece)
    if text is not None:
        return None if likely is not None and _may_be_chance(text, piece, likely) else UTF8
    if _holds_utf8(piece):
        return UTF8
    if likely is not None and _score(likely, piece) >= PASS:
        return likely
    long, _, broken = _utf8_characters(piece)
    if long >= broken:
        return UTF8
    (score, best), (second, _) = _best_two(piece)
    return best if score >= PASS and score - second >= MARGIN else None


def encoding_of_neighbours(piece: bytes, names: Iterable[str]) -> str | None:
    """The encoding of a piece that does not tell, among those of its neighbours: the one that gives text, where no
    other does nearly as well."""
    scores = sorted(((_score(name, piece, is_beside=True), name) for name in names), reverse=True)
    if not scores or scores[0][0] < FLOOR:
        return None
    best, name = scores[0]
    rivals = [score for score, _ in scores[1:]] + [_score(rival, piece) for rival in NARROW if rival != name]
    return name if best >= max(rivals) + MARGIN or (len(scores) == 1 and best >= max(rivals)) else None


def is_damaged_utf8(piece: bytes) -> bool:
    """At least half of what is beyond ASCII is UTF-8; of other encodings, short characters reach that too."""
    long, short, broken = _utf8_characters(piece)
    return long + short >= broken


def common_encoding(pieces: Iterable[bytes]) -> str | None:
    """The encoding of pieces that are too short to tell, each by itself, but tell together."""
    sample = b"".join(pieces)[:TOGETHER_BYTES]
    (score, best), (second, _) = _best_two(sample)
    if score >= PASS:
        return best if score - second >= MARGIN else None
    return _second_opinion(sample)


def utf8_runs(piece: bytes) -> list[tuple[int, int]]:
    """Where words of UTF-8 stand between ASCII in a piece that is no UTF-8: in any other encoding they are nonsense."""
    found = (one.span() for one in UTF8_RUN.finditer(piece))
    begun = ((start, end) for start, end in found if not start or piece[start - 1] < 0x80)
    return [(start, end) for start, end in begun if is_usual_word(piece[start:end].decode("utf-8", "replace"))]


def whole_characters(piece: bytes, name: str) -> int:
    """How many bytes of a piece that is cut anywhere are whole characters."""
    decoder = codecs.getincrementaldecoder(name)("replace")
    decoder.decode(piece)
    return len(piece) - len(decoder.getstate()[0])


def _may_be_chance(text: str, piece: bytes, likely: str) -> bool:
    """Whether a few characters of an old encoding happen to be short ones of UTF-8, as 什么 in GBK is ʲô."""
    beyond = PLAIN.sub("", text)
    if not beyond or max(beyond) >= "\u0800":
        return False
    in_words = len(WITHIN_WORDS.findall(text)) == len(beyond)  # café in UTF-8 would else be caf茅
    return not in_words and _score(likely, piece, is_beside=True) >= FLOOR


def _holds_utf8(piece: bytes) -> bool:
    """Whether a word of UTF-8 stands right within text in another encoding."""
    return any(is_usual_word(found.decode("utf-8", "replace")) for found in UTF8_INSIDE.findall(piece))


def _utf8_characters(piece: bytes) -> tuple[int, int, int]:
    """Valid long ones (of three or four bytes), valid short ones and broken characters beyond ASCII under UTF-8."""
    text = codecs.getincrementaldecoder(UTF8)("replace").decode(piece)
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    long = len(re.findall("[\u0800-\U0010ffff]", text))
    genuine = piece.count(codecs.encode("\ufffd", UTF8))  # U+FFFD that was written as such is valid UTF-8
    broken = text.count("\ufffd") - genuine
    return long - broken, beyond - long, broken


def _as_utf8(data: bytes) -> str | None:
    try:
        return codecs.utf_8_decode(data, "strict", False)[0]
    except UnicodeDecodeError:
        return None


def _decoded(data: bytes, name: str) -> str | None:
    """The bytes under an encoding, a character cut at their end left off; None where they are invalid."""
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        pass
    try:
        return codecs.getincrementaldecoder(name)().decode(data)
    except UnicodeDecodeError:
        return None


TESTS: dict[str, tuple[plausible.Test, plausible.Test]] = {
    "gb18030": (plausible.chinese, plausible.beside_chinese),
    "big5hkscs": (plausible.chinese, plausible.beside_chinese),
    "shift_jis": (plausible.japanese, plausible.beside_japanese),
    "euc_jp": (plausible.japanese, plausible.beside_japanese),
    "euc_kr": (plausible.korean, plausible.beside_korean),
    "cp1252": (plausible.western, plausible.beside_western),
    "utf-16-le": (plausible.east_asian, plausible.east_asian),
    "utf-16-be": (plausible.east_asian, plausible.east_asian),
}
"""Encoding -> how far, from 0 to 1, its characters beyond ASCII are those that people write: where the bytes stand
alone, and beside others in the same encoding."""
NARROW = tuple(name for name in TESTS if not name.startswith("utf-16"))
"""Those in which ASCII is ASCII, and the end of a line one byte that is part of no character."""


def _score(name: str, sample: bytes, is_beside: bool = False) -> float:
    text = sample.decode(name, "replace") if is_beside else _decoded(sample, name)
    if text is None:
        return 0.0
    beyond = PLAIN.sub("", text)
    if not beyond or beyond.count("\ufffd") > MOST_BROKEN * len(beyond):
        return 0.0
    alone, beside = TESTS.get(name, (plausible.alphabet, plausible.alphabet))
    if name == "cp1252" and (not _has_words(text, beyond) or _is_trace_of_utf8(sample, beyond)):
        return 0.0
    if name != "cp1252" and not is_beside and len(beyond) < LEAST_EVIDENCE:
        return 0.0
    return beside(beyond) if is_beside else alone(beyond)


def _has_words(text: str, beyond: str) -> bool:
    """Whether letters beyond ASCII stand among many ASCII ones, as in Western languages."""
    ascii_letters = len(re.findall(r"[a-zA-Z]", text))
    return ascii_letters >= 4 * len(beyond) + 8 and not re.search(r"[^\W\da-zA-Z_]{3}", text)


def _is_trace_of_utf8(sample: bytes, beyond: str) -> bool:
    """Whether half of the characters of a Western reading are bytes of longer ones, as â€ is of a quotation mark."""
    return 4 * len(UTF8_TRACE.findall(sample)) >= len(beyond)


def _best_two(sample: bytes) -> tuple[tuple[float, str], tuple[float, str]]:
    """The two encodings with the highest scores."""
    first, second = sorted(((_score(name, sample), name) for name in NARROW), reverse=True)[:2]
    return first, second


def _second_opinion(sample: bytes) -> str | None:
    """What charset-normalizer proposes for an alphabet, taken where nearly all its letters are of that alphabet."""
    match = charset_normalizer.from_bytes(sample[: 1 << 14], enable_fallback=False).best()
    if match is None or match.chaos > 0.02 or match.coherence < 0.5 or match.multi_byte_usage > 0.1:
        return None
    text = _decoded(sample, match.encoding)
    letters = "".join(re.findall(r"[^\W\d_a-zA-Z]", text)) if text else ""
    return match.encoding if len(letters) >= LEAST_LETTERS and plausible.alphabet(letters) >= 0.95 else None
