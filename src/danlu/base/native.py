"""A C file becomes functions: compiled in a second for this very processor, and kept.

In: a C file beside the code that uses it. Out: a `ctypes` library, or None with the reason. Called by `kernels`, whose
reference in torch runs where there is no compiler. Libraries lie in the user's cache folder under the hash of source,
compiler, flags and processor, so that a changed one is another file, and a home that machines share holds one for each.
"""

from __future__ import annotations

import atexit
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
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
THREADS = ("-fopenmp", "")
"""With threads, and where the compiler has none of OpenMP (Apple's), without."""
COMPILE_SECONDS = 120


@functools.cache
def load(source: Path) -> tuple[ctypes.CDLL | None, str]:
    """The compiled library of a C file, or None, and why."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(name)) is not None), None)
    if compiler is None:
        return None, "no C compiler here"
    try:
        built = _build(source, compiler, cache_folder())
        try:
            library = ctypes.CDLL(str(built))
        except OSError:  # torn by a loss of power: what was kept is no library
            built.unlink(missing_ok=True)
            library = ctypes.CDLL(str(_build(source, compiler, cache_folder())))
        return library, f"compiled by {Path(compiler).name}"
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return None, f"{source.name} could not be compiled: {said.strip().splitlines()[0] if said.strip() else error}"


@functools.cache
def cache_folder() -> Path:
    """Where compiled libraries lie: writable by this user alone, all the way from home: what lies there is executed.

    Where that cannot be had, a folder of this process, removed at its end.
    """
    try:
        home = Path.home()
        folder = home
        for name in (".cache", "danlu", "native"):
            folder /= name
            folder.mkdir(exist_ok=True, mode=0o700)
            if not _is_ours_alone(folder):
                break
        else:
            return folder
    except (OSError, RuntimeError):
        pass  # no home, or one that cannot be written to
    own = tempfile.TemporaryDirectory(prefix="danlu-native-")
    atexit.register(own.cleanup)
    return Path(own.name)


def _is_ours_alone(folder: Path) -> bool:
    if sys.platform == "win32":
        return True
    facts = folder.stat()
    return facts.st_uid == os.getuid() and not facts.st_mode & 0o022


def _build(source: Path, compiler: str, folder: Path) -> Path:
    """Compile unless it is there; written beside and renamed, so that processes starting together do no harm."""
    text = source.read_bytes()
    named = "\0".join((_version(compiler), *FLAGS, *THREADS, platform.platform(), _processor())).encode()
    target = folder / f"{source.stem}-{hashlib.sha256(text + named).hexdigest()[:24]}.so"
    if not target.is_file():
        working = target.with_suffix(f".{os.getpid()}.tmp")
        _compile(source, compiler, working)
        os.replace(working, target)
    return target


def _compile(source: Path, compiler: str, out: Path) -> None:
    """With threads if the compiler can, else without; raises what the last attempt raised."""
    for threads in THREADS:
        command = [compiler, *FLAGS, *([threads] if threads else []), "-o", str(out), str(source), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)
            return
        except subprocess.CalledProcessError:
            if threads == THREADS[-1]:
                raise


def _version(compiler: str) -> str:
    """What the compiler says it is: another one may make other code."""
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    return f"{compiler}\0{said.stdout}"


def _processor() -> str:
    """What `-march=native` depends on: the model's name and its instruction sets."""
    description = Path("/proc/cpuinfo")
    if description.is_file():
        lines = description.read_text(errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    if sys.platform == "darwin":  # every chip of Apple's is `arm` to Python
        said = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return said.stdout
    return platform.processor()
