"""Metrics to TensorBoard, Weights & Biases or SwanLab: optional, one small adapter each.

In: names from the config, a folder, a run name. Out: objects with `log` and `close`. Called by the training stages on
the first rank. The run's own record is `journal`; nothing depends on a tracker, and none is installed by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from danlu.base.errors import require


class Tracker(Protocol):
    """What a metric is sent to."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files below `folder/tensorboard`."""

    def __init__(self, folder: Path, name: str):
        require("tensorboard", "track")
        writer = require("torch.utils.tensorboard", "track")
        self._writer = writer.SummaryWriter(str(folder / "scratch" / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class Hosted:
    """wandb and swanlab share one interface: `init`, `log`, `finish`. Each reads its own account settings."""

    def __init__(self, module: str, folder: Path, name: str):
        self._library = require(module, "track")
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        place = {"dir": str(scratch)} if module == "wandb" else {"logdir": str(scratch / module)}
        self._library.init(project="danlu", name=name, **place)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._library.log(dict(values), step=step)

    def close(self) -> None:
        self._library.finish()


TRACKERS: dict[str, Callable[[Path, str], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": lambda folder, name: Hosted("wandb", folder, name),
    "swanlab": lambda folder, name: Hosted("swanlab", folder, name),
}


def open_trackers(names: Sequence[str], folder: Path, name: str) -> list[Tracker]:
    """One tracker for each name; MissingPackage names the install line."""
    return [TRACKERS[kind](folder, name) for kind in names]
