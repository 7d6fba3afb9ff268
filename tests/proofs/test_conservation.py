"""Proofs that nothing vanishes behind the corpus: RD1 from stage to stage, and RD7, text in is text out.

In: the corpus of a dirty little world, its tokenizer and its shards. Out: red where a document or a byte that one stage
wrote is neither in what the next one made nor among what it says it left out. `test_corpus` holds RD1 of `prepare`.
"""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from danlu import running
from danlu.base.artifact import Artifact
from danlu.base.errors import DataError
from danlu.base.records import read_conversations, read_documents
from danlu.recipe import Recipe
from danlu.shards.files import RowSet
from danlu.shards.order import SampleOrder
from danlu.tokenizer.tokenizer import Tokenizer
from tests.proofs.mutant import Mutant
from tests.small import small_tokenizer

MUTANTS = {
    "RD1": Mutant(
        "src/danlu/shards/encode.py",
        "                tally.leave_out(conversation, reason)\n                continue\n",
        "                continue\n",
    ),
    "RD7": (
        Mutant(
            "src/danlu/tokenizer/tokenizer.py",
            "return self._decoder.decode(data)",
            'return data.decode("utf-8", "replace")',
        ),
        Mutant(  # each token of a stream decodes all that came before it once more; the text is the same
            "src/danlu/tokenizer/tokenizer.py",
            'data = b"" if id in self._tokenizer.special_ids else self._tokenizer.bytes_of(id)',
            'self._all = [*getattr(self, "_all", ()), id]\n'
            "        whole = [self._tokenizer.bytes_of(one) for one in self._all]\n"
            '        data = b"" if id in self._tokenizer.special_ids else whole[-1]',
        ),
        Mutant(  # long blanks are handed over from the beginning of the text, again for each part
            "src/danlu/tokenizer/tokenizer.py",
            "for id in self.backend.encode(part, add_special_tokens=False).ids]",
            "for id in (self.backend.encode(text[:70_000], add_special_tokens=False),\n"
            "                self.backend.encode(part, add_special_tokens=False))[1].ids]",
        ),
    ),
}
PAGE = {
    "name": "law",
    "prepare": {"sources": [{"little-world": {"stories": 80, "lists": 20, "conversations": 300}}]},
    "tokenizer": {"vocabulary_size": 600},
    "shard": {"row_length": 96, "max_rejected_share": 1.0},
}
LETTER_BYTES = 10_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Artifact]:
    return running.run(Recipe.from_dict(PAGE), runs=tmp_path_factory.mktemp("runs"))


def test_RD1_the_corpus_holds_what_its_books_say(made):
    """Lines, sides and bytes of the files themselves against `report.json`."""
    corpus = made["prepare"]
    report = json.loads(corpus.path("report.json").read_bytes())
    size, held = 0, Counter()
    for side in ("train", "validation", "test"):
        documents = list(read_documents(corpus.path(f"{side}.jsonl")))
        conversations = list(read_conversations(corpus.path(f"conversations-{side}.jsonl")))
        assert len(documents) == report["sides"]["documents"].get(side, 0)
        assert len(conversations) == report["sides"]["conversations"].get(side, 0)
        held["written"] += len(documents) + len(conversations)
        size += sum(len(one.text.encode()) for one in documents)
        for one in conversations:
            parts = [part for turn in one.messages for part in (turn.reasoning, turn.content) if part]
            size += len("\n".join(parts).encode())
    rejected = [json.loads(line)["reason"] for line in corpus.path("rejected.jsonl").read_bytes().splitlines()]
    assert Counter(rejected) == {reason: counts["documents"] for reason, counts in report["reasons"].items()}
    assert held["written"] + len(rejected) == report["documents"]["in"]
    assert size == report["bytes"]["text_written"]
    assert rejected, "a dirty world has something to refuse"


@pytest.mark.parametrize("side", ["train", "validation"])
def test_RD1_every_document_of_the_corpus_is_in_the_rows_byte_for_byte(made, side):
    corpus, tokenizer = made["prepare"], Tokenizer.load(made["tokenizer"].folder)
    report = json.loads(made["shard"].path("report.json").read_bytes())[f"pretrain-{side}"]
    documents = list(read_documents(corpus.path(f"{side}.jsonl")))
    conversations = list(read_conversations(corpus.path(f"conversations-{side}.jsonl")))
    assert report["documents"] == len(documents)
    assert report["conversations"] + sum(report["rejected"].values()) == len(conversations)
    assert report["remainder"] == 0
    assert report["tokens_in"] == report["tokens_out"]
    rows = RowSet.open(made["shard"].folder / f"pretrain-{side}")
    assert rows.num_tokens == report["tokens_out"]
    texts = Counter(one.text for one in documents)
    assert Counter(pieces_of(rows, tokenizer)) == texts + Counter(spoken(rows, tokenizer))


def record_ids(rows: RowSet) -> list[tuple[str, list[int]]]:
    """Each record's id with all its tokens, put together from its pieces in the rows, in the order of the file."""
    pieces = rows.pieces[np.argsort(rows.pieces["start"], kind="stable")]
    names = [json.loads(line) for line in (rows.folder / "records.jsonl").read_bytes().splitlines()]
    found: dict[int, list[int]] = {}
    end = 0
    for piece in pieces:
        assert piece["start"] == end, "pieces leave no gap and overlap nowhere"
        end = int(piece["start"]) + int(piece["length"])
        found.setdefault(int(piece["record"]), []).extend(rows.ids[piece["start"] : end].tolist())
    assert sorted(found) == list(range(len(names)))
    return [(names[record], ids) for record, ids in sorted(found.items())]


def pieces_of(rows: RowSet, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(ids) for _, ids in record_ids(rows)]


def spoken(rows: RowSet, tokenizer: Tokenizer) -> list[str]:
    """The texts of those records that are conversations: they begin with a turn."""
    turns = {tokenizer.special[name] for name in ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")}
    return [tokenizer.decode(ids) for _, ids in record_ids(rows) if ids[1] in turns]


@pytest.mark.parametrize("side", ["train", "validation"])
def test_RD1_conversations_in_are_learned_or_left_out_with_a_reason(made, side):
    corpus = made["prepare"]
    report = json.loads(made["shard"].path("report.json").read_bytes())[f"chat-{side}"]
    there = [one.id for one in read_conversations(corpus.path(f"conversations-{side}.jsonl"))]
    rows = RowSet.open(made["shard"].folder / f"chat-{side}")
    kept = [name for name, _ in record_ids(rows)]
    assert len(kept) == report["conversations"]
    assert len(there) == len(kept) + sum(report["rejected"].values())
    assert set(kept) <= set(there)
    assert rows.num_targets == report["targets"] > 0


def test_RD1_an_epoch_of_training_takes_every_row_once(made):
    rows = RowSet.open(made["shard"].folder / "pretrain-train")
    order = SampleOrder(rows.num_rows, seed=3)
    for epoch in range(2):
        taken = order.rows(epoch * rows.num_rows, (epoch + 1) * rows.num_rows)
        assert sorted(taken.tolist()) == list(range(rows.num_rows))
    batch = rows.batch(np.arange(rows.num_rows))
    assert batch.num_tokens == rows.num_tokens
    assert batch.num_targets == rows.num_targets


def test_RD1_too_many_unusable_conversations_stop_before_the_first_step(tmp_path):
    """Without a token to learn, over-long, of unknown roles: each is counted, and above the stated share nothing is
    trained."""
    top = tmp_path / "text"
    top.mkdir()
    answer = {"role": "assistant", "content": "an answer of some words"}
    unlearned = {**answer, "trainable": False}
    lines = [{"messages": [{"role": "user", "content": f"question {n}"}, answer]} for n in range(20)]
    lines += [{"messages": [{"role": "user", "content": f"mute {n}"}, unlearned]} for n in range(3)]
    lines += [{"messages": [{"role": "user", "content": "long " * 200 + str(n)}, answer]} for n in range(2)]
    lines += [{"messages": [{"role": "narrator", "content": f"who {n}"}, answer]} for n in range(4)]
    lines += [{"messages": [{"role": "user", "content": f"nobody answers {n}"}]} for n in range(2)]
    lines += [{"messages": [{"role": "user", "content": 3}, answer]}, {"text": ["no text, and no conversation either"]}]
    (top / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (top / "b.txt").write_text("Some plain text to learn from, so that there is a document too.")
    page = {
        "name": "unusable",
        "prepare": {"sources": [str(top)], "validation_share": 0, "test_share": 0},
        "tokenizer": {"vocabulary_size": 300},
        "shard": {"row_length": 96},
    }
    with pytest.raises(DataError, match=r"37\.5 % of the conversations of chat-train cannot be used") as caught:
        running.run(Recipe.from_dict(page), runs=tmp_path / "runs")
    assert (
        "12 of 32: 1 bad_field (in rejected.jsonl), 2 longer than a row, 3 no token to learn, "
        "2 no_answer (in rejected.jsonl), 4 unknown_role (in rejected.jsonl)"
    ) in str(caught.value)
    assert "shard.max_rejected_share" in str(caught.value)
    refused = (tmp_path / "runs" / "unusable" / "prepare" / "rejected.jsonl").read_text().splitlines()
    reasons = Counter(json.loads(line)["reason"] for line in refused)
    assert reasons == {"unknown_role": 4, "no_answer": 2, "bad_field": 2}
    page["shard"]["max_rejected_share"] = 0.37
    with pytest.raises(DataError, match="cannot be used"):
        running.run(Recipe.from_dict(page), runs=tmp_path / "runs", again=True)
    page["shard"]["max_rejected_share"] = 0.375
    made = running.run(Recipe.from_dict(page), runs=tmp_path / "runs", again=True)
    report = json.loads(made["shard"].path("report.json").read_bytes())["chat-train"]
    assert report["conversations"] == 20
    assert report["rejected"] == {"no token to learn": 3, "longer than a row": 2}


@settings(max_examples=2000, deadline=None)
@given(st.text(max_size=40))
def test_RD7_every_text_comes_back(text):
    tokenizer = small_tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    stream = tokenizer.stream()
    assert "".join([*(stream.push(id) for id in ids), stream.finish()]) == text


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None)
@given(st.text(max_size=60))
def test_RD7_every_text_comes_back_a_hundred_thousand_times(text):
    tokenizer = small_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


class Counting:
    """Stands before a backend and counts the characters that it is given."""

    def __init__(self, backend: Backend):
        self.backend, self.characters = backend, 0

    def encode(self, text: str, **options: bool) -> Encoding:
        self.characters += len(text)
        return self.backend.encode(text, **options)


@pytest.mark.parametrize("letter", ["a", "炉", " ", "\n", "1"])
def test_RD7_work_is_in_proportion_to_the_text(letter, monkeypatch):
    """Counted, not timed: every character is handed to the library once, every token's bytes are looked up once."""
    tokenizer = Tokenizer(Backend.from_str(small_tokenizer().backend.to_str()), small_tokenizer().settings)
    counting = Counting(tokenizer.backend)
    monkeypatch.setattr(tokenizer, "backend", counting)
    looked_up: list[int] = []
    real = Tokenizer.bytes_of
    monkeypatch.setattr(Tokenizer, "bytes_of", lambda self, id: (looked_up.append(id), real(self, id))[1])
    for length in (1000, 150_000, 400_000):
        counting.characters = 0
        ids = tokenizer.encode(letter * length)
        assert counting.characters == length
        for decode in (lambda ids: tokenizer.decode(ids), lambda ids: "".join(map(tokenizer.stream().push, ids))):
            looked_up.clear()
            some = ids[:3000]
            assert set(decode(some)) <= {letter, "\ufffd"}
            assert len(looked_up) == len(some)


@pytest.mark.parametrize(
    "letter", ["a", *(pytest.param(letter, marks=pytest.mark.slow) for letter in ("炉", " ", "\n", "1", "!", "\u0301"))]
)
def test_RD7_ten_megabytes_of_one_letter_come_to_an_end(letter):
    """What no count reaches is the work inside the library: with quadratic growth this test would come to no end."""
    tokenizer = small_tokenizer()
    count = LETTER_BYTES // len(letter.encode())
    seconds = []
    for part in (count // 10, count):
        started_at = time.process_time()
        ids = tokenizer.encode(letter * part)
        seconds.append(time.process_time() - started_at)
        assert tokenizer.decode(ids) == letter * part
    speed = LETTER_BYTES / 1e6 / max(seconds[1], 1e-9)
    print(f"{letter!r}: {speed:.1f} MB/s, {seconds[1] / seconds[0]:.1f} times a tenth of it")
