"""The scratch folder of a corpus that is being made: what stays for the next attempt, and what goes.

In: the folder. Out: rid of what nobody needs. Called by `stages.prepare`. The shards in it are `engine`'s, what was
generated `raw`'s.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def sweep(scratch: Path, keep: Path) -> None:
    """Remove what an interrupted run left, but for the shards that it cleaned from the same text by the same rules."""
    for path in scratch.glob("*"):
        if path != keep:
            _remove(path)


def clear_shards(scratch: Path) -> None:
    """Remove the cleaned shards, which the corpus holds by now; what was generated stays for people to look at."""
    for path in scratch.glob("shards-*"):
        _remove(path)
    with suppress(OSError):  # something else lies there, or nothing does
        scratch.rmdir()


def _remove(path: Path) -> None:
    """A folder with all that is in it, or a file such as .DS_Store, or a link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
