"""Which encoding a file is in, or the reason why that cannot be said.

In: the first bytes of a file. Out: `Encoding(name, reason)`, or None with the reason; a stream of bytes as UTF-8.
Called by `readers`. Marks at the beginning and valid UTF-8 decide at once. Everything else must pass our own test: the
characters that the bytes give must be the ones people write. Where no reading of the whole passes, its lines are tried
one by one: a file that several hands wrote may be mixed. Where two readings pass, or none, the file is refused.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import charset_normalizer

SAMPLE_BYTES = 1 << 18
MIXED = "mixed"
"""The name of no encoding: the lines are in several, and `line_text` reads each as what it is."""
MIXED_SHARE = 0.5
"""A file is mixed where at least this share of its lines beyond ASCII can be read."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UTF8_SHARE = 0.5
"""A file is UTF-8 with damage where at least this share of its non-ASCII characters are valid; others reach 0.2."""
PASS = 0.8
MARGIN = 0.1
LEAST_EVIDENCE = 4
"""Characters beyond ASCII below which Chinese, Japanese and Korean readings are chance."""
FREQUENT_HAN = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去"
    "法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关"
    "這個們來為國說時會對於著過發後裡經麼學現當沒動還進樣開從實軍無與長機關兩問間頭種將見給聽應點話書車門東電業"
)
"""Characters of which any Chinese text of some length is made by a third, simplified and traditional."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """`name` as Python spells it, MIXED, or None where the bytes stay unexplained; `reason` says why, for a person.

    `likely` is the encoding of those lines of a mixed file that are too short to tell.
    """

    name: str | None
    reason: str
    likely: str | None = None


def decide(sample: bytes) -> Encoding:
    """The encoding of a file that begins with `sample` (cut anywhere); `name` is None where it would be a guess."""
    for mark, name in MARKS:
        if sample.startswith(mark):
            return Encoding(name, "byte-order mark")
    if sample.count(0) > len(sample) // 20 and (wide := _without_mark(sample)):
        return Encoding(wide, "every second byte fits UTF-16")
    valid, broken = _utf8_characters(sample)
    if not broken:
        return Encoding("utf-8", "valid UTF-8")
    if valid >= UTF8_SHARE * (valid + broken):
        return Encoding("utf-8", f"UTF-8 with {broken} broken places")
    found = _legacy(sample)
    if found is not None and found.name is not None:
        return found
    mixed = _mixture(sample)
    if mixed is not None:
        return mixed
    return found if found is not None else Encoding(None, "no encoding gives text that people write")


def line_text(line: bytes, likely: str | None = None) -> str:
    """The text of one line of a file whose lines may be in several encodings; U+FFFD stands where none explains it."""
    name = _line_encoding(line)
    if name is None:
        name = likely if likely is not None else "utf-8"
    return line.decode(name, "replace")


def _line_encoding(line: bytes) -> str | None:
    valid, broken = _utf8_characters(line)
    if not broken or valid >= UTF8_SHARE * (valid + broken):
        return "utf-8"
    found = _legacy(line)
    return found.name if found is not None else None


def _mixture(sample: bytes) -> Encoding | None:
    """MIXED where most lines can be read, each by itself; the last one, which may be cut, is not asked."""
    lines = [line for line in sample.splitlines()[:-1] if not line.isascii()]
    votes = Counter(name for line in lines if (name := _line_encoding(line)) is not None)
    if not lines or votes.total() < MIXED_SHARE * len(lines):
        return None
    found = ", ".join(f"{count} in {name}" for name, count in votes.most_common())
    likely = max(votes, key=lambda name: (name != "utf-8", votes[name]))  # UTF-8 needs no guess: it shows itself
    rivals = [name for name in votes if name not in ("utf-8", likely)]
    return Encoding(MIXED, f"of {len(lines)} lines beyond ASCII {found}", None if rivals else likely)


def _without_mark(sample: bytes) -> str | None:
    scores = {name: _plausible_wide(_decoded(sample, name)) for name in ("utf-16-le", "utf-16-be")}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= PASS else None


def _plausible_wide(text: str | None) -> float:
    """Share of characters that are ASCII, Latin, Han, kana, Hangul or their punctuation."""
    if not text:
        return 0.0
    usual = r"[\t\n\r\x20-\u024f\u2000-\u206f\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef]"
    return len(re.findall(usual, text)) / len(text)


def _utf8_characters(sample: bytes) -> tuple[int, int]:
    """Valid and broken non-ASCII characters under UTF-8; a character cut at the end counts as neither."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(sample)
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    genuine = sample.count(codecs.encode("\ufffd", "utf-8"))  # U+FFFD that was written as such is valid UTF-8
    broken = text.count("\ufffd") - genuine
    return beyond - broken, broken


def _decoded(sample: bytes, name: str) -> str | None:
    """The sample under an encoding, a character cut at its end left off; None where it is invalid."""
    try:
        return codecs.getincrementaldecoder(name)("strict").decode(sample)
    except UnicodeDecodeError:
        return None


@cache
def _common_han() -> frozenset[str]:
    """Characters for daily use: the first level of GB 2312 (3,755, simplified) and of Big5 (5,401, traditional)."""
    simplified = bytes(byte for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF) for byte in (row, cell))
    cells = [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    traditional = bytes(byte for row in range(0xA4, 0xC7) for cell in cells for byte in (row, cell))
    return frozenset(simplified.decode("gb2312", "ignore") + traditional.decode("big5", "ignore"))


def _chinese(beyond: str) -> float:
    """Share of characters in daily use, less what is missing of the most frequent ones in texts of some length."""
    han = [character for character in beyond if "㐀" <= character <= "鿿"]
    if not han:
        return 0.0
    plain = sum(character in _common_han() or character in _CHINESE_SIGNS for character in beyond) / len(beyond)
    frequent = sum(character in FREQUENT_HAN for character in han) / len(han)
    expected = min(0.15, len(han) / 200)  # a line of names may hold none of them
    return plain * min(1.0, (0.5 + frequent / expected) if expected else 1.0)


_CHINESE_SIGNS = frozenset(
    "，。、；：？！“”‘’（）《》〈〉「」『』【】…—·　～％＋－＝／０１２３４５６７８９○〇①②③④⑤⑥×°℃→■●★◆※"
)


def _japanese(beyond: str) -> float:
    """Share of kana and common Han where kana are plenty; half-width kana are what Chinese bytes look like."""
    kana = sum("ぁ" <= character <= "ヿ" for character in beyond)
    if kana < 0.25 * len(beyond):
        return 0.0
    return (kana + sum("一" <= character <= "鿿" or character in _CHINESE_SIGNS for character in beyond)) / len(beyond)


def _korean(beyond: str) -> float:
    """Share of Hangul where the particles that every Korean sentence has are among them."""
    hangul = sum("가" <= character <= "힣" for character in beyond)
    particles = sum(character in "이다는을의에가고하지은도로를한" for character in beyond)
    return hangul / len(beyond) if particles >= 0.12 * hangul > 0 else 0.0


def _western(beyond: str) -> float:
    """Share of lower-case accented letters and typographic signs; a word spelled with them alone is no word."""
    return sum(character in "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœšž‘’“”–—…€£°§«»¿¡·©®" for character in beyond) / len(beyond)


TESTS: dict[str, Callable[[str], float]] = {
    "gb18030": _chinese,
    "big5hkscs": _chinese,
    "utf-16-le": _chinese,
    "utf-16-be": _chinese,
    "shift_jis": _japanese,
    "euc_jp": _japanese,
    "euc_kr": _korean,
    "cp1252": _western,
}
"""Encoding -> how far, from 0 to 1, its non-ASCII characters are those that people write."""


def _score(name: str, sample: bytes) -> float:
    text = _decoded(sample, name)
    if text is None or re.search(r"[\0-\x08\x0e-\x1f\x7f-\x9f]", text):
        return 0.0
    beyond = re.sub(r"[\0-\x7f]+", "", text)
    if name == "cp1252":
        if re.search(r"[^\W\da-zA-Z_]{3}", text) or len(re.findall(r"[a-zA-Z]", text)) < 4 * len(beyond) + 8:
            return 0.0
    elif len(beyond) < LEAST_EVIDENCE:
        return 0.0
    return TESTS[name](beyond)


def _legacy(sample: bytes) -> Encoding | None:
    """The one encoding that passes its test clearly before the others; else what a second opinion can prove."""
    scores = sorted(((_score(name, sample), name) for name in TESTS), reverse=True)
    (best, name), (second, rival) = scores[:2]
    if best >= PASS:
        if best - second >= MARGIN:
            return Encoding(name, f"{best:.0%} of its characters are usual ones")
        return Encoding(None, f"{name} and {rival} explain the bytes equally well")
    return _second_opinion(sample)


def _second_opinion(sample: bytes) -> Encoding | None:
    """What charset-normalizer proposes for an alphabet, taken where nearly all its letters are of that alphabet."""
    match = charset_normalizer.from_bytes(sample[: 1 << 14], enable_fallback=False).best()
    if match is None or match.chaos > 0.02 or match.coherence < 0.5 or match.multi_byte_usage > 0.1:
        return None
    text = _decoded(sample, match.encoding)
    letters = re.findall(r"[^\W\d_a-zA-Z]", text) if text else []
    return Encoding(match.encoding, "a frequent-letter profile fits") if _one_alphabet(letters) else None


def _one_alphabet(letters: list[str]) -> bool:
    """True where at least 32 letters lie, all but a twentieth, within Greek, Cyrillic, Hebrew, Arabic or Thai."""
    blocks = ("Ͱ-Ͽ", "Ѐ-ӿ", "֐-׿", "؀-ۿ", "฀-๿")
    joined = "".join(letters)
    return len(joined) >= 32 and any(len(re.findall(f"[{one}]", joined)) >= 0.95 * len(joined) for one in blocks)


def as_utf8(stream: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The same text as UTF-8 bytes, its mark left off; what is no character becomes U+FFFD and is judged later.

    UTF-8 is passed through as it is, broken places included, so that `readers` can tell them unit by unit.
    """
    if encoding in ("utf-8", MIXED):
        yield from stream
        return
    if encoding == "utf-8-sig":
        yield from _without_bom(stream)
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in stream:
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _without_bom(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Drop the three bytes of a UTF-8 mark, which the first chunk begins with."""
    for index, chunk in enumerate(stream):
        yield chunk if index else chunk.removeprefix(codecs.BOM_UTF8)
