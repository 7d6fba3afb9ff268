"""Errors a person can cause and mend.

In: what went wrong, where, what was found, what to do. Out: one exception whose text holds all four.
Called by every room; `cli.py` prints it without a traceback and exits with 2. Anything that is not a `UserError`
is a defect of danlu and keeps its traceback. Does not log, print or exit.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


class UserError(Exception):
    """A problem that its reader can mend: what failed, where, what was found, what to do."""

    exit_code = 2

    def __init__(self, what: str, *, where: object = None, found: object = None, remedy: str | None = None):
        self.what, self.where, self.found, self.remedy = what, where, found, remedy
        lines = [what]
        if where is not None:
            lines.append(f"  where: {where}")
        if found is not None:
            lines.append(f"  found: {found}")
        if remedy is not None:
            lines.append(f"  to do: {remedy}")
        super().__init__("\n".join(lines))


class ConfigError(UserError):
    """A recipe or an override says something that cannot be meant."""


class ArtifactError(UserError):
    """A folder is missing, unfinished, damaged, or of another kind than asked for."""


class DataError(UserError):
    """Input data that no policy allows to continue with."""


class SystemTrouble(UserError):
    """The system refuses: a full disk, a quota, a file system that can only be read, no memory, no more open files."""


class MissingPackage(UserError):
    """An optional package is needed; the message names its install line."""


TROUBLES = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the quota of this disk is used up", "free some space, or ask for more"),
    errno.EFBIG: (
        "a file would become larger than is allowed here",
        "raise the limit (ulimit -f), or use another disk",
    ),
    errno.EROFS: ("the file system can only be read", "make it writable, or give another folder"),
    errno.EACCES: ("the system does not allow this", "give yourself the right to it, or give another folder"),
    errno.EPERM: ("the system does not allow this", "give yourself the right to it, or give another folder"),
    errno.EIO: ("the device reports an error", "look at the disk with the system's own tools, and copy what is there"),
    errno.ESTALE: ("the network file system lost the file", "see that its server is there and mount it again"),
    errno.ENOTCONN: ("the file system is no longer connected", "mount it again"),
    errno.ETIMEDOUT: ("the file system does not answer", "see that its server is there"),
    errno.ENAMETOOLONG: ("the path is longer than the system allows", "give shorter names or another folder"),
    errno.ELOOP: ("links lead round in a circle", "correct the links, or give another path"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "give another path"),
    errno.EISDIR: ("a folder stands where a file is needed", "give another path"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "close other programs"),
    errno.ENOMEM: ("there is not enough memory", "close other programs, or make less at a time"),
}
"""What the system says -> what that means, what to do."""
OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""With these it helps to know how much is free, and how much is needed."""


def trouble(error: BaseException, folder: Path, needed_bytes: int | None = None) -> SystemTrouble | None:
    """The one sentence about what the system refused while `folder` was used; None where it is no such thing."""
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM if _is_want_of_memory(error) else None
    if number is None or number not in TROUBLES:
        return None
    what, remedy = TROUBLES[number]
    named = getattr(error, "filename", None)
    return SystemTrouble(
        what,
        where=named if named is not None else folder,
        found=_space(folder, needed_bytes) if number in OF_SPACE else str(error) or type(error).__name__,
        remedy=f"{remedy}; then give the same command again: what was finished is kept",
    )


@contextmanager
def one_sentence(folder: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn what the system refuses inside this block into a `SystemTrouble`; every other error goes through."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = trouble(error, folder, needed_bytes)
        if sentence is None:
            raise
        raise sentence from error


def _space(folder: Path, needed_bytes: int | None) -> str:
    """What is needed and what is free; a broken disk may not even say how much that is."""
    needed = f"{needed_bytes:,} bytes are needed, " if needed_bytes is not None else ""
    there = next((one for one in (folder, *folder.absolute().parents) if os.path.exists(one)), folder)
    try:
        return f"{needed}{shutil.disk_usage(there).free:,} bytes are free"
    except OSError as error:
        return f"{needed}how much is free cannot be found out ({error.strerror})"


def _is_want_of_memory(error: BaseException) -> bool:
    """Also torch's, which are RuntimeErrors: of a processor's memory, and of an accelerator's."""
    words = ("allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the closest option, or an empty string where none is close."""
    close = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def no_such_folder(folder: Path) -> ArtifactError:
    """The error for a folder that is not there; it names the nearest one that is, where the path goes astray."""
    astray = next(one for one in (*reversed(folder.parents), folder) if not one.is_dir())
    names = (
        [path.name for path in astray.parent.iterdir() if path.is_dir()] if os.access(astray.parent, os.R_OK) else []
    )
    return ArtifactError(
        f"there is no such folder{nearest(astray.name, names)}",
        where=folder,
        found=f"{astray} is a file" if astray.is_file() else None,
        remedy="check the path; danlu list says what there is",
    )


def require(module: str, extra: str) -> ModuleType:
    """Import an optional third-party module, or say how to install it (`pip install 'danlu[extra]'`)."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"the package {module!r} is needed for this and cannot be imported",
            found=str(error),
            remedy=f"pip install 'danlu[{extra}]'",
        ) from error
