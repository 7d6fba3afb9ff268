"""An artefact: a folder that says what it is, from what it was made, and whether it is intact.

In: a folder and the facts about its making. Out: `manifest.json`, written last, so that a folder without one is
unfinished. Called by every stage and by `inspect`, `list`, `show`. Does not know what the files mean.

A fingerprint is the hash of resolved config + parents' fingerprints + stage version: the name of a result before it
is computed. The files' SHA-256 say whether what lies there is what was written. The content is the hash of those that
later stages read: two makings of one fingerprint may differ (threads, a measured dial), and it tells them apart. Which
files are only a diary of the making, the stage says when it seals them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from danlu.base import console
from danlu.base.errors import ArtifactError, no_such_folder

MANIFEST = "manifest.json"
STARTED = "started.json"
"""What is being made here, from what: written before the work; once the artefact is finished, a part of its diary."""
FORMAT_VERSION = 3
"""3: the manifest holds its own hash. 2: it marks the files of the diary; in an earlier folder all are content."""
MARKED_SINCE, HASHED_SINCE = 2, 3
BLOCK_BYTES = 1 << 20
"""Read at a time when hashing: a file of many gigabytes shows its progress."""
REPORTED_PACKAGES = ("danlu", "torch", "numpy", "tokenizers", "safetensors", "transformers", "pydantic")
UNHASHED_FOLDERS = ("checkpoints", "scratch")
"""Checkpoints carry manifests of their own; scratch is working space that a finished stage no longer needs."""
READ_SUFFIXES = (".safetensors", ".json", ".jsonl", ".bin", ".jinja")
"""Endings of the files that stages and model libraries look for by name or by pattern."""
TEMPORARY = ("**/.*.tmp", "**/.tmp??????")
"""Our temporary files, and those of safetensors, which writes to one of its own before the path that it is given."""


@dataclass(frozen=True)
class Artifact:
    """A finished artefact on disk. `manifest` is its JSON as a dictionary; see `seal` for the fields."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @property
    def content(self) -> str:
        return content(self.manifest)

    @property
    def config(self) -> Mapping[str, Any]:
        return self.manifest["config"]

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.manifest["metrics"]

    def path(self, name: str) -> Path:
        """Path of one file of this artefact; ArtifactError names the artefact where the file is missing."""
        path = self.folder / name
        if not path.exists():
            raise ArtifactError(f"the {self.kind} artefact lacks a file", where=path, remedy="make the artefact again")
        return path


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def fingerprint(stage: str, version: int | str, config: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """The name of a result before it is made: stage, its version, resolved config, parents' fingerprints."""
    return digest({"stage": stage, "version": version, "config": dict(config), "parents": dict(parents)})


def content(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the names and hashes of all files but the diary's: what a later stage can have read."""
    return digest({name: facts["sha256"] for name, facts in manifest["files"].items() if not facts.get("diary", False)})


def hash_file(path: Path, advance: Callable[[int], object] = lambda size: None) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; `advance` is told of each block how many bytes it has."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
            advance(len(block))
    return state.hexdigest()


def hash_files(folder: Path, diary: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """`{relative name: {bytes, sha256}}` for every file that the manifest answers for, in sorted order.

    Those named in `diary` are also marked `diary: true`, and so is what `STARTED` says.
    """
    sizes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST and name.split("/")[0] not in UNHASHED_FOLDERS:
            sizes[name] = path.stat().st_size
    with console.progress(f"sealing {folder.name}", sum(sizes.values()), "bytes") as shown:
        return {
            name: {
                "bytes": size,
                "sha256": hash_file(folder / name, shown.advance),
                **({"diary": True} if name in diary or name == STARTED else {}),
            }
            for name, size in sizes.items()
        }


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that can change a result."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename or a new file survives a loss of power."""
    if os.name == "nt":  # Windows has no handle for folders; its rename is already journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part: temporary file, flush, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def leavings(folder: Path, name: str | None = None) -> list[Path]:
    """Temporary files that killed writes left: of the file `name` in `folder`, or of any file below it.

    Only for who is alone there: those of a write that is still going on look the same.
    """
    patterns = TEMPORARY if name is None else (f".{name}.*.tmp",)
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


@contextmanager
def folder_in_place(target: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `target` when the block ends without an error, and vanishes otherwise.

    Every file is flushed before the rename. An existing `target` is an error: folders are never overwritten.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    try:
        yield working
        for path in sorted(working.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            else:
                sync_folder(path)
        sync_folder(working)
        if target.exists():
            raise ArtifactError("a folder of this name exists already", where=target, remedy="choose another folder")
        os.rename(working, target)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    sync_folder(target.parent)


def seal(
    folder: Path,
    *,
    kind: str,
    stage: str,
    version: int | str,
    config: Mapping[str, Any],
    parents: Mapping[str, Artifact],
    metrics: Mapping[str, Any],
    seconds: float,
    seed: int | None = None,
    sources: str | None = None,
    diary: Collection[str] = (),
    spent: Collection[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Artifact:
    """Hash every file of `folder`, write its manifest last, and return the finished artefact.

    `config` is the resolved config; `metrics` are plain numbers and small tables; `seconds` is the working time, over
    all interruptions; `sources` is the fingerprint of raw files, a parent that is no artefact; `diary` names files
    about the making, for people: they hold times and speeds, no later stage reads them, and they are left out of
    `content`, so that a making that gives the same bytes again makes nothing after it stale; `spent` names folders of
    working space that go when all is hashed, at the last moment, so that a kill before it costs nothing. `extra` holds
    facts of one kind only (for example `{"threads": 2}`).
    """
    ancestry = {name: parent.fingerprint for name, parent in parents.items()}
    if sources is not None:
        ancestry["sources"] = sources
    manifest = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "stage_version": version,
        "fingerprint": fingerprint(stage, version, config, ancestry),
        "config": dict(config),
        "parents": {
            name: {
                "fingerprint": parent.fingerprint,
                "content": parent.content,
                "kind": parent.kind,
                "folder": _relative(parent.folder, folder),
            }
            for name, parent in parents.items()
        },
        "files": hash_files(folder, diary),
        "sources": sources,
        "metrics": dict(metrics),
        "seed": seed,
        "versions": versions(),
        "seconds": round(seconds, 3),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **(dict(extra) if extra is not None else {}),
    }
    for name in spent:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    return Artifact(folder, write_manifest(folder, manifest))


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write a manifest with a hash over all that it says, so that a changed one is noticed; what was written."""
    said = {key: value for key, value in manifest.items() if key != "sha256"}
    said["sha256"] = digest(said)
    write_atomically(folder / MANIFEST, json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return said


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


def is_finished(folder: Path) -> bool:
    """True where the folder has a manifest; an interrupted stage leaves none."""
    return (folder / MANIFEST).is_file()


def open_artifact(folder: Path | str, kind: str | Iterable[str] | None = None, *, verify: bool = True) -> Artifact:
    """Open a finished artefact; ArtifactError says what is missing, damaged or of another kind.

    `verify` re-reads every file and compares its SHA-256; without it only presence and size are compared.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    kinds = (kind,) if isinstance(kind, str) else tuple(kind) if kind is not None else None
    if kinds is not None and manifest["kind"] not in kinds:
        raise ArtifactError(
            f"a {' or '.join(kinds)} artefact is needed here",
            where=folder,
            found=f"kind {manifest['kind']!r}",
            remedy="give another folder; danlu list shows the kind of each",
        )
    lines = damage(folder, manifest, hashes=verify)
    if lines:
        raise ArtifactError(
            "the artefact is damaged",
            where=folder,
            found="; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else ""),
            remedy="restore the files, take away those that were added, or make the artefact again with --again",
        )
    return Artifact(folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder as a dictionary, or an ArtifactError that says why there is none."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise no_such_folder(folder)
    if not path.is_file():
        raise ArtifactError(
            "the folder is not a finished artefact", where=folder, found=f"no {MANIFEST}", remedy="run its stage again"
        )
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError("the manifest cannot be read", where=path, found=error) from None
    needed = {"kind", "format_version", "fingerprint", "config", "parents", "files", "metrics"}
    if not isinstance(manifest, dict) or not needed <= manifest.keys():
        raise ArtifactError("the manifest is not one of danlu's", where=path)
    if not isinstance(manifest["format_version"], int):
        raise ArtifactError("the manifest was changed", where=path, found=f"format {manifest['format_version']!r:.40}")
    if manifest["format_version"] > FORMAT_VERSION:
        raise ArtifactError(
            "the artefact was made by a newer danlu",
            where=folder,
            found=f"format version {manifest['format_version']}, this danlu reads up to {FORMAT_VERSION}",
            remedy="upgrade danlu",
        )
    is_hashed = "sha256" in manifest or manifest["format_version"] >= HASHED_SINCE
    if is_hashed and not states_its_hash(manifest):
        raise ArtifactError(
            "the manifest was changed",
            where=path,
            found="another SHA-256 than it states",
            remedy="restore it or make the artefact again with --again",
        )
    odd = _oddity(manifest)
    if odd is not None:
        raise ArtifactError(
            "the manifest was changed", where=path, found=odd, remedy="restore it or make the artefact again"
        )
    return manifest


def states_its_hash(manifest: Mapping[str, Any]) -> bool:
    """True where `sha256` is the hash of all else that a manifest says.

    One that holds NaN, an infinity (`1e999`) or half a character was never hashed: canonical JSON has none of them.
    """
    try:
        return bool(manifest.get("sha256") == digest({key: manifest[key] for key in manifest if key != "sha256"}))
    except (ValueError, RecursionError):
        return False


def _oddity(manifest: Mapping[str, Any]) -> str | None:
    """What of a manifest without a hash, an earlier danlu's, has another shape than any danlu wrote; or None."""
    mappings = ("config", "parents", "files", "metrics")
    for key in mappings:
        if not isinstance(manifest[key], dict):
            return f"{key}: a {type(manifest[key]).__name__}"
    for key in ("kind", "fingerprint"):
        if not isinstance(manifest[key], str):
            return f"{key}: a {type(manifest[key]).__name__}"
    for name, parent in manifest["parents"].items():
        if not isinstance(parent, dict) or not isinstance(parent.get("fingerprint"), str):
            return f"parents: {name} has no fingerprint"
    for name, facts in manifest["files"].items():
        if (
            not isinstance(facts, dict)
            or not isinstance(facts.get("sha256"), str)
            or type(facts.get("bytes")) is not int
        ):
            return f"files: {name} has no size or no SHA-256"
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            return f"files: {name!r} leads out of the folder"
    if not isinstance(manifest.get("seconds", 0.0), int | float):
        return f"seconds: a {type(manifest['seconds']).__name__}"
    return None


def damage(folder: Path, manifest: Mapping[str, Any], *, hashes: bool = True) -> list[str]:
    """What is wrong with the files of an artefact, one line each: lost, changed, added; an empty list means intact."""
    return check_files(folder, manifest, hashes=hashes) + [
        f"{name} is there and the manifest does not know it" for name in added(folder, manifest)
    ]


def added(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Files that the manifest does not name and that a reader of the folder could take for a part of it.

    A note, a page or a picture that somebody puts there changes nothing; one more table of weights might.
    """
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        name
        for name in names
        if name.endswith(READ_SUFFIXES)
        and name not in (MANIFEST, *manifest["files"])
        and name.split("/")[0] not in UNHASHED_FOLDERS
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def check_files(folder: Path, manifest: Mapping[str, Any], *, hashes: bool = True) -> list[str]:
    """What is wrong with the files that a manifest names, one line each.

    A file on a broken place of the disk is damaged; other refusals of the system say nothing of it and are raised.
    """
    found, total = [], sum(facts["bytes"] for facts in manifest["files"].values())
    with console.progress(f"verifying {folder.name}", total, "bytes") as shown:
        for name, facts in manifest["files"].items():
            path = folder / name
            try:
                if not path.is_file():
                    found.append(f"{name} is missing")
                elif path.stat().st_size != facts["bytes"]:
                    found.append(f"{name} has {path.stat().st_size} bytes, the manifest says {facts['bytes']}")
                elif hashes and hash_file(path, shown.advance) != facts["sha256"]:
                    found.append(f"{name} has another SHA-256 than the manifest says")
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                found.append(f"{name} cannot be read: {error.strerror}")
    return found
