"""Documents that share most of their runs of words with another one, over the whole corpus: which stay, and which go.

In: the documents of a corpus as they are written. Out: those that go, each with the id of the one that stays for it.
Called by `pipeline` (add) and `prune`. The longest are asked first, of equally long ones that with the smallest id, so
the order of reading decides nothing: a document goes where it shares a band key with one that stays, and stays where
it shares one only with documents that go. So nothing goes by way of a third one. What is compared is what both
share of all that they have (Jaccard): a page that stands whole in a book is not found. Band keys, ids and sizes lie on
disk, 141 bytes and the id a document; memory holds some 50 bytes a document while groups are found, then some 500 for
each that stays of one group. Conversations are left alone: many good ones differ in a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.base.records import SPLITS, Document, Split
from danlu.corpus.dedup import Table
from danlu.corpus.minhash import NOTHING, Bands, keys
from danlu.corpus.shingles import SLICE, Hashes, Places

FACTS = np.dtype([("characters", "<i8"), ("size_bytes", "<i8"), ("id_end", "<i8"), ("file", "<u4"), ("side", "u1")])
"""Of each document: `id_end` is where its id ends among all ids, `file` the number of its unit's file."""
ROWS_AT_ONCE = 1 << 13


@dataclass(frozen=True, slots=True)
class Gone:
    """A document that does not stay: its line in the file of its side, who stays for it, its unit's file and size."""

    line: int
    kept: str
    file: str
    size_bytes: int


class NearDuplicates:
    """The memory of one run, in three files of `folder`. To be entered before the first `add` and left before `gone`.

    The files are read, not mapped: mapped pages would count as memory of the process.
    """

    def __init__(self, folder: Path, bands: Bands):
        self.folder, self.bands = folder, bands
        self._waiting: list[tuple[str, tuple[int, int, int, int]]] = []
        self._waiting_characters = self._id_end = self._count = 0
        self._files: dict[str, int] = {}

    def __enter__(self) -> NearDuplicates:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keys_file, self._facts_file, self._ids_file = (
            (self.folder / name).open("wb") for name in ("keys", "facts", "ids")
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._keys_file, self._facts_file, self._ids_file:
            if kind is None:
                self._flush()

    def add(self, document: Document, side: Split, file: str, size_bytes: int) -> None:
        """A document was written as the next one of its side; `file` and `size_bytes` are those of its unit."""
        name = document.id.encode("utf-8", "surrogatepass")
        self._ids_file.write(name)
        self._id_end += len(name)
        self._count += 1
        number = self._files.setdefault(file, len(self._files))
        self._waiting.append((document.text, (size_bytes, self._id_end, number, SPLITS.index(side))))
        self._waiting_characters += len(document.text)
        if self._waiting_characters >= SLICE:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        texts = [text for text, _ in self._waiting]
        facts = np.array([(len(text), *told) for text, told in self._waiting], FACTS)
        self._keys_file.write(keys(texts, self.bands).astype("<u8", copy=False).tobytes())
        self._facts_file.write(facts.tobytes())
        self._waiting, self._waiting_characters = [], 0

    def gone(self) -> Iterator[tuple[Split, Iterator[Gone]]]:
        """What does not stay of each side, in the order in which it was written."""
        if not self._count:
            return
        stays, sides = self._stays(), self._column("side")
        for index, side in enumerate(SPLITS):
            numbers = np.flatnonzero(sides == index)
            lines = np.flatnonzero(stays[numbers] != numbers)
            yield side, self._described(lines, numbers[lines], stays)

    def _described(self, lines: Places, numbers: Places, stays: Places) -> Iterator[Gone]:
        files = list(self._files)
        for line, number in zip(lines, numbers, strict=True):
            told, kept = self._fact(int(number)), self._id(int(stays[number])).decode("utf-8", "replace")
            yield Gone(int(line), kept, files[told["file"]], int(told["size_bytes"]))

    def _stays(self) -> Places:
        """For each document the number of the one that stays for it: most often its own."""
        groups = clusters(map(self._band, range(self.bands.bands)), self._count)
        stays = np.arange(self._count)
        sizes = np.bincount(groups, minlength=self._count)
        members = np.flatnonzero(sizes[groups] > 1)
        characters = self._column("characters")
        members = members[np.lexsort((-characters[members], groups[members]))]
        borders = np.flatnonzero(np.diff(groups[members], prepend=-1))
        for group in np.split(members, borders[1:]) if len(members) else []:
            ranked = self._by_id_where_equal(group, characters[group])
            stays[ranked] = direct(ranked, self._keys_of(ranked))
        return stays

    def _by_id_where_equal(self, group: Places, characters: Places) -> Places:
        """A group that is sorted by length, with equally long documents in the order of their ids."""
        equal = np.split(group, np.flatnonzero(np.diff(characters)) + 1)
        return np.array([n for part in equal for n in (sorted(part, key=self._id) if len(part) > 1 else part)])

    def _keys_of(self, numbers: Places) -> Iterator[Hashes]:
        """The band keys of some documents, in their order."""
        size = self.bands.bands * np.dtype("<u8").itemsize
        with (self.folder / "keys").open("rb") as file:
            for number in numbers.tolist():
                file.seek(number * size)
                yield np.frombuffer(file.read(size), "<u8")

    def _band(self, band: int) -> Hashes:
        """The keys of one band."""
        row = np.dtype([("keys", "<u8", (self.bands.bands,))])
        return self._gathered("keys", row, lambda rows: rows["keys"][:, band])

    def _column(self, name: str) -> Places:
        """One fact of all documents."""
        return self._gathered("facts", FACTS, lambda rows: rows[name])

    def _gathered(self, name: str, row: np.dtype[Any], part: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """A part of every row of a file, of which some rows are read at a time."""
        gathered = np.empty(self._count, part(np.empty(0, row)).dtype)
        with (self.folder / name).open("rb") as file:
            for start in range(0, self._count, ROWS_AT_ONCE):
                rows = np.fromfile(file, row, min(ROWS_AT_ONCE, self._count - start))
                gathered[start : start + len(rows)] = part(rows)
        return gathered

    def _fact(self, number: int) -> Any:
        return np.fromfile(self.folder / "facts", FACTS, 1, offset=number * FACTS.itemsize)[0]

    def _id(self, number: int) -> bytes:
        begin = int(self._fact(number - 1)["id_end"]) if number else 0
        with (self.folder / "ids").open("rb") as file:
            file.seek(begin)
            return file.read(int(self._fact(number)["id_end"]) - begin)


def clusters(columns: Iterable[Hashes], count: int) -> Places:
    """For each of `count` documents the smallest number among those that it is joined with.

    A column holds the keys of one band. Two documents are joined where they share a key of a band; a key of NOTHING
    joins none.
    """
    parents = np.arange(count)
    for column in columns:
        order = np.argsort(column, kind="stable")
        column = column[order]
        alike = (column[1:] == column[:-1]) & (column[1:] != NOTHING)
        _join(parents, order[:-1][alike], order[1:][alike])
    return _roots(parents, parents)


def direct(ranked: Places, keys: Iterable[Hashes]) -> Places:
    """For each of `ranked` the first before it that stays and shares a band key with it; itself where there is none."""
    staying, first = Table(), []
    for number, row in zip(ranked.tolist(), keys, strict=True):
        met = [place for key in row.tolist() if key and (place := staying.get(key)) is not None]
        first.append(ranked[min(met)] if met else number)
        if not met:
            for key in row.tolist():
                if key and staying.get(key) is None:
                    staying.put(key, len(first) - 1)
    return np.array(first, np.int64)


def _join(parents: Places, left: Places, right: Places) -> None:
    """Union-find over many pairs at once: the larger root of each pair gets the smaller one as its parent."""
    while len(left):
        left, right = _roots(parents, left), _roots(parents, right)
        apart = left != right
        left, right = np.minimum(left, right)[apart], np.maximum(left, right)[apart]
        np.minimum.at(parents, right, left)


def _roots(parents: Places, numbers: Places) -> Places:
    while True:
        above = parents[numbers]
        if np.array_equal(above, numbers):
            return above
        numbers = above
