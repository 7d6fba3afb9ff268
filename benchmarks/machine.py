"""What a result says of where it was measured: machine, commit, load, versions, command; and a process's peak memory.

In: nothing but the machine, and a program's options. Out: facts for the result files. Every benchmark takes them from
here. The peers' processes do too, in their own environments, so nothing of danlu is imported. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
QUIET_LOAD = 0.5
"""Processes that run or wait to, in the mean of the last minute: above it others' work is measured with ours."""
FADING_SECONDS, LOOK_SECONDS = 300, 5
"""How long the load of a program that has just ended may take to fade, and how often it is looked at."""
UNTOLD = ("busy", "result")
"""Options that say nothing of what was measured, or are told by themselves."""


def add_options(parser: argparse.ArgumentParser, result: Path) -> None:
    """The options that every program here has."""
    parser.add_argument("--busy", action="store_true", help="measure beside other work; the result says so")
    parser.add_argument("--result", type=Path, default=result, help="the file that is written")


def stamp(options: argparse.Namespace, positional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The facts of a program that is about to measure: to be called before it does anything."""
    return {
        "machine": machine(),
        "commit": commit(),
        "load_before": load_before(options.busy),
        "busy": options.busy,
        "measured_at": datetime.now(UTC).date().isoformat(),
        "command": command(options, positional),
    }


def machine() -> str:
    """Cores, processor and system, in words."""
    return f"{os.cpu_count()} cores, {processor()}, {platform.system()}"


def processor() -> str:
    """The processor's name; AMD's family 26 is Zen 5."""
    described = Path("/proc/cpuinfo")
    first = described.read_text().split("\n\n")[0] if described.is_file() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    named = {key.strip(): value.strip() for key, _, value in pairs}
    zen_5 = named.get("vendor_id") == "AuthenticAMD" and named.get("cpu family") == "26"
    return named.get("model name", platform.machine()) + (" (Zen 5)" if zen_5 else "")


def commit() -> str:
    """The commit that was measured, and whether the code was changed since."""
    changed = _git("status", "--porcelain", "--", "src", "benchmarks")
    return _git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()


def load_before(busy: bool) -> float:
    """The load of the last minute once it is low; a machine that stays busy is refused unless `busy` says so."""
    for _ in range(FADING_SECONDS // LOOK_SECONDS):
        load = round(os.getloadavg()[0], 2)
        if busy or load <= QUIET_LOAD:
            return load
        time.sleep(LOOK_SECONDS)
    raise SystemExit(f"the machine is at work: its load is {load}, not {QUIET_LOAD}; end that, or say --busy")


def command(options: argparse.Namespace, positional: tuple[str, ...] = ()) -> str:
    """The whole command with every option that was in force; a path is told by the option's name in capitals."""
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}"]
    for name, value in vars(options).items():
        if name in UNTOLD or value is None or value is False or value == "":
            continue
        listed = value if isinstance(value, list) else [value]
        told = [] if name in positional else [f"--{name.replace('_', '-')}"]
        words += told + [_told(name, one) for one in listed if one is not True]
    return " ".join(words)


def _told(name: str, value: object) -> str:
    if not isinstance(value, Path) and "/" not in str(value):
        return str(value)
    return name.upper() + ("/bin/python" if Path(str(value)).name.startswith("python") else "")


def peer_versions(python: str, names: tuple[str, ...] = ("litgpt", "transformers", "torch")) -> dict[str, str]:
    """Versions of the peers in their own environment."""
    code = f"from importlib.metadata import version; import json; print(json.dumps({{n: version(n) for n in {names}}}))"
    found = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    return {f"peers' {name}": version for name, version in found.items()}


def peak_mb() -> int:
    """The most memory that this process has held, in MB.

    `getrusage` would be wrong: what it tells outlives `exec`, so that a child begins with its parent's peak.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return round(kibibytes * 1024 / 1e6)
