"""Kills while a recipe is made, from raw text to the exported folder: made again, it holds the same bytes.

In: a folder, and how many recipes to make under kills. Out: `result.json`. Run by `test_stage_kills` as a process of
its own (`python -m tests.proofs.stage_kills FOLDER COUNT`), because a fork wants a process without threads. Serves RT1.
Each section is killed some times at random file operations and at a random time, then let go to its end. Nothing is
ever repaired: what one kill leaves behind meets the next.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch

from danlu import running
from danlu.base import console
from danlu.base.artifact import MANIFEST, content
from danlu.recipe import Recipe
from tests.proofs import tracing

TRAINING = {"batch_rows": 4, "checkpoints": {"save_every": 2}, "watch": {"evaluate_every": 4, "validation_rows": 4}}
PAGE: dict[str, Any] = {
    "name": "tiny",
    "prepare": {"sources": [{"little-world": {"stories": 60, "lists": 20, "conversations": 200}}]},
    "tokenizer": {"vocabulary_size": 512},
    "shard": {},
    "pretrain": {
        **TRAINING,
        "tokens": 8000,
        "model": {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64},
    },
    "finetune": {**TRAINING, "tokens": 4000, "questions": 2},
    "evaluate": {"documents": 4, "questions": 2, "max_tokens": 8},
    "export": {"prompts": 3, "greedy_tokens": 4},
}
SECTIONS = tuple(PAGE)[1:]
OPERATION_KILLS, TIME_KILLS = 4, 1
"""Of each section of each recipe."""


def make(runs: Path, until: str = SECTIONS[-1]) -> None:
    """What a person's command does, from whatever lies there."""
    running.run(Recipe.from_dict(PAGE), runs=runs, until=until)


def fork(runs: Path, until: str) -> int:
    """`make` in a child; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            make(runs, until)
        except BaseException as error:
            sys.stderr.write(f"{runs.name}: {type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return pid


def warm_up(folder: Path) -> None:
    """Import once, before the forks, what an undisturbed making imports; nothing else, for that might start threads."""
    names = folder / "modules.json"
    pid = os.fork()
    if pid == 0:
        make(folder / "warm")
        names.write_text(json.dumps(list(sys.modules)))
        os._exit(0)
    os.waitpid(pid, 0)
    for name in json.loads(names.read_text()):
        if name.startswith(("danlu.", "transformers.models.")) or name in ("transformers", "pyarrow.parquet"):
            importlib.import_module(name)


def let_go(runs: Path, until: str) -> int:
    """`make` undisturbed; the exit code."""
    _, status = os.waitpid(fork(runs, until), 0)
    return os.waitstatus_to_exitcode(status)


class Campaign:
    """What each section takes when nobody disturbs it, and what became of the recipes that were killed."""

    def __init__(self, folder: Path):
        self.folder, self.random = folder, random.Random(1)
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.kills: Counter[str] = Counter()

    def measure(self) -> dict[str, Any]:
        """Make the recipe undisturbed, section by section; what it holds."""
        runs, counted = self.folder / "reference", self.folder / "counted"
        for section in SECTIONS:
            started_at = time.monotonic()
            code = let_go(runs, section)
            self.seconds[section] = time.monotonic() - started_at
            if tracing.available():
                self.calls[section] = tracing.count_calls(partial(make, counted, section), tracing.CHANGES)
        return {"exit": code, **holdings(runs)}

    def killed(self, runs: Path) -> dict[str, Any]:
        """Make the recipe under kills; what it holds, and which sections were made again though they were finished."""
        repeated = []
        kinds = (self.at_operation if tracing.available() else self.at_time,) * OPERATION_KILLS
        for section in SECTIONS:
            for kill in (*kinds, *(self.at_time,) * TIME_KILLS):
                before = finished(runs)
                doing = kill(runs, section)
                repeated += lost(before, finished(runs))
                if doing is not None:
                    self.kills[f"{section_at(runs)}: {doing}"] += 1
            before = finished(runs)
            code = let_go(runs, section)
            repeated += lost(before, finished(runs))
            if code != 0:
                break
        return {"exit": code, **holdings(runs), "repeated": repeated}

    def at_operation(self, runs: Path, section: str) -> str | None:
        """Kill on entry to an operation that changes a file; its name, or None where the section ended before."""
        number = self.random.randint(1, self.calls[section])
        call = tracing.kill_at(partial(make, runs, section), number, tracing.CHANGES)
        return None if call is None else f"before {call}"

    def at_time(self, runs: Path, section: str) -> str | None:
        """Kill at any time; None where the section ended before."""
        pid = fork(runs, section)
        time.sleep(self.random.uniform(0, self.seconds[section]))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return "at some time" if os.WIFSIGNALED(status) else None


def finished(runs: Path) -> dict[str, list[int]]:
    """Which manifest each finished section has: one that is written anew is another file."""
    paths = {name: runs / str(PAGE["name"]) / name / MANIFEST for name in SECTIONS}
    found = {name: path.stat() for name, path in paths.items() if path.exists()}
    return {name: [stat.st_ino, stat.st_mtime_ns] for name, stat in found.items()}


def lost(before: dict[str, list[int]], after: dict[str, list[int]]) -> list[str]:
    """Sections that were finished and have been made again, or are gone."""
    return [name for name, manifest in before.items() if after.get(name) != manifest]


def section_at(runs: Path) -> str:
    """The section that is not finished yet."""
    done = finished(runs)
    return next((name for name in SECTIONS if name not in done), "end")


def holdings(runs: Path) -> dict[str, Any]:
    """All paths below `runs`; of each artefact the content, and the hashes of its files but the diary's."""
    folder = runs / str(PAGE["name"])
    artefacts = {}
    for name in finished(runs):
        manifest = json.loads((folder / name / MANIFEST).read_text())
        files = {path: facts["sha256"] for path, facts in manifest["files"].items() if not facts.get("diary", False)}
        artefacts[name] = {"content": content(manifest), "fingerprint": manifest["fingerprint"], "files": files}
    return {"artefacts": artefacts, "paths": sorted(path.relative_to(runs).as_posix() for path in runs.rglob("*"))}


def main(folder: Path, count: int) -> None:
    console.set_mode(quiet=True)
    torch.set_num_threads(1)
    warm_up(folder)
    campaign = Campaign(folder)
    reference = campaign.measure()
    ends = [campaign.killed(folder / f"killed-{number}") for number in range(count)]
    result = {"reference": reference, "ends": ends, "kills": dict(campaign.kills)}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
