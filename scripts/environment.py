"""Make the project's own virtual environment and install the pinned set into it, saying what and how large.

In: the folder `.venv` beside the Makefile, `constraints.txt`, and `--dev` for the tools of tests and checks. Out: the
same environment each time; a second call does nothing, one at the same moment waits, and what was cut off in its making
is made anew. An environment that somebody else made is added to and never removed. Called by the Makefile. Uses the
standard library alone, because nothing else is there yet; Python's own `venv` and `pip` do the work.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED_PYTHON = (3, 11)
STAMP = "danlu-installed"
"""Holds the fingerprints of what is installed; empty from the first moment of the making to its end, and only then is
the folder ours to clear. An environment without it was made by hand, and is installed into as it is."""


def main() -> int:
    """Create, install, report; the exit code is pip's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also install what tests and checks need")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv")
    options = parser.parse_args()
    if sys.version_info < NEEDED_PYTHON:
        return refuse(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}", "make PYTHON=python3.12 …")
    with only_one(options.folder):
        return make(options.folder, dev=options.dev)


def make(folder: Path, *, dev: bool) -> int:
    """Bring the environment to what is wanted; the exit code is pip's, or 2 where the folder is not ours to mend."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / STAMP
    if is_unfinished(folder):
        print(f"{folder.name}/ is half made (its installation never came to an end): making it anew", flush=True)
        create(folder)
    elif holds_nothing(folder):
        create(folder)
    elif not (folder / "pyvenv.cfg").exists():
        return refuse(f"{folder} holds something else than a virtual environment", "move it away; nothing was touched")
    elif not python.exists():
        return refuse(f"{folder} has no Python that runs", "remove the folder and start again; nothing was touched")
    elif not has_pip(folder):
        print(f"{folder.name}/ has no pip: Python's own ensurepip puts it in", flush=True)
        if subprocess.call([str(python), "-m", "ensurepip"]) != 0:
            return refuse(f"{folder} has no pip", "install pip there, or move the folder away")
    wanted = fingerprint(dev=dev)
    if wanted in (stamp.read_text().split() if stamp.exists() else []):
        return 0
    code = install(python, dev=dev)
    if code == 0:
        report(folder)
        written = folder / f"{STAMP}.new"  # in one move: a stamp cut off in its writing would be an empty one
        written.write_text("\n".join({wanted, fingerprint(dev=False)}) + "\n")
        written.replace(stamp)
    return code


def refuse(what: str, remedy: str) -> int:
    """Say what is wrong and what to do; the exit code."""
    print(f"error: {what}", file=sys.stderr)
    print(f"  to do: {remedy}", file=sys.stderr)
    return 2


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Wait until no other call is at this folder. The empty lock file stays: a waiting call may have it open."""
    try:
        import fcntl

        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f"{folder.name}.lock").open("a")
    except (ImportError, OSError):  # Windows; or nothing can be written here, and so nothing installed
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another make is installing; waiting", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: take care not to start two
            pass
        yield


def is_unfinished(folder: Path) -> bool:
    """True where we began this folder and never came to its end."""
    stamp = folder / STAMP
    return not folder.is_symlink() and stamp.is_file() and not stamp.read_text().strip()


def holds_nothing(folder: Path) -> bool:
    """True where there is no such folder, or no file anywhere in it."""
    if folder.is_file() or folder.is_symlink():
        return False
    return not any(path.is_file() or path.is_symlink() for path in folder.rglob("*"))


def has_pip(folder: Path) -> bool:
    return any(any(folder.glob(place)) for place in ("lib/python3*/site-packages/pip", "Lib/site-packages/pip"))


def create(folder: Path) -> None:
    """An environment with Python and pip alone; what was there goes. The empty stamp is there before anything else."""
    print(f"creating a virtual environment in {folder.name}/ with Python {sys.version.split()[0]}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).write_text("")
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != STAMP:
            entry.unlink()
    venv.create(folder, with_pip=True)


def fingerprint(*, dev: bool) -> str:
    """Changes when the pinned set, the project's needs or the choice of tools change."""
    content = b"".join((ROOT / name).read_bytes() for name in ("constraints.txt", "pyproject.toml"))
    return hashlib.sha256(content + str(dev).encode()).hexdigest()


def install(python: Path, *, dev: bool) -> int:
    """Install danlu, editable, with every version held by constraints.txt."""
    what = ".[dev]" if dev else ".[export]"
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    print(
        f"installing danlu{what[1:]} with the pinned set: torch {pins['torch']}, transformers {pins['transformers']},"
    )
    print(
        "  and what they need (constraints.txt has all versions); torch is the large one and takes minutes", flush=True
    )
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
    return subprocess.call([*map(str, command), "--constraint", "constraints.txt", "--editable", what], cwd=ROOT)


def report(folder: Path) -> None:
    """Print how much disk the environment takes, and its largest packages."""
    site = next(folder.glob("lib/python3*/site-packages"), folder / "Lib" / "site-packages")
    sizes = {}
    for package in site.iterdir():
        if package.is_dir():
            sizes[package.name] = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    installed = sum(name.endswith(".dist-info") for name in sizes)
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:6]
    print(f"installed {installed} packages, {sum(sizes.values()) / 1e6:,.0f} MB on disk; the largest:")
    for name, size in largest:
        print(f"  {name:24}{size / 1e6:8,.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
