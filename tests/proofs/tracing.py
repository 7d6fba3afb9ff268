"""Stop a forked child at its n-th system call and kill it there: ptrace through ctypes, Linux only.

In: a function to run in the child and the number of the call at which to kill it. Out: the call's name, or None where
the child ended before. Called by the kill campaigns. `available()` says whether this machine allows it (some containers
do not). Source: ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

TRACE_ME, TRACE_SYSTEM_CALLS, SET_OPTIONS = 0, 24, 0x4200
MARK_SYSTEM_CALLS, KILL_WITH_TRACER = 1, 1 << 20
SYSTEM_CALL_STOP = signal.SIGTRAP | 0x80
FILE_CALLS = {
    "x86_64": {
        1: "write", 257: "openat", 74: "fsync", 75: "fdatasync", 82: "rename", 264: "renameat", 316: "renameat2",
        83: "mkdir", 258: "mkdirat", 84: "rmdir", 87: "unlink", 263: "unlinkat", 3: "close",
    },
    "aarch64": {
        64: "write", 56: "openat", 82: "fsync", 83: "fdatasync", 38: "renameat", 276: "renameat2", 34: "mkdirat",
        35: "unlinkat", 57: "close",
    },
}  # fmt: skip
"""Numbers of the calls that change files or make changes last, by machine; from the kernel's unistd tables."""
NAMES = frozenset(name for table in FILE_CALLS.values() for name in table.values())
CHANGES = NAMES - {"openat", "close"}
"""The calls that always change something: most files are opened for reading only."""


def _ptrace(request: int, pid: int, data: int = 0) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    library.ptrace.restype = ctypes.c_long
    return library.ptrace(request, pid, None, data)


def available() -> bool:
    """True where a child may be traced and its system calls can be read."""
    if not sys.platform.startswith("linux") or platform.machine() not in FILE_CALLS:
        return False
    name = kill_at(lambda: os.close(os.open("/dev/null", os.O_RDONLY)), 1)
    return name is not None


def kill_at(work: Callable[[], object], number: int, names: Collection[str] = NAMES) -> str | None:
    """Fork, run `work` in the child, kill it on entry to its `number`-th call of `names`; None where it ended first.

    Killed on entry, the call itself does not happen: all before it did.
    """
    pid, seen = _traced(work), 0
    for name in _file_calls(pid):
        seen += name in names
        if seen == number:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return name
    return None


def count_calls(work: Callable[[], object], names: Collection[str] = NAMES) -> int:
    """How many calls of `names` `work` makes in a child that nobody kills."""
    return sum(name in names for name in _file_calls(_traced(work)))


def _traced(work: Callable[[], object]) -> int:
    """The pid of a child that will be stopped at its system calls while it does `work`."""
    pid = os.fork()
    if pid == 0:
        if _ptrace(TRACE_ME, 0) != 0:
            os._exit(3)
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            work()
        finally:
            os._exit(0)
    return pid


def _file_calls(pid: int) -> Iterator[str]:
    """The name of each file call of a traced child, on entry to it, until the child has ended."""
    calls, entering, passed_on = FILE_CALLS[platform.machine()], True, 0
    _, status = os.waitpid(pid, 0)
    if os.WIFSTOPPED(status):
        _ptrace(SET_OPTIONS, pid, MARK_SYSTEM_CALLS | KILL_WITH_TRACER)
    while os.WIFSTOPPED(status):
        _ptrace(TRACE_SYSTEM_CALLS, pid, passed_on)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return
        passed_on = 0
        if os.WSTOPSIG(status) != SYSTEM_CALL_STOP:
            passed_on = os.WSTOPSIG(status)
            continue
        if entering:
            call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
            if call.isdecimal() and int(call) in calls:
                yield calls[int(call)]
        entering = not entering
