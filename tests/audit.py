"""A watch over the whole test session: no pickle, no code out of data, no stranger on the network, no stray process.

In: Python's audit events (https://docs.python.org/3/library/audit_events.html), in this process and, through
`audited/sitecustomize.py`, in every Python that a test starts. Out: a list of violations, each with what was done and
which library did it; `conftest` fails the session for any. What reaches for the network, and what danlu itself must
not do, is stopped on the spot. `ALLOWED` names each library that may, and why. Does not see what compiled code does.
"""

from __future__ import annotations

import os
import sys
import sysconfig

LOG = "DANLU_AUDIT_LOG"
"""Environment variable with the file to which all processes of a session add their violations."""
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]
LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::")

ALLOWED: dict[str, dict[str, str]] = {
    "pickle": {
        "multiprocessing": "a pool's own pipes, between processes of one run",
        "concurrent": "the same",
        "torch": "torch.compile's own cache and workers; danlu never calls torch.load",
        "hypothesis": "its own example database",
        "_pytest": "its own cache",
        "xdist": "its own channel",
        "execnet": "its own channel",
    },
    "exec": {
        "interpreter": "python -c",
        "python": "what python -c was given, as xdist starts its workers",
        "dataclasses": "methods of a class, from its annotations",
        "collections": "namedtuple",
        "enum": "methods of an enumeration",
        "typing": "annotations that are strings",
        "inspect": "signatures",
        "annotationlib": "annotations",
        "runpy": "python -m",
        "cProfile": "a profiled script",
        "pydantic": "annotations that are strings",
        "pydantic_core": "the same",
        "typing_inspection": "the same",
        "attr": "methods of a class",
        "numpy": "generated signatures",
        "torch": "generated operators, guards of torch.compile",
        "sympy": "numeric functions of shapes",
        "mpmath": "its own functions, at import",
        "networkx": "decorators of graph functions, which torch.compile calls",
        "jinja2": "chat templates, in its sandbox",
        "hypothesis": "generated test functions",
        "execnet": "xdist starts its workers with it",
        "_pytest": "conditions of marks",
        "six": "compatibility",
        "decorator": "signatures",
        "tqdm": "monitoring",
        "fastapi": "annotations that are strings",
        "starlette": "annotations that are strings",
        "typer": "annotations that are strings",
        "click": "annotations that are strings",
        "playwright": "its generated interface",
        "greenlet": "its own start",
        "pyee": "its own classes",
    },
    "process": {
        "tests": "tests kill, torchrun and call the command line",
        "danlu.proofs.machines": "the proof that a kill leaves old or new",
        "danlu.commands.demo": "the demo starts its own training and kills it",
        "danlu.base.native": "compiles a C file",
        "danlu.parallel.place": "asks the C++ compiler for its version",
        "torch": "its compiler",
        "triton": "its compiler",
        "playwright": "the browser",
        "xdist": "workers",
        "execnet": "workers",
        "psutil": "facts about the machine",
        "numpy": "facts about the machine",
        "python": "facts about the machine (platform, ctypes)",
        "openai": "facts about the machine (platform), which its client sends as headers",
    },
    "network": {},
}
"""Kind of act -> library -> why it may."""

violations: list[str] = []
_state = {"installed": False, "inside": False}


class Forbidden(RuntimeError):
    """Raised where the act is stopped: any reach for the network, and every act of danlu's own that is not allowed."""


def _library(frame, skip_standard: bool) -> str:
    """Who acts: `danlu.room.module`, `tests`, a package, or a module of the standard library.

    `interpreter` is Python itself, without any code of anyone; `python` is code that came from no file.
    """
    if frame is None:
        return "interpreter"
    while frame is not None:
        path = frame.f_code.co_filename
        if path != __file__ and not path.startswith("<frozen"):
            name = frame.f_globals.get("__name__", "")
            if name == "danlu" or name.startswith("danlu."):
                return name
            if "site-packages" in path or "dist-packages" in path:
                return path.replace("\\", "/").split("-packages/")[1].split("/")[0].removesuffix(".py")
            if path.startswith(ROOT + os.sep):
                return "tests"
            if not skip_standard and path.startswith(STANDARD_LIBRARY):
                return os.path.relpath(path, STANDARD_LIBRARY).replace("\\", "/").split("/")[0].removesuffix(".py")
        frame = frame.f_back
    return "python"


def _act(event: str, arguments: tuple) -> tuple[str, str] | None:
    """(kind, what) of an event that is watched, else None."""
    if event == "pickle.find_class":
        return "pickle", f"unpickles {arguments[0]}.{arguments[1]}"
    if event == "exec":
        name = getattr(arguments[0], "co_filename", "")
        is_data = name.startswith("<") and not name.startswith(("<frozen", "<stdin", "<doctest"))
        return ("exec", f"runs code from {name}") if is_data else None
    if event == "socket.connect":
        address = arguments[1]
        outside = isinstance(address, tuple) and not _is_local(address[0])
        return ("network", f"connects to {address[0]}") if outside else None
    if event == "socket.getaddrinfo":
        return ("network", f"asks for the address of {arguments[0]}") if not _is_local(arguments[0]) else None
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        return "process", f"starts {arguments[0]!r:.80}"
    return None


def _is_local(host) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host if host is not None else "")
    return text in LOCAL_HOSTS or text.startswith("127.")


def judge(event: str, arguments: tuple, frame) -> str | None:
    """The violation that an event is, in words, or None."""
    act = _act(event, arguments)
    if act is None:
        return None
    kind, what = act
    who = _library(frame, skip_standard=kind in ("process", "network"))
    allowed = ALLOWED[kind]
    if who in allowed or who.split(".")[0] in allowed:
        return None
    where = f" ({frame.f_code.co_filename}, {frame.f_code.co_name})" if who == "python" and frame is not None else ""
    return f"{who}{where} {what}"


def _hook(event: str, arguments: tuple) -> None:
    if event not in WATCHED or _state["inside"]:
        return
    _state["inside"] = True
    try:
        found = judge(event, arguments, sys._getframe().f_back)
        if found is None:
            return
        violations.append(found)
        log = os.environ.get(LOG)
        if log:
            with open(log, "a", encoding="utf-8") as file:
                file.write(found + "\n")
    finally:
        _state["inside"] = False
    if found.startswith("danlu") or event.startswith("socket."):
        raise Forbidden(found)


WATCHED = frozenset(
    (
        "pickle.find_class",
        "exec",
        "socket.connect",
        "socket.getaddrinfo",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
    )
)


def install() -> None:
    """Begin to watch this process; a hook cannot be removed again, and a second call does nothing."""
    if not _state["installed"]:
        _state["installed"] = True
        sys.addaudithook(_hook)
