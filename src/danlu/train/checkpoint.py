"""Checkpoints: everything from which a run goes on bit for bit, in a folder that is there whole or not at all.

In: named tensors and plain numbers. Out: `step-00000123/` with `model.safetensors`, `optimizer.safetensors`,
`random.safetensors` and, written last, `manifest.json` with every file's SHA-256 and its own. A save goes to a hidden
folder, is flushed file by file and then renamed; a load checks every hash before a byte is used. Called by `train.run`.
Deletes nothing but what `prune` is told not to keep; a damaged folder is named and left where it lies.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from danlu.base import console
from danlu.base.artifact import MANIFEST, check_files, digest, folder_in_place, states_its_hash, sync_folder
from danlu.base.errors import ArtifactError, one_sentence

FORMAT_VERSION = 1
KIND = "checkpoint"
DTYPE_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk: `facts` are the plain numbers that were saved with the tensors."""

    folder: Path
    step: int
    facts: Mapping[str, Any]

    def tensors(self, part: str) -> dict[str, Tensor]:
        """The tensors of one part (`model`, `optimizer`, `random`), by name, on the CPU."""
        with safe_open(self.folder / f"{part}.safetensors", framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)


def folder_name(step: int) -> str:
    return f"step-{step:08d}"


def save(folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> Path:
    """Write checkpoint `step` below `folder`; on return it is on the disk; before that it is not there."""
    needed = sum(tensor.nbytes for tensors in parts.values() for tensor in tensors.values())
    with one_sentence(folder, needed):
        return _save(folder / folder_name(step), step, parts, facts)


def _save(target: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> Path:
    with folder_in_place(target) as working:
        files = {}
        for part, tensors in parts.items():
            files[f"{part}.safetensors"] = _write_tensors(working / f"{part}.safetensors", tensors)
        manifest = {"kind": KIND, "format_version": FORMAT_VERSION, "step": step, "facts": dict(facts), "files": files}
        manifest["sha256"] = digest(manifest)
        (working / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return target


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a safetensors file tensor by tensor, hashing what goes out: a save needs no second copy in memory."""
    header: dict[str, Any] = {}
    offset = 0
    ordered = sorted(tensors.items())  # equal tensors give equal bytes, whatever the order they came in
    for name, tensor in ordered:
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        hashed = _Hashed(file)
        hashed.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            hashed.write(_bytes(tensor))
    return {"bytes": hashed.count, "sha256": hashed.sha.hexdigest()}


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


class _Hashed:
    """A binary file that remembers the SHA-256 and the count of what it was given."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha, self.count = file, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self.sha.update(data)
        self.count += len(data)
        self.file.write(data)


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder` after every hash was compared; ArtifactError says what is damaged."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError("the checkpoint has no readable manifest", where=path, found=error) from None
    if not isinstance(manifest, dict) or not states_its_hash(manifest):
        raise ArtifactError("the checkpoint's manifest was changed", where=path, found="another SHA-256 than it states")
    kind, version, step = (manifest.get(key) for key in ("kind", "format_version", "step"))
    if kind != KIND or version != FORMAT_VERSION or type(step) is not int or folder.name != folder_name(step):
        raise ArtifactError(
            "the folder is not a checkpoint of this place", where=folder, found=f"{kind}, format {version}, step {step}"
        )
    damage = check_files(folder, manifest)
    if damage:
        raise ArtifactError("the checkpoint is damaged", where=folder, found="; ".join(damage))
    return Checkpoint(folder, step, manifest["facts"])


def steps_on_disk(folder: Path) -> list[int]:
    """Steps that have a folder here, newest first, without a look inside."""
    return sorted((int(path.name[5:]) for path in folder.glob("step-*") if path.name[5:].isdecimal()), reverse=True)


def newest_valid(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose every byte is as it was written; each damaged one is named in a warning."""
    for step in steps_on_disk(folder):
        try:
            return open_checkpoint(folder / folder_name(step))
        except ArtifactError as error:
            console.warn_once(f"{error}\n  it is left where it lies; the next older checkpoint is tried")
    return None


def prune(folder: Path, keep: int, best_step: int | None) -> None:
    """Remove all but the `keep` newest checkpoints and the best one.

    A folder is renamed to a hidden name first: killed half-way, it is rubbish and not a damaged checkpoint.
    """
    for step in steps_on_disk(folder)[keep:]:
        if step != best_step:
            hidden = folder / f".{folder_name(step)}.removed"
            os.rename(folder / folder_name(step), hidden)
            sync_folder(folder)  # the new name is on the disk before the first file goes
            shutil.rmtree(hidden)


def sweep(folder: Path) -> None:
    """Remove the hidden leavings of saves and removals that were killed; called when a run starts."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def discard(folder: Path, steps: Sequence[int]) -> None:
    """Move damaged checkpoints out of the way of new ones of the same step, by a name that says so; nothing is lost."""
    for step in steps:
        path = folder / folder_name(step)
        number = len(list(folder.glob(f"damaged-{path.name}*")))
        os.rename(path, folder / f"damaged-{path.name}-{number}")
