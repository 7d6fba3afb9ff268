"""Text of the standard library: within the limit, the same each time, read and never run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from danlu.base.errors import DataError
from danlu.corpus import python_docs

SOURCE = '''"""What the module is for."""
import sys
sys.exit("nobody runs this")

class Shape:
    """A closed line."""

    if True:
        async def area(self):
            """What it
            encloses."""

            def inner():
                "Deep."
'''


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text("utf-8").splitlines()]


def test_the_limit_holds_and_both_kinds_are_there(tmp_path: Path) -> None:
    counts = python_docs.write(tmp_path, max_bytes=200_000)
    records = read(tmp_path)
    size = sum(len(record["text"].encode()) for record in records)
    assert counts == {"documents": len(records), "bytes": size}
    assert 150_000 < size <= 200_000
    assert {record["language"] for record in records} == {"en"}
    assert {record["id"].startswith("topic:") for record in records} == {True, False}
    assert len({record["id"] for record in records}) == len(records)


def test_a_small_amount_is_a_sample_of_the_whole_library(tmp_path: Path) -> None:
    python_docs.write(tmp_path, max_bytes=100_000)
    beginnings = {record["id"][0] for record in read(tmp_path) if not record["id"].startswith("topic:")}
    assert len(beginnings) >= 4


def test_the_same_python_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        python_docs.write(tmp_path / name, max_bytes=60_000)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_no_module_is_run(tmp_path: Path) -> None:
    before = set(sys.modules)
    python_docs.write(tmp_path, max_bytes=150_000)
    assert set(sys.modules) - before <= {"pydoc_data"}


def test_docstrings_of_everything_that_is_defined() -> None:
    assert list(python_docs.documented(SOURCE.encode())) == [
        ("module", "What the module is for."),
        ("Shape@5", "A closed line."),
        ("Shape.area@9", "What it\nencloses."),
        ("Shape.area.inner@13", "Deep."),
    ]
    assert list(python_docs.documented(b"def broken(:")) == []
    assert list(python_docs.documented(b"nul = '\0'")) == []


def test_nothing_to_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "library"
    empty.mkdir()
    monkeypatch.setattr(python_docs.sysconfig, "get_path", lambda name: str(empty))
    with pytest.raises(DataError, match="carries no source text"):
        python_docs.write(tmp_path / "out", max_bytes=1000)
