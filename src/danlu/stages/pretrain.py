"""Train a Transformer from nothing on rows of text.

Takes: shards (rows of ids) and the tokenizer they were made with.
Makes: a complete model folder; beside it `metrics.jsonl`, `samples.jsonl`, `plan.json` and `checkpoints/`.
Cost: 6 × parameters FLOPs per token and more for attention; 16 bytes of memory per parameter besides activations.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from danlu import stages
from danlu.base import console
from danlu.base.artifact import MANIFEST, Artifact, digest, hash_file, open_artifact
from danlu.base.config import ReadPath, Settings
from danlu.base.errors import ConfigError, DataError, nearest, no_such_folder
from danlu.model.config import PRESETS, VOCABULARY_MULTIPLE, ModelConfig, padded_rows, preset
from danlu.train import dial
from danlu.train.settings import (
    CheckpointSettings,
    Length,
    OptimizerSettings,
    ParallelSettings,
    WatchSettings,
    check_rows_fit,
)

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.shards.files import RowSet
    from danlu.tokenizer.tokenizer import Tokenizer
    from danlu.train.course import Course, Lessons
    from danlu.train.planning import Horizon

VERSION = 4
TRAINING_ROWS, VALIDATION_ROWS = "pretrain-train", "pretrain-validation"
MADE_WITH = (MANIFEST, "plan.json")
"""Files of a model folder that tell how it was made, not what it is."""
PROMPT_TOKENS, PROMPTS = 10, 4


class Config(Length, Settings):
    """How to pre-train. `size` sets the shape, and with the length batch and rate; one of tokens, epochs, minutes."""

    size: str = Field(default="tiny", description=f"the dial: {', '.join(PRESETS)}")
    model: dict[str, Any] = Field(default={}, description="values of the architecture that differ from the size's own")
    start: ReadPath | None = Field(
        default=None, min_length=1, description="a model folder to go on from, instead of noise"
    )
    embeddings: ReadPath | None = Field(
        default=None, min_length=1, description="a GloVe or word2vec text file for a vocabulary of words; .gz, .zst too"
    )
    batch_rows: int | None = Field(default=None, ge=1, description="rows of one update over all ranks")
    learning_rate: float | None = Field(default=None, gt=0, description="peak learning rate")
    optimizer: OptimizerSettings = Field(default=OptimizerSettings(), description="rule, decay, schedule, clipping")
    watch: WatchSettings = Field(default=WatchSettings(), description="validation, samples, early stopping, trackers")
    checkpoints: CheckpointSettings = Field(default=CheckpointSettings(), description="how often to save, what to keep")
    parallel: ParallelSettings = Field(default=ParallelSettings(), description="device, dtype, compile, micro-batch")
    seed: int = Field(default=0, description="decides weights, order and dropout")

    @field_validator("size")
    @classmethod
    def _known_size(cls, size: str) -> str:
        if size not in PRESETS:
            raise ValueError(f"there is no model size {size!r}{nearest(size, PRESETS)}; known: {', '.join(PRESETS)}")
        return size

    @model_validator(mode="after")
    def _model_fits(self) -> Config:
        """Unknown or impossible values of `model` are found when the recipe is read."""
        known = [name for name in ModelConfig.model_fields if name != "vocabulary_size"]
        for name in self.model:
            if name not in known:
                raise ValueError(f"model.{name}: unknown setting{nearest(name, known)}; known: {', '.join(known)}")
        preset(self.size, VOCABULARY_MULTIPLE, **self.model)
        return self

    @model_validator(mode="after")
    def _one_beginning(self) -> Config:
        if self.start is not None and (self.model or self.embeddings is not None):
            raise ValueError("start brings its own architecture and embeddings; leave model and embeddings out")
        return self


def source_fingerprint(config: Config) -> str | None:
    """The name of the files that the model begins with, where it begins with any."""
    if config.embeddings is not None:
        path = Path(config.embeddings).expanduser()
        if not path.is_file():
            raise DataError("there is no such file of word vectors", where=path)
        return hash_file(path)
    if config.start is not None:
        folder = Path(config.start).expanduser()
        if not folder.is_dir():
            raise no_such_folder(folder)
        names = sorted(one.name for one in folder.iterdir() if one.suffix in (".json", ".safetensors"))
        return digest({name: hash_file(folder / name) for name in names if name not in MADE_WITH})
    return None


def architecture(config: Config, vocabulary_size: int, row_length: int) -> ModelConfig:
    """The model that `config` means for a tokenizer and rows of this length; ConfigError where they do not fit into it.

    Reading a recipe and `show` call it too.
    """
    rows = padded_rows(vocabulary_size)
    if config.start is not None:
        from danlu.convert.reader import architecture as architecture_of

        found = architecture_of(Path(config.start).expanduser())
        check_rows_fit(row_length, found.context_length, config.start, "begin with a model of a longer context")
        return found.model_copy(update={"vocabulary_size": max(rows, found.vocabulary_size)})
    shape = {"context_length": max(row_length, PRESETS[config.size]["context_length"]), **config.model}
    made = preset(config.size, rows, **shape)
    check_rows_fit(row_length, made.context_length, "model.context_length", "leave it out")
    return made


def pace(config: Config, model: ModelConfig, row_length: int, tokens: int) -> dial.Pace:
    """Rows of one update and peak rate of a run over `tokens`: those on the page, else the dial's; `show` calls it."""
    chosen = dial.pace(model.width, tokens, row_length, config.optimizer.name)
    return dial.Pace(
        config.batch_rows if config.batch_rows is not None else chosen.batch_rows,
        config.learning_rate if config.learning_rate is not None else chosen.learning_rate,
    )


def horizon(config: Config, model: ModelConfig) -> Horizon:
    """How long to train, by the page, else by the dial; `show` calls it too."""
    from danlu.train.planning import Horizon

    return Horizon(config.tokens, config.epochs, config.minutes, dial.horizon_tokens(model.parameters().total))


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Build the model, teach it, write its folder."""
    began_at = time.perf_counter()
    from danlu import convert
    from danlu.parallel.collectives import barrier, joined
    from danlu.parallel.device import discover
    from danlu.tokenizer.tokenizer import Tokenizer
    from danlu.train.course import Lessons, seal_model, teach
    from danlu.train.planning import stored_forecast

    tokenizer = Tokenizer.load(inputs["tokenizer"].folder)
    lessons = Lessons.open(inputs["shards"].folder, TRAINING_ROWS, VALIDATION_ROWS, tokenizer)
    with joined(discover(config.parallel.device, config.parallel.dtype)) as world:
        model, began_with = _beginning(config, tokenizer, lessons.rows.row_length)
        course = _course(config, model, lessons, tokenizer, inputs, out, began_at)
        outcome = teach(course, world)
        if world.is_first:
            card = _card(config, model, outcome.validation["loss"], outcome.progress.tokens)
            convert.save(out, model, tokenizer, card=card)
            judged = _judge(stored_forecast(out), outcome.validation["loss"])
            sources = source_fingerprint(config)
            seal_model(course, outcome, world, "pretrain", VERSION, inputs, sources, forecast=judged, **began_with)
        barrier(world)
    console.say(f"  validation loss {outcome.validation['loss']:.4f}, weights of step {outcome.used_step:,}")
    return open_artifact(out, verify=False)


def _beginning(config: Config, tokenizer: Tokenizer, row_length: int) -> tuple[Transformer, dict[str, Any]]:
    """The model before its first step, and what the manifest says of it: a folder's, or seeded, with word vectors."""
    from danlu import convert
    from danlu.convert.vocabulary import fitted, write_word_vectors
    from danlu.model.initialise import initialise
    from danlu.model.transformer import Transformer

    shape = architecture(config, tokenizer.size, row_length)
    if config.start is not None:
        return fitted(convert.load(Path(config.start).expanduser()), tokenizer), {}
    model = Transformer(shape)
    initialise(model, config.seed)
    if config.embeddings is None:
        return model, {}
    covered = write_word_vectors(model, tokenizer, Path(config.embeddings).expanduser())
    console.say(
        f"  word vectors for {covered.found:,} of {covered.words:,} words ({100 * covered.share:.1f} %); "
        "the others begin as seeded"
    )
    return model, {"embeddings": {"found": covered.found, "words": covered.words}}


def _course(
    config: Config,
    model: Transformer,
    lessons: Lessons,
    tokenizer: Tokenizer,
    inputs: Mapping[str, Artifact],
    out: Path,
    began_at: float,
) -> Course:
    from danlu.train import forecast
    from danlu.train.course import Course

    row_length = lessons.rows.row_length
    given = _given(config, tokenizer, model.config.context_length)
    return Course(
        out=out,
        model=model,
        lessons=lessons,
        config=config,
        horizon=horizon(config, model.config),
        batch_rows=config.batch_rows,
        learning_rate=config.learning_rate,
        dial=lambda tokens: pace(config, model.config, row_length, tokens),
        began_at=began_at,
        show=lambda: _continue(config, model, tokenizer, given or _beginnings(lessons.validation, model, tokenizer)),
        foretell=lambda tokens: forecast.predict(
            forecast.likeness(config.model_dump(mode="json"), inputs, stages.in_full), tokens
        ),
    )


def _judge(band: Mapping[str, float] | None, reached: float) -> dict[str, float] | None:
    """The forecast beside what was reached."""
    return None if band is None else {**band, "reached": reached}


def _given(config: Config, tokenizer: Tokenizer, context_length: int) -> list[list[int]]:
    """The prompts of the config in ids; ConfigError, on every rank and before any step, where one leaves no room."""
    bos = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    prompts = [[*bos, *tokenizer.encode(text)] for text in config.watch.prompts]
    for text, prompt in zip(config.watch.prompts, prompts, strict=True):
        if not 0 < len(prompt) < context_length:
            raise ConfigError(
                "a prompt cannot be continued",
                where="watch.prompts",
                found=f"{text!r:.80}: {len(prompt):,} tokens, and a context of {context_length:,}",
                remedy=f"give one of 1 to {context_length - 1:,} tokens",
            )
    return prompts


def _continue(
    config: Config, model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> list[dict[str, Any]]:
    """What the model makes of the fixed prompts; each may fill the context for itself."""
    from danlu.infer.engine import Engine, Request
    from danlu.infer.sampling import Sampling

    length = model.config.context_length
    sampling = Sampling(temperature=0.7, top_p=0.95, seed=config.seed, stop_ids=tokenizer.stop_ids)
    requests = [
        Request(tuple(prompt), replace(sampling, max_tokens=min(config.watch.sample_tokens, length - len(prompt))))
        for prompt in prompts
    ]
    was_training = model.training
    model.eval()
    engine = Engine(model, num_slots=len(prompts), length=length, vocabulary_limit=tokenizer.size)
    answers = engine.run(requests)
    model.train(was_training)
    return [
        {"prompt": tokenizer.decode(prompt), "text": tokenizer.decode(answer)}
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _beginnings(rows: RowSet, model: Transformer, tokenizer: Tokenizer) -> list[list[int]]:
    """The first tokens of some held-out rows, evenly spread; none ends inside a character or fills the context."""
    import numpy as np

    chosen = np.arange(min(PROMPTS, rows.num_rows)) * rows.num_rows // min(PROMPTS, rows.num_rows)
    batch = rows.batch(chosen)
    most = min(PROMPT_TOKENS, model.config.context_length - 1)
    found = []
    for ids, document in zip(batch.ids, batch.documents, strict=True):
        beginning = ids[document == 0][:most].tolist()
        while len(beginning) > 1 and tokenizer.decode(beginning).endswith("\ufffd"):
            beginning.pop()
        found.append(beginning)
    return found


def _card(config: Config, model: Transformer, loss: float, tokens: int) -> str:
    counts = model.config.parameters()
    return (
        f"A {config.size} language model of {counts.total:,} parameters, pre-trained by danlu on {tokens:,} tokens.\n\n"
        f"Validation loss: {loss:.4f} nats per token. It continues text; it was not taught to answer.\n"
    )
