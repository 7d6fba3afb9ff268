"""Row sets on disk: written in one pass with flat memory, read by memory map.

In: encoded records (ids, which of them are learnt). Out: a folder, and batches of its rows. The `shard` stage writes;
training, evaluation, `look` and the trace read. The order of samples is `order`'s, the packing rule is `packing`'s.
A folder holds `ids.bin` (every record's ids one after another, uint16 or uint32), `mask.bin` (a byte per id, absent
where every token is learnt), `pieces.bin` (PIECE, in row order), `rows.bin` (first piece of each row, int64),
`records.jsonl` with `records.bin` (the records' ids and where their lines start) and `rows.json`, written last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from danlu.base.artifact import write_atomically
from danlu.base.errors import ArtifactError
from danlu.shards.batches import IGNORE, Batch
from danlu.shards.packing import best_fit, cut, ranges
from danlu.tokenizer.chat import TEMPLATE_HASH
from danlu.tokenizer.tokenizer import Tokenizer

FORMAT = 1
PIECE = np.dtype(
    [("start", "<i8"), ("length", "<i4"), ("record", "<i4"), ("targets", "<i4"), ("continues", "?")],
)
"""`start` into ids.bin; `continues`: the same document goes on behind this piece, and its next token is a target."""
DATA_FILES = ("ids.bin", "pieces.bin", "rows.bin", "records.jsonl", "records.bin")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Some records as one run of ids. `mask` is None where every token is learnt."""

    records: list[str]
    lengths: np.ndarray  # (records,) int64
    ids: np.ndarray  # (sum of lengths,) of any integer type
    mask: np.ndarray | None = None  # (sum of lengths,) bool


class RowSetWriter:
    """`with RowSetWriter(...) as writer: writer.add(encoded)`; leaving the block without an error finishes the set."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, row_length: int, masked: bool, window: int = 4096):
        self.folder, self.row_length, self.masked, self.window = folder, row_length, masked, window
        self._tokenizer = tokenizer
        self._dtype = np.dtype("<u2") if tokenizer.size <= 1 << 16 else np.dtype("<u4")
        self._pending: list[np.ndarray] = []
        self._num_pending = self._num_ids = self._num_records = self._num_pieces = self._num_rows = 0
        self._record_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        names = (*DATA_FILES, "mask.bin") if masked else DATA_FILES
        self._files = {name: self._stack.enter_context((folder / name).open("wb")) for name in names}

    def __enter__(self) -> RowSetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._stack:
            if kind is None:
                self._flush()
                self._files["rows.bin"].write(np.array([self._num_pieces], dtype="<i8").tobytes())
        if kind is None:
            write_atomically(self.folder / "rows.json", json.dumps(self._facts(), indent=1) + "\n")

    def add(self, encoded: Encoded) -> None:
        """Append records; rows are packed among every `window` pieces, which bounds the memory."""
        self._files["ids.bin"].write(encoded.ids.astype(self._dtype).tobytes())
        if self.masked:
            mask = encoded.mask if encoded.mask is not None else np.ones(len(encoded.ids), dtype=bool)
            self._files["mask.bin"].write(mask.astype(np.uint8).tobytes())
        self._add_records(encoded.records)
        pieces = self._cut(encoded)
        self._num_ids += len(encoded.ids)
        self._num_records += len(encoded.records)
        self._pending.append(pieces)
        self._num_pending += len(pieces)
        while self._num_pending >= self.window:
            self._flush(self.window)

    def _add_records(self, records: list[str]) -> None:
        lines = [json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for record in records]
        sizes = np.array([len(line) for line in lines], dtype="<i8")
        starts = self._record_bytes + np.cumsum(sizes) - sizes
        self._files["records.jsonl"].write(b"".join(lines))
        self._files["records.bin"].write(starts.astype("<i8").tobytes())
        self._record_bytes += int(sizes.sum())

    def _cut(self, encoded: Encoded) -> np.ndarray:
        """The pieces of some records, with what each of them teaches."""
        lengths = encoded.lengths.astype(np.int64)
        first = np.cumsum(lengths) - lengths
        documents, starts, sizes = cut(lengths, self.row_length)
        begins = first[documents] + starts
        continues = starts + sizes < lengths[documents]
        ends = begins + sizes + continues  # a piece predicts the tokens begins + 1 … ends - 1
        if self.masked and encoded.mask is not None:
            learnt = np.concatenate([[0], np.cumsum(encoded.mask, dtype=np.int64)])
            targets = learnt[ends] - learnt[begins + 1]
        else:
            targets = ends - begins - 1
        pieces = np.empty(len(documents), dtype=PIECE)
        pieces["start"], pieces["length"], pieces["continues"] = self._num_ids + begins, sizes, continues
        pieces["record"], pieces["targets"] = self._num_records + documents, targets
        return pieces

    def _flush(self, count: int | None = None) -> None:
        """Pack the oldest `count` pending pieces (all of them by default) into rows and write these."""
        pending = np.concatenate(self._pending) if self._pending else np.empty(0, dtype=PIECE)
        pieces, rest = (pending, pending[:0]) if count is None else (pending[:count], pending[count:])
        rows = best_fit(pieces["length"], self.row_length)
        order = np.argsort(rows, kind="stable")
        first = np.searchsorted(rows[order], np.arange(rows.max() + 1 if len(rows) else 0))
        self._files["pieces.bin"].write(pieces[order].tobytes())
        self._files["rows.bin"].write((self._num_pieces + first).astype("<i8").tobytes())
        self._num_pieces += len(pieces)
        self._num_rows += len(first)
        self._pending, self._num_pending = [rest], len(rest)

    def _facts(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "row_length": self.row_length,
            "num_rows": self._num_rows,
            "num_ids": self._num_ids,
            "num_records": self._num_records,
            "num_pieces": self._num_pieces,
            "dtype": self._dtype.str,
            "masked": self.masked,
            "vocabulary_size": self._tokenizer.size,
            "pad_id": self._tokenizer.pad_id if self._tokenizer.pad_id is not None else 0,
            "tokenizer": self._tokenizer.fingerprint,
            "template": TEMPLATE_HASH,
        }


@dataclass(frozen=True)
class RowSet:
    """Rows of ids, memory-mapped. `selection` holds the stored numbers of the rows of a subset."""

    folder: Path
    facts: Mapping[str, Any]
    ids: np.ndarray
    mask: np.ndarray | None
    pieces: np.ndarray
    offsets: np.ndarray
    selection: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path) -> RowSet:
        """Map a finished set; ArtifactError where a file is missing or has another size than it must have."""
        facts = _read_facts(folder)
        dtype = np.dtype(facts["dtype"])
        return cls(
            folder,
            facts,
            ids=_map(folder / "ids.bin", dtype, facts["num_ids"]),
            mask=_map(folder / "mask.bin", np.dtype("u1"), facts["num_ids"]) if facts["masked"] else None,
            pieces=_map(folder / "pieces.bin", PIECE, facts["num_pieces"]),
            offsets=_map(folder / "rows.bin", np.dtype("<i8"), facts["num_rows"] + 1),
        )

    @property
    def row_length(self) -> int:
        return int(self.facts["row_length"])

    @property
    def vocabulary_size(self) -> int:
        return int(self.facts["vocabulary_size"])

    @property
    def num_rows(self) -> int:
        return len(self.selection) if self.selection is not None else int(self.facts["num_rows"])

    @property
    def num_records(self) -> int:
        """Records that the whole set was made of, also where it is a subset."""
        return int(self.facts["num_records"])

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of all rows, padding not counted."""
        return self._sum("length")

    @cached_property
    def num_targets(self) -> int:
        """Tokens of all rows that are learnt."""
        return self._sum("targets")

    def _sum(self, field: str) -> int:
        """Of a whole set straight from the map: all its pieces at once would be gigabytes."""
        pieces = self.pieces if self.selection is None else self._pieces_of(np.arange(self.num_rows))
        return int(pieces[field].sum(dtype=np.int64))

    def require(self, tokenizer: Tokenizer) -> None:
        """ArtifactError unless these rows were made with this tokenizer and the present chat template."""
        for name, made_with, now in (
            ("tokenizer", self.facts["tokenizer"], tokenizer.fingerprint),
            ("chat template", self.facts["template"], TEMPLATE_HASH),
        ):
            if made_with != now:
                raise ArtifactError(
                    f"these rows were made with another {name}",
                    where=self.folder,
                    found=f"{made_with[:12]}, but the {name} at hand is {now[:12]}",
                    remedy="run the shard stage again with --again",
                )

    def subset(self, rows: np.ndarray) -> RowSet:
        """The same set with these rows only, numbered from 0 in the order given."""
        return replace(self, selection=self._stored(np.asarray(rows, dtype=np.int64)))

    def _stored(self, rows: np.ndarray) -> np.ndarray:
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.num_rows:
            raise IndexError(f"rows {rows.min()} … {rows.max()} asked for, there are {self.num_rows}")
        return rows if self.selection is None else self.selection[rows]

    def _pieces_of(self, rows: np.ndarray) -> np.ndarray:
        stored = self._stored(rows)
        first = self.offsets[stored]
        return self.pieces[ranges(first, self.offsets[stored + 1] - first)]

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows as arrays, gathered at once: no loop over rows or pieces."""
        rows = np.asarray(rows, dtype=np.int64)
        stored, width = self._stored(rows), self.row_length
        first = self.offsets[stored]
        counts = self.offsets[stored + 1] - first  # pieces of each row
        pieces = self.pieces[ranges(first, counts)]
        lengths = pieces["length"].astype(np.int64)
        row_of_piece = np.repeat(np.arange(len(rows)), counts)
        number = ranges(np.zeros_like(counts), counts)  # of each piece within its row
        ends = np.cumsum(lengths)
        filled = np.bincount(row_of_piece, weights=lengths, minlength=len(rows)).astype(np.int64)
        columns = ends - lengths - np.repeat(np.cumsum(filled) - filled, counts)  # where each piece begins

        within = ranges(np.zeros_like(lengths), lengths)  # position of each token in its piece
        source = np.repeat(pieces["start"], lengths) + within
        place = np.repeat(row_of_piece * width + columns, lengths) + within
        has_next = (within + 1 < np.repeat(lengths, lengths)) | np.repeat(pieces["continues"], lengths)
        following = source + has_next
        learnt = has_next if self.mask is None else has_next & (self.mask[following] != 0)

        last_column = columns[np.cumsum(counts) - 1]  # where the last piece of each row begins; padding goes on from it
        shape = (len(rows), width)
        ids = np.full(shape, self.facts["pad_id"], dtype=np.int64)
        targets = np.full(shape, IGNORE, dtype=np.int64)
        documents = np.full(shape, -1, dtype=np.int32)
        positions = np.arange(width, dtype=np.int64) - last_column[:, None]  # (N, T)
        ids.reshape(-1)[place] = self.ids[source]
        targets.reshape(-1)[place] = np.where(learnt, self.ids[following].astype(np.int64), IGNORE)
        documents.reshape(-1)[place] = np.repeat(number, lengths)
        positions.reshape(-1)[place] = within
        return Batch(ids, targets, positions, documents, rows)

    def documents_of(self, row: int) -> list[str]:
        """The ids of the records that one row is made of, in the row's order."""
        starts = _map(self.folder / "records.bin", np.dtype("<i8"), self.facts["num_records"])
        names = []
        with (self.folder / "records.jsonl").open("rb") as file:
            for record in self._pieces_of(np.array([row]))["record"].tolist():
                file.seek(int(starts[record]))
                names.append(str(json.loads(file.readline())))
        return names


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "rows.json"
    if not path.is_file():
        raise ArtifactError("there is no finished row set here", where=folder, found="no rows.json")
    try:
        facts = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArtifactError("the row set's description cannot be read", where=path, found=error) from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ArtifactError("this row set is of another format", where=path, remedy="run the shard stage again")
    return facts


def _map(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    """Map a file of `count` items; an empty file cannot be mapped and is an empty array."""
    size = path.stat().st_size if path.is_file() else None
    if size != count * dtype.itemsize:
        found = "nothing" if size is None else f"{size} bytes instead of {count * dtype.itemsize}"
        raise ArtifactError("a file of the row set is damaged", where=path, found=found, remedy="run shard again")
    return np.memmap(path, dtype=dtype, mode="r") if count else np.empty(0, dtype=dtype)
