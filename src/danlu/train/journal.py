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
from danlu.base.errors import ArtifactError
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
    """Keep the lines up to `step`; the last line of a killed run may be torn and is dropped with them.

    So is all that follows a damaged line where the lines up to `step` stand before it; else ArtifactError names it.
    """
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")[:-1]
    told = [_step_of(line) for line in lines]
    end = next((number for number, one in enumerate(told) if one is None or one > step), len(told))
    is_damaged = end < len(told) and told[end] is None
    last = told[end - 1] if end > 0 else -1
    if is_damaged and (last != step or step in told[end:]):
        raise ArtifactError(
            "a line of the run's diary cannot be read",
            where=f"{path}, line {end + 1}",
            found=f"{lines[end]!r:.80}",
            remedy="restore the line or take it out: the diary is for people, no step is lost with it",
        )
    write_atomically(path, b"".join(line + b"\n" for line in lines[:end]))


def _step_of(line: bytes) -> int | None:
    """The step that a line tells of; None where it cannot be read."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = found.get("step") if isinstance(found, dict) else None
    return step if isinstance(step, int) else None
