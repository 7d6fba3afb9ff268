"""What a reader hands out: one unit of a source, either a record or the reason why it is none.

In: nothing; `readers` make units, `pipeline` passes them on, `stages.prepare` writes them. Out: `Unit` with a
`Document`, a `Conversation` or a `Rejection` inside. Nothing that was read may vanish: a line that cannot be used is a
Rejection, and `ledger` counts both. Does not read or judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from danlu.base.records import Conversation, Document

EXCERPT_CHARACTERS = 160
EXCERPT_SOURCE = 2 * EXCERPT_CHARACTERS
"""Characters of a text that its excerpt is made of, for runs of space become one."""
LONGEST_DATUM = 16_000
"""Private data are hidden before a text is cut, and the longest, keys in blocks of lines, are no longer than this."""
TOLD_CHARACTERS = 40
PERHAPS_PRIVATE = re.compile(r"[0-9@]")
ESCAPED_SPACE = re.compile(r"\\[nrt]")

REASONS = {
    "unknown_format": "no reader for this kind of file",
    "not_a_file": "a pipe, a device, a link that leads nowhere or to a folder",
    "unreadable": "the system does not let us read the file",
    "damaged_file": "cut off or corrupt: what came before the damage is kept",
    "decompression_bomb": "the file swells beyond every size that text has",
    "unknown_encoding": "no encoding explains the bytes well enough",
    "too_large": "one line or one file larger than the reader's limit",
    "bad_json": "not valid JSON",
    "unknown_shape": "neither text nor a conversation that we know",
    "bad_field": "a field of the wrong type or with an unknown value",
    "unknown_role": "a turn of a role that we do not know",
    "no_answer": "a conversation without an assistant's turn",
    "empty": "no text",
    "too_short": "less text than a sentence",
    "long_line": "a line longer than any that people write",
    "long_word": "encoded data: visible characters without a space",
    "many_symbols": "mostly signs, hardly any letters or digits",
    "repeated_lines": "mostly the same lines again",
    "broken_characters": "bytes that are no characters",
    "mojibake": "text that was decoded with the wrong encoding",
    "other_language": "not in a language that was asked for",
    "private": "private data or secrets, which the recipe says to drop",
    "gopher_few_words": "fewer words than a page has",
    "gopher_many_words": "more words than a document has",
    "gopher_word_length": "words of another length than English has",
    "gopher_hashes": "many # signs",
    "gopher_ellipses": "many ellipses",
    "gopher_bullets": "hardly a line without a bullet",
    "gopher_ellipsis_lines": "many lines that break off",
    "gopher_letters": "many words without a letter",
    "gopher_stop_words_en": "none of the words that every English text has",
    "gopher_stop_words_zh": "none of the words that every Chinese text has",
    "gopher_repeated_lines": "many lines that were there before",
    "gopher_repeated_line_text": "much text in lines that were there before",
    "gopher_repeated_paragraphs": "many paragraphs that were there before",
    "gopher_repeated_paragraph_text": "much text in paragraphs that were there before",
    **{f"gopher_top_{n}_words": f"much text is one phrase of {n} words" for n in (2, 3, 4)},
    **{f"gopher_repeated_{n}_words": f"much text in phrases of {n} words that were there before" for n in range(5, 11)},
    "c4_lorem_ipsum": "a printer's filler text",
    "c4_no_line": "no line that is a sentence",
    "c4_braces": "program code",
    "c4_sentences": "fewer than three sentences",
    "fineweb_line_ends": "hardly a line that ends as sentences do",
    "fineweb_short_lines_en": "mostly short lines",
    "fineweb_short_lines_zh": "mostly short lines",
    "fineweb_repeated_text": "text in lines that were there before",
    "fineweb_newlines": "a line end for every few words",
    "duplicate": "the same text was kept before",
    "near_duplicate": "the same words were kept before, with other spacing, case or punctuation",
    "similar": "it shares most of its runs of words with a document that was kept",
    "contaminated": "words of an evaluation file, which a model must not have seen",
}
"""Every reason that can stand in `rejected.jsonl`, with its meaning for a person."""
DUPLICATES = ("duplicate", "near_duplicate", "similar")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a unit did not become training text; `reason` is a key of REASONS, `detail` the measured cause.

    What a reader hands out has for its excerpt the whole `opening`: `clean` hides private data in it, then cuts it.
    """

    id: str
    source: str
    reason: str
    excerpt: str
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "source": self.source,
            "reason": self.reason,
            "excerpt": self.excerpt,
            "detail": self.detail,
        }


Record: TypeAlias = Document | Conversation


@dataclass(frozen=True, slots=True)
class Unit:
    """One line, row, block or file of a source. `size_bytes` is its share of the bytes that were read."""

    content: Record | Rejection
    file: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Closed:
    """What the reader of a file has counted once its last unit is out."""

    file: str
    bytes_read: int
    bytes_between: int
    encoding: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "bytes_read": self.bytes_read,
            "bytes_between": self.bytes_between,
            "encoding": self.encoding,
        }


def opening(data: bytes) -> str:
    """The first characters of what a reader could not use; bytes that are no UTF-8 show as U+FFFD.

    Without zeros, and with spaces for those that JSON escapes: a number stands apart for whoever looks for it.
    """
    text = data[: 4 * (EXCERPT_SOURCE + LONGEST_DATUM)].decode("utf-8", "replace").replace("\0", "")
    return ESCAPED_SPACE.sub(" ", text)


def excerpt(text: str) -> str:
    """The beginning of a text on one line, for a person to recognise it."""
    line = " ".join(text[:EXCERPT_SOURCE].split())
    shown = line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1] + "…"
    return shown.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written


def told(value: object) -> str:
    """A value for the cause of a rejection: a long one is cut, but not within a number or an address.

    Half of a private datum could be neither found nor hidden.
    """
    shown = repr(value)
    if len(shown) <= TOLD_CHARACTERS:
        return shown
    words = shown[:TOLD_CHARACTERS].split(" ")[:-1]
    while words and PERHAPS_PRIVATE.search(words[-1]):
        words.pop()
    return f"{' '.join(words)}…"


def text_of(record: Record) -> str:
    """All text of a record, for rules that judge text: a document's, or the turns of a conversation line by line."""
    if isinstance(record, Document):
        return record.text
    return "\n".join(part for turn in record.messages for part in (turn.reasoning, turn.content) if part)
