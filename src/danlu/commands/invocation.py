"""How a person calls danlu here, so that the commands we print can be pasted.

In: how this process was called, and the search path. Out: the words before a command's name. Called by the commands
that end with the next steps. Starts nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

PROGRAM = "danlu"


def called() -> str:
    """`danlu` where that word finds this very program, else its path as it was given, else `python -m danlu`."""
    given = Path(sys.argv[0])
    if given.stem != PROGRAM:  # `python -m danlu`, or a program of somebody's own
        beside = Path(sys.executable).with_name(PROGRAM)
        if given.name == "__main__.py" or not beside.is_file():
            return f"{_path(Path(sys.executable))} -m {PROGRAM}"
        given = beside
    found = shutil.which(PROGRAM)
    if found is not None and given.exists() and os.path.samefile(found, given):
        return PROGRAM
    return _path(given)


def _path(program: Path) -> str:
    """As it was given; a long path from here where it lies below."""
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
