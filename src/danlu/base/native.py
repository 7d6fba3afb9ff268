"""A C file becomes functions: compiled in a second for this very processor, and kept.

In: a C file beside the code that uses it. Out: a `ctypes` library, or None with the reason. Called by `kernels`, whose
reference in torch runs where there is no compiler. Libraries lie in the user's cache folder under the hash of source,
compiler, flags and processor, so that a changed one is another file, and a home that machines share holds one for each.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
COMPILE_SECONDS = 120


@functools.cache
def load(source: Path) -> tuple[ctypes.CDLL | None, str]:
    """The compiled library of a C file, or None, and why."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(name)) is not None), None)
    if compiler is None:
        return None, "no C compiler here"
    try:
        built = _build(source, compiler, cache_folder())
        return ctypes.CDLL(str(built)), f"compiled by {Path(compiler).name}"
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return None, f"{source.name} could not be compiled: {said.strip().splitlines()[0] if said.strip() else error}"


def cache_folder() -> Path:
    """Where compiled libraries lie: readable and writable by this user alone, for what lies there is executed."""
    folder = Path.home() / ".cache" / "danlu" / "native"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.stat()
        if sys.platform == "win32" or (facts.st_uid == os.getuid() and not facts.st_mode & 0o022):
            return folder
    except OSError:
        pass  # a home that cannot be written to: compile for this process alone
    return Path(tempfile.mkdtemp(prefix="danlu-native-"))


def _build(source: Path, compiler: str, folder: Path) -> Path:
    """Compile unless it is there; written beside and renamed, so that processes starting together do no harm."""
    text = source.read_bytes()
    named = "\0".join((compiler, *FLAGS, platform.platform(), _processor())).encode()
    target = folder / f"{source.stem}-{hashlib.sha256(text + named).hexdigest()[:24]}.so"
    if not target.is_file():
        working = target.with_suffix(f".{os.getpid()}.tmp")
        command = [compiler, *FLAGS, "-o", str(working), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)
        os.replace(working, target)
    return target


def _processor() -> str:
    """What `-march=native` depends on: the model's name and its instruction sets."""
    description = Path("/proc/cpuinfo")
    if not description.is_file():
        return platform.processor()
    lines = description.read_text(errors="replace").splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
