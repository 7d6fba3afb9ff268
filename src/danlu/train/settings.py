"""The nested settings that pre-training and fine-tuning share: optimizer, watching, checkpoints, placement.

In: values from a recipe. Out: frozen settings, and the error about rows that no setting here can mend. Called by the
two training stages. Torch-free, so that reading a recipe stays quick; the meaning of each value is in the file that
uses it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from danlu.base.config import Count, Settings
from danlu.base.errors import ConfigError

WITHOUT_EFFECT: dict[str, dict[str, tuple[str, ...]]] = {
    "name": {"sgd": ("beta1", "beta2", "epsilon"), "adam": ("momentum",), "adamw": ("momentum",), "muon": ()},
    "schedule": {"constant": ("decay", "floor"), "cosine": ("decay",), "linear": ("decay",), "wsd": ()},
}
"""Choice of the optimizer -> what is chosen -> the values that it does not read."""


def check_rows_fit(row_length: int, context_length: int, where: object, otherwise: str) -> None:
    """ConfigError where the rows are longer than the context that the model declares and may have positions for."""
    if row_length > context_length:
        raise ConfigError(
            f"rows of {row_length:,} tokens do not fit into a context of {context_length:,}",
            where=where,
            remedy=f"{otherwise}, or make shorter rows: shard.row_length={context_length}",
        )


class Length(Settings):
    """How long to train: at most one of three measures."""

    tokens: Count | None = Field(default=None, gt=0, description="train on this many tokens, for example 20M")
    epochs: float | None = Field(default=None, gt=0, description="train on all rows this many times")
    minutes: float | None = Field(default=None, gt=0, description="train about this long; measured once, then fixed")

    @model_validator(mode="after")
    def _one_length(self) -> Length:
        given = [name for name in ("tokens", "epochs", "minutes") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of tokens, epochs, minutes; found {' and '.join(given)}")
        return self


class OptimizerSettings(Settings):
    """How a gradient becomes an update; the learning rate itself stands in the stage's own settings."""

    name: Literal["sgd", "adam", "adamw", "muon"] = Field(
        default="muon", description="sgd, adam, adamw, or muon (hidden matrices by Muon, the rest by AdamW)"
    )
    weight_decay: float = Field(
        default=0.1, ge=0, description="of matrices, never embeddings, norms, biases; decoupled but for adam and sgd"
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="Adam's decay of the second moment")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="momentum of SGD and Muon")
    epsilon: float = Field(default=1e-8, gt=0, description="Adam's term against division by zero")
    embedding_rate: float = Field(
        default=1.0, gt=0, description="the embeddings' learning rate as a multiple of the others'"
    )
    schedule: Literal["constant", "cosine", "linear", "wsd"] = Field(
        default="wsd", description="course of the learning rate after its warm-up; wsd: warm-up, stable, decay"
    )
    warmup: float = Field(
        default=0.02, ge=0, le=1, description="share of all steps over which the rate rises from zero"
    )
    decay: float = Field(default=0.4, ge=0, le=1, description="share of all steps over which wsd comes down at the end")
    floor: float = Field(default=0.0, ge=0, le=1, description="the rate at the end as a share of its peak")
    clip: float = Field(default=1.0, ge=0, description="largest norm of the summed gradient; 0 switches clipping off")

    @model_validator(mode="after")
    def _every_value_has_an_effect(self) -> OptimizerSettings:
        """A default may stand there: the manifest of a run names every value, and is read again."""
        found = [
            f"{name} says nothing about {choice}: {getattr(self, choice)}"
            for choice, silent in WITHOUT_EFFECT.items()
            for name in silent[getattr(self, choice)]
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if found:
            raise ValueError(f"{'; '.join(found)}; leave it out")
        return self


class WatchSettings(Settings):
    """What is looked at while training runs."""

    evaluate_every: int | None = Field(
        default=None, ge=1, description="steps between validations; by default a tenth of the run, at least 20"
    )
    validation_rows: int = Field(
        default=256, ge=1, description="rows of the validation set that each validation reads, at most"
    )
    patience: int = Field(
        default=0, ge=0, description="validations without improvement before stopping early; 0: never"
    )
    prompts: tuple[str, ...] = Field(default=(), description="beginnings that the model continues at every validation")
    sample_tokens: int = Field(default=48, ge=1, le=4096, description="most tokens of one such continuation")
    trackers: tuple[Literal["tensorboard", "wandb", "swanlab"], ...] = Field(
        default=(), description="also send the metrics there; each is an optional package"
    )


class CheckpointSettings(Settings):
    """What is kept of a run that is under way."""

    save_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints; by default a tenth of the run, at least 20"
    )
    keep: int = Field(default=2, ge=1, description="newest checkpoints that are kept; the best one is kept besides")
    finish: Literal["best", "last"] = Field(
        default="best", description="weights of the finished model: best validation, or last"
    )


class ParallelSettings(Settings):
    """Where and in which number format the work is done."""

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="format of products; weights stay fp32"
    )
    compile: Literal["auto", "on", "off"] = Field(default="auto", description="compile each block with torch.compile")
    threads: int | None = Field(default=None, ge=1, description="threads of torch on the CPU; by default all cores")
    micro_batch_rows: int | None = Field(
        default=None, ge=1, description="rows that go through the model at once on one rank"
    )
    checkpoint_activations: bool = Field(
        default=False, description="recompute activations in the backward pass to save memory"
    )
