"""Weights in safetensors files: one file, or shards with an index, as the ecosystem lays them out.

In: a folder, or named tensors. Out: each tensor by its stored name, or the files. Called by `reader` and `writer`.
Pickled weights are never opened: reading them would run whatever code they hold. Names are the file's own;
`families` translates them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from danlu.base.artifact import sync_folder, write_atomically
from danlu.base.errors import ArtifactError, one_sentence

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
SHARD_BYTES = 5 * 10**9
REFUSED = re.compile(r"\bos error (\d+)|\bcode: (\d+)")
"""How safetensors, which raises no OSError, hands on the number that the system gave; older versions the second way."""


class StoredWeights:
    """The tensors of a folder: their shapes are known at once, their values are read when asked for."""

    def __init__(self, folder: Path):
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in _weight_files(folder):
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 (the handle is no mapping)
                    if name in self.files:
                        raise ArtifactError("a tensor is stored twice", where=folder, found=name)
                    self.files[name] = path
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())

    def read(self, names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
        """`(ours, tensor)` for each `{stored: ours}`, file by file, so that one tensor is in memory at a time."""
        for path in dict.fromkeys(self.files[stored] for stored in names):
            with _opened(path) as file:
                for stored, ours in names.items():
                    if self.files[stored] == path:
                        yield ours, file.get_tensor(stored)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            "the weights cannot be read", where=path, found=error, remedy="fetch or make the model again"
        ) from None


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, or an ArtifactError that says what was looked for."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
        raise ArtifactError(
            "the folder has pickled weights, which danlu never opens: they can run code"
            if pickled
            else "the folder has no weights",
            where=folder,
            found=", ".join(pickled[:3]) if pickled else f"neither {SINGLE} nor {INDEX}",
            remedy="convert the weights to safetensors, or get the model in that format",
        )
    try:
        table = json.loads((folder / INDEX).read_bytes())["weight_map"]
        names = sorted(set(table.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtifactError("the index of the weights cannot be read", where=folder / INDEX) from None
    for name in names:
        # A name with a folder in it would lead out of the model's own folder.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ArtifactError(
                "the index names a file that is not a part of the model", where=folder, found=repr(name)
            )
        if not (folder / name).is_file():
            raise ArtifactError("a part of the weights is missing", where=folder / name)
    return [folder / name for name in names]


def write_weights(
    folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, *, shard_bytes: int = SHARD_BYTES
) -> int:
    """Write tensors by their stored names in `dtype`; return their bytes. More than `shard_bytes` become shards.

    SystemTrouble where the system refuses; then no part of a file is left, and an earlier file of that name is whole.
    """
    shards: list[dict[str, Tensor]] = [{}]
    sizes = [0]
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * dtype.itemsize
        if shards[-1] and sizes[-1] + num_bytes > shard_bytes:
            shards.append({})
            sizes.append(0)
        shards[-1][name] = tensor
        sizes[-1] += num_bytes
    count = len(shards)
    files = [SINGLE] if count == 1 else [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    with one_sentence(folder, sum(sizes)):
        for file, shard in zip(files, shards, strict=True):
            _write_file(folder / file, {name: tensor.to("cpu", dtype).contiguous() for name, tensor in shard.items()})
        for stale in set(folder.glob("model*.safetensors")) - {folder / file for file in files}:
            stale.unlink()
        if count == 1:
            (folder / INDEX).unlink(missing_ok=True)
        else:
            table = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
            index = {"metadata": {"total_size": sum(sizes)}, "weight_map": table}
            write_atomically(folder / INDEX, json.dumps(index, indent=2) + "\n")
        sync_folder(folder)
    return sum(sizes)


def _write_file(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write to a temporary neighbour, flush it, and put it in `path`'s place, so that no reader sees a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        _save(temporary, tensors)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    """What safetensors does, with what the system refused to it as the OSError that it is."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        said = REFUSED.search(str(error))
        if said is None:
            raise
        number = int(said[1] if said[1] is not None else said[2])
        raise OSError(number, os.strerror(number)) from error
