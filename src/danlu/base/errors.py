"""Errors a person can cause and mend.

In: what went wrong, where, what was found, what to do. Out: one exception whose text holds all four.
Called by every room; `cli.py` prints it without a traceback and exits with 2. Anything that is not a `UserError`
is a defect of danlu and keeps its traceback. Does not log, print or exit.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class UserError(Exception):
    """A problem that its reader can mend: what failed, where, what was found, what to do."""

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
