"""Notes of finished row sets: believed where every file is as it was and all of it was made from the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.shards.finished import Finished, Notes

REPORT = {"rows": 3, "filled": 0.1, "rejected": {"longer than a row": 1}}


@pytest.fixture
def row_set(tmp_path) -> Path:
    folder = tmp_path / "chat-train"
    folder.mkdir()
    (folder / "ids.bin").write_bytes(b"\0\1\2\3")
    (folder / "rows.json").write_text("{}")
    return folder


def test_a_note_gives_back_what_was_reported(row_set, tmp_path):
    notes = Notes(tmp_path / "scratch", "one name")
    assert notes.read(row_set) is None
    assert notes.write(row_set, REPORT, 1.5) == Finished(REPORT)
    assert notes.read(row_set) == Finished(REPORT, 1.5)
    assert Notes(tmp_path / "scratch", "another name").read(row_set) is None
    assert notes.read(tmp_path / "chat-validation") is None
    assert {path.name for path in row_set.iterdir()} == {"ids.bin", "rows.json"}, "the note lies elsewhere"


@pytest.mark.parametrize(
    "harm",
    [
        lambda rows, note: (rows / "ids.bin").write_bytes(b"\0\1\2\4"),
        lambda rows, note: (rows / "ids.bin").unlink(),
        lambda rows, note: (rows / "mask.bin").write_bytes(b""),
        lambda rows, note: note.write_text(note.read_text().replace('"rows": 3', '"rows": 4')),
        lambda rows, note: note.write_bytes(note.read_bytes()[:60]),
        lambda rows, note: note.write_text("[]"),
    ],
    ids=["a byte", "a file less", "a file more", "another report", "torn", "another thing"],
)
def test_what_was_harmed_is_not_believed(row_set, tmp_path, harm):
    notes = Notes(tmp_path / "scratch", "one name")
    notes.write(row_set, REPORT, 1.5)
    harm(row_set, tmp_path / "scratch" / "chat-train.json")
    assert notes.read(row_set) is None
