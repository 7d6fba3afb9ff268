"""Proofs of RD1 at every boundary behind `prepare`: a stage that loses or invents something does not end well.

In: stages with one harm put into them each: a record that is not read, not encoded, not written, not learnt from, not
answered, a sample that is not trained on. Out: red where such a stage seals an artefact, or where an intact one does
not. `test_conservation` compares the artefacts themselves; `test_corpus` holds RD1 of `prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from danlu import convert
from danlu.base.artifact import Artifact, open_artifact, write_manifest
from danlu.base.books import LawBroken, check_balance
from danlu.base.records import SPLITS, Conversation, Message, read_documents
from danlu.evaluate.answers import mark
from danlu.evaluate.score import Score
from danlu.shards.encode import Tally
from danlu.shards.files import RowSetWriter
from danlu.stages import evaluate, shard
from danlu.stages import tokenizer as tokenizer_stage
from danlu.train.loop import Progress, train
from danlu.train.run import check_all_seen
from danlu.train.samples import Samples
from tests.proofs.mutant import Mutant
from tests.small import random_conversations, random_documents, small_tokenizer, write_corpus
from tests.train import material

MUTANTS = {
    "RD1": Mutant(
        "src/danlu/base/books.py",
        "    if given != found:\n",
        "    if given < 0:\n",
    ),
}
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Artifact:
    """Documents and conversations on every side, and the books that `prepare` keeps of them."""
    texts, talks = random_documents(36), random_conversations(36)
    long = Conversation("long", (Message("user", "x" * 900), Message("assistant", "b")), "test")
    talks = [*talks, long, Conversation("silent", (Message("user", "a"),), "test")]
    sides = {split: texts[number::3] for number, split in enumerate(SPLITS)}
    spoken = {split: talks[number::3] for number, split in enumerate(SPLITS)}
    made = write_corpus(tmp_path_factory.mktemp("made") / "corpus", sides, spoken)
    books = {
        kind: {side: len(records) for side, records in held.items()}
        for kind, held in (("documents", sides), ("conversations", spoken))
    }
    return Artifact(made.folder, write_manifest(made.folder, {**made.manifest, "metrics": books}))


def cooked(corpus: Artifact, kind: str, side: str) -> Artifact:
    """The same corpus whose books know one record more than it has."""
    books = {**corpus.metrics, kind: {**corpus.metrics[kind], side: corpus.metrics[kind][side] + 1}}
    return Artifact(corpus.folder, {**corpus.manifest, "metrics": books})


def losing(real: Callable[..., Any], place: int) -> Callable[..., Any]:
    """`real`, whose argument number `place` lacks its first item; what it iterates over is read to its end."""

    def harmed(*arguments: Any, **options: Any) -> Any:
        given = list(arguments)
        given[place] = islice(iter(given[place]), 1, None)
        return real(*given, **options)

    return harmed


def test_RD1_a_balance_is_one_of_all_its_parts():
    check_balance("texts", 5, {"used": 3, "left out": 2})
    check_balance("texts", 0, {})
    for given in (4, 6):
        with pytest.raises(LawBroken, match=rf"texts: {given} given, 5 accounted for \(3 used \+ 2 left out\)"):
            check_balance("texts", given, {"used": 3, "left out": 2})


def make_shards(corpus: Artifact, out: Path) -> Artifact:
    (out / "words").mkdir(parents=True)
    small_tokenizer().save(out / "words")
    words = SimpleNamespace(folder=out / "words", fingerprint="1", content="1", kind="tokenizer")
    (out / "shards").mkdir()
    config = shard.Config(row_length=64, max_rejected_share=1, conversation_share=0.7)
    return shard.run(config, {"corpus": corpus, "tokenizer": words}, out / "shards")


def skip_add(patch: Patch) -> None:
    real = RowSetWriter.add

    def add(writer: RowSetWriter, encoded: Any) -> None:
        half = len(encoded.records) // 2
        ids = int(encoded.lengths[:half].sum())
        mask = None if encoded.mask is None else encoded.mask[:ids]
        real(
            writer,
            replace(
                encoded,
                records=encoded.records[:half],
                lengths=encoded.lengths[:half],
                ids=encoded.ids[:ids],
                mask=mask,
            ),
        )

    patch.setattr(RowSetWriter, "add", add)


SHARD_HARMS: dict[str, Callable[[Patch], object]] = {
    "a document is not encoded": lambda patch: patch.setattr(
        shard, "encode_documents", losing(shard.encode_documents, 1)
    ),
    "a conversation is not encoded": lambda patch: patch.setattr(
        shard, "encode_conversations", losing(shard.encode_conversations, 1)
    ),
    "one is left out without a count": lambda patch: patch.setattr(Tally, "leave_out", lambda *_: None),
    "its bytes are not counted": lambda patch: patch.setattr(
        Tally, "leave_out", lambda tally, _, reason: tally.rejected.update([reason])
    ),
    "records are not written": skip_add,
}


@pytest.mark.parametrize("harm", SHARD_HARMS)
def test_RD1_rows_that_lack_something_are_not_sealed(corpus, tmp_path, monkeypatch, harm):
    SHARD_HARMS[harm](monkeypatch)
    with pytest.raises(LawBroken, match=r"(documents|conversations|bytes|records|tokens) of "):
        make_shards(corpus, tmp_path)
    assert not (tmp_path / "shards" / "manifest.json").exists()


@pytest.mark.parametrize(("kind", "side"), [("documents", "train"), ("conversations", "validation")])
def test_RD1_rows_hold_what_the_books_of_the_corpus_say(corpus, tmp_path, kind, side):
    assert make_shards(corpus, tmp_path / "intact").kind == "shards"
    with pytest.raises(LawBroken, match=f"{kind} of the corpus for pretrain-{side}"):
        make_shards(cooked(corpus, kind, side), tmp_path / "cooked")


def make_tokenizer(corpus: Artifact, out: Path, **values: Any) -> Artifact:
    out.mkdir(parents=True)
    return tokenizer_stage.run(tokenizer_stage.Config(vocabulary_size=300, **values), {"corpus": corpus}, out)


def test_RD1_a_vocabulary_says_how_many_texts_it_was_learnt_from(corpus, tmp_path):
    for name, size in (("all", 10_000_000), ("some", 2_000)):
        made = make_tokenizer(corpus, tmp_path / name, sample_bytes=size)
        texts = json.loads(made.path("report.json").read_bytes())["texts"]
        assert texts["given"] == texts["learnt_from"] + texts["beyond_sample"]
        assert (texts["beyond_sample"] == 0) == (name == "all")
    assert make_tokenizer(corpus, tmp_path / "bytes", kind="bytes").kind == "tokenizer", "which reads no text"


def test_RD1_texts_that_were_not_learnt_from_stop_the_tokenizer(corpus, tmp_path, monkeypatch):
    with pytest.raises(LawBroken, match="documents of the corpus"):
        make_tokenizer(cooked(corpus, "documents", "train"), tmp_path / "cooked")
    real = tokenizer_stage.train
    with monkeypatch.context() as patch:
        patch.setattr(tokenizer_stage, "train", lambda texts, **options: real(list(islice(texts, 3)), **options))
        with pytest.raises(LawBroken, match=r"of the (corpus|tokenizer)"):
            make_tokenizer(corpus, tmp_path / "early")
    real_sample = tokenizer_stage.sample
    monkeypatch.setattr(tokenizer_stage, "sample", lambda *given: islice(real_sample(*given), 1, None))
    with pytest.raises(LawBroken, match="texts of the tokenizer"):
        make_tokenizer(corpus, tmp_path / "lossy")
    assert not list(tmp_path.rglob("manifest.json"))


def evaluation(
    corpus: Artifact, out: Path, patch: Patch, *, scored: int = 0, answered: int = 0, unread: int = 0
) -> Artifact:
    """The stage around a model that is none; what comes to nothing: the last `scored` texts, the last `answered`
    questions, the last `unread` bytes of every text."""

    def score(model: Any, documents: list[Any], characters: int) -> dict[str, list[Score]]:
        texts = [one.text[:characters].encode() for one in documents[: len(documents) - scored]]
        return {"en": [Score(1.0, 1, len(text) - unread) for text in texts]}

    def ask(model: Any, conversations: list[Any], config: Any) -> list[Any]:
        marked = [mark(one, "x") for one in conversations[: len(conversations) - answered]]
        return [replace(marked[0], finish="too long"), *marked[1:]]

    model = SimpleNamespace(tokenizer=1, template=1, folder=out)
    patch.setattr(convert, "load", lambda *_, **__: model)
    patch.setattr(evaluate, "_score", score)
    patch.setattr(evaluate, "_ask", ask)
    out.mkdir()
    trained = SimpleNamespace(folder=out, fingerprint="1", content="1", kind="model")
    config = evaluate.Config(
        documents=3, document_characters=20, questions=2, baselines=False, leaks=False, device="cpu"
    )
    return evaluate.run(config, {"model": trained, "corpus": corpus}, out)


def test_RD1_an_evaluation_accounts_for_every_text_and_every_question(corpus, tmp_path, monkeypatch):
    made = evaluation(corpus, tmp_path / "intact", monkeypatch)
    accounts = open_artifact(made.folder).manifest["accounts"]
    for kind in ("documents", "conversations"):
        assert accounts[kind]["given"] == corpus.metrics[kind]["test"]
        assert accounts[kind]["left_out"][evaluate.BEYOND] > 0
        assert accounts[kind]["left_out_bytes"][evaluate.BEYOND] > 0
    texts = read_documents(corpus.path("test.jsonl"))
    assert accounts["documents"]["given_bytes"] == sum(len(one.text.encode()) for one in texts)
    assert accounts["documents"]["left_out_bytes"][evaluate.CUT] > 0
    for harm in ({"scored": 1}, {"answered": 1}, {"unread": 1}):
        with pytest.raises(LawBroken, match=r"(documents|conversations) for the test"):
            evaluation(corpus, tmp_path / str(harm), monkeypatch, **harm)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate.Account, "cut", lambda *_: None)
        with pytest.raises(LawBroken, match="bytes of the documents for the test"):
            evaluation(corpus, tmp_path / "cut", patch)
    with pytest.raises(LawBroken, match="conversations of the corpus for the test"):
        evaluation(cooked(corpus, "conversations", "test"), tmp_path / "cooked", monkeypatch)


def trained(folder: Path, harm: Callable[[Samples], None] = lambda samples: None) -> tuple[Samples, Any, Progress]:
    """A run of two epochs and a half, to its end, with samples that were harmed."""
    rows = material.row_set(folder)
    learner, plan = material.learner(rows), material.plan(2 * rows.num_rows + rows.num_rows // 2, 4, 2)
    harm(learner.samples)
    progress = material.progress()
    for _ in train(learner, plan, progress, material.outside()):
        pass
    return Samples(rows, 0), plan, progress


def test_RD1_a_micro_batch_that_is_lost_stops_the_step(tmp_path):
    def harm(samples: Samples) -> None:
        real = samples.micro_batches

        def all_but_the_last(*given: Any) -> Iterator[Any]:
            return iter(list(real(*given))[:-1])

        samples.micro_batches = all_but_the_last  # type: ignore[method-assign]

    with pytest.raises(LawBroken, match="samples of step 1: 4 given, 2 accounted for"):
        trained(tmp_path / "rows", harm)


def test_RD1_a_run_that_saw_other_samples_than_planned_does_not_end_well(tmp_path):
    samples, plan, progress = trained(tmp_path / "rows")
    check_all_seen(samples, plan, progress)
    check_all_seen(samples, plan, Progress())
    with pytest.raises(LawBroken, match="tokens planned"):
        check_all_seen(samples, plan, replace(progress, tokens=progress.tokens - 1))
    with pytest.raises(LawBroken, match="samples seen are not the samples planned"):
        check_all_seen(samples, replace(plan, total_samples=plan.total_samples - 1), progress)

    def harm(samples: Samples) -> None:
        real = samples.rows
        samples.rows = lambda start, stop: real(start + 4, stop + 4) if start == 8 else real(start, stop)  # type: ignore[method-assign]

    again, _, skipped = trained(tmp_path / "skipped", harm)
    with pytest.raises(LawBroken, match="samples seen are not the samples planned"):
        check_all_seen(again, plan, skipped)
