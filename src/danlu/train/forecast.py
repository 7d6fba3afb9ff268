"""The validation loss that a run should end with, said before its first step.

In: what decides a run apart from its own seed and length, and the number of tokens. Out: a band, or nothing where no
run like it was ever measured. Called by `stages/pretrain`. It is no law: `forecasts.json` holds final losses of
finished runs at several lengths, with all that decided them (`benchmarks/forecast.py` makes it); between two lengths it
is straight in log-log.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base.artifact import Artifact, digest, open_artifact
from danlu.base.errors import ArtifactError

TABLE = Path(__file__).with_name("forecasts.json")
HALF_WIDTH = 0.04
"""The band is this share of the loss to either side."""
IGNORED = ("seed", "tokens", "epochs", "minutes", "watch", "checkpoints", "parallel")
"""Settings of the training that do not move the expected loss, or that the curve is over. The text's own seed does:
two corpora of one recipe differ by 10 % in their validation loss, because they do not hold the same documents out."""

Read = Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]
"""(stage, settings of a manifest) -> the same as that stage reads them today, or None where it cannot any more."""


def likeness(config: Mapping[str, Any], inputs: Mapping[str, Artifact], read: Read, table: Path = TABLE) -> str:
    """A name that runs share which differ in their own seed and length alone: same settings, same ancestors.

    Where such a run was measured it is the table's name for it. Measured settings and ours are compared as today's
    stages read them, so that a setting which came after the measuring is at its default in both.
    """
    ours = _as_read(settings(config, inputs), read)
    known = _known(table).get("settings", {})
    same = (name for name, measured in known.items() if ours is not None and _as_read(measured, read) == ours)
    return next(same, digest(ours)[:16])


def settings(config: Mapping[str, Any], inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """What decides a run: its own settings and those of all its ancestors, by their way to it and their stage."""
    found: dict[str, Any] = {"model:pretrain": {key: value for key, value in config.items() if key not in IGNORED}}
    waiting = dict(inputs)
    while waiting:
        need, parent = waiting.popitem()
        found[f"{need}:{parent.manifest['stage']}"] = _without_patch_level(parent.config)
        for name, above in parent.manifest["parents"].items():
            try:
                waiting[f"{need}.{name}"] = open_artifact(parent.folder / above["folder"], verify=False)
            except ArtifactError:
                found[f"{need}.{name}:gone"] = {"fingerprint": above["fingerprint"]}
    return found


def _as_read(told: Mapping[str, Any], read: Read) -> dict[str, Any] | None:
    """The settings in today's form; None where one of the stages cannot read its own."""
    found = {}
    for place, config in told.items():
        full = read(place.partition(":")[2], config)
        if full is None:
            return None
        found[place] = {key: value for key, value in full.items() if place != "model:pretrain" or key not in IGNORED}
    return found


def _without_patch_level(value: Any) -> Any:
    """The same settings on another Python: its help texts change by a few words from one version to the next."""
    if isinstance(value, Mapping):
        return {key: _without_patch_level(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_patch_level(inner) for inner in value]
    return value.split(" of Python ")[0] if isinstance(value, str) else value


def predict(name: str, tokens: int, table: Path = TABLE) -> dict[str, float] | None:
    """The band for a run of this likeness over `tokens` tokens; None where none like it was measured so long."""
    known = _known(table).get("runs", {}).get(name)
    if known is None:
        return None
    points = _points(known)
    if not points[0][0] <= tokens <= points[-1][0]:
        return None
    expected = _interpolate(points, tokens)
    return {
        "expected": expected,
        "low": expected * (1 - HALF_WIDTH),
        "high": expected * (1 + HALF_WIDTH),
        "tokens": tokens,
        "runs": len(known),
    }


def _known(table: Path) -> dict[str, Any]:
    """The table: the runs by name, and what decided them."""
    return json.loads(table.read_bytes()) if table.is_file() else {}


def _points(known: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    """(tokens, mean final loss) by length, ascending."""
    by_length: dict[float, list[float]] = {}
    for run in known:
        by_length.setdefault(run["target_tokens"], []).append(run["loss"])
    lengths = {length: [run["tokens"] for run in known if run["target_tokens"] == length] for length in by_length}
    return sorted((sum(lengths[k]) / len(lengths[k]), sum(v) / len(v)) for k, v in by_length.items())


def _interpolate(points: Sequence[tuple[float, float]], tokens: float) -> float:
    """Straight between the neighbours in log tokens and log loss."""
    for (left, low), (right, high) in itertools.pairwise(points):
        if left <= tokens <= right:
            share = (math.log(tokens) - math.log(left)) / (math.log(right) - math.log(left))
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return points[0][1]
