"""Documents of which most stands in another one, over the whole corpus: which of them stays, and which go.

In: the documents of a corpus as they are written. Out: those that go, each with the id of the one that stays for it.
Called by `pipeline` (add) and `prune`. Of documents that share a band key, also by way of a third one, the longest
stays; of equally long ones that with the smallest id. So the order of reading decides nothing. Band keys, ids and sizes
lie on disk; memory holds some 40 bytes a document. Conversations are left alone: many good ones differ in a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from danlu.base.records import SPLITS, Document, Split
from danlu.corpus.minhash import NOTHING, Bands, keys
from danlu.corpus.shingles import SLICE, Hashes, Places


@dataclass(frozen=True, slots=True)
class Gone:
    """A document that does not stay: its line in the file of its side, who stays for it, its unit's file and size."""

    line: int
    kept: str
    file: str
    size_bytes: int


class NearDuplicates:
    """The memory of one run, in two files of `folder`. To be entered before the first `add` and left before `gone`."""

    def __init__(self, folder: Path, bands: Bands):
        self.folder, self.bands = folder, bands
        self._row = np.dtype(
            [
                ("keys", "<u8", (bands.bands,)),
                ("characters", "<i8"),
                ("size_bytes", "<i8"),
                ("id_end", "<i8"),
                ("file", "<u4"),
                ("side", "u1"),
            ]
        )
        self._waiting: list[tuple[str, tuple[int, int, int, int]]] = []
        self._waiting_characters = self._id_end = 0
        self._files: dict[str, int] = {}

    def __enter__(self) -> NearDuplicates:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows_file, self._ids_file = (self.folder / "rows").open("wb"), (self.folder / "ids").open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._rows_file, self._ids_file:
            if kind is None:
                self._flush()

    def add(self, document: Document, side: Split, file: str, size_bytes: int) -> None:
        """A document was written as the next one of its side; `file` and `size_bytes` are those of its unit."""
        name = document.id.encode("utf-8", "surrogatepass")
        self._ids_file.write(name)
        self._id_end += len(name)
        number = self._files.setdefault(file, len(self._files))
        self._waiting.append((document.text, (size_bytes, self._id_end, number, SPLITS.index(side))))
        self._waiting_characters += len(document.text)
        if self._waiting_characters >= SLICE:
            self._flush()

    def _flush(self) -> None:
        texts = [text for text, _ in self._waiting]
        rows = np.zeros(len(texts), self._row)
        if texts:
            rows["keys"] = keys(texts, self.bands)
            rows["characters"] = [len(text) for text in texts]
            facts = np.array([facts for _, facts in self._waiting], np.int64)
            for column, name in enumerate(("size_bytes", "id_end", "file", "side")):
                rows[name] = facts[:, column]
        self._rows_file.write(rows.tobytes())
        self._waiting, self._waiting_characters = [], 0

    def gone(self) -> Iterator[tuple[Split, list[Gone]]]:
        """What does not stay of each side, in the order in which it was written."""
        if not self._id_end:
            return
        rows = np.memmap(self.folder / "rows", self._row, mode="r")
        stays, files = self._stays(rows), list(self._files)
        for index, side in enumerate(SPLITS):
            numbers = np.flatnonzero(rows["side"] == index)
            places = np.flatnonzero(stays[numbers] != numbers)
            yield (
                side,
                [
                    Gone(
                        line=int(place),
                        kept=self._id(rows, int(stays[number])).decode("utf-8", "replace"),
                        file=files[rows["file"][number]],
                        size_bytes=int(rows["size_bytes"][number]),
                    )
                    for place, number in zip(places, numbers[places], strict=True)
                ],
            )

    def _stays(self, rows: np.memmap) -> Places:
        """For each document the number of the one that stays for it: most often its own."""
        groups = clusters(rows["keys"])
        stays = np.arange(len(rows))
        sizes = np.bincount(groups, minlength=len(rows))
        members = np.flatnonzero(sizes[groups] > 1)
        members = members[np.lexsort((-rows["characters"][members], groups[members]))]
        borders = np.flatnonzero(np.diff(groups[members], prepend=-1))
        for group in np.split(members, borders[1:]) if len(members) else []:
            longest = group[rows["characters"][group] == rows["characters"][group[0]]]
            stays[group] = min(longest, key=lambda number: self._id(rows, int(number)))
        return stays

    def _id(self, rows: np.memmap, number: int) -> bytes:
        begin = int(rows["id_end"][number - 1]) if number else 0
        with (self.folder / "ids").open("rb") as file:
            file.seek(begin)
            return file.read(int(rows["id_end"][number]) - begin)


def clusters(band_keys: Hashes) -> Places:
    """For each row of `(documents, bands)` keys the smallest number among the rows that it is joined with.

    Two rows are joined where they share a key of a band; a key of NOTHING joins none.
    """
    parents = np.arange(len(band_keys))
    for band in range(band_keys.shape[1]):
        column = np.ascontiguousarray(band_keys[:, band])
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        alike = (ordered[1:] == ordered[:-1]) & (ordered[1:] != NOTHING)
        _join(parents, order[:-1][alike], order[1:][alike])
    return _roots(parents, parents)


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
