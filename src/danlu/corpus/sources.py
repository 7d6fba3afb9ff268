"""Where raw text lies: the files under each source, by stable names, in one order.

In: paths as a person writes them. Out: `SourceFile`s, sorted by name whatever order the file system lists them in, and
what cannot be read as `Unit`s with their reason. Called by `readers` and `raw`. Opens no file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.base.errors import DataError, SystemTrouble
from danlu.base.records import Split
from danlu.corpus.shapes import SPLIT_NAMES
from danlu.corpus.streams import refused

TEXT, LINES, ARRAY, TABLE, SHEET = "text", "lines", "array", "table", "sheet"
FORMATS = {
    ".txt": TEXT,
    ".text": TEXT,
    ".md": TEXT,
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": ARRAY,
    ".parquet": TABLE,
}
"""Ending of the name, before that of a compression -> how the file is read."""
SHEETS = {".csv": SHEET, ".tsv": SHEET}
"""Read where evaluation sets are looked for, and nowhere else."""
COMPRESSIONS = (".gz", ".zst", ".xz", ".bz2")
ARCHIVES = (".zip", ".tar", ".tgz", ".txz", ".tbz2", ".7z", ".rar")
"""Never unpacked: the names in them say where files go, and any place can be said."""
BLANK_LINE = "blank line"
UNPRINTABLE = re.compile(r"[\udc80-\udcff\ufffd]")
"""Bytes that are no characters, as Python holds them in the name of a file, and the mark that stands for them."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file or folder of raw text; `separator` is empty (one document a text file), BLANK_LINE or a whole line.

    `sheets` is said of evaluation files: CSV and TSV are read too.
    """

    path: str
    separator: str = ""
    text_field: str = "text"
    sheets: bool = False


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source; `name` is its path from the source's own name on, and the beginning of its records' ids.

    `split` is the side that a folder or the file itself is named after. `format` is None where the file cannot be read
    as any text; `reason` (a key of REASONS) and `detail` say why.
    """

    path: Path
    name: str
    format: str | None
    separator: str = ""
    text_field: str = "text"
    split: Split | None = None
    reason: str = ""
    detail: str = ""


def source_files(sources: Sequence[Source], setting: str = "prepare.sources") -> list[SourceFile]:
    """Every file of every source, sorted by name within a source; DataError lists all paths that do not exist.

    `setting` is where the paths were written.
    """
    paths = [Path(source.path).expanduser() for source in sources]
    missing = [str(path) for path in paths if not os.path.lexists(path)]
    if missing:
        raise DataError(
            "a source does not exist",
            where=", ".join(missing),
            found=f"paths are read from {Path.cwd()}",
            remedy=f"correct {setting}",
        )
    labels = _labels([path.resolve().name or "root" for path in paths])
    return [
        _source_file(path, name, source)
        for source, top, label in zip(sources, paths, labels, strict=True)
        for name, path in sorted(_walk(top, label))
    ]


def _labels(names: Sequence[str]) -> list[str]:
    """The names with a number behind each that was there before, so that ids of two sources cannot meet."""
    taken: set[str] = set()
    labels = []
    for name in names:
        label, number = name, 1
        while label in taken:
            number += 1
            label = f"{name}-{number}"
        taken.add(label)
        labels.append(label)
    return labels


def _walk(top: Path, label: str) -> Iterator[tuple[str, Path]]:
    """`(name, path)` of everything below a folder that is no folder; hidden names and links to folders are left."""
    if not top.is_dir():
        yield label, top
        return
    for folder, folders, files in os.walk(top, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in [*files, *links]:
            if not name.startswith("."):
                path = here / name
                yield f"{label}/{path.relative_to(top).as_posix()}", path


def _refuse(error: OSError) -> None:
    raise DataError("a folder cannot be read", where=error.filename, found=error.strerror) from error


def _source_file(path: Path, name: str, source: Source) -> SourceFile:
    reason, detail = _obstacle(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    formats = {**FORMATS, **SHEETS} if source.sheets else FORMATS
    kind = formats.get(suffixes[-1]) if suffixes else None
    if not reason and kind is None:
        known = f"known endings: {' '.join(formats)}, each also with {' '.join(COMPRESSIONS)}"
        is_packed = bool(suffixes) and suffixes[-1] in ARCHIVES
        reason, detail = "unknown_format", f"an archive: unpack it first; {known}" if is_packed else known
    return SourceFile(
        path=path,
        name=_printable(name),
        format=None if reason else kind,
        separator=source.separator,
        text_field=source.text_field,
        split=_named_split(name),
        reason=reason,
        detail=detail,
    )


def _printable(name: str) -> str:
    """What the disk holds, whatever the locale makes of it: each byte that is no UTF-8 is a mark and two hex digits.

    No two names give the same: a mark that a name has itself is written in this way too.
    """
    text = os.fsencode(name).decode("utf-8", "surrogateescape")
    return UNPRINTABLE.sub(_marked, text)


def _marked(found: re.Match[str]) -> str:
    data = found[0].encode("utf-8", "surrogateescape")
    return "".join(f"\ufffd{byte:02x}" for byte in data)


def _named_split(name: str) -> Split | None:
    """The split after which the file (`test.jsonl`) or else the nearest folder below the source is named, if one is."""
    parts = name.split("/")
    folders, file = parts[1:-1], parts[-1].split(".")[0]
    for part in (file, *reversed(folders)):
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()]
    return None


def _obstacle(path: Path) -> tuple[str, str]:
    """`(reason, detail)` where the path leads to nothing that can be opened and read, else two empty strings."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        meaning = refused(error, path)
        if isinstance(meaning, SystemTrouble):
            raise meaning from error
        return "not_a_file", f"it cannot be followed: {error.strerror}"
    if not stat.S_ISREG(mode):
        return "not_a_file", "a link to a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
    return ("", "") if os.access(path, os.R_OK) else ("unreadable", "permission denied")
