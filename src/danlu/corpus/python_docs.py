"""Real English text that every Python carries: docstrings of the standard library and the topics of its help.

In: a folder and how many bytes of text are wanted. Out: `topics.jsonl` and `docstrings.jsonl`. Called by
`raw` (source `python-docs`). Source files are parsed with `ast`; no module is imported or run.

The order is that of a hash of each name, so that a small amount is a sample of the whole library and not its beginning
in the alphabet; the same Python gives the same bytes.
"""

from __future__ import annotations

import ast
import json
import os
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from inspect import cleandoc
from pathlib import Path

from danlu.base import console
from danlu.base.errors import DataError

VERSION = 1
"""Raise it when the same arguments and the same Python would give other files."""
TOPICS = Path("pydoc_data", "topics.py")
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"}
LEAST_CHARACTERS = 60
"""A shorter docstring says little more than its function's name."""

Record = dict[str, str]


def write(folder: Path, *, max_bytes: int) -> dict[str, int]:
    """Write up to `max_bytes` of text, at most half of it topics; return `{documents, bytes}`."""
    library = Path(sysconfig.get_path("stdlib"))
    folder.mkdir(parents=True, exist_ok=True)
    with console.progress("docstrings", max_bytes, "bytes") as shown:
        topics = _write(folder / "topics.jsonl", _topics(library / TOPICS), max_bytes // 2, shown)
        docstrings = _write(folder / "docstrings.jsonl", _docstrings(library), max_bytes - topics[1], shown)
    if topics[0] + docstrings[0] == 0:
        raise DataError(
            "this Python carries no source text",
            where=library,
            found=f"no docstring and no topic within {max_bytes:,} bytes",
            remedy="allow more bytes, or leave the source python-docs out",
        )
    return {"documents": topics[0] + docstrings[0], "bytes": topics[1] + docstrings[1]}


def _write(path: Path, records: Iterable[Record], max_bytes: int, shown: console.Progress) -> tuple[int, int]:
    """Write records up to the first that does not fit; return how many there are and the bytes of their text."""
    count = size = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            length = len(record["text"].encode())
            if size + length > max_bytes:
                break
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count, size = count + 1, size + length
            shown.advance(length)
    return count, size


def _scattered(names: Iterable[str]) -> list[str]:
    """Names in the order of their hashes."""
    return sorted(names, key=lambda name: blake2b(name.encode(), digest_size=8).digest())


def _topics(path: Path) -> Iterator[Record]:
    """What `help("if")` and its like print; the file is one dictionary of literals."""
    if not path.is_file():
        return
    for node in ast.parse(path.read_bytes()).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict):
            topics = ast.literal_eval(value)
            for name in _scattered(topics):
                yield {"id": f"topic:{name}", "text": topics[name].strip(), "language": "en"}


def _docstrings(library: Path) -> Iterator[Record]:
    """Docstrings of modules, classes and functions, each once."""
    seen: set[str] = set()
    for name in _scattered(_source_files(library)):
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for qualified, text in documented((library / name).read_bytes()):
            if len(text) >= LEAST_CHARACTERS and text not in seen:
                seen.add(text)
                yield {"id": f"{module}:{qualified}", "text": text, "language": "en"}


def _source_files(library: Path) -> Iterator[str]:
    """Names of Python files below the library, without tests and what was installed beside it."""
    for folder, below, files in os.walk(library):
        below[:] = [name for name in below if name not in LEFT_OUT]
        yield from ((Path(folder) / name).relative_to(library).as_posix() for name in files if name.endswith(".py"))


def documented(source: bytes) -> Iterator[tuple[str, str]]:
    """`(qualified name and line, docstring)` for a module (named `module`) and all that is defined in it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of old spellings in the library, not of ours
            tree = ast.parse(source)
    except (SyntaxError, ValueError):  # the library carries files that are broken on purpose
        return
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield (f"{name}@{node.lineno}" if not isinstance(node, ast.Module) else "module"), cleandoc(text)
        children = [(_below(name, child), child) for child in ast.iter_child_nodes(node)]
        waiting.extend(reversed(children))


def _below(name: str, node: ast.AST) -> str:
    """The qualified name of a node under `name`; only definitions add to it."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{name}.{node.name}" if name else node.name
    return name
