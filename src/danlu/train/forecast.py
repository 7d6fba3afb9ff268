"""The validation loss that a run should end with, said before its first step.

In: what decides a run apart from its own seed and length, and the number of tokens. Out: a band, or nothing where no
run like it was ever measured. Called by `stages/pretrain`. It is no law: `forecasts.json` holds final losses of
finished runs at several lengths (`benchmarks/forecast.py` makes it); between two lengths it is straight in log-log.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Mapping, Sequence
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

NOTHING = None
LATER: dict[str, dict[str, tuple[Any, Any]]] = {
    "prepare": {
        "similar": ({"drop": False, "shingle": 5, "bands": 14, "rows": 8}, NOTHING),
        "decontaminate": ({"files": [], "words": 13, "characters": 20}, NOTHING),
        "filters.quality": ([], NOTHING),
        "private_data": ({"action": "mask", "kinds": ["identity_number", "phone", "email"], "key_file": ""}, "mask"),
        "text": (
            {
                "form": "nfc",
                "width": "keep",
                "chinese": "keep",
                "language": "coarse",
                "words": "keep",
                "tokenizer": "",
                "stop_words": "keep",
            },
            NOTHING,
        ),
    },
    "tokenizer": {"kind": ("bpe", NOTHING), "extend": (None, NOTHING)},
    "pretrain": {"start": (None, NOTHING), "embeddings": (None, NOTHING)},
}
"""Settings that came after the measuring, by stage: the value at which they change nothing, and what stood there."""


def likeness(config: Mapping[str, Any], inputs: Mapping[str, Artifact]) -> str:
    """A name that runs share which differ in their own seed and length alone: same settings, same ancestors."""
    own = {key: value for key, value in _of_old("pretrain", config).items() if key not in IGNORED}
    facts: dict[str, Any] = {"stage": own}
    waiting = dict(inputs)
    while waiting:
        need, parent = waiting.popitem()
        stage = parent.manifest["stage"]
        facts[f"{need}:{stage}"] = _without_patch_level(_of_old(stage, parent.config))
        for name, above in parent.manifest["parents"].items():
            try:
                waiting[f"{need}.{name}"] = open_artifact(parent.folder / above["folder"], verify=False)
            except ArtifactError:
                facts[f"{need}.{name}"] = {"gone": above["fingerprint"]}
    return digest(facts)[:16]


def _of_old(stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they were written when the table was measured, where later ones change nothing."""
    told = copy.deepcopy(dict(config))
    for path, (idle, before) in LATER.get(stage, {}).items():
        *parents, name = path.split(".")
        here: Any = told
        for parent in parents:
            here = here.get(parent) if isinstance(here, dict) else None
        if isinstance(here, dict) and name in here and here[name] == idle:
            del here[name]
            if before is not NOTHING:
                here[name] = before
    return told


def _without_patch_level(value: Any) -> Any:
    """The same settings on another Python: its help texts change by a few words from one version to the next."""
    if isinstance(value, Mapping):
        return {key: _without_patch_level(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_patch_level(inner) for inner in value]
    return value.split(" of Python ")[0] if isinstance(value, str) else value


def predict(name: str, tokens: int, table: Path = TABLE) -> dict[str, float] | None:
    """The band for a run of this likeness over `tokens` tokens; None where none like it was measured so long."""
    known = json.loads(table.read_bytes())["runs"].get(name) if table.is_file() else None
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
