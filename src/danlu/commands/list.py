"""`danlu list`: the artefacts below a folder, one line each.

In: a folder. Out: a table of section, kind, state, size, age and main figure. Called by `cli`. Reads manifests
only; whether the files are intact is what `inspect` checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from danlu.base import artifact, console
from danlu.base.errors import ArtifactError
from danlu.commands.inspect import SAME, sameness
from danlu.running import is_being_made


def run(runs: Path) -> None:
    """Print every finished, running or interrupted artefact below `runs`, run by run."""
    if not runs.is_dir():
        raise ArtifactError("there are no runs here", where=runs, remedy="danlu run RECIPE makes one")
    folders = sorted({path.parent for name in (artifact.MANIFEST, artifact.STARTED) for path in runs.rglob(name)})
    rows = [_row(folder, runs) for folder in folders if "checkpoints" not in folder.relative_to(runs).parts]
    if not rows:
        raise ArtifactError("there are no artefacts here", where=runs, remedy="danlu run RECIPE makes some")
    console.table(["artefact", "kind", "state", "size", "finished", "main figure"], rows)


def _row(folder: Path, runs: Path) -> tuple[object, ...]:
    name = folder.relative_to(runs).as_posix()
    if not artifact.is_finished(folder):
        return (name, "", "running" if is_being_made(folder) else "interrupted", "", "", "")
    try:
        manifest = artifact.read_manifest(folder)
    except ArtifactError as error:  # one that cannot be read hides no other
        return (name, "", error.what, "", "", "")
    total = sum(facts["bytes"] for facts in manifest["files"].values())
    other = _other_input(folder, manifest)
    state = "done" if other is None else f"stale (its input {other} is another now)"
    return (name, manifest["kind"], state, console.in_bytes(total), _age(manifest["finished_at"]), _figure(manifest))


def _other_input(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The first input that is not what this was made from, or was itself made from such; one that is gone may be so."""
    for need, parent in manifest["parents"].items():
        place = (folder / parent["folder"]).resolve()
        if not place.is_dir():
            continue
        if not artifact.is_finished(place):
            return need
        try:
            found = artifact.read_manifest(place)
        except ArtifactError:
            return need
        if sameness(parent, found) != SAME or _other_input(place, found) is not None:
            return need
    return None


def _age(finished_at: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(finished_at)).total_seconds()
    return console.Quantity(f"{console.duration(max(seconds, 0))} ago", finished_at)


def _figure(manifest: Mapping[str, Any]) -> str:
    """The first plain number among the metrics, by name."""
    for name, value in manifest["metrics"].items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value:,}"
            return console.Quantity(text, value, name)
    return ""
