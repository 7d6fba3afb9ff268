"""What the quality rules want to know of a text: counts of its words, lines, paragraphs, signs and repetitions.

In: a text of valid Unicode and whether it is Chinese. Out: `Measures`. Called by `quality`. `measures.c` counts at
about a hundred megabytes a second; `counted`, the reference in Python, runs where there is no compiler, and tests hold
both equal.
A word is what stands between spaces, and each Han character or kana; marks of Chinese punctuation belong to none, but
the curly apostrophe between two letters does. An ellipsis is one however long it is written, in dots or full stops.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from danlu.base import console, native
from danlu.base.characters import VARIANTS

CHARACTERS_A_WORD = 1.8
"""Limits in words are scaled by it. jieba's words have 1.6 characters in old novels, 1.9 in Wikipedia, 2.1 in laws."""
TOP_GRAMS, COVER_GRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)
"""Lengths in words, of Gopher's table A1."""
GRAMS = {
    False: (*TOP_GRAMS, *COVER_GRAMS),
    True: tuple(int(n * CHARACTERS_A_WORD + 0.5) for n in (*TOP_GRAMS, *COVER_GRAMS)),
}
ENOUGH = 0.10
"""The lowest limit of Gopher for repeated n-grams: below it the longer ones, which cover less, need not be counted."""
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
STOP_CHARACTERS = dict(
    zip("的了是在和有不这這也就为為爲与與之以", (*range(8), 7, 8, 9, 10, 10, 10, 11, 11, 12, 13), strict=True)
)
"""Traditional and simplified form count as one."""
BULLETS, ENDS = "-*•‣·●○■□▪◆", ".!?\"'…”’。．！？；」』"
SPACES = " \t\n\v\f\r\u3000"
HAN = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
MARKS = r"\u2010-\u205e\u3001-\u3004\u3008-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
WORD = re.compile(rf"[{HAN}]|[^{HAN}{MARKS}{SPACES}]+")
HAN_WORD = re.compile(rf"[{HAN}]")
MARK_CHARACTER = re.compile(rf"[{MARKS}]")
LAST_HAN = 0x3134F
VARIANT = re.compile(f"[{VARIANTS}]")
APOSTROPHE = re.compile(r"(?<=\S)’(?=\S)")
ELLIPSIS = re.compile(r"\.{3,}|。{3,}|…+")
SENTENCE = re.compile(rf"[.!?][\"')]*(?=[{SPACES}]|\Z)|[。．！？]")
KNOWN = 0x20000
SPACE, HAN_KIND, MARK, LETTER, DIGIT, SIGN = range(6)
"""Kinds of characters, as in `measures.c`. A sign is what is no letter or its mark, no digit, not Chinese: ★ → 😀."""
BLANK_LINE = re.compile(rf"\n(?:[{SPACES}]*\n)+")


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts; characters are visible ones, and lines and paragraphs are those that hold any."""

    characters: int
    han: int
    runs: int
    lettered_runs: int
    run_letters: int
    hashes: int
    ellipses: int
    lines: int
    bullet_lines: int
    ellipsis_lines: int
    ended_lines: int
    lines_under_30: int
    lines_under_10: int
    newlines: int
    repeated_lines: int
    repeated_line_characters: int
    paragraphs: int
    repeated_paragraphs: int
    repeated_paragraph_characters: int
    sentences: int
    braces: int
    stop_words_en: int
    stop_words_zh: int
    word_characters: int
    grams: tuple[int, ...]
    """For each of GRAMS its characters: those of the weightiest n-gram, or in n-grams that came before."""

    @property
    def words(self) -> float:
        """Words, Chinese ones by the number of their characters."""
        return self.runs + self.han / CHARACTERS_A_WORD


NUM_COUNTS = len(Measures.__slots__) - 1


@cache
def kinds() -> bytes:
    """The kind of every character below KNOWN."""
    return bytes(map(_kind, map(chr, range(KNOWN))))


def _kind(character: str) -> int:
    if character in SPACES:
        return SPACE
    if HAN_WORD.match(character):
        return HAN_KIND
    if MARK_CHARACTER.match(character):
        return MARK
    category = unicodedata.category(character)
    if category[0] == "L" or (category in ("Mn", "Mc") and not VARIANT.match(character)):
        return LETTER
    return DIGIT if category[0] == "N" else SIGN


@cache
def _library() -> Any:
    """The compiled function, or None: then the reason is said once."""
    library, reason = native.load(Path(__file__).with_suffix(".c"))
    if library is None:
        console.warn_once(f"quality rules are measured in Python, at a tenth of the speed: {reason}")
        return None
    function = library.measure
    lengths = ctypes.POINTER(ctypes.c_int64)
    count = ctypes.c_int64
    function.argtypes = [ctypes.c_char_p, count, ctypes.c_char_p, lengths, count, count, ctypes.c_double, lengths]
    return function


LENGTHS = {chinese: (ctypes.c_int64 * len(ns))(*ns) for chinese, ns in GRAMS.items()}
PLACES = ctypes.c_int64 * (NUM_COUNTS + len(GRAMS[True]))


def measure(text: str, *, chinese: bool) -> Measures:
    """The counts of a text, by the compiled function where there is one."""
    function = _library()
    if function is None:
        return counted(text, chinese=chinese)
    encoded, found = text.encode("utf-8", "replace"), PLACES()
    if function(encoded, len(encoded), kinds(), LENGTHS[chinese], len(TOP_GRAMS), len(COVER_GRAMS), ENOUGH, found):
        raise MemoryError("no memory to measure a text")
    return _measures(found[:])


def _measures(values: list[Any]) -> Measures:
    return Measures(*values[:NUM_COUNTS], tuple(values[NUM_COUNTS:]))  # type: ignore[call-arg]


def counted(text: str, *, chinese: bool) -> Measures:
    """The same in Python, as plainly as can be."""
    words = _words(text)
    runs = [word for word in words if not HAN_WORD.match(word)]
    lines = [line.strip(SPACES) for line in text.split("\n") if line.strip(SPACES)]
    blocks = [block for block in BLANK_LINE.split(text) if block.strip(SPACES)]
    paragraphs = [tuple(line.strip(SPACES) for line in block.split("\n") if line.strip(SPACES)) for block in blocks]
    again, paragraphs_again = _came_before(lines), _came_before(paragraphs)
    return Measures(
        characters=_visible(text),
        han=len(words) - len(runs),
        runs=len(runs),
        lettered_runs=sum(LETTER in _kinds_of(run) for run in runs),
        run_letters=sum(_kinds_of(run).count(LETTER) + _kinds_of(run).count(DIGIT) for run in runs),
        hashes=text.count("#"),
        ellipses=len(ELLIPSIS.findall(text)),
        lines=len(lines),
        bullet_lines=sum(line[0] in BULLETS for line in lines),
        ellipsis_lines=sum(line.endswith(("...", "。。。", "…")) for line in lines),
        ended_lines=sum(line[-1] in ENDS for line in lines),
        lines_under_30=sum(len(line) < 30 for line in lines),
        lines_under_10=sum(len(line) < 10 for line in lines),
        newlines=text.count("\n"),
        repeated_lines=len(again),
        repeated_line_characters=sum(map(_visible, again)),
        paragraphs=len(paragraphs),
        repeated_paragraphs=len(paragraphs_again),
        repeated_paragraph_characters=sum(_visible("".join(lines)) for lines in paragraphs_again),
        sentences=len(SENTENCE.findall(text)),
        braces=text.count("{"),
        stop_words_en=len(STOP_WORDS.intersection(run.lower() for run in runs if run.isascii())),
        stop_words_zh=len({STOP_CHARACTERS[word] for word in words if word in STOP_CHARACTERS}),
        word_characters=sum(map(len, words)),
        grams=_grams(words, GRAMS[chinese]),
    )


def _words(text: str) -> list[str]:
    """The words of a text; an apostrophe that joins two letters is no mark."""

    def straight(match: re.Match[str]) -> str:
        place = match.start()
        return "'" if _kinds_of(text[place - 1] + text[place + 1]) == bytes((LETTER, LETTER)) else match[0]

    return [text[slice(*match.span())] for match in WORD.finditer(APOSTROPHE.sub(straight, text))]


def _kinds_of(text: str) -> bytes:
    return bytes(kinds()[code] if code < KNOWN else HAN_KIND if code <= LAST_HAN else SIGN for code in map(ord, text))


def _visible(text: str) -> int:
    return len(text) - sum(map(text.count, SPACES))


def _came_before(pieces: list[Any]) -> list[Any]:
    seen: set[Any] = set()
    again = []
    for piece in pieces:
        if piece in seen:
            again.append(piece)
        seen.add(piece)
    return again


def _grams(words: list[str], ns: tuple[int, ...]) -> tuple[int, ...]:
    found = [_weightiest(words, n) for n in ns[: len(TOP_GRAMS)]]
    for n in ns[len(TOP_GRAMS) :]:
        found.append(_covered(words, n))
        if found[-1] <= int(ENOUGH * sum(map(len, words))):
            break
    return (*found, *[0] * (len(ns) - len(found)))


def _weightiest(words: list[str], n: int) -> int:
    """Characters of the n-gram that has most of them in all its places, of those with two places or more."""
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    return max((count * sum(map(len, gram)) for gram, count in counts.items() if count > 1), default=0)


def _covered(words: list[str], n: int) -> int:
    """Characters of the words that stand in an n-gram that came before."""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for start, gram in enumerate(zip(*(words[start:] for start in range(n)), strict=False)):
        if gram in seen:
            covered.update(range(start, start + n))
        seen.add(gram)
    return sum(len(words[place]) for place in covered)
