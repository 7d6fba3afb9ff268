"""The evaluate stage on a tiny model and a small corpus: files, numbers, the same cases every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from danlu import convert
from danlu.base.artifact import Artifact, open_artifact, seal
from danlu.base.errors import DataError
from danlu.base.records import Conversation, Document, Message
from danlu.stages import evaluate
from danlu.tokenizer.train import train
from tests import tiny


def sealed(folder: Path, kind: str) -> Artifact:
    return seal(folder, kind=kind, stage=kind, version=1, config={}, parents={}, metrics={}, seconds=0.0)


def conversation(number: int, split: str) -> Conversation:
    language, task = ("zh", "en")[number % 2], ("who", "sum")[number % 3 == 0]
    question = f"{'谁在' if language == 'zh' else 'Who is at '}{number}?"
    messages = (Message("user", question), Message("assistant", f"Anna {number % 4}"))
    return Conversation(f"{split}-{number}", messages, "test", language=language, task=task)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Artifact]:
    root = tmp_path_factory.mktemp("evaluate")
    corpus = root / "corpus"
    corpus.mkdir()
    documents = [Document(f"d{i}", f"Text {i} 河边。" * (1 + i), "test", ("zh", "en")[i % 2]) for i in range(8)]
    (corpus / "test.jsonl").write_text("".join(json.dumps(one.to_dict()) + "\n" for one in documents))
    copied = Document("copy", "An old page says: " + documents[6].text, "test", "zh")
    (corpus / "train.jsonl").write_text(json.dumps(copied.to_dict()) + "\n")
    for split, count in (("train", 40), ("test", 24)):
        records = [conversation(number, split) for number in range(count)]
        unasked = Conversation("unasked", (Message("user", "hello"),), "test", language="zh", task="who")
        text = "".join(json.dumps(one.to_dict()) + "\n" for one in [*records, unasked])
        (corpus / f"conversations-{split}.jsonl").write_text(text)
    return {"model": sealed(tiny.folder(root / "model"), "model"), "corpus": sealed(corpus, "corpus")}


def run(inputs, out: Path, **values) -> Artifact:
    out.mkdir()
    return evaluate.run(evaluate.Config(max_tokens=4, device="cpu", **values), inputs, out)


def test_evaluation_has_every_number_beside_its_baselines(inputs, tmp_path):
    done = run(inputs, tmp_path / "e", slots=5)
    assert open_artifact(done.folder, "evaluation").fingerprint == done.fingerprint
    result = json.loads(done.path("evaluation.json").read_text())
    assert set(result["language_model"]) == {"zh", "en", "all"}
    assert result["language_model"]["all"]["documents"] == 8
    rows = {(row["language"], row["task"]): row for row in result["answers"]}
    assert set(rows) == {(language, task) for language in ("zh", "en") for task in ("core", "who", "sum")}
    assert rows["zh", "core"]["n"] == rows["zh", "who"]["n"] == 8
    assert (
        set(rows["zh", "who"]["baselines"])
        == set(result["baselines"])
        == {
            "most frequent answer",
            "n-gram",
            "nearest question",
        }
    )
    answers = [json.loads(line) for line in done.path("answers.jsonl").read_text().splitlines()]
    assert len(answers) == 24
    assert all(set(one["baselines"]) == set(result["baselines"]) for one in answers)
    share = sum(one["exact_match"] for one in answers if (one["language"], one["task"]) == ("zh", "who")) / 8
    assert rows["zh", "who"]["exact_match"] == share
    assert done.metrics["core_exact_match_zh"] == share
    assert {name: row["leaked"] for name, row in result["language_model"].items()} == {"zh": 1, "en": 0, "all": 1}
    assert {row["leaked"] for row in result["answers"]} == {0}
    assert done.metrics["loss_all"] == result["language_model"]["all"]["loss"]


def test_limits_take_the_same_cases_every_time(inputs, tmp_path):
    few = [run(inputs, tmp_path / name, questions=2, documents=1, baselines=False) for name in ("a", "b")]
    other = run(inputs, tmp_path / "c", questions=2, documents=1, baselines=False, seed=5)
    texts = [one.path("answers.jsonl").read_bytes() for one in (*few, other)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert len(texts[0].splitlines()) == 8
    result = json.loads(few[0].path("evaluation.json").read_text())
    assert result["language_model"]["all"]["documents"] == 2
    assert result["baselines"] == []


def test_a_long_document_is_scored_from_its_beginning_only(inputs, tmp_path):
    done = run(inputs, tmp_path / "e", questions=0, document_characters=12, leaks=False)
    table = json.loads(done.path("evaluation.json").read_text())["language_model"]
    assert table["all"]["documents"] == 8
    lengths = [len((f"Text {i} 河边。" * (1 + i))[:12].encode()) for i in range(8)]
    assert table["all"]["bytes"] == sum(lengths)
    assert table["all"]["leaked"] is None


def test_texts_are_scored_without_a_chat_template_and_questions_ask_for_one(inputs, tmp_path, monkeypatch):
    loaded = replace(convert.load(inputs["model"].folder), template=None)
    monkeypatch.setattr(convert, "load", lambda *_, **__: loaded)
    with pytest.raises(DataError, match="no chat template") as caught:
        run(inputs, tmp_path / "asked")
    assert "24 questions" in str(caught.value)
    assert "questions=0" in str(caught.value)
    done = run(inputs, tmp_path / "scored", questions=0)
    assert done.metrics["loss_all"] > 0
    assert done.path("answers.jsonl").read_text() == ""


def test_bits_per_byte_are_not_defined_where_tokens_are_unknown(inputs, tmp_path, capsys):
    tokenizer = train(["Text 0 1 2 3 4 5 6 7"] * 4, vocabulary_size=300, kind="wordpiece")
    convert.save(tmp_path / "model", tiny.model(vocabulary_size=tokenizer.size), tokenizer, card="A model for tests.\n")
    given = {**inputs, "model": sealed(tmp_path / "model", "model")}
    values = {"questions": 0, "leaks": False}
    done = run(given, tmp_path / "unknown", **values)
    row = json.loads(done.path("evaluation.json").read_text())["language_model"]["zh"]
    assert (row["unknown"] > 0, row["bits_per_byte"]) == (True, None)
    said = f"bits per byte are not defined where {row['unknown']} of {row['tokens']} tokens are unknown"
    assert said in capsys.readouterr().out
    assert "loss_zh" in done.metrics
    assert "bits_per_byte_zh" not in done.metrics
    known = run(given, tmp_path / "known", document_characters=6, **values)
    assert known.metrics["bits_per_byte_zh"] > 0
    assert "not defined" not in capsys.readouterr().out


def test_a_model_without_a_tokenizer_is_refused(inputs, tmp_path):
    bare = tiny.folder(tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="no tokenizer"):
        run({**inputs, "model": sealed(bare, "model")}, tmp_path / "e")
