"""The run's diary: metrics and samples as JSON Lines, and whatever tracker a person uses besides.

In: one dictionary per step. Out: `metrics.jsonl` and `samples.jsonl`, each line with its `step`. Called by `train.run`
on the first rank. A resumed run drops the lines after its checkpoint, so that every step is told once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from danlu.base.artifact import write_atomically
from danlu.train.trackers import Tracker

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"


class Journal:
    """Appends to both files from `step` on; use as a context."""

    def __init__(self, folder: Path, step: int, trackers: Iterable[Tracker] = ()):
        self.trackers = list(trackers)
        for name in (METRICS, SAMPLES):
            forget_after(folder / name, step)
        self._metrics = (folder / METRICS).open("a", encoding="utf-8")
        self._samples = (folder / SAMPLES).open("a", encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        self._samples.close()
        for tracker in self.trackers:
            tracker.close()

    def metrics(self, step: int, values: Mapping[str, float], **facts: Any) -> None:
        """One line for a step; trackers get the `values` alone, which are numbers."""
        _append(self._metrics, {"step": step, **values, **facts})
        for tracker in self.trackers:
            tracker.log(step, values)

    def sample(self, step: int, **values: Any) -> None:
        _append(self._samples, {"step": step, **values})


def _append(file: Any, record: Mapping[str, Any]) -> None:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    file.flush()


def forget_after(path: Path, step: int) -> None:
    """Keep the lines up to `step`; the last line of a killed run may be torn and is dropped with them."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        if json.loads(line)["step"] > step:
            break
        kept.append(line + b"\n")
    write_atomically(path, b"".join(kept))
