"""`danlu inspect`: what an artefact is, from what it was made, how good it is, and whether it is intact.

In: a folder. Out: lines for a person, or the manifest as one line of JSON; exit 2 where the artefact is damaged.
Called by `cli`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base import artifact, console
from danlu.base.errors import ArtifactError

SAME = "the same"


def run(folder: Path, *, as_json: bool = False) -> None:
    """Print the manifest, re-read every file, and walk back through the parents that still lie on disk."""
    manifest = artifact.read_manifest(folder)
    damage = artifact.damage(folder, manifest)
    if as_json:
        console.write(json.dumps(manifest, ensure_ascii=False) + "\n")
    else:
        _say(folder, manifest, damage)
    if damage:
        raise ArtifactError("the artefact is damaged", where=folder, found="; ".join(damage))


def _say(folder: Path, manifest: Mapping[str, Any], damage: Sequence[str]) -> None:
    total = sum(facts["bytes"] for facts in manifest["files"].values())
    console.heading(f"{manifest['kind']}  {folder}")
    console.table(
        ["", ""],
        [
            ("made by", f"{manifest['stage']} (version {manifest['stage_version']})"),
            ("finished", manifest["finished_at"]),
            ("took", console.in_seconds(manifest["seconds"])),
            ("fingerprint", manifest["fingerprint"]),
            ("seed", console.plainly(manifest["seed"])),
            ("files", len(manifest["files"])),
            ("size", console.in_bytes(total)),
            ("intact", "yes: every SHA-256 agrees" if not damage else f"NO: {damage[0]}"),
            ("versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
        ],
    )
    console.heading("config")
    console.table(["", ""], [(key, console.plainly(value)) for key, value in _flat(manifest["config"])])
    console.heading("how good")
    console.table(["", ""], list(_flat(manifest["metrics"])))
    if manifest["parents"]:
        console.heading("made from")
        console.table(["", "kind", "folder", "state"], list(_ancestors(folder, manifest)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list) or len(str(value)) <= 200:
            yield f"{prefix}{key}", value


def _ancestors(folder: Path, manifest: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str, str, str]]:
    for need, parent in manifest["parents"].items():
        place = (folder / parent["folder"]).resolve()
        state = "gone"
        if artifact.is_finished(place):
            try:
                found = artifact.read_manifest(place)
                state = sameness(parent, found)
            except ArtifactError as error:
                state = error.what
        yield ("  " * depth + need, parent["kind"], parent["folder"], state)
        if state == SAME and depth < 8:
            yield from _ancestors(place, found, depth + 1)


def sameness(parent: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Whether what lies there now is what was read: its settings by the fingerprint, its files by the content."""
    if found["fingerprint"] != parent["fingerprint"]:
        return "another is there now"
    if "content" not in parent:  # sealed by an earlier danlu
        return "the same settings; its files were not recorded"
    return SAME if artifact.content(found) == parent["content"] else "made anew since, with other files"
