"""CSV and TSV files as texts to look for: evaluation sets such as MMLU and C-Eval come so.

In: a `SourceFile` of format SHEET. Out: units, one for each row. Called by `decontaminate` alone: text to learn from
does not come in cells. A row's text is the cell of `text_field` where the first row names it; else all cells of the row
that say something, one below the other: the question and its choices, but no number, no letter, and nothing of a column
that is called `id`, `answer` or the like. Where the first row names no column it is a row like the others.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

from danlu.base.records import Document
from danlu.corpus.sources import SourceFile
from danlu.corpus.streams import MAX_RECORD_BYTES, StreamDamaged, chunks
from danlu.corpus.units import Rejection, Unit

SILENT = frozenset(("id", "index", "idx", "answer", "label", "target", "split", "subject", "category"))
"""Columns whose cells are the same in many rows, or say nothing of the text."""
COLUMNS = SILENT | {"question", "text", "prompt", "input", "passage", "context", "sentence", "explanation"}
"""Names by which a first row is known to be one of names; two of them are enough."""
TAB = ".tsv"


def sheet_units(file: SourceFile) -> Iterator[Unit]:
    """The rows of a file, or why it has none."""
    try:
        yield from _rows(file)
    except StreamDamaged as damage:
        yield _rejected(file, damage.reason, damage.detail)
    except csv.Error as error:
        yield _rejected(file, "bad_field", str(error))


def _rejected(file: SourceFile, reason: str, detail: str) -> Unit:
    return Unit(Rejection(file.name, file.name, reason, "", detail), file.name, 0)


def _rows(file: SourceFile) -> Iterator[Unit]:
    is_tabbed = TAB in [suffix.lower() for suffix in file.path.suffixes[-2:]]
    csv.field_size_limit(MAX_RECORD_BYTES)
    lines = io.StringIO(_decoded(b"".join(chunks(file.path))), newline="")
    table = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if is_tabbed else csv.reader(lines)
    names: list[str] = []
    for number, row in enumerate(table):
        if number == 0 and _is_header(row, file.text_field.lower()):
            names = [name.strip().lower() for name in row]
        elif row:
            text = _text(row, names, file.text_field.lower())
            yield Unit(Document(f"{file.name}#{number + 1}", text, file.name), file.name, len(text.encode()))


def _decoded(data: bytes) -> str:
    """Whole files tell their encoding better than lines do: UTF-8, what spreadsheets mark as UTF-16, or GB18030."""
    encodings = ["utf-16"] if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise StreamDamaged("unknown_encoding", "neither UTF-8 nor UTF-16 with its mark nor GB18030")


def _is_header(row: list[str], field: str) -> bool:
    told = {name.strip().lower() for name in row}
    return field in told or len(told & COLUMNS) > 1


def _text(row: list[str], names: list[str], field: str) -> str:
    if field in names:
        place = names.index(field)
        return row[place] if place < len(row) else ""
    named = dict(enumerate(names))
    return "\n".join(cell for place, cell in enumerate(row) if _speaks(cell) and named.get(place) not in SILENT)


def _speaks(cell: str) -> bool:
    """False for a number, a letter or nothing."""
    plain = cell.strip()
    return len(plain) > 1 and not plain.replace(".", "").replace("-", "").isdigit()
