"""Measure training speed beside litgpt and transformers' Trainer: ratios from one interleaved run.

In: Pythons that have the peers (the Trainer's may be another, because litgpt holds transformers back). Out:
`docs/results/training.json`, one entry for each size and dtype, and the page. After one import that is thrown away, all
sides are started `--starts` times in rotation: so often the seconds to the first step (with cold caches) and the peak
memory are measured, and their medians told. After each start the sides, all alive, train in turn for `--rounds` rounds,
each for at least `--seconds`; a ratio is of one round, to the faster peer of it, and their median and least are told.

AdamW on all sides, whose weights and states are fp32, on the same made-up ids (the Trainer in an order of its own);
otherwise each has its own defaults: ours alone masks documents from each other, keeps freed memory from step to step,
and has torch's fused AdamW, which litgpt switches off on a CPU. Apart from them ours runs once more with the optimizer
that is its own default, Muon:

    python benchmarks/training.py --peers PEERS/bin/python --trainer TRAINER/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import speed_page

# `learning.py` and `dial.py` ask for these two here.
from machine import add_options, machine, peer_versions, stamp  # noqa: F401
from rounds import in_turn, paired
from training_side import SIZES

from danlu.base import artifact, console

SIDE = Path(__file__).with_name("training_side.py")
RESULT = Path("docs/results/training.json")
PEERS = ("litgpt", "trainer")
SIDES = ("danlu", *PEERS, "danlu_default")
IMPORTS = {
    "danlu": "import torch._inductor, danlu.train.loop, danlu.model.transformer",
    "litgpt": "import torch._inductor, lightning, litgpt.model",
    "trainer": "from transformers import LlamaForCausalLM, Trainer",
}
LAST_LINES = 15


class Side:
    """A process that trains when told to. All that it leaves behind lies in one folder, which goes with it."""

    def __init__(self, name: str, python: str, size: str, dtype: str, threads: int):
        self.folder = tempfile.TemporaryDirectory(prefix="side-", ignore_cleanup_errors=True)
        self.errors = Path(self.folder.name) / "stderr"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HOME": self.folder.name,
            "TMPDIR": self.folder.name,
            "TORCHINDUCTOR_CACHE_DIR": str(Path(self.folder.name) / "cold"),  # caches are cold
            "HF_HUB_OFFLINE": "1",
        }
        command = [python, str(SIDE), name, size, dtype, "--threads", str(threads), "--began-at", str(time.time())]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
        self.first_step_seconds = self._hear()["first_step_seconds"]

    def steps_per_second(self, seconds: float) -> float:
        """How fast it takes steps, for at least so long and at least one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        found = self._hear()
        return found["steps"] / found["seconds"]

    def close(self) -> float:
        """End the process; its peak memory in MB."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        peak = self._hear()["peak_mb"]
        self.process.wait()
        self.folder.cleanup()
        return peak

    def _hear(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = "\n".join(self.errors.read_text(errors="replace").splitlines()[-LAST_LINES:])
            raise SystemExit(f"a side has died: {self.process.args}\n{said}")
        return json.loads(line)


def measure(
    size: str, dtype: str, pythons: dict[str, str], threads: int, starts: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """All sides of one size and dtype: started in turn some times, and trained in turn after each start."""
    tokens = SIZES[size]["rows"] * SIZES[size]["length"]
    speeds: dict[str, list[float]] = {name: [] for name in SIDES}
    first_steps: dict[str, list[float]] = {name: [] for name in SIDES}
    peaks: dict[str, list[float]] = {name: [] for name in SIDES}
    for start in range(starts):
        sides = {name: Side(name, pythons[name], size, dtype, threads) for name in in_turn(SIDES, start)}
        for side in sides.values():
            side.steps_per_second(0)  # the second step may still compile
        for number in range(rounds):
            for name in in_turn(SIDES, start * rounds + number):
                speeds[name].append(tokens * sides[name].steps_per_second(seconds))
        for name, side in sides.items():
            first_steps[name].append(side.first_step_seconds)
            peaks[name].append(side.close())
    found = {
        name: {
            "tokens_per_second": round(statistics.median(speeds[name]), 1),
            "segments": [round(speed, 1) for speed in speeds[name]],
            "first_step_seconds": round(statistics.median(first_steps[name]), 2),
            "first_steps_seconds": [round(one, 2) for one in first_steps[name]],
            "peak_mb": round(statistics.median(peaks[name])),
            "peaks_mb": [round(one) for one in peaks[name]],
        }
        for name in SIDES
    }
    ours, peers = found["danlu"], [found[name] for name in PEERS]
    return {
        **found,
        "to_the_faster": paired(speeds["danlu"], *(speeds[name] for name in PEERS)),
        "default_to_the_faster": paired(speeds["danlu_default"], *(speeds[name] for name in PEERS)),
        "first_step_ratio_to_litgpt": round(ours["first_step_seconds"] / found["litgpt"]["first_step_seconds"], 3),
        "memory_ratio_to_the_leaner": round(ours["peak_mb"] / min(one["peak_mb"] for one in peers), 3),
    }


def main() -> None:
    """Measure what is asked for; keep what the file already holds of other sizes and dtypes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="a Python with litgpt")
    parser.add_argument("--trainer", help="a Python with transformers and accelerate, if that of --peers is too old")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="rounds after each start")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one side in one round, at least")
    add_options(parser, RESULT)
    options = parser.parse_args()
    stamped = stamp(options)
    trainer = options.trainer or options.peers
    pythons = {"danlu": sys.executable, "danlu_default": sys.executable, "litgpt": options.peers, "trainer": trainer}
    for name, line in IMPORTS.items():
        subprocess.run([pythons[name], "-c", line], check=True)
    versions = {
        **artifact.versions(),
        **peer_versions(options.peers, ("litgpt", "lightning", "torch")),
        **peer_versions(trainer, ("transformers", "accelerate")),
        **{f"Trainer's {name[7:]}": found for name, found in peer_versions(trainer, ("torch",)).items()},
    }
    table = json.loads(options.result.read_text()) if options.result.is_file() else {}
    for size in options.sizes:
        for dtype in options.dtypes:
            found = measure(size, dtype, pythons, options.threads, options.starts, options.rounds, options.seconds)
            table[f"{size} {dtype}"] = {
                **found,
                "optimizers": {"all": "adamw", "danlu_default": default_optimizer()},
                "starts": options.starts,
                "rounds": options.starts * options.rounds,
                "seconds_of_a_segment": options.seconds,
                "threads": options.threads,
                "versions": versions,
                **stamped,
            }
            console.say(f"{size} {dtype}: {json.dumps({k: v for k, v in found.items() if k not in SIDES})}")
            artifact.write_atomically(options.result, json.dumps(table, indent=1) + "\n")
    speed_page.write_after(options.result)


def default_optimizer() -> str:
    """Whose line stands apart."""
    from danlu.train.settings import OptimizerSettings

    return OptimizerSettings().name


if __name__ == "__main__":
    main()
