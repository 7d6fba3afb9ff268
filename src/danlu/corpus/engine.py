"""Reading and cleaning, which know one record at a time, on any number of processes and over any number of kills.

In: source files, a Cleaner, a folder for what is done. Out: their units in order, cleaned, and what each file's reader
counted. Called by `stages.prepare`. The units of some files, or of one large file, are cut into shards of SHARD_BYTES;
a shard that is cleaned is a file in the folder, there whole or not at all, named after the contents of its files and
refused where they changed meanwhile. Where the cuts lie depends on nothing but the files, so that any number of
processes makes the same shards, and one that starts after a kill repeats no finished one, but for those of files that
are others now. What depends on other records (duplicates, names, sides) is `pipeline`'s. Drops and decides nothing.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from itertools import count, takewhile
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from danlu.base.artifact import write_atomically
from danlu.base.errors import DataError
from danlu.base.records import conversation_from_dict, document_from_dict
from danlu.corpus.clean import Cleaner
from danlu.corpus.readers import FileReader
from danlu.corpus.sources import SourceFile
from danlu.corpus.stamps import Stamped, refuse_changed
from danlu.corpus.units import Closed, Record, Rejection, Unit

SHARD_BYTES = 1 << 24
"""Of the units as they were read. Some seconds of work, and what a kill can cost each process."""
NAME_CHARACTERS = 32
Piece: TypeAlias = Unit | Closed
Part: TypeAlias = tuple[Stamped, ...]


@dataclass(frozen=True)
class Job:
    """Some files, how the names of their shards begin, and how large those become."""

    part: Part
    stem: Path
    shard_bytes: int = SHARD_BYTES

    @property
    def is_large(self) -> bool:
        """True where one process alone would take long."""
        return sum(one.size_bytes for one in self.part) > 2 * self.shard_bytes


def cleaned(files: Iterable[SourceFile], cleaner: Cleaner) -> Iterator[Piece]:
    """Every unit of every file, cleaned, and after the last of each file what its reader counted."""
    for file in files:
        reader = FileReader(file)
        for unit in reader:
            yield _clean(unit, cleaner)
        yield reader.closed()


@dataclass(frozen=True)
class Work:
    """Files to be cleaned by way of shards in `folder`, of which those that lie there are not made again.

    `make_cleaner` is what every process makes its Cleaner with; the folder holds shards of this Cleaner only.
    """

    files: Sequence[Stamped]
    make_cleaner: Callable[[], Cleaner]
    folder: Path
    shard_bytes: int = field(default_factory=lambda: SHARD_BYTES)

    def pieces(self, cleaner: Cleaner, workers: int = 1) -> Iterator[Piece]:
        """What `cleaned` gives, in its order; what the processes counted is added to the counters of `cleaner`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        jobs = list(self._jobs())
        self._sweep({job.stem.name for job in jobs})
        for shard in self._alone(jobs) if workers == 1 else self._together(jobs, workers):
            yield from _read(shard, cleaner)

    def _jobs(self) -> Iterator[Job]:
        for part in _parts(self.files, self.shard_bytes):
            yield Job(part, self.folder / _name(part, self.shard_bytes), self.shard_bytes)

    def _sweep(self, names: Collection[str]) -> None:
        """Remove shards of files that are others now or gone, and those that a kill left half written."""
        for path in self.folder.iterdir():
            if path.name.partition("-")[0] not in names:
                path.unlink()

    def _alone(self, jobs: Sequence[Job]) -> Iterator[Path]:
        for job in jobs:
            yield from _make(job, self.make_cleaner())

    def _together(self, jobs: Sequence[Job], workers: int) -> Iterator[Path]:
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_the_parent)
        try:
            started = [(job, self._submit(pool, job, workers)) for job in jobs]
            for job, futures in started:
                for future in futures:
                    future.result()
                yield from _made(job.stem)
        except BrokenProcessPool as error:
            raise DataError(
                "a process that cleans was killed, perhaps for want of memory, or could not start from a script",
                found=error,
                remedy="run it again, it goes on where it stopped; fewer prepare.workers take less memory. "
                'A script needs `if __name__ == "__main__":` before what it runs, for every process reads it anew',
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    def _submit(self, pool: ProcessPoolExecutor, job: Job, workers: int) -> list[Future[None]]:
        """A large file is read by every process, and each cleans its share of the shards: reading takes less."""
        shares = workers if job.is_large else 1
        return [pool.submit(_make_all, job, self.make_cleaner, (share, shares)) for share in range(shares)]


def _end_with_the_parent() -> None:
    """Let this process end when the one that started it does, be that killed.

    It would do what is left of the work first, beside whoever makes the corpus again, and then wait for more for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    """The system closes the sentinel with the last process that holds its other end, which is the parent alone."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _clean(unit: Unit, cleaner: Cleaner) -> Unit:
    if isinstance(unit.content, Rejection):
        return replace(unit, content=cleaner.masked_rejection(unit.content))
    return replace(unit, content=cleaner.clean(unit.content))


def _parts(files: Sequence[Stamped], shard_bytes: int) -> Iterator[Part]:
    """Neighbouring files together until they fill a shard: a million small ones are not a million jobs."""
    held: list[Stamped] = []
    size = 0
    for one in files:
        held.append(one)
        size += one.size_bytes
        if size >= shard_bytes:
            yield tuple(held)
            held, size = [], 0
    if held:
        yield tuple(held)


def _name(part: Part, shard_bytes: int) -> str:
    """How the shards of these files begin: with the hash of all that they are read from, and where they are cut."""
    hashed = sha256(str(shard_bytes).encode())
    for one in part:  # wherever the folder lies now
        hashed.update(repr((replace(one.file, path=Path(one.file.path.name)), one.sha256)).encode())
    return hashed.hexdigest()[:NAME_CHARACTERS]


def _make_all(job: Job, make_cleaner: Callable[[], Cleaner], share: tuple[int, int]) -> None:
    for _ in _make(job, make_cleaner(), share):
        pass


def _make(job: Job, cleaner: Cleaner, share: tuple[int, int] = (0, 1)) -> Iterator[Path]:
    """Clean every shard of this share (which of how many) that is not there yet; the paths of them all, in order."""
    which, shares = share
    made = 0
    for number, pieces in enumerate(_cut(job)):
        path = _shard(job.stem, number)
        if number % shares != which:
            deque(pieces, maxlen=0)
            continue
        if path.exists():
            deque(pieces, maxlen=0)
        else:
            counts: dict[str, Any] = {name: Counter() for name in _counters(cleaner)}
            own = replace(cleaner, **counts)
            shard = bytearray()  # a list of lines would hold the room that orjson takes for each while it writes
            for piece in pieces:
                for line in _written(piece, own):
                    shard += line + b"\n"
            refuse_changed(job.part, sure=False)
            write_atomically(path, orjson.dumps(counts) + b"\n" + shard)
            made += 1
        yield path
    if made:
        _be_sure(job)


def _be_sure(job: Job) -> None:
    """DataError where a file did not only grow while it was read; then no shard of it is worth anything.

    Asked once: to hash the beginning of a log with each of its shards would take the square of its size.
    """
    try:
        refuse_changed(job.part)
    except DataError:
        for path in _made(job.stem):
            path.unlink(missing_ok=True)
        raise


def _counters(cleaner: Cleaner) -> list[str]:
    """The names of what a cleaner counts."""
    return [one.name for one in fields(cleaner) if isinstance(getattr(cleaner, one.name), Counter)]


def _shard(stem: Path, number: int) -> Path:
    return stem.with_name(f"{stem.name}-{number:06d}.jsonl")


def _made(stem: Path) -> Iterator[Path]:
    """All shards of some files, which are there without a gap."""
    return takewhile(Path.exists, (_shard(stem, number) for number in count()))


def _cut(job: Job) -> Iterator[Iterator[Piece]]:
    """Everything that the readers of some files hand out, in pieces of a shard; each is to be exhausted."""
    stream = _raw(job.part)
    for first in stream:
        yield _until_full(first, stream, job.shard_bytes)


def _raw(part: Part) -> Iterator[Piece]:
    for one in part:
        reader = FileReader(one.file, one.size_bytes)
        yield from reader
        yield reader.closed()


def _until_full(first: Piece, stream: Iterator[Piece], shard_bytes: int) -> Iterator[Piece]:
    piece: Piece | None = first
    size = 0
    while piece is not None:
        yield piece
        size += piece.size_bytes if isinstance(piece, Unit) else 0
        piece = next(stream, None) if size < shard_bytes else None


def _written(piece: Piece, cleaner: Cleaner) -> tuple[bytes, bytes]:
    """Two lines: what kind of thing it is, and the thing as `writer` would write it, not nested any deeper."""
    if isinstance(piece, Closed):
        return b'["closed"]', orjson.dumps(piece.to_dict())
    content = _clean(piece, cleaner).content
    kind = "rejection" if isinstance(content, Rejection) else type(content).__name__.lower()
    record: dict[str, Any] = content.to_dict()
    if not isinstance(content, Rejection):
        record["split"] = content.split
    return orjson.dumps([kind, piece.file, piece.size_bytes]), orjson.dumps(record)


def _read(shard: Path, cleaner: Cleaner) -> Iterator[Piece]:
    """What `_make` wrote."""
    with shard.open("rb") as file:
        for name, counts in orjson.loads(next(file)).items():
            getattr(cleaner, name).update(counts)
        for head in file:
            kind, *place = orjson.loads(head)
            record = orjson.loads(next(file))
            yield Closed(**record) if kind == "closed" else Unit(READ[kind](record), *place)


READ: dict[str, Callable[[dict[str, Any]], Record | Rejection]] = {
    "document": document_from_dict,
    "conversation": conversation_from_dict,
    "rejection": lambda record: Rejection(**record),
}
