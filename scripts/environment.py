"""Make the project's own virtual environment and install the pinned set into it, saying what and how large.

In: the folder `.venv` beside the Makefile, `constraints.txt`, and `--dev` for the tools of tests and checks. Out: the
same environment each time; a second call does nothing, and one that was cut off in its making is made anew. Called by
the Makefile. Uses the standard library alone, because nothing else is there yet; Python's own `venv` and `pip` do the
work.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED_PYTHON = (3, 11)
STAMP = "danlu-installed"
"""Holds the fingerprints of what is installed; empty from the first moment of the making to its end. An environment
without it was made by hand, and is installed into as it is."""


def main() -> int:
    """Create, install, report; the exit code is pip's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also install what tests and checks need")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv")
    options = parser.parse_args()
    if sys.version_info < NEEDED_PYTHON:
        print(f"error: Python 3.11 or newer is needed; this is {sys.version.split()[0]}", file=sys.stderr)
        print("  to do: make PYTHON=python3.12 …", file=sys.stderr)
        return 2
    python = options.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = options.folder / STAMP
    missing = what_is_missing(options.folder, python)
    if missing is not None:
        if not is_environment(options.folder):
            print(f"error: {options.folder} holds something else than a virtual environment", file=sys.stderr)
            print("  to do: move it away; nothing was touched", file=sys.stderr)
            return 2
        if options.folder.exists():
            print(f"{options.folder.name}/ is half made ({missing}): making it anew", flush=True)
        create(options.folder)
    wanted = fingerprint(dev=options.dev)
    if wanted in (stamp.read_text().split() if stamp.exists() else []):
        return 0
    code = install(python, dev=options.dev)
    if code == 0:
        report(options.folder)
        stamp.write_text("\n".join({wanted, fingerprint(dev=False)}) + "\n")
    return code


def what_is_missing(folder: Path, python: Path) -> str | None:
    """What an environment lacks to be of use; None where it lacks nothing."""
    stamp = folder / STAMP
    if not python.exists():
        return "no Python that runs"
    if not any(any(folder.glob(place)) for place in ("lib/python3*/site-packages/pip", "Lib/site-packages/pip")):
        return "no pip"
    if stamp.exists() and not stamp.read_text().strip():
        return "its installation never came to an end"
    return None


def is_environment(folder: Path) -> bool:
    """True where nothing of anybody's is lost with the folder: it is an environment, or there is no file in it."""
    if folder.is_file() or folder.is_symlink():
        return False
    if (folder / STAMP).exists() or (folder / "pyvenv.cfg").exists():
        return True
    return not any(path.is_file() or path.is_symlink() for path in folder.rglob("*"))


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
