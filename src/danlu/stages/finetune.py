"""Teach a pre-trained model to answer: conversations, with the loss on the assistant's words only.

Takes: a model, shards (rows of conversations with exact loss masks) and the tokenizer they were made with.
Makes: a complete model folder as `pretrain` does, and the answers to some held-out questions before and after.
Cost: that of pre-training per token; most runs are a few passes over far fewer tokens.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from danlu.base import console
from danlu.base.artifact import Artifact, open_artifact
from danlu.base.config import Settings
from danlu.base.errors import DataError
from danlu.train.dial import Pace
from danlu.train.settings import (
    CheckpointSettings,
    Length,
    OptimizerSettings,
    ParallelSettings,
    WatchSettings,
    check_rows_fit,
)

if TYPE_CHECKING:
    from danlu.convert import Loaded
    from danlu.model.config import ModelConfig
    from danlu.model.transformer import Transformer
    from danlu.tokenizer.tokenizer import Tokenizer
    from danlu.train.course import Course
    from danlu.train.planning import Horizon

VERSION = 1
TRAINING_ROWS, VALIDATION_ROWS = "chat-train", "chat-validation"
DEFAULT_EPOCHS = 2.0
A_CONVERSATION = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
MOST_SHOWN = 120
"""Characters of an answer in the table of before and after."""


class FinetuneOptimizer(OptimizerSettings):
    """A class of its own: where one value is written, the others are this class's defaults."""

    schedule: Literal["constant", "cosine", "linear", "wsd"] = Field(
        default="linear", description="course of the learning rate after its warm-up; linear: straight down to zero"
    )


class Config(Length, Settings):
    """How to fine-tune. Give one of tokens, epochs, minutes; two epochs where none is given."""

    batch_rows: int = Field(default=16, ge=1, description="rows of one update over all ranks")
    learning_rate: float = Field(default=2e-3, gt=0, description="peak learning rate")
    dropout: float | None = Field(default=None, ge=0, lt=1, description="instead of the model's own dropout")
    questions: int = Field(default=6, ge=0, description="held-out questions answered before, during and after")
    optimizer: FinetuneOptimizer = Field(default=FinetuneOptimizer(), description="rule, decay, schedule, clipping")
    watch: WatchSettings = Field(default=WatchSettings(), description="validation, early stopping, trackers")
    checkpoints: CheckpointSettings = Field(default=CheckpointSettings(), description="how often to save, what to keep")
    parallel: ParallelSettings = Field(default=ParallelSettings(), description="device, dtype, compile, micro-batch")
    seed: int = Field(default=0, description="decides order and dropout")

    @field_validator("watch")
    @classmethod
    def _no_prompts(cls, watch: WatchSettings) -> WatchSettings:
        if watch.prompts:
            raise ValueError("prompts are of pretrain; here held-out questions are answered, as many as questions says")
        return watch


def pace(config: Config, model: ModelConfig, row_length: int, tokens: int) -> Pace:
    """Rows of one update and peak rate, however long the rows and the run are; `show` calls it too."""
    return Pace(config.batch_rows, config.learning_rate)


def horizon(config: Config, model: ModelConfig) -> Horizon:
    """How long to train, however large the model is; `show` calls it too."""
    from danlu.train.planning import Horizon

    is_given = config.tokens is not None or config.minutes is not None or config.epochs is not None
    return Horizon(config.tokens, config.epochs if is_given else DEFAULT_EPOCHS, config.minutes, default_tokens=0)


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Load the model, teach it conversations, show what changed, write its folder."""
    began_at = time.perf_counter()
    from danlu import convert
    from danlu.parallel.collectives import barrier, joined
    from danlu.parallel.device import discover
    from danlu.tokenizer.tokenizer import Tokenizer
    from danlu.train.course import seal_model, teach

    tokenizer = Tokenizer.load(inputs["tokenizer"].folder)
    with joined(discover(config.parallel.device, config.parallel.dtype)) as world:
        model = _model(convert.load(inputs["model"].folder), tokenizer, config)
        course = _course(config, model, tokenizer, inputs["shards"].folder, out, began_at)
        outcome = teach(course, world)
        if world.is_first:
            _say_before_and_after(out, outcome.used_step)
            convert.save(out, model, tokenizer, card=_card(model, outcome.validation["loss"], outcome.progress.tokens))
            questions = suggestions(course.lessons.validation, tokenizer, config.questions)
            seal_model(course, outcome, world, "finetune", VERSION, inputs, questions=questions)
        barrier(world)
    console.say(f"  validation loss {outcome.validation['loss']:.4f}, weights of step {outcome.used_step:,}")
    return open_artifact(out, verify=False)


def objection(corpus: Artifact) -> DataError | None:
    """Why nothing can be learnt from the conversations of this corpus, or None; asked before anything is trained."""
    counts = corpus.metrics.get("conversations", {})
    if counts.get("train", 0) == 0:
        return DataError(
            "there is not one conversation to fine-tune on",
            where=corpus.folder,
            found=f"{corpus.metrics.get('written', 0):,} records, and no conversation for training among them",
            remedy=f"give conversations among prepare.sources, such as JSON Lines of {A_CONVERSATION}; or take the "
            "section out: finetune=false; or stop before it: --until pretrain",
        )
    if counts.get("validation", 0) == 0:
        return DataError(
            "no conversation is held out to steer the fine-tuning by",
            where=corpus.folder,
            found=f"{counts['train']:,} conversations for training, none for validation",
            remedy="raise prepare.validation_share or give more conversations; or take the section out: finetune=false",
        )
    return None


def _model(loaded: Loaded, tokenizer: Tokenizer, config: Config) -> Transformer:
    """The loaded weights in a model with rows for this tokenizer and this run's dropout."""
    from danlu.convert.vocabulary import fitted
    from danlu.model.transformer import Transformer
    from danlu.train.run import load_parameters, parameters_by_name

    known = fitted(loaded, tokenizer)
    if config.dropout is None:
        return known
    model = Transformer(known.config.model_copy(update={"dropout": config.dropout}))
    load_parameters(model, parameters_by_name(known))
    return model


def _course(
    config: Config, model: Transformer, tokenizer: Tokenizer, shards: Path, out: Path, began_at: float
) -> Course:
    from danlu.train.course import Course, Lessons

    lessons = Lessons.open(shards, TRAINING_ROWS, VALIDATION_ROWS, tokenizer)
    context = model.config.context_length
    check_rows_fit(lessons.rows.row_length, context, lessons.rows.folder, "take a model of a longer context")
    asked = questions_of(lessons.validation, tokenizer, config.questions)
    return Course(
        out=out,
        model=model,
        lessons=lessons,
        config=config,
        horizon=horizon(config, model.config),
        batch_rows=config.batch_rows,
        learning_rate=config.learning_rate,
        dial=lambda tokens: Pace(config.batch_rows, config.learning_rate),
        began_at=began_at,
        show=lambda: _answer(model, tokenizer, asked, config.watch.sample_tokens),
    )


def questions_of(rows: Any, tokenizer: Tokenizer, count: int) -> list[tuple[list[int], list[int]]]:
    """(prompt, wanted answer) in ids, of `count` whole conversations evenly spread over held-out rows.

    They are cut from the rows themselves, before the last answer: the model is asked exactly as it is taught.
    """
    import numpy as np

    if rows.num_rows == 0:
        return []
    opening = tokenizer.special["<|assistant|>"]
    found = []
    for row in np.unique(np.linspace(0, rows.num_rows - 1, num=max(count, 1)).astype(np.int64))[:count]:
        batch = rows.batch(np.array([row]))
        ids = batch.ids[0][batch.documents[0] == 0].tolist()
        if ids[0] != tokenizer.bos_id or opening not in ids:
            continue  # a piece of a conversation that began in another row
        cut = len(ids) - ids[::-1].index(opening)
        found.append((ids[:cut], [id for id in ids[cut:] if id not in tokenizer.stop_ids]))
    return found


def suggestions(rows: Any, tokenizer: Tokenizer, count: int) -> list[str]:
    """What held-out conversations begin with, where a user begins them: `serve` offers it to whoever knows none."""
    found: dict[str, None] = {}  # in their order, each once
    for prompt, _ in questions_of(rows, tokenizer, count):
        if prompt[1] == tokenizer.special["<|user|>"]:
            turn = itertools.takewhile(lambda id: id not in tokenizer.special_ids, prompt[2:])
            found[tokenizer.decode(list(turn)).strip()] = None
    return [text for text in found if text]


def _answer(
    model: Transformer, tokenizer: Tokenizer, asked: list[tuple[list[int], list[int]]], max_tokens: int
) -> list[dict[str, Any]]:
    """Greedy answers to the held-out questions, all of them decoded together."""
    from danlu.infer.engine import Engine, Request
    from danlu.infer.sampling import Sampling

    length = model.config.context_length
    fitting = [(prompt, wanted) for prompt, wanted in asked if len(prompt) < length]
    if not fitting:
        return []
    was_training = model.training
    model.eval()
    engine = Engine(model, num_slots=len(fitting), length=length, vocabulary_limit=tokenizer.size)
    sampling = Sampling(temperature=0.0, seed=0, max_tokens=max_tokens, stop_ids=tokenizer.stop_ids)
    answers = engine.run([Request(tuple(prompt), sampling) for prompt, _ in fitting])
    model.train(was_training)
    return [
        {"prompt": tokenizer.decode(prompt), "text": tokenizer.decode(answer), "wanted": tokenizer.decode(wanted)}
        for (prompt, wanted), answer in zip(fitting, answers, strict=True)
    ]


def _say_before_and_after(out: Path, used_step: int) -> None:
    """A table of the first answers in the run's diary and of those of `used_step`, whose weights the folder holds."""
    import json

    from danlu.train.journal import SAMPLES

    lines = [json.loads(line) for line in (out / SAMPLES).read_text(encoding="utf-8").splitlines()]
    if not lines:
        return
    first = lines[0]["step"]
    before = {line["prompt"]: line["text"] for line in lines if line["step"] == first}
    rows = [
        tuple(map(_in_short, (line["prompt"][-60:], before.get(line["prompt"], ""), line["text"], line["wanted"])))
        for line in lines
        if line["step"] == used_step
    ]
    console.table(("question", "before", "after", "wanted"), rows)


def _in_short(text: str) -> str:
    """One line of a table's cell; the whole is in the diary."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MOST_SHOWN else flat[:MOST_SHOWN] + "…"


def _card(model: Transformer, loss: float, tokens: int) -> str:
    counts = model.config.parameters()
    return (
        f"A chat model of {counts.total:,} parameters, fine-tuned by danlu on {tokens:,} tokens of conversations.\n\n"
        f"Validation loss on the assistant's words: {loss:.4f} nats per token.\n"
    )
