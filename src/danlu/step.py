"""What a section stands for: a stage, its config, its inputs and its folder; and how that folder stands now.

In: a section as written, with its config checked and its inputs found. Out: a `Step` with the fingerprint of what would
be made; whether its folder holds just that, and if not, what differs. Called by `recipe`, which puts the sections in
order, and by `running` and the commands. Reads manifests, writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from danlu.base import artifact
from danlu.base.config import Settings
from danlu.base.errors import ArtifactError
from danlu.stages import Stage


@dataclass(frozen=True)
class Section:
    """One named use of a stage, as written."""

    name: str
    stage: Stage
    values: Mapping[str, Any]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """One section, resolved: what would run, on what, to where, and how that folder stands now.

    `parents`: input name -> section, `origins`: input name -> folder, `ancestry`: input name (or `sources`, for raw
    files) -> fingerprint, `before`: input name -> the step that makes it, within a recipe.
    """

    section: Section
    config: Settings
    parents: Mapping[str, str]
    origins: Mapping[str, Path]
    ancestry: Mapping[str, str]
    folder: Path
    fingerprint: str
    before: Mapping[str, Step] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.section.name

    @cached_property
    def state(self) -> str:
        """`done`, `stale` (made from something else), `interrupted` or `to do`: as it was when first asked for.

        Planning does not ask: while the first rank removes a folder, the others must not look into it. A section is to
        be asked when those before it are made: it is stale where their files are not those that it was made from, and
        where they are themselves to be made anew.
        """
        return _state(self)


def resolved(
    section: Section,
    config: Settings,
    parents: Mapping[str, str],
    origins: Mapping[str, Path],
    ancestry: Mapping[str, str],
    folder: Path,
) -> Step:
    """Resolve one section; a stage that reads raw files adds their fingerprint to its ancestry, unless it is known."""
    module = section.stage.module()
    if "sources" not in ancestry and hasattr(module, "source_fingerprint"):
        found = module.source_fingerprint(config)
        ancestry = ancestry if found is None else {**ancestry, "sources": found}
    name = artifact.fingerprint(section.stage.name, module.VERSION, config.model_dump(mode="json"), ancestry)
    return Step(section, config, parents, origins, ancestry, folder, name)


def _state(step: Step) -> str:
    finished = artifact.is_finished(step.folder)
    try:
        record = artifact.read_manifest(step.folder) if finished else _read_started(step.folder)
    except ArtifactError:  # torn or foreign: `differences` says so, and --again makes it anew
        return "stale"
    if record is None:
        return "to do"
    if record.get("fingerprint") != step.fingerprint or _other_content(step, record):
        return "stale"
    return "done" if finished else "interrupted"


def _other_content(step: Step, record: Mapping[str, Any]) -> list[str]:
    """One line for each input of the fingerprint foretold whose files are not known to be those it was made from."""
    lines = []
    for need, folder in step.origins.items():
        before = record.get("parents", {}).get(need, {})
        if before.get("fingerprint") != step.ancestry[need]:
            continue
        try:
            manifest = artifact.read_manifest(folder)
        except ArtifactError as error:
            lines.append(f"input {need}: {error.what} ({folder})")
            continue
        # A folder of an earlier danlu does not say which files it was made from: nobody can know that they are these.
        if "content" not in before:
            lines.append(f"input {need}: this folder does not say which files it was made from")
        elif before["content"] != artifact.content(manifest):
            is_older = manifest["format_version"] < artifact.MARKED_SINCE
            lines.append(
                f"input {need} was sealed by an earlier danlu, which did not mark the files that count"
                if is_older
                else f"input {need} was made anew, and its files are others now"
            )
        elif need in step.before and step.before[need].state != "done":
            lines.append(f"input {need} is itself to be made anew ({folder})")
    return lines


def _read_started(folder: Path) -> dict[str, Any] | None:
    try:
        started = json.loads((folder / artifact.STARTED).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return started if isinstance(started, dict) else None


def differences(step: Step) -> list[str]:
    """What makes a stale step stale: one line for each config field, parent or version that differs."""
    if artifact.is_finished(step.folder):
        try:
            old: Mapping[str, Any] = artifact.read_manifest(step.folder)
        except ArtifactError as error:
            return [f"{error.what}: {error.found}"]
    else:
        old = _read_started(step.folder) or {"config": {}}
    lines = _differing("", old["config"], step.config.model_dump(mode="json"))
    before = {need: parent["fingerprint"] for need, parent in old.get("parents", {}).items()}
    before["sources"] = old.get("sources")
    for need, now in step.ancestry.items():
        if before.get(need) != now:
            lines.append("the raw source files have changed" if need == "sources" else f"input {need} is another now")
    version = step.section.stage.module().VERSION
    if old.get("stage_version", version) != version:
        lines.append(f"stage version {old['stage_version']}, now {version}")
    lines += _other_content(step, old)
    return lines or ["the fingerprint differs"]


def _differing(prefix: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _differing(f"{prefix}{key}.", old.get(key), new.get(key))]
    return [] if old == new else [f"{prefix.rstrip('.')}: {old!r:.60} -> {new!r:.60}"]
