"""Measure training speed beside litgpt and transformers' Trainer: ratios from one interleaved run.

In: a Python that has the peers. Out: `docs/results/training.json`: tokens a second in steady state (medians over
interleaved segments), seconds to the first step with cold caches, peak memory, and our ratios to the faster, the
quicker to start and the leaner of the two. All sides hold fp32 weights and optimizer states, see the same made-up ids
(the Trainer in an order of its own) and use their own defaults; ours alone masks documents from each other, keeps freed
memory from step to step, and has torch's fused AdamW, which litgpt switches off. One size and dtype after the other:

    python benchmarks/training.py --peers PEERS/bin/python --sizes 11m 110m --dtypes bfloat16 float32
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training_side import SIZES

from danlu.base import artifact, console

SIDE = Path(__file__).with_name("training_side.py")
RESULT = Path("docs/results/training.json")
SIDES = ("danlu", "litgpt", "trainer")


class Side:
    """A process that trains when told to."""

    def __init__(self, name: str, python: str, size: str, dtype: str, threads: int):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TORCHINDUCTOR_CACHE_DIR": tempfile.mkdtemp(prefix="cold-"),  # caches are cold
            "HF_HUB_OFFLINE": "1",
        }
        command = [python, str(SIDE), name, size, dtype, "--threads", str(threads), "--began-at", str(time.time())]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.first_step_seconds = self._hear()["first_step_seconds"]

    def seconds(self, steps: int) -> float:
        """How long `steps` further steps take."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._hear()["seconds"]

    def close(self) -> float:
        """End the process; its peak memory in MB."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        peak = self._hear()["peak_mb"]
        self.process.wait()
        return peak

    def _hear(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side has died: {self.process.args}")
        return json.loads(line)


def measure(size: str, dtype: str, pythons: dict[str, str], threads: int, rounds: int, steps: int) -> dict[str, Any]:
    """All sides of one size and dtype, in turn."""
    sides = {name: Side(name, pythons[name], size, dtype, threads) for name in SIDES}
    for side in sides.values():
        side.seconds(1)  # the second step may still compile
    tokens = SIZES[size]["rows"] * SIZES[size]["length"] * steps
    speeds: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(rounds):
        for name in SIDES[number % 3 :] + SIDES[: number % 3]:
            speeds[name].append(tokens / sides[name].seconds(steps))
    found = {
        name: {
            "tokens_per_second": round(statistics.median(speeds[name]), 1),
            "segments": [round(speed, 1) for speed in speeds[name]],
            "first_step_seconds": round(side.first_step_seconds, 2),
            "peak_mb": round(side.close()),
        }
        for name, side in sides.items()
    }
    peers = [found[name] for name in SIDES[1:]]
    ours = found["danlu"]
    return {
        **found,
        "ratio_to_the_faster": round(ours["tokens_per_second"] / max(one["tokens_per_second"] for one in peers), 3),
        "first_step_ratio_to_litgpt": round(ours["first_step_seconds"] / found["litgpt"]["first_step_seconds"], 3),
        "memory_ratio_to_the_leaner": round(ours["peak_mb"] / min(one["peak_mb"] for one in peers), 3),
    }


def main() -> None:
    """Measure what is asked for; keep what the file already holds of other sizes and dtypes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="a Python with litgpt and transformers")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of one segment")
    options = parser.parse_args()
    pythons = {"danlu": sys.executable, "litgpt": options.peers, "trainer": options.peers}
    table = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    for size in options.sizes:
        for dtype in options.dtypes:
            load = round(os.getloadavg()[0], 2)
            found = measure(size, dtype, pythons, options.threads, options.rounds, options.steps)
            table[f"{size} {dtype}"] = {
                **found,
                "steps_of_a_segment": options.steps,
                "threads": options.threads,
                "load_before": load,
                "machine": machine(),
                "versions": artifact.versions() | peer_versions(options.peers),
                "measured_at": datetime.now(UTC).date().isoformat(),
                "command": "python benchmarks/training.py --peers PEERS/bin/python",
            }
            console.say(f"{size} {dtype}: {json.dumps({k: v for k, v in found.items() if k not in SIDES})}")
            artifact.write_atomically(RESULT, json.dumps(table, indent=1) + "\n")


def machine() -> str:
    """Cores and processor, in words."""
    description = Path("/proc/cpuinfo")
    lines = description.read_text().splitlines() if description.is_file() else []
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{os.cpu_count()} cores, {model}, {platform.system()}"


def peer_versions(python: str) -> dict[str, str]:
    """Versions of the peers in their own environment."""
    names = ("litgpt", "transformers", "torch")
    code = f"from importlib.metadata import version; import json; print(json.dumps({{n: version(n) for n in {names}}}))"
    found = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    return {f"peers' {name}": version for name, version in found.items()}


if __name__ == "__main__":
    main()
