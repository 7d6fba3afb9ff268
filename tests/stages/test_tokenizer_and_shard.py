"""The stages `tokenizer` and `shard`: from a corpus folder to rows, with their reports, refusals and re-runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from danlu.base.artifact import Artifact, open_artifact
from danlu.base.errors import ConfigError, DataError
from danlu.base.records import Conversation, Document, Message
from danlu.commands import inspect
from danlu.shards.batches import IGNORE
from danlu.shards.encode import NOT_CHOSEN, NOTHING_TO_LEARN, OVER_LONG
from danlu.shards.files import RowSet
from danlu.stages import shard, tokenizer
from danlu.tokenizer.chat import TEMPLATE_HASH, ChatTemplate
from danlu.tokenizer.tokenizer import Tokenizer
from tests.small import random_conversations, random_documents, write_corpus


def made(stage, folder, inputs: dict[str, Artifact], **settings) -> Artifact:
    folder.mkdir(exist_ok=True)
    return stage.run(stage.Config(**settings), inputs, folder)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("stages")
    documents = random_documents(120, longest=900)
    conversations = random_conversations(60)
    corpus = write_corpus(
        folder / "corpus",
        {"train": documents[:100], "validation": documents[100:]},
        {"train": conversations[:50], "validation": conversations[50:]},
    )
    return {
        "corpus": corpus,
        "tokenizer": made(tokenizer, folder / "tokenizer", {"corpus": corpus}, vocabulary_size=400),
    }


@pytest.fixture(scope="module")
def shards(inputs, tmp_path_factory) -> Artifact:
    return made(shard, tmp_path_factory.mktemp("shards") / "all", inputs, row_length=256)


def report(artifact: Artifact):
    return json.loads(artifact.path("report.json").read_text("utf-8"))


def test_the_tokenizer_artefact_is_complete(inputs):
    artifact = open_artifact(inputs["tokenizer"].folder, "tokenizer")
    files = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "report.json"}
    assert set(artifact.manifest["files"]) == files
    assert Tokenizer.load(artifact.folder).size == 400 == artifact.metrics["vocabulary_size"]
    facts = report(artifact)
    assert set(facts["languages"]) == {"all", "en", "zh"}
    assert facts["languages"]["zh"]["bytes_per_token"] > 1
    assert "".join(facts["examples"]["en"])


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "characters", "bytes", "words"])
def test_every_kind_makes_rows_and_reports_bytes_per_token(inputs, tmp_path, kind):
    both = {"corpus": inputs["corpus"]}
    both["tokenizer"] = made(tokenizer, tmp_path / "tokenizer", both, kind=kind, vocabulary_size=600)
    facts = report(both["tokenizer"])
    assert facts["kind"] == kind
    assert set(facts["languages"]) == {"all", "en", "zh"}
    assert all(row["bytes_per_token"] > 0 for row in facts["languages"].values())
    is_lossy = kind in ("wordpiece", "words")
    assert all(("unknown_share" in row) == is_lossy for row in facts["languages"].values())
    assert ("segmenter" in facts) == (kind == "words")
    rows = report(made(shard, tmp_path / "rows", both, row_length=2048))["pretrain-train"]
    encode = Tokenizer.load(both["tokenizer"].folder).encode
    texts = [json.loads(line)["text"] for line in inputs["corpus"].path("train.jsonl").open("rb")]
    assert rows["tokens_in"] == rows["tokens_out"] > sum(len(encode(text)) + 2 for text in texts)


def test_what_cuts_words_is_in_the_fingerprint_of_words_alone(monkeypatch):
    found = {}
    for kind in ("words", "bpe"):
        for cutter in ("rule", "rjieba 0.2.2"):
            monkeypatch.setattr(tokenizer, "segmenter", lambda cutter=cutter: cutter)
            found[kind, cutter] = tokenizer.source_fingerprint(tokenizer.Config(kind=kind))
    assert found["words", "rule"] != found["words", "rjieba 0.2.2"]
    assert found["bpe", "rule"] is found["bpe", "rjieba 0.2.2"] is None


def test_an_extended_tokenizer_follows_the_one_it_extends(inputs, tmp_path):
    base, corpus = inputs["tokenizer"].folder, {"corpus": inputs["corpus"]}
    settings = {"extend": str(base), "vocabulary_size": 440}
    longer = made(tokenizer, tmp_path / "longer", corpus, **settings)
    old, new = Tokenizer.load(base), Tokenizer.load(longer.folder)
    assert (old.size, new.size) == (400, 440)
    assert [new.bytes_of(id) for id in range(400)] == [old.bytes_of(id) for id in range(400)]
    assert longer.manifest["sources"] == tokenizer.source_fingerprint(tokenizer.Config(**settings)) == old.fingerprint
    assert tokenizer.source_fingerprint(tokenizer.Config()) is None
    with pytest.raises(ConfigError, match="of another kind"):
        made(tokenizer, tmp_path / "other", corpus, kind="words", **settings)


@pytest.mark.parametrize(
    "settings",
    [{"kind": "bytes", "min_frequency": 3}, {"kind": "words", "max_token_length": 9}, {"kind": "bytes", "extend": "x"}],
)
def test_a_setting_that_says_nothing_about_a_kind_is_refused(settings):
    with pytest.raises(ValidationError, match=r"says nothing about kind|no new tokens"):
        tokenizer.Config(**settings)


def test_versions_that_follow_the_template_can_be_read(inputs, shards, capsys):
    for part in (inputs["tokenizer"], shards):
        assert part.manifest["stage_version"] == f"1, template {TEMPLATE_HASH[:8]}"
    inspect.run(shards.folder)
    assert f"shard (version 1, template {TEMPLATE_HASH[:8]})" in capsys.readouterr().out


def test_less_text_is_read_where_asked_and_always_the_same(inputs, tmp_path):
    corpus = {"corpus": inputs["corpus"]}
    first, again, other = (
        made(tokenizer, tmp_path / name, corpus, vocabulary_size=400, sample_bytes="10kb", seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    prints = [Tokenizer.load(artifact.folder).fingerprint for artifact in (first, again, other)]
    assert prints[0] == prints[1] != prints[2]
    assert prints[0] != Tokenizer.load(inputs["tokenizer"].folder).fingerprint


def test_a_corpus_without_text_has_no_vocabulary(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {})
    with pytest.raises(DataError, match="no text to learn"):
        made(tokenizer, tmp_path / "out", {"corpus": corpus})


def test_without_held_out_text_the_report_measures_training_text(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"train": [Document("a", "hello world " * 20, "test", "en")]})
    artifact = made(tokenizer, tmp_path / "out", {"corpus": corpus}, vocabulary_size=300)
    assert report(artifact)["languages"]["en"]["texts"] == 1


def test_rows_account_for_every_token(inputs, shards):
    encode = Tokenizer.load(inputs["tokenizer"].folder).encode
    texts = [json.loads(line)["text"] for line in inputs["corpus"].path("train.jsonl").open("rb")]
    template = ChatTemplate(Tokenizer.load(inputs["tokenizer"].folder))
    chats = sum(len(template.render(conversation.messages).ids) for conversation in random_conversations(60)[:50])
    row = report(shards)["pretrain-train"]
    assert row["tokens_in"] == row["tokens_out"] == sum(len(encode(text)) + 2 for text in texts) + chats
    assert row["remainder"] == 0
    assert (row["documents"], row["conversations"]) == (100, 50)
    assert row["targets"] == row["tokens_out"] - 150
    rows = RowSet.open(shards.folder / "pretrain-train")
    rows.require(Tokenizer.load(inputs["tokenizer"].folder))
    assert rows.num_rows == row["rows"]
    names = {name for number in range(rows.num_rows) for name in rows.documents_of(number)}
    assert len(names) == 150


def test_chat_rows_teach_the_answers_only(inputs, shards):
    template = ChatTemplate(Tokenizer.load(inputs["tokenizer"].folder))
    rows = RowSet.open(shards.folder / "chat-train")
    batch = rows.batch(np.arange(rows.num_rows))
    expected = [m for one in random_conversations(60)[:50] for m in one.messages if m.role == "assistant"]
    learnt = batch.targets[batch.targets != IGNORE]
    assert len(learnt) == sum(len(template.tokenizer.encode(message.content)) + 1 for message in expected)
    assert np.count_nonzero(learnt == template.tokenizer.end_id) == len(expected)


@pytest.mark.parametrize("conversations", ["all", "answers", "none"])
def test_conversations_in_pretraining(inputs, tmp_path, conversations):
    artifact = made(shard, tmp_path / "out", inputs, row_length=256, conversations=conversations)
    facts = report(artifact)
    row, chat = facts["pretrain-train"], facts["chat-train"]
    assert row["conversations"] == (0 if conversations == "none" else 50)
    documents = row["tokens_out"] - (chat["tokens_out"] if conversations != "none" else 0) - 100
    extra = {"all": chat["tokens_out"] - 50, "answers": chat["targets"], "none": 0}[conversations]
    assert row["targets"] == documents + extra
    assert (artifact.folder / "pretrain-train" / "mask.bin").exists() == (conversations == "answers")


def test_a_share_of_the_conversations_in_pretraining(inputs, shards, tmp_path):
    artifact = made(shard, tmp_path / "out", inputs, row_length=256, conversation_share=0.3)
    facts, whole = report(artifact), report(shards)
    row = facts["pretrain-train"]
    assert 0 < row["conversations"] < 50
    assert row["conversations"] + row["rejected"][NOT_CHOSEN] == 50, "in = out + left out by reason"
    assert row["documents"] == 100
    assert facts["chat-train"]["conversations"] == whole["chat-train"]["conversations"] == 50, "tuning still has all"


def test_leavings_of_an_interrupted_run_are_replaced(inputs, shards, tmp_path):
    (tmp_path / "out" / "pretrain-train").mkdir(parents=True)
    (tmp_path / "out" / "pretrain-train" / "mask.bin").write_bytes(b"torn")
    again = made(shard, tmp_path / "out", inputs, row_length=256)
    assert rows_of(again) == rows_of(shards)


def rows_of(artifact: Artifact) -> dict[str, dict]:
    """What is told of every file but the diary's."""
    return {name: facts for name, facts in artifact.manifest["files"].items() if name != "report.json"}


def written(monkeypatch, fall_at: str | None = None) -> list[str]:
    """The row sets that are written from now on, as they are; the run ends where it comes to `fall_at`."""
    real, names = shard._write, []

    def write(folder: Path, *rest):
        if folder.name == fall_at:
            raise KeyboardInterrupt
        names.append(folder.name)
        return real(folder, *rest)

    monkeypatch.setattr(shard, "_write", write)
    return names


def test_row_sets_that_were_finished_are_kept_and_the_artefact_is_the_same(
    inputs, shards, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        written(patch, fall_at="chat-train")
        with pytest.raises(KeyboardInterrupt):
            made(shard, tmp_path / "out", inputs, row_length=256)
    names = written(monkeypatch)
    again = made(shard, tmp_path / "out", inputs, row_length=256)
    assert names == ["chat-train", "chat-validation"]
    assert "pretrain-train: kept" in capsys.readouterr().out
    assert rows_of(again) == rows_of(shards)
    assert {path.name for path in again.folder.iterdir()} == {path.name for path in shards.folder.iterdir()}
    told = [report(artifact) for artifact in (again, shards)]
    for row in (*told[0].values(), *told[1].values()):
        del row["megabytes_per_second"]
    assert told[0] == told[1]
    assert all(again.manifest[key] == shards.manifest[key] for key in ("config", "metrics", "tokenizer"))
    assert (again.fingerprint, again.content) == (shards.fingerprint, shards.content)


@pytest.mark.parametrize("what", ["settings", "corpus", "a byte"])
def test_a_finished_row_set_is_not_taken_for_another(inputs, tmp_path, monkeypatch, what):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        written(patch, fall_at="pretrain-validation")
        with pytest.raises(KeyboardInterrupt):
            made(shard, out, inputs, row_length=256)
    assert (out / shard.SCRATCH / "pretrain-train.json").is_file()
    now, settings = inputs, {"row_length": 256}
    if what == "settings":
        settings["conversations"] = "answers"
    elif what == "corpus":
        documents = {"train": random_documents(100, seed=1), "validation": random_documents(20, seed=2)}
        now = {**inputs, "corpus": write_corpus(tmp_path / "corpus", documents)}
    else:
        path = out / "pretrain-train" / "ids.bin"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    names = written(monkeypatch)
    again = made(shard, out, now, **settings)
    assert tuple(names) == shard.ROW_SETS
    assert rows_of(again) == rows_of(made(shard, tmp_path / "calm", now, **settings))


def test_unusable_conversations_stop_the_run_with_their_reasons(inputs, tmp_path):
    good = [Conversation(f"good-{n}", (Message("user", "a"), Message("assistant", "b")), "test") for n in range(6)]
    long = [
        Conversation(f"long-{n}", (Message("user", "x" * 999), Message("assistant", "b")), "test") for n in range(3)
    ]
    silent = [Conversation("silent", (Message("user", "a"),), "test")]
    corpus = write_corpus(tmp_path / "corpus", {}, {"train": [*good, *long, *silent]})
    both = {**inputs, "corpus": corpus}
    with pytest.raises(DataError, match=rf"40\.0 %(?s:.)*3 {OVER_LONG}, 1 {NOTHING_TO_LEARN}"):
        made(shard, tmp_path / "refused", both, row_length=64)
    assert not (tmp_path / "refused" / "manifest.json").exists()
    allowed = made(shard, tmp_path / "allowed", both, row_length=64, max_rejected_share=0.4)
    row = report(allowed)["chat-train"]
    assert row["rejected"] == {OVER_LONG: 3, NOTHING_TO_LEARN: 1}
    assert row["conversations"] == 6


def test_nothing_to_train_on_is_said(inputs, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", {"validation": random_documents(2)})
    with pytest.raises(DataError, match="nothing to train on"):
        made(shard, tmp_path / "out", {**inputs, "corpus": corpus})


@pytest.mark.parametrize("encoder", ["tiktoken", "gigatoken", "auto"])
def test_rows_are_the_same_bytes_whichever_library_encodes(inputs, tmp_path, encoder):
    if encoder != "auto":
        pytest.importorskip(encoder, reason=f"{encoder} is in danlu[fast]")
    reference = made(shard, tmp_path / "reference", inputs, row_length=256, encoder="tokenizers")
    other = made(shard, tmp_path / "other", inputs, row_length=256, encoder=encoder)
    assert reference.metrics["encoder"]["name"] == "tokenizers"
    assert encoder in ("auto", other.metrics["encoder"]["name"])
    assert other.fingerprint == reference.fingerprint
    files = set(reference.manifest["files"]) - {"report.json"}
    assert len(files) > 20
    for name in files:
        assert other.path(name).read_bytes() == reference.path(name).read_bytes(), name
