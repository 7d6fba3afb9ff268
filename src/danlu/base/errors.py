"""Errors a person can cause and mend.

In: what went wrong, where, what was found, what to do. Out: one exception whose text holds all four.
Called by every room; `cli.py` prints it without a traceback and exits with 2. Anything that is not a `UserError`
is a defect of danlu and keeps its traceback. Does not log, print or exit.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable
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


class MissingPackage(UserError):
    """An optional package is needed; the message names its install line."""


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
