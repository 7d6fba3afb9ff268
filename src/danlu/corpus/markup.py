"""HTML remains: told from texts that speak of HTML, and taken out of the pages that they are remains of.

In: a normal text. Out: whether it is a page of the web, its text without the markup, and how much of what went. Called
by `clean`, for documents only: in a conversation a tag is an answer, not a remain. A page begins with a tag and is
either whole or ends with one and has most of its text within blocks that end; all else speaks of tags and stays as it
is. Code in backticks stays in pages too. Source: HTML Living Standard, https://html.spec.whatwg.org/.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html.entities import html5
from typing import Literal, NamedTuple, TypeAlias

Html: TypeAlias = Literal["auto", "keep", "remove"]
Kind: TypeAlias = Literal["code", "scripts", "comments", "lines", "tags"]

INSIDE_SHARE = 0.5
"""Least share of a page's visible characters that stand within BLOCKS."""
BLOCK_NAMES = (
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 head header html li main menu nav ol p pre section table tbody td tfoot th thead title tr ul"
)
INLINE_NAMES = (
    "a abbr acronym area audio b base basefont bdi bdo big br button canvas caption cite code col colgroup data del "
    "dfn datalist dialog dir em embed font frame frameset hgroup hr i iframe img input ins kbd label legend link map "
    "mark meta meter nobr noframes noscript object optgroup option output param picture progress q rp rt ruby s samp "
    "search select slot small source span strike strong sub summary sup template textarea time track tt u var video wbr"
)
BLOCKS = frozenset(BLOCK_NAMES.split())
ELEMENT = "|".join(sorted((*BLOCK_NAMES.split(), *INLINE_NAMES.split()), key=len, reverse=True))
LINE = (
    r"<(?:br|hr)(?:\s[^<>]*)?/?>"
    r"|</(?:article|aside|blockquote|div|dd|dt|figure|h[1-6]|li|p|section|table|tr|title)\s*>"
)
PIECE = re.compile(
    r"(?=[ `~<])(?:^ {0,3}(?P<fence>`{3,}|~{3,})|(?P<ticks>`+)|(?P<comments><!--)"
    r"|(?P<scripts><(?P<name>script|style|svg)\b[^<>]*>)|(?P<doctype><(?:!doctype|\?xml)\b[^<>]*>)"
    rf"|(?P<tag><(?P<element>/?(?:{ELEMENT}))(?:\s[^<>]*)?/?>))",
    re.IGNORECASE | re.MULTILINE,
)
"""What may begin at a place. Each stops at the next `<`, and ends are looked for apart, or time would be quadratic."""
ENDS_A_LINE = re.compile(LINE, re.IGNORECASE)
ENDS = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style", "svg")}
ENDS["!--"] = re.compile("-->")
FENCE_END = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*$", re.MULTILINE)
TICKS = re.compile(r"`+")
MOST_INLINE_CODE = 1_000
"""Characters between two backticks, all on one line."""
PAGE_BEGINS = re.compile(r" {0,3}<[!?a-zA-Z]")
"""Four spaces would be code."""
ROUNDS = 3
"""A tag may stand in the attribute of another, which is one only when the inner one is gone."""
ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
SPELLS_MARKUP = re.compile(
    r"&(?:(?:lt|LT|#0{0,4}60|#[xX]0{0,4}3[cC]);(?=[a-zA-Z/!])|(?:gt|GT|#0{0,4}62|#[xX]0{0,4}3[eE]);"
    r"|(?:amp|AMP|#0{0,4}38|#[xX]0{0,4}26);(?=#?[a-zA-Z0-9]{1,32};))"
)
"""Entities that may begin or end a tag, or begin another entity, once they are characters."""


class Piece(NamedTuple):
    """Code, or a piece of markup: `text[start:end]`; `element` is that of a tag, with `/` before it where it ends."""

    kind: Kind
    start: int
    end: int
    element: str = ""


def without_markup(text: str, tidy: Callable[[str], str], wanted: Html) -> tuple[str, Counter[str]]:
    """The text of a page, or of any document where all are to lose their markup; and what went, by kind.

    `tidy` is what normalises a text, and has normalised this one. Doing it twice is doing it once: where a text would
    be taken for a page again, `&lt;b>` stays written so, and one that cannot be unravelled stays as a whole.
    """
    if wanted == "keep" or not _may_have_any(text, wanted):
        return text, Counter()
    if wanted == "auto" and not is_page(text):
        return text, Counter()
    for spelled in (False, True):
        clean, gone = _bare(text, tidy, spelled=spelled)
        if _is_settled(clean, tidy, wanted, spelled=spelled):
            return clean, gone
    return text, Counter()


def has_markup(text: str) -> bool:
    """Whether a tag or an entity stands in the text outside of code in backticks."""
    if "<" in text and any(piece.kind != "code" for piece in pieces(text)):
        return True
    return ENTITY.search(text) is not None and _with_characters(text, Counter(), spelled=False) != text


def is_page(text: str) -> bool:
    """Whether a text is a page of the web or a part of one, as the top of this file says."""
    if not PAGE_BEGINS.match(text):
        return False
    listed = list(pieces(text))
    markup = [piece for piece in listed if piece.kind != "code"]
    if not markup or text[: markup[0].start].strip():
        return False
    visible, inside, blocks = _inside(text, listed)
    if not blocks:
        return False
    if len(markup) > 1 and _is_prologue(text, markup[0]) and not text[markup[0].end : markup[1].start].strip():
        return True  # a whole page, perhaps cut off
    return not text[markup[-1].end :].strip() and inside >= INSIDE_SHARE * visible


def pieces(text: str) -> Iterator[Piece]:
    """Code in backticks, and markup outside of it, in order; what begins and does not end is text."""
    place, endless = 0, set[str]()
    while (match := PIECE.search(text, place)) is not None:
        kind, place = match.lastgroup, match.end()
        if kind in ("fence", "ticks"):
            end = _end_of_code(text, match, kind)
            if end is not None:
                yield Piece("code", match.start(kind), end)
                place = end
        elif kind in ("comments", "scripts"):
            name = "!--" if kind == "comments" else match["name"].lower()
            ended = None if name in endless else ENDS[name].search(text, place)
            if ended is None:
                endless.add(name)
            else:
                yield Piece("comments" if kind == "comments" else "scripts", match.start(), ended.end())
                place = ended.end()
        elif kind == "doctype":
            yield Piece("comments", match.start(), place)
        else:
            ends_a_line = ENDS_A_LINE.match(match[0]) is not None
            yield Piece("lines" if ends_a_line else "tags", match.start(), place, match["element"].lower())


def _end_of_code(text: str, match: re.Match[str], kind: str) -> int | None:
    """Where code ends that begins here: a block at its closing fence or the end of the text, a span on its line."""
    run = match[kind]
    line_end = text.find("\n", match.end())
    line_end = len(text) if line_end < 0 else line_end
    if kind == "fence" and not (run[0] == "`" and "`" in text[match.end() : line_end]):
        ends = (end for end in FENCE_END.finditer(text, line_end) if end[1][0] == run[0] and len(end[1]) >= len(run))
        closing = next(ends, None)
        return len(text) if closing is None else closing.end()
    if run[0] == "~":
        return None
    nearby = TICKS.finditer(text, match.end(), min(line_end, match.end() + MOST_INLINE_CODE))
    return next((ticks.end() for ticks in nearby if len(ticks[0]) == len(run)), None)


def _is_prologue(text: str, piece: Piece) -> bool:
    return piece.element == "html" or text[piece.start : piece.start + 2] in ("<!", "<?")


def _inside(text: str, listed: Sequence[Piece]) -> tuple[int, int, int]:
    """Visible characters outside of code, those of them within a block that ends, and the number of such blocks."""
    visible = blocks = place = 0
    opened: list[tuple[str, int]] = []  # a name, and the visible characters before it
    names: Counter[str] = Counter()
    spans: list[tuple[int, int]] = []  # what is within blocks, in visible characters, none within another
    for piece in listed:
        visible += len(text[place : piece.start].strip())
        place, name = piece.end, piece.element.lstrip("/")
        if name not in BLOCKS:
            continue
        if name == piece.element:
            opened.append((name, visible))
            names[name] += 1
        elif names[name]:
            begin = _closed(opened, names, name)
            blocks += 1
            while spans and spans[-1][0] >= begin:
                spans.pop()
            spans.append((begin, visible))
    visible += len(text[place:].strip())
    return visible, sum(end - begin for begin, end in spans), blocks


def _closed(opened: list[tuple[str, int]], names: Counter[str], name: str) -> int:
    """Take the last block of this name off the open ones, with all that never ended within it; where it began."""
    while True:
        found, begin = opened.pop()
        names[found] -= 1
        if found == name:
            return begin


def _bare(text: str, tidy: Callable[[str], str], *, spelled: bool) -> tuple[str, Counter[str]]:
    """The text without markup, its entities as characters; `spelled`: but for those that spell markup."""
    gone: Counter[str] = Counter()
    for _ in range(ROUNDS):
        markup = [piece for piece in pieces(text) if piece.kind != "code"]
        kept, place = [], 0
        for piece in markup:
            kept += [text[place : piece.start], "\n" if piece.kind == "lines" else ""]
            place = piece.end
        gone.update("tags" if piece.kind == "lines" else piece.kind for piece in markup)
        text = "".join([*kept, text[place:]])
        if not markup:
            break
    return tidy(_with_characters(text, gone, spelled=spelled)), gone


def _with_characters(text: str, gone: Counter[str], *, spelled: bool) -> str:
    """Entities outside of code as characters, counted."""
    code = iter(piece for piece in pieces(text) if piece.kind == "code")
    span = next(code, None)
    kept, place = [], 0
    for entity in ENTITY.finditer(text):
        while span is not None and span.end <= entity.start():
            span = next(code, None)
        is_code = span is not None and span.start < entity.end()
        character = entity[0] if is_code else _character(entity[0])
        if character == entity[0] or (spelled and SPELLS_MARKUP.match(text, entity.start())):
            continue
        kept += [text[place : entity.start()], character]
        place = entity.end()
        gone["entities"] += 1
    return "".join([*kept, text[place:]])


def _character(entity: str) -> str:
    """What an entity stands for, or itself: `&param;` is none, although `&para` was one once, without its end."""
    return html.unescape(entity) if entity[1] == "#" else html5.get(entity[1:], entity)


def _may_have_any(text: str, wanted: Html) -> bool:
    return "<" in text or "&" in text if wanted == "remove" else PAGE_BEGINS.match(text) is not None


def _is_settled(clean: str, tidy: Callable[[str], str], wanted: Html, *, spelled: bool) -> bool:
    """Whether `without_markup` leaves this outcome of its own as it is."""
    if wanted == "auto":
        return not is_page(clean)
    again, _ = _bare(clean, tidy, spelled=spelled)
    if again != clean or not spelled:
        return again == clean
    plain, _ = _bare(clean, tidy, spelled=False)
    return not _is_settled(plain, tidy, wanted, spelled=False)
