"""Row sets: what is written is what is read, by hand and at random; subsets, tracing, damage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import ArtifactError
from danlu.shards.batches import IGNORE
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from tests.small import small_tokenizer


def encoded(documents: list[list[int]], masks: list[list[bool]] | None = None, first: int = 0) -> Encoded:
    flat = np.array([id for document in documents for id in document], dtype=np.int64)
    mask = np.array([learnt for one in masks for learnt in one], dtype=bool) if masks is not None else None
    names = [f"记录 {first + number}\n" for number in range(len(documents))]
    return Encoded(names, np.array([len(document) for document in documents], dtype=np.int64), flat, mask)


def written(folder, *parts: Encoded, row_length: int, masked: bool = False, window: int = 4096) -> RowSet:
    with RowSetWriter(folder, small_tokenizer(), row_length=row_length, masked=masked, window=window) as writer:
        for part in parts:
            writer.add(part)
    return RowSet.open(folder)


def test_a_row_set_by_hand(tmp_path):
    """Two documents in one row, and one that is cut in two: the first piece's last target lies in the second."""
    rows = written(tmp_path / "set", encoded([[10, 11, 12], [20, 21], [30, 31, 32, 33, 34, 35, 36, 37]]), row_length=6)
    batch = rows.batch(np.arange(rows.num_rows))
    x = IGNORE
    assert batch.ids.tolist() == [[30, 31, 32, 33, 34, 35], [10, 11, 12, 20, 21, 0], [36, 37, 0, 0, 0, 0]]
    assert batch.targets.tolist() == [[31, 32, 33, 34, 35, 36], [11, 12, x, 21, x, x], [37, x, x, x, x, x]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]]
    assert batch.documents.tolist() == [[0] * 6, [0, 0, 0, 1, 1, -1], [0, 0, -1, -1, -1, -1]]
    assert batch.rows.tolist() == [0, 1, 2]
    assert (batch.num_tokens, batch.num_targets) == (rows.num_tokens, rows.num_targets) == (13, 10)
    assert rows.documents_of(1) == ["记录 0\n", "记录 1\n"]
    assert rows.documents_of(2) == ["记录 2\n"]
    dtypes = [array.dtype.name for array in (batch.ids, batch.targets, batch.positions, batch.documents, batch.rows)]
    assert dtypes == ["int64", "int64", "int64", "int32", "int64"]


def test_only_masked_tokens_are_targets_also_over_a_cut(tmp_path):
    documents = [[10, 11, 12, 13, 14, 15], [20, 21, 22]]
    masks = [[False, False, True, False, True, True], [False, False, False]]
    rows = written(tmp_path / "set", encoded(documents, masks), row_length=4, masked=True)
    batch = rows.batch(np.arange(rows.num_rows))
    x = IGNORE
    assert batch.ids.tolist() == [[10, 11, 12, 13], [20, 21, 22, 0], [14, 15, 0, 0]]
    assert batch.targets.tolist() == [[x, 12, x, 14], [x, x, x, x], [15, x, x, x]]
    assert rows.num_targets == batch.num_targets == 3


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    row_length=st.integers(2, 24),
    window=st.integers(1, 30),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_every_token_and_every_target_is_kept(tmp_path_factory, lengths, row_length, window, masked, seed):
    """Rebuild all documents from the rows; each pair of neighbours is learnt exactly where the mask says so."""
    random = np.random.default_rng(seed)
    documents = [random.integers(8, 500, size=length).tolist() for length in lengths]
    masks = [(random.random(length) < 0.4).tolist() for length in lengths] if masked else None
    half = len(documents) // 2
    parts = [
        encoded(documents[:half], masks[:half] if masks else None),
        encoded(documents[half:], masks[half:] if masks else None, first=half),
    ]
    folder = tmp_path_factory.mktemp("rows") / "set"
    rows = written(folder, *parts, row_length=row_length, masked=masked, window=window)
    batch = rows.batch(np.arange(rows.num_rows))
    rebuilt: dict[str, list[list[int]]] = {}
    learnt: dict[str, list[int]] = {}
    pieces = [(row, piece) for row in range(rows.num_rows) for piece in range(len(rows.documents_of(row)))]
    names = [rows.documents_of(row)[piece] for row, piece in pieces]
    starts = rows.pieces["start"]
    for index in np.argsort(starts).tolist():  # in the order of the text, wherever the pieces were packed
        row, piece = pieces[index]
        here = batch.documents[row] == piece
        assert batch.positions[row][here].tolist() == list(range(here.sum()))
        rebuilt.setdefault(names[index], []).extend(batch.ids[row][here].tolist())
        learnt.setdefault(names[index], []).extend(batch.targets[row][here].tolist())
    for number, document in enumerate(documents):
        mask = masks[number] if masks else [True] * len(document)
        expected = [id if keep else IGNORE for id, keep in zip(document[1:], mask[1:], strict=True)]
        assert rebuilt[f"记录 {number}\n"] == document
        assert learnt[f"记录 {number}\n"] == [*expected, IGNORE]
    assert rows.num_tokens == batch.num_tokens == sum(lengths)
    assert rows.num_targets == batch.num_targets


def test_subsets_keep_their_rows(tmp_path, monkeypatch):
    rows = written(tmp_path / "set", encoded([[8 + number] * 5 for number in range(10)]), row_length=5)
    with monkeypatch.context() as patch:  # of a whole set not one piece is copied
        patch.setattr(RowSet, "_pieces_of", None)
        assert (rows.num_tokens, rows.num_targets) == (50, 40)
    part = rows.subset(np.array([7, 2, 3]))
    assert (part.num_rows, part.num_tokens, part.num_targets) == (3, 15, 12)
    assert part.batch(np.array([1])).ids.tolist() == rows.batch(np.array([2])).ids.tolist()
    assert part.documents_of(0) == rows.documents_of(7)
    assert part.subset(np.array([2])).documents_of(0) == rows.documents_of(3)
    for wrong in (3, -1):
        with pytest.raises(IndexError):
            part.batch(np.array([wrong]))


def test_an_empty_set_and_an_empty_batch(tmp_path):
    rows = written(tmp_path / "set", row_length=8)
    assert (rows.num_rows, rows.num_tokens, rows.num_targets) == (0, 0, 0)
    assert rows.batch(np.array([], dtype=np.int64)).ids.shape == (0, 8)


def test_large_vocabularies_take_four_bytes(tmp_path, monkeypatch):
    tokenizer = small_tokenizer()
    for size, name in ((1 << 16, "<u2"), ((1 << 16) + 1, "<u4")):
        monkeypatch.setattr(tokenizer, "size", size)
        rows = written(tmp_path / name[1:], encoded([[8, size - 1]]), row_length=4)
        assert rows.facts["dtype"] == name
        assert rows.batch(np.array([0])).ids[0, 1] == size - 1
        assert rows.vocabulary_size == size


def test_an_error_leaves_no_finished_set(tmp_path):
    folder = tmp_path / "set"

    def interrupted():
        with RowSetWriter(folder, small_tokenizer(), row_length=8, masked=False) as writer:
            writer.add(encoded([[8, 9]]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ArtifactError, match=r"no rows\.json"):
        RowSet.open(folder)


@pytest.mark.parametrize("name", ["ids.bin", "pieces.bin", "rows.bin", "mask.bin"])
def test_damaged_files_are_named(tmp_path, name):
    folder = tmp_path / "set"
    written(folder, encoded([[8, 9, 10]]), row_length=8, masked=True)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        RowSet.open(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match="nothing"):
        RowSet.open(folder)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": 99})])
def test_a_damaged_description_is_named(tmp_path, content):
    folder = tmp_path / "set"
    written(folder, encoded([[8, 9, 10]]), row_length=8)
    (folder / "rows.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"rows\.json"):
        RowSet.open(folder)
