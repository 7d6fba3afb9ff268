"""The ordered table of stages: what each takes, what it makes, and where its code is.

In: a stage's name; out: its entry, or its module when it is about to be configured or run. Read by `recipe`, `cli` and
`show`. A stage's module is imported when asked for, so that reading this table costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Stage:
    """`takes`: input name -> fitting kinds, best first. `every_rank`: all ranks run it together, else the first."""

    name: str
    makes: str
    summary: str
    takes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    every_rank: bool = False

    def module(self) -> ModuleType:
        """The stage's file: `Config`, `VERSION`, `run`, and what it offers to planning.

        That is, where it applies: `source_fingerprint(config)` of raw files, or None where there are none,
        `architecture(config, …)` of the model that begins here, `refusal(model)`: why the stage could do nothing with
        one of that architecture, `objection(corpus)`: the error that it would end with on that corpus, said as soon as
        the corpus is made and not hours later; and of those that train, `TRAINING_ROWS`, `horizon(config, model)` and
        `pace(config, model, row_length, tokens)`.
        """
        return importlib.import_module(f"danlu.stages.{self.name}")


_CORPUS = {"corpus": ("corpus",)}
_TOKENIZER = {"tokenizer": ("tokenizer",)}
_SHARDS = {"shards": ("shards",)}
_MODEL = {"model": ("model",)}
_ANY_MODEL = {"model": ("model", "export")}

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("prepare", "corpus", "clean, deduplicate and split raw text; every rejection has its reason"),
        Stage("tokenizer", "tokenizer", "learn a vocabulary", _CORPUS),
        Stage("shard", "shards", "turn text into packed rows of ids on disk", {**_CORPUS, **_TOKENIZER}),
        Stage("pretrain", "model", "train a Transformer on rows of text", {**_SHARDS, **_TOKENIZER}, every_rank=True),
        Stage("finetune", "model", "teach a model to answer", {**_MODEL, **_SHARDS, **_TOKENIZER}, every_rank=True),
        Stage("evaluate", "evaluation", "measure loss, bits per byte and answers", {**_ANY_MODEL, **_CORPUS}),
        Stage("export", "export", "write the complete Hugging Face folder and check its logits", {**_MODEL, **_CORPUS}),
        Stage("serve", "service", "answer requests over the OpenAI protocol", {"model": ("export", "model")}),
    )
}


def in_full(stage: str, config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings of a manifest as their stage reads them today: old forms in the new one, new settings at their
    defaults. None where it cannot read them any more; what is no stage's, such as a list of sources, stays as it is.
    """
    if stage not in STAGES:
        return config
    from pydantic import ValidationError

    try:
        read = STAGES[stage].module().Config.model_validate(config)
    except ValidationError:
        return None
    return read.model_dump(mode="json")
