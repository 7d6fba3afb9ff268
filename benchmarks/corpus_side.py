"""One stage in a process of its own that keeps to one core, and what it took; a peer's script likewise.

In: the stage's name, settings, folder and artefacts; as a program, the same in its words. Out: seconds of the clock and
of the processor, peak memory, the artefact's metrics. Called by `corpus_speed.py`, whose every measurement is such a
process. Repeats nothing and stores nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from machine import peak_mb

from danlu.base.artifact import open_artifact
from danlu.base.config import read_settings


def on_one_core(command: list[str]) -> dict[str, Any]:
    """The JSON that a process, kept to one core, writes as its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    core = {min(os.sched_getaffinity(0))}
    pin = {"preexec_fn": lambda: os.sched_setaffinity(0, core)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, **pin)
    if done.returncode:
        raise RuntimeError(f"{command}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(stage: str, config: dict[str, Any], out: Path, **inputs: Path) -> dict[str, Any]:
    """Run one stage in a process of its own."""
    words = {"config": config, "out": str(out), "inputs": {name: str(path) for name, path in inputs.items()}}
    return on_one_core([sys.executable, __file__, stage, json.dumps(words)])


def main() -> None:
    """The process of `ours`: one stage from its inputs to its seal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage")
    parser.add_argument("words", type=json.loads)
    options = parser.parse_args()
    module = import_module(f"danlu.stages.{options.stage}")
    inputs = {name: open_artifact(Path(path), name) for name, path in options.words["inputs"].items()}
    out = Path(options.words["out"])
    out.mkdir(parents=True)
    said = os.dup(1)
    os.dup2(2, 1)
    started_at, processor_at = time.perf_counter(), time.process_time()
    made = module.run(read_settings(module.Config, options.words["config"], "benchmark"), inputs, out)
    facts = {
        "seconds": round(time.perf_counter() - started_at, 3),
        "processor_seconds": round(time.process_time() - processor_at, 3),
        "peak_mb": peak_mb(),
        "metrics": dict(made.metrics),
    }
    os.write(said, (json.dumps(facts) + "\n").encode())


if __name__ == "__main__":
    main()
