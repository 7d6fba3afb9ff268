"""What raw files are: hashed, and watched for changes while they are read.

In: `SourceFile`s. Out: `Stamped` ones, what a corpus records of them, and the refusal of those that are others now.
Called by `raw` and `engine`. A file is hashed once in the life of a process as long as it stays as it is. One that
somebody writes on, such as a log, is what it was when it was stamped: what is behind that is read another time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from danlu.base import console
from danlu.base.artifact import BLOCK_BYTES
from danlu.base.errors import DataError, SystemTrouble
from danlu.corpus.sources import SourceFile
from danlu.corpus.streams import refused

REST_SECONDS = 2.0
"""A file that was written less than this ago may change again without a change of its times: the clocks of some file
systems are that coarse."""
State: TypeAlias = tuple[int, ...]
_hashes: dict[State, str] = {}
"""State of a file -> its hash: planned with, read and checked, it is hashed once."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A source file and what it was when it was hashed; one that cannot be read has its reason in the hash's place."""

    file: SourceFile
    size_bytes: int
    sha256: str
    written_at: int = 0
    state: State = ()

    def is_as_it_was(self, *, sure: bool = True) -> bool:
        """True where nobody changed what was there: its state is the same, or its contents and its time are.

        A link, a right or a backup changes the state alone; a file that was put back has another time. Where one only
        became longer its beginning is hashed, or believed to be what it was where one need not be `sure`.
        """
        if self.file.format is None:
            return True
        try:
            facts = self.file.path.stat()
            if _state(facts) == self.state:
                return True
            if facts.st_size > self.size_bytes:
                return not sure or self.has_only_grown()
            now = _stamp(self.file)
        except OSError as error:
            _refuse(error, self.file)
            return False
        return (now.sha256, now.written_at) == (self.sha256, self.written_at)

    def has_only_grown(self) -> bool:
        """True where there is more in the file than was, behind what was."""
        if self.file.format is None or self.file.path.stat().st_size <= self.size_bytes:
            return False
        return _hash(self.file.path, self.size_bytes) == self.sha256


def stamped(files: Sequence[SourceFile], earlier: Iterable[Stamped] = ()) -> list[Stamped]:
    """Every file with its stamp, in the order given; one that only grew since `earlier` has the stamp of then."""
    known = {one.file.path: one for one in earlier}
    sizes = [_size(file) if file.format is not None else 0 for file in files]
    with console.progress("hashing raw files", sum(sizes), "bytes") as shown:
        return [_stamp_of(file, known.get(file.path), shown.advance) for file in files]


def _size(file: SourceFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError as error:
        raise _gone(error, file) from None


def _stamp_of(file: SourceFile, earlier: Stamped | None, advance: Callable[[int], object]) -> Stamped:
    try:
        if earlier is not None and file.format is not None and earlier.has_only_grown():
            return replace(earlier, file=file)
        return _stamp(file, advance)
    except OSError as error:
        raise _gone(error, file) from None


def _gone(error: OSError, file: SourceFile) -> DataError:
    """The error about a file that could be read when its folder was listed."""
    _refuse(error, file)
    return DataError(
        "a raw file is gone",
        where=file.path,
        found=f"{error.strerror}; it was there when its folder was listed",
        remedy="run the stage again when the files are at rest",
    )


def _refuse(error: OSError, file: SourceFile) -> None:
    """SystemTrouble where the error says nothing of the file."""
    meaning = refused(error, file.path)
    if isinstance(meaning, SystemTrouble):
        raise meaning from error


def recorded(files: Iterable[Stamped]) -> dict[str, dict[str, int | str]]:
    """`{name: {bytes, sha256}}` of every file: what a corpus says that it was made from."""
    return {one.file.name: {"bytes": one.size_bytes, "sha256": one.sha256} for one in files}


def refuse_changed(files: Sequence[Stamped], *, sure: bool = True) -> None:
    """DataError where a file is another one than when it was stamped: half of each would be read."""
    changed = [one.file.name for one in files if not one.is_as_it_was(sure=sure)]
    if changed:
        raise changed_error(changed, len(files))


def changed_error(names: Sequence[str], num_files: int) -> DataError:
    """The error about raw files of these names, of so many in all."""
    return DataError(
        "raw files changed while they were read",
        where=", ".join(names[:5]),
        found=f"{len(names):,} of {num_files:,} files are others now than they were at the beginning",
        remedy="run the stage again when they are at rest",
    )


def _stamp(file: SourceFile, advance: Callable[[int], object] = lambda size: None) -> Stamped:
    if file.format is None:
        return Stamped(file, 0, file.reason)
    facts = file.path.stat()
    state = _state(facts)
    if state in _hashes:
        found = _hashes[state]
        advance(facts.st_size)
    else:
        found = _hash(file.path, facts.st_size, advance)
        if time.time() - max(facts.st_mtime, facts.st_ctime) > REST_SECONDS:
            _hashes[state] = found
    return Stamped(file, facts.st_size, found, facts.st_mtime_ns, state)


def _hash(path: Path, size_bytes: int, advance: Callable[[int], object] = lambda size: None) -> str:
    """SHA-256 of the first bytes of a file: of one that grows, what is behind them belongs to no stamp."""
    state, left = hashlib.sha256(), size_bytes
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK_BYTES, left))):
            state.update(block)
            advance(len(block))
            left -= len(block)
    return state.hexdigest()


def _state(facts: os.stat_result) -> State:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
