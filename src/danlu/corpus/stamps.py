"""What raw files are: hashed, and watched for changes while they are read.

In: `SourceFile`s. Out: `Stamped` ones, what a corpus records of them, and the refusal of those that are others now.
Called by `raw` and `engine`. A file is hashed once in the life of a process as long as it stays as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from danlu.base import console
from danlu.base.artifact import hash_file
from danlu.base.errors import DataError
from danlu.corpus.sources import SourceFile

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

    def is_as_it_was(self) -> bool:
        """True where nobody wrote to the file since: its state is the same, or its contents and its time are.

        A link, a right or a backup changes the state alone; a file that was put back has another time.
        """
        if self.file.format is None:
            return True
        try:
            if _state(self.file.path.stat()) == self.state:
                return True
            now = _stamp(self.file)
        except OSError:
            return False
        return (now.sha256, now.written_at) == (self.sha256, self.written_at)


def stamped(files: Sequence[SourceFile]) -> list[Stamped]:
    """Every file with its stamp, in the order given."""
    try:
        sizes = [file.path.stat().st_size if file.format is not None else 0 for file in files]
        with console.progress("hashing raw files", sum(sizes), "bytes") as shown:
            return [_stamp(file, shown.advance) for file in files]
    except FileNotFoundError as error:
        raise DataError(
            "a raw file is gone",
            where=error.filename,
            found="it was there when its folder was listed",
            remedy="run the stage again when the files are at rest",
        ) from None


def recorded(files: Iterable[Stamped]) -> dict[str, dict[str, int | str]]:
    """`{name: {bytes, sha256}}` of every file: what a corpus says that it was made from."""
    return {one.file.name: {"bytes": one.size_bytes, "sha256": one.sha256} for one in files}


def refuse_changed(files: Sequence[Stamped]) -> None:
    """DataError where a file is another one than when it was stamped: half of each would be read."""
    changed = [one.file.name for one in files if not one.is_as_it_was()]
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
        found = hash_file(file.path, advance)
        if time.time() - max(facts.st_mtime, facts.st_ctime) > REST_SECONDS:
            _hashes[state] = found
    return Stamped(file, facts.st_size, found, facts.st_mtime_ns, state)


def _state(facts: os.stat_result) -> State:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
