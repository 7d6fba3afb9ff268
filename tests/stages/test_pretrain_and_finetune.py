"""The stages `pretrain` and `finetune`: from rows to model folders; stopped and continued; told in the diary."""

from __future__ import annotations

import itertools
import json
import os
import signal

import pytest
import torch

from danlu import convert
from danlu.base import console
from danlu.base.artifact import Artifact, open_artifact
from danlu.base.config import read_settings
from danlu.base.errors import ArtifactError, ConfigError, UserError
from danlu.commands import sections
from danlu.shards.files import RowSet
from danlu.stages import finetune, pretrain, shard, tokenizer
from danlu.train import dial, planning, speed
from danlu.train.interrupts import Interrupted
from danlu.train.loop import Progress
from danlu.train.validation import Validation
from tests.small import random_conversations, random_documents, write_corpus

SHAPE = {"width": 32, "layers": 1, "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64, "context_length": 128}
QUICK = {
    "parallel": {"threads": 1, "dtype": "float32"},
    "watch": {"evaluate_every": 4, "validation_rows": 8, "sample_tokens": 6},
    "checkpoints": {"save_every": 4},
}
PRETRAIN = {"model": {**SHAPE, "dropout": 0.1}, "tokens": 5000, "batch_rows": 4, "learning_rate": 5e-3, **QUICK}
FINETUNE = {"epochs": 3, "batch_rows": 4, "questions": 2, **QUICK}
METRICS = {"train/loss", "train/grad_norm", "train/lr", "train/tokens", "train/tok_per_sec", "train/mfu"}


@pytest.fixture(autouse=True)
def _threads():
    """What a section asks for ends with it, or the next one would run on as many."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def made(stage, folder, inputs: dict[str, Artifact], **settings) -> Artifact:
    folder.mkdir(exist_ok=True)
    return stage.run(read_settings(stage.Config, settings, "a test"), inputs, folder)


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("training")
    documents, conversations = random_documents(80, longest=300), random_conversations(40)
    corpus = write_corpus(
        folder / "corpus",
        {"train": documents[:70], "validation": documents[70:]},
        {"train": conversations[:30], "validation": conversations[30:]},
    )
    words = made(tokenizer, folder / "tokenizer", {"corpus": corpus}, vocabulary_size=400)
    rows = made(
        shard, folder / "shards", {"corpus": corpus, "tokenizer": words}, row_length=128, max_rejected_share=1.0
    )
    return {"tokenizer": words, "shards": rows}


@pytest.fixture(scope="module")
def pretrained(inputs, tmp_path_factory) -> Artifact:
    return made(pretrain, tmp_path_factory.mktemp("pretrain") / "out", inputs, **PRETRAIN)


def test_pretrain_makes_a_complete_model_folder(pretrained, inputs):
    artifact = open_artifact(pretrained.folder, "model")
    loaded = convert.load(artifact.folder)
    assert loaded.tokenizer.size == 400
    assert loaded.config.vocabulary_size == 448, "rounded up to a multiple of 64"
    assert loaded.config.width == 32
    assert {"metrics.jsonl", "samples.jsonl", "plan.json", "README.md"} <= set(artifact.manifest["files"])
    assert artifact.metrics["steps"] == lines(artifact.folder, "metrics.jsonl")[-1]["step"]
    assert artifact.manifest["machine"]["threads"] == 1


def test_the_diary_tells_every_step_and_every_look(pretrained):
    metrics = lines(pretrained.folder, "metrics.jsonl")
    steps = [line["step"] for line in metrics]
    assert steps == list(range(1, len(steps) + 1))
    assert all(line.keys() >= METRICS for line in metrics)
    looks = [line["step"] for line in metrics if "val/loss" in line]
    assert looks == sorted({*range(4, len(steps) + 1, 4), len(steps)})
    assert all("val/bpb" in line for line in metrics if "val/loss" in line)
    samples = lines(pretrained.folder, "samples.jsonl")
    assert list(dict.fromkeys(line["step"] for line in samples)) == [0, *looks], "from noise to sense"
    assert metrics[-1]["train/loss"] < metrics[0]["train/loss"]
    assert sum(line["train/tokens"] for line in metrics) == pretrained.metrics["tokens"]


def test_the_finished_model_has_the_best_weights_by_validation(pretrained):
    looks = {line["step"]: line["val/loss"] for line in lines(pretrained.folder, "metrics.jsonl") if "val/loss" in line}
    assert pretrained.metrics["used_step"] == min(looks, key=looks.__getitem__)
    assert pretrained.metrics["validation_loss"] == pytest.approx(min(looks.values()), rel=1e-6)


def test_a_finished_run_is_not_trained_again(pretrained, inputs, monkeypatch):
    said = []
    monkeypatch.setattr(console, "say", lambda text="", **_: said.append(text))
    before = (pretrained.folder / "model.safetensors").read_bytes()
    again = made(pretrain, pretrained.folder, inputs, **PRETRAIN)
    assert any("nothing to train" in text for text in said)
    assert (again.folder / "model.safetensors").read_bytes() == before
    assert again.fingerprint == pretrained.fingerprint


def test_a_run_that_was_stopped_ends_where_the_undisturbed_one_does(pretrained, inputs, tmp_path, monkeypatch):
    count_order = Progress.count_order

    def stop_at_the_sixth(self, rows):
        count_order(self, rows)
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "count_order", stop_at_the_sixth)
        with pytest.raises(Interrupted, match="after step 6") as caught:
            made(pretrain, tmp_path / "out", inputs, **PRETRAIN)
    assert caught.value.exit_code == 130
    assert not (tmp_path / "out" / "manifest.json").exists()
    continued = made(pretrain, tmp_path / "out", inputs, **PRETRAIN)
    for name in ("model.safetensors", "config.json", "samples.jsonl"):
        assert (continued.folder / name).read_bytes() == (pretrained.folder / name).read_bytes(), name
    assert continued.manifest["order_hash"] == pretrained.manifest["order_hash"]


def test_a_run_out_of_patience_is_told_so_however_often_it_is_cut_off(inputs, tmp_path, monkeypatch):
    """Killed before its manifest was written, it has no step left to say that patience ran out, or how fast it was."""
    losses, measure = itertools.count(1.0), Validation.measure
    monkeypatch.setattr(
        Validation, "measure", lambda self, model, world: {**measure(self, model, world), "loss": next(losses)}
    )
    settings = {**PRETRAIN, "watch": {**QUICK["watch"], "patience": 1}}
    first = made(pretrain, tmp_path / "out", inputs, **settings)
    assert (first.metrics["steps"], first.metrics["stopped_early"]) == (8, True)
    assert first.metrics["tokens_per_second"] > 0
    (first.folder / "manifest.json").unlink()
    again = made(pretrain, tmp_path / "out", inputs, **settings)
    assert again.manifest["order_hash"] == first.manifest["order_hash"]
    told = ("steps", "used_step", "stopped_early", "tokens_per_second", "mfu")
    assert [again.metrics[name] for name in told] == [8, 4, True, None, None]
    assert sections.speed(again.metrics) == ""


def test_a_damaged_plan_is_named(inputs, tmp_path):
    (tmp_path / "out").mkdir()
    for damage in ('{"total_samp', "[1]"):
        (tmp_path / "out" / "plan.json").write_text(damage)
        with pytest.raises(ArtifactError, match=r"the plan of the run cannot be read[^!]*plan\.json"):
            made(pretrain, tmp_path / "out", inputs, **PRETRAIN)


def test_a_checkpoint_of_another_plan_is_refused(pretrained, inputs, tmp_path):
    with pytest.raises(ArtifactError, match="another plan"):
        made(pretrain, pretrained.folder, inputs, **{**PRETRAIN, "batch_rows": 5})


def test_minutes_are_measured_once(inputs, tmp_path, monkeypatch):
    measured = []

    def measure(step, seconds, **_):
        step()
        measured.append(seconds)
        return 1000.0

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(planning, "minutes_left", lambda minutes, spent: minutes - 0.01 if spent > 0 else None)
    settings = {key: value for key, value in PRETRAIN.items() if key != "tokens"} | {"minutes": 0.05}
    first = made(pretrain, tmp_path / "out", inputs, **settings)
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    rows = RowSet.open(inputs["shards"].folder / "pretrain-train")
    assert plan["total_samples"] == round(
        0.04 * 60 * planning.TRAINING_SHARE * 1000.0 / (rows.num_tokens / rows.num_rows)
    )
    asked = read_settings(pretrain.Config, settings | {"minutes": 0.04}, "a test")
    horizon = pretrain.horizon(asked, convert.load(first.folder).config)
    assert planning.planned_tokens(horizon, rows, 1000.0) == plan["tokens"], "`show` counts the same way"
    made(pretrain, tmp_path / "out", inputs, **settings)
    assert measured == [planning.SHORTEST_MEASURE]

    fixed = made(pretrain, tmp_path / "fixed", inputs, **{**PRETRAIN, "tokens": first.metrics["tokens"]})
    assert (fixed.folder / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes(), (
        "measuring left no trace in the weights"
    )


def test_a_run_goes_on_at_the_batch_and_rate_that_it_began_with(inputs, tmp_path, monkeypatch):
    """Whatever the dial of a later version says. What a person writes on the page wins, and is refused as before."""
    settings = {key: value for key, value in PRETRAIN.items() if key not in ("batch_rows", "learning_rate")}
    first = made(pretrain, tmp_path / "out", inputs, **settings)
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "model.safetensors").unlink()
    monkeypatch.setattr(dial, "pace", lambda *_: dial.Pace(7, 0.1))
    again = made(pretrain, tmp_path / "out", inputs, **settings)
    assert again.manifest["order_hash"] == first.manifest["order_hash"]
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == plan
    with pytest.raises(ArtifactError, match="another plan"):
        made(pretrain, tmp_path / "out", inputs, **{**settings, "batch_rows": plan["batch_rows"] + 1})


def test_minutes_hold_what_was_spent_before_the_first_step():
    assert planning.minutes_left(15, 60) == 14
    assert planning.minutes_left(1, 50) == 0.5, "compiling may take most of a short run: half of it is for learning"
    assert [planning.measured_seconds(minutes) for minutes in (1, 15, 600)] == [3, 9, 20]


def test_finetune_teaches_and_shows_before_and_after(pretrained, inputs, tmp_path, monkeypatch):
    tables = []
    monkeypatch.setattr(console, "table", lambda columns, rows, **_: tables.append((columns, list(rows))))
    tuned = made(finetune, tmp_path / "out", {**inputs, "model": pretrained}, **FINETUNE)
    loaded = convert.load(tuned.folder)
    assert loaded.template is not None
    losses = [line["val/loss"] for line in lines(tuned.folder, "metrics.jsonl") if "val/loss" in line]
    assert min(losses) == pytest.approx(tuned.metrics["validation_loss"], rel=1e-6)
    ((columns, rows),) = tables
    assert columns == ("question", "before", "after", "wanted")
    samples = lines(tuned.folder, "samples.jsonl")
    assert samples[0]["step"] == 0
    assert len(rows) == len({line["prompt"] for line in samples}) > 0
    held_out = [one for one in random_conversations(40)[30:] if one.messages[0].role == "user"]
    offered = tuned.manifest["questions"]
    assert set(offered) <= {one.messages[0].content.strip() for one in held_out}
    shown = finetune.suggestions(RowSet.open(inputs["shards"].folder / "chat-validation"), loaded.tokenizer, 100)
    assert set(offered) <= set(shown)
    assert len(shown) > 0
    assert not torch.equal(loaded.model.embedding.weight, convert.load(pretrained.folder).model.embedding.weight), (
        "something was learnt"
    )


def test_the_answers_after_come_from_the_weights_that_the_folder_holds(pretrained, inputs, tmp_path, monkeypatch):
    """The best checkpoint is an early one here; what the last step answered is nobody's answer any more."""
    tables, measured = [], []
    measure = Validation.measure

    def worse_each_time(self, model, world):
        measured.append(measure(self, model, world))
        return {**measured[-1], "loss": float(len(measured))}

    monkeypatch.setattr(console, "table", lambda columns, rows, **_: tables.append(list(rows)))
    monkeypatch.setattr(Validation, "measure", worse_each_time)
    settings = {**FINETUNE, "learning_rate": 0.05}
    tuned = made(finetune, tmp_path / "out", {**inputs, "model": pretrained}, **settings)
    assert tuned.metrics["used_step"] == 4 < tuned.metrics["steps"]

    loaded, rows = convert.load(tuned.folder), RowSet.open(inputs["shards"].folder / "chat-validation")
    asked = finetune.questions_of(rows, loaded.tokenizer, FINETUNE["questions"])
    answers = finetune._answer(loaded.model, loaded.tokenizer, asked, QUICK["watch"]["sample_tokens"])
    assert [row[2] for row in tables[0]] == [finetune._in_short(one["text"]) for one in answers]
    told = lines(tuned.folder, "samples.jsonl")
    last = [line["text"] for line in told if line["step"] == told[-1]["step"]]
    assert last != [one["text"] for one in answers], "the last step would have answered otherwise"


def test_finetune_trains_on_the_assistants_words_only(pretrained, inputs, tmp_path):
    tuned = made(finetune, tmp_path / "out", {**inputs, "model": pretrained}, **FINETUNE)
    rows = RowSet.open(inputs["shards"].folder / "chat-train")
    told = sum(line["train/targets"] for line in lines(tuned.folder, "metrics.jsonl"))
    assert told == 3 * rows.num_targets < 3 * rows.num_tokens


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "tny"}, "did you mean 'tiny'"),
        ({"model": {"widht": 3}}, "did you mean 'width'"),
        ({"model": {"heads": 3, "kv_heads": 2}}, "multiple of kv_heads"),
        ({"tokens": "1M", "minutes": 3}, "one of tokens, epochs, minutes"),
        ({"optimizer": {"name": "adamm"}}, "adamw"),
        ({"optimizer": {"name": "adamw", "momentum": 0.8}}, "momentum says nothing about name: adamw; leave it out"),
        ({"optimizer": {"name": "sgd", "beta2": 0.9, "epsilon": 1e-6}}, "beta2 .* name: sgd; epsilon .* name: sgd"),
        ({"optimizer": {"schedule": "cosine", "decay": 0.2}}, "decay says nothing about schedule: cosine"),
        ({"optimizer": {"schedule": "constant", "floor": 0.1}}, "floor says nothing about schedule: constant"),
        ({"learning_rte": 1}, "did you mean 'learning_rate'"),
    ],
)
def test_what_cannot_be_meant_is_found_when_the_recipe_is_read(settings, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(pretrain.Config, settings, "a recipe")


def test_one_value_of_the_optimizer_leaves_the_others_as_they_were():
    """`linear` is the default of fine-tuning whatever else is written; what a manifest says in full is read back."""
    one = read_settings(finetune.Config, {"optimizer": {"momentum": 0.8}}, "a recipe")
    assert one.optimizer == finetune.Config().optimizer.model_copy(update={"momentum": 0.8})
    assert one.optimizer.schedule == "linear"
    assert read_settings(finetune.Config, one.model_dump(mode="json"), "a manifest") == one


def test_prompts_are_of_pretraining():
    with pytest.raises(ConfigError, match=r"finetune\.watch: prompts are of pretrain; here held-out questions"):
        read_settings(finetune.Config, {"watch": {"prompts": ["x"]}}, "a recipe", "finetune")


def test_rows_longer_than_the_context_of_a_given_model_are_refused(pretrained, inputs, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"train": random_documents(20)}, {"train": random_conversations(10)})
    both = {"corpus": corpus, "tokenizer": inputs["tokenizer"]}
    rows = made(shard, tmp_path / "shards", both, row_length=256, max_rejected_share=1.0)
    for stage, given, settings in (
        (pretrain, {}, {"start": str(pretrained.folder)}),
        (finetune, {"model": pretrained}, {}),
        (pretrain, {}, {"model": SHAPE}),
    ):
        with pytest.raises(ConfigError, match="rows of 256 tokens do not fit into a context of 128"):
            made(stage, tmp_path / "out", {**inputs, **given, "shards": rows}, **settings, **QUICK)
        assert not list((tmp_path / "out").iterdir()), "before anything is planned"


def test_each_prompt_has_the_context_for_itself_and_one_that_fills_it_is_refused(pretrained, inputs, tmp_path):
    loaded, asked = convert.load(pretrained.folder), pretrain.Config(watch={"sample_tokens": 12})
    short, long = [loaded.tokenizer.bos_id, 70, 71], [loaded.tokenizer.bos_id, *[70] * 120]
    assert len(long) + asked.watch.sample_tokens > loaded.config.context_length
    (alone,) = pretrain._continue(asked, loaded.model, loaded.tokenizer, [short])
    assert pretrain._continue(asked, loaded.model, loaded.tokenizer, [short, long])[0] == alone
    settings = {**PRETRAIN, "watch": {**QUICK["watch"], "prompts": ["the", "天" * 128]}}
    with pytest.raises(ConfigError, match=r"a prompt cannot be continued[^!]*a context of 128"):
        made(pretrain, tmp_path / "out", inputs, **settings)
    assert not list((tmp_path / "out").iterdir()), "before anything is planned"


def test_a_page_of_an_answer_is_one_line_of_the_table():
    assert finetune._in_short("yes\nno") == "yes no"
    assert finetune._in_short("a\n" * 500) == ("a " * 500)[: finetune.MOST_SHOWN] + "…"


# ---- other beginnings ----


@pytest.fixture(scope="module")
def longer(pretrained, inputs, tmp_path_factory) -> dict[str, Artifact]:
    """The tokenizer of the pre-trained model with 100 more tokens, and rows made with it."""
    folder = tmp_path_factory.mktemp("longer")
    corpus = write_corpus(
        folder / "corpus",
        {"train": random_documents(40, seed=5), "validation": random_documents(5, seed=6)},
        {"train": random_conversations(20, seed=5), "validation": random_conversations(5, seed=6)},
    )
    words = made(
        tokenizer, folder / "tokenizer", {"corpus": corpus}, extend=str(pretrained.folder), vocabulary_size=500
    )
    both = {"corpus": corpus, "tokenizer": words}
    rows = made(shard, folder / "shards", both, row_length=128, max_rejected_share=1.0)
    return {"tokenizer": words, "shards": rows}


def test_training_goes_on_with_an_extended_tokenizer(pretrained, longer, tmp_path):
    further = made(pretrain, tmp_path / "further", longer, start=str(pretrained.folder), tokens=2000, **QUICK)
    tuned = made(finetune, tmp_path / "tuned", {**longer, "model": pretrained}, **FINETUNE)
    for artifact in (further, tuned):
        loaded = convert.load(artifact.folder)
        assert loaded.tokenizer.size == 500
        assert loaded.config.vocabulary_size == 512
        assert loaded.config.width == 32, "the shape is that of the beginning"
        assert artifact.metrics["validation_loss"] < 6.2
    wanted = pretrain.source_fingerprint(pretrain.Config(start=str(pretrained.folder)))
    assert further.manifest["sources"] == wanted is not None


def test_a_model_of_another_tokenizer_is_refused(pretrained, longer, inputs, tmp_path):
    further = made(pretrain, tmp_path / "further", longer, start=str(pretrained.folder), tokens=1000, **QUICK)
    with pytest.raises(ArtifactError, match="no extension of it"):
        made(finetune, tmp_path / "tuned", {**inputs, "model": further}, **FINETUNE)


def test_word_vectors_begin_a_model_of_words(tmp_path, capsys):
    documents = random_documents(60, longest=300)
    corpus = write_corpus(tmp_path / "corpus", {"train": documents[:50], "validation": documents[50:]})
    both = {"corpus": corpus}
    both["tokenizer"] = made(tokenizer, tmp_path / "tokenizer", both, kind="words", vocabulary_size=600)
    both["shards"] = made(shard, tmp_path / "shards", both, row_length=128)
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"{word} {' '.join(['0.01'] * 32)}\n" for word in ("the", "dog", "天气")), "utf-8")
    artifact = made(pretrain, tmp_path / "out", both, embeddings=str(vectors), **PRETRAIN)
    assert artifact.manifest["embeddings"]["found"] >= 3
    assert f"word vectors for {artifact.manifest['embeddings']['found']}" in capsys.readouterr().out
    assert artifact.manifest["sources"] == pretrain.source_fingerprint(pretrain.Config(embeddings=str(vectors)))
    vectors.write_text("the 1 2 3\n")
    with pytest.raises(ConfigError, match="do not fit the model"):
        made(pretrain, tmp_path / "other", both, embeddings=str(vectors), **PRETRAIN)


def test_a_beginning_that_is_not_there_or_contradicts_itself_is_refused(tmp_path):
    for missing in ({"start": str(tmp_path / "none")}, {"embeddings": str(tmp_path / "none")}):
        with pytest.raises(UserError, match="no such"):
            pretrain.source_fingerprint(pretrain.Config(**missing))
    assert pretrain.source_fingerprint(pretrain.Config()) is None
    with pytest.raises(ConfigError, match="start brings its own architecture"):
        read_settings(pretrain.Config, {"start": "x", "model": {"layers": 2}}, "a test")
