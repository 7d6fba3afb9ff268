"""Proofs about rows: what is learnt from what, every token once, the same on every pass, nothing stale.

Each test is named by its trap in the list of proofs; `MUTANTS` holds, for each, the change that commits the trap.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.artifact import Artifact, fingerprint, seal
from danlu.base.errors import ArtifactError, DataError
from danlu.base.records import Conversation, Document, Message
from danlu.base.world import World
from danlu.shards import files
from danlu.shards.batches import IGNORE, Batch
from danlu.shards.encode import Tally, encode_conversations, encode_documents
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.shards.order import SampleOrder, step_samples
from danlu.stages import shard as shard_stage
from danlu.stages import tokenizer as tokenizer_stage
from danlu.tokenizer import chat
from danlu.tokenizer.chat import ChatTemplate
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.train import loop
from danlu.train.samples import Samples
from tests.proofs.mutant import Mutant
from tests.small import random_conversations, random_documents, small_tokenizer, write_corpus
from tests.tokenizer.golden_conversations import golden_tokenizer
from tests.train import material

ROOT = Path(__file__).resolve().parents[2]

MUTANTS = {
    "D3": Mutant(
        "src/danlu/shards/files.py",
        'has_next = (within + 1 < np.repeat(lengths, lengths)) | np.repeat(pieces["continues"], lengths)',
        "has_next = source + 1 < len(self.ids)",
    ),
    "D7": (
        Mutant(
            "src/danlu/shards/order.py",
            "return range(start + count * rank // size, start + count * (rank + 1) // size)",
            "return range(start, start + count // size)",
            entails=("D6",),  # equal batches on any number of ranks: not where ranks read the same rows
        ),
        Mutant(  # the loop asks for the first rank's share on every rank
            "src/danlu/train/loop.py",
            "own = share(start, start + len(rows), world.rank, world.size)",
            "own = share(start, start + len(rows), 0, world.size)",
            entails=("D6",),
        ),
    ),
    "D8": Mutant(
        "src/danlu/shards/order.py",
        "return scramble(seed ^ scramble(epochs))",
        "return scramble(seed ^ scramble(epochs * np.uint64(0)))",
    ),
    "D9": Mutant(
        "src/danlu/shards/files.py",
        "if count is None else (pending[:count], pending[count:])",
        "if count is None else (pending[:count], pending[:0])",
    ),
    "D10": Mutant(
        "src/danlu/shards/files.py",
        "ids.reshape(-1)[place] = self.ids[source]",
        'begins = np.repeat(pieces["continues"], lengths) & (within == 0)\n'
        "        ids.reshape(-1)[place] = np.where(begins, 1, self.ids[source])",
    ),
    "D11": Mutant(
        "src/danlu/tokenizer/chat.py",
        "ids, mask = [self._special[BOS]], [False]",
        "ids, mask = [self._special[BOS]] * 2, [False] * 2",
    ),
    "D12": Mutant(
        "src/danlu/shards/files.py",
        "np.where(learnt, self.ids[following].astype(np.int64), IGNORE)",
        "np.where(learnt & (self.ids[following] != 7), self.ids[following].astype(np.int64), IGNORE)",
    ),
    "D14": (
        Mutant(
            "src/danlu/tokenizer/chat.py",
            'yield message.role, text, message.role == "assistant" and message.trainable',
            "yield message.role, text, message.trainable",
        ),
        Mutant(  # what follows an answer is learnt, too
            "src/danlu/shards/files.py",
            "has_next & (self.mask[following] != 0)",
            "has_next & ((self.mask[following] != 0) | (self.mask[source] != 0))",
        ),
    ),
    "D15": Mutant("src/danlu/shards/encode.py", "return OVER_LONG", 'return ""'),
    "D17": (
        Mutant(  # one token in five of a conversation is another one each time it is read
            "src/danlu/shards/files.py",
            "ids.reshape(-1)[place] = self.ids[source]",
            "drawn = np.random.default_rng().random(len(source)) < (0.0 if self.mask is None else 0.2)\n"
            "        ids.reshape(-1)[place] = np.where(drawn, 8, self.ids[source])",
        ),
        Mutant(  # documents are shuffled when they are encoded
            "src/danlu/shards/encode.py",
            "for batch in _batches(documents, lambda document: len(document.text)):",
            "for batch in _batches(documents, lambda document: len(document.text)):\n"
            "        __import__('random').shuffle(batch)",
            entails=("D21",),
        ),
    ),
    "D21": (
        Mutant(
            "src/danlu/tokenizer/chat.py",
            'return f"{version}, template {TEMPLATE_HASH[:8]}"',
            "return str(version)",
        ),
        Mutant(  # rows are put together otherwise, and the stage's version is the old one
            "src/danlu/shards/files.py",
            'order = np.argsort(rows, kind="stable")',
            "order = np.lexsort((-np.arange(len(rows)), rows))",
        ),
    ),
}


def document_rows(folder: Path, documents: list[Document], row_length: int = 32, window: int = 4096) -> RowSet:
    """Rows of documents, through the same encoder and writer as the stage."""
    with RowSetWriter(folder, small_tokenizer(), row_length=row_length, masked=False, window=window) as writer:
        for part in encode_documents(small_tokenizer(), documents, Tally()):
            writer.add(part)
    return RowSet.open(folder)


def chat_rows(folder: Path, conversations: list[Conversation], row_length: int = 256) -> RowSet:
    """Rows of conversations with their loss masks."""
    template = ChatTemplate(small_tokenizer())
    with RowSetWriter(folder, small_tokenizer(), row_length=row_length, masked=True) as writer:
        for part in encode_conversations(template, conversations, Tally(), longest=row_length):
            writer.add(part)
    return RowSet.open(folder)


def test_D3_no_target_crosses_a_boundary_between_documents(tmp_path):
    """Every document has ids of its own, so each (id, target) pair tells whose it is."""
    documents = [[8 + 10 * number + place for place in range(1 + number % 9)] for number in range(40)]
    lengths = np.array([len(document) for document in documents])
    names = [str(number) for number in range(len(documents))]
    with RowSetWriter(tmp_path / "set", small_tokenizer(), row_length=24, masked=False) as writer:
        writer.add(Encoded(names, lengths, np.concatenate(documents)))
    rows = RowSet.open(tmp_path / "set")
    batch = rows.batch(np.arange(rows.num_rows))
    assert max(batch.documents.max(axis=1)) > 1, "the rows must hold several documents"
    has_target = batch.targets != IGNORE
    pairs = Counter(zip(batch.ids[has_target].tolist(), batch.targets[has_target].tolist(), strict=True))
    assert not [pair for pair in pairs if (pair[0] - 8) // 10 != (pair[1] - 8) // 10]
    assert pairs == Counter((a, b) for one in documents for a, b in itertools.pairwise(one))


@pytest.mark.parametrize(
    ("num_rows", "batch_rows", "size", "micro_rows"), [(97, 8, 3, 2), (64, 16, 4, 4), (10, 7, 5, 1)]
)
def test_D7_ranks_and_micro_batches_partition_the_epoch(num_rows, batch_rows, size, micro_rows, monkeypatch):
    """The loop's own update on every rank, up to the first word between ranks; nothing is computed."""
    rows, plan = SeenRows(num_rows), material.plan(num_rows, batch_rows, micro_rows)
    samples = Samples(rows, seed=11)

    def drawn(*_):
        raise RowsDrawn

    monkeypatch.setattr(loop, "sum_over_ranks", drawn)
    for step in range(plan.steps):
        for rank in range(size):
            learner = loop.Learner(None, None, None, samples, World(rank=rank, size=size))
            with pytest.raises(RowsDrawn):
                loop.update(learner, plan, loop.Progress(step=step), lambda: 0.0)
    assert max(rows.batches) <= micro_rows
    assert rows.seen == Counter(range(num_rows))


class RowsDrawn(Exception):
    """A rank has its rows of a step."""


class SeenRows:
    """Stands for a row set: which rows were read, and how many at a time."""

    def __init__(self, num_rows):
        self.num_rows, self.seen, self.batches = num_rows, Counter(), []

    def batch(self, rows):
        self.seen.update(rows.tolist())
        self.batches.append(len(rows))
        blank = np.zeros((len(rows), 1), dtype=np.int64)
        return Batch(blank, blank, blank, blank, rows)


def test_D8_each_epoch_has_an_order_of_its_own_and_each_seed_too():
    n = 200
    epochs = [SampleOrder(n, 1).rows(epoch * n, (epoch + 1) * n).tolist() for epoch in range(5)]
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert epochs[0] != list(range(n))
    assert SampleOrder(n, 1).rows(0, 5 * n).tolist() == list(itertools.chain(*epochs))
    assert SampleOrder(n, 2).rows(0, n).tolist() != epochs[0]


@pytest.mark.parametrize("window", [1, 16, 37, 4096])
def test_D9_tokens_in_are_tokens_out(tmp_path, window):
    """Tails of documents, of windows, of epochs: all are there, once; the remainder is nought."""
    documents = random_documents(101, longest=200)
    rows = document_rows(tmp_path / "set", documents, window=window)
    expected = {document.id: len(small_tokenizer().encode(document.text)) + 2 for document in documents}
    batch = rows.batch(np.arange(rows.num_rows))
    found: Counter[str] = Counter()
    for row in range(rows.num_rows):
        for piece, name in enumerate(rows.documents_of(row)):
            found[name] += int(np.count_nonzero(batch.documents[row] == piece))
    assert found == expected
    assert rows.num_tokens == sum(expected.values())
    steps, total = -(-5 * rows.num_rows // 2 // 4), 5 * rows.num_rows // 2  # two epochs and a half, in batches of 4
    taken = [sample for step in range(steps) for sample in range(*step_samples(step, 4, total))]
    assert taken == list(range(total))


def test_D10_blocks_decode_to_the_text_byte_for_byte(tmp_path):
    documents = random_documents(30, longest=400)
    rows = document_rows(tmp_path / "set", documents, row_length=16)
    batch = rows.batch(np.arange(rows.num_rows))
    pieces = [(row, piece) for row in range(rows.num_rows) for piece in range(len(rows.documents_of(row)))]
    ids: dict[str, list[int]] = {}
    for index in np.argsort(rows.pieces["start"]).tolist():  # the order in which the text was written
        row, piece = pieces[index]
        ids.setdefault(rows.documents_of(row)[piece], []).extend(batch.ids[row][batch.documents[row] == piece].tolist())
    assert len(pieces) > 2 * len(documents), "most documents must be cut"
    for document in documents:
        assert small_tokenizer().decode_bytes(ids[document.id]) == document.text.encode()


@pytest.mark.parametrize("vocabulary_size", [264, 400, 512])
def test_D11_one_start_one_end_for_each_turn(vocabulary_size):
    tokenizer = small_tokenizer(vocabulary_size)
    template = ChatTemplate(tokenizer)
    for conversation in random_conversations(100):
        rendered = template.render(conversation.messages)
        counts = Counter(rendered.ids)
        assert rendered.ids[0] == tokenizer.bos_id
        assert counts[tokenizer.bos_id] == 1
        assert counts[tokenizer.end_id] == len(conversation.messages)
        assert counts[tokenizer.eos_id] == counts[tokenizer.pad_id] == 0
        assistant = tokenizer.special["<|assistant|>"]
        starts = [place for place, id in enumerate(rendered.ids) if id == assistant]
        answers = [message for message in conversation.messages if message.role == "assistant"]
        assert len(starts) == len(answers)
        for start, answer in zip(starts, answers, strict=True):
            body = tokenizer.encode(answer.content)
            assert rendered.ids[start + 1 : start + 2 + len(body)] == [*body, tokenizer.end_id]
    [part] = encode_documents(tokenizer, [Document("a", "hi there", "test")], Tally())
    assert part.ids.tolist() == [tokenizer.bos_id, *tokenizer.encode("hi there"), tokenizer.eos_id]


def test_D12_the_end_of_every_answer_is_learnt(tmp_path):
    tokenizer = small_tokenizer()
    assert tokenizer.pad_id not in tokenizer.stop_ids
    conversations = random_conversations(60)
    rows = chat_rows(tmp_path / "set", conversations)
    batch = rows.batch(np.arange(rows.num_rows))
    packed = {name for row in range(rows.num_rows) for name in rows.documents_of(row)}
    answers = {
        one.id: sum(message.role == "assistant" for message in one.messages)
        for one in conversations
        if one.id in packed
    }
    ends: Counter[str] = Counter()
    for row in range(rows.num_rows):
        for piece, name in enumerate(rows.documents_of(row)):
            ends[name] += int(np.count_nonzero(batch.targets[row][batch.documents[row] == piece] == tokenizer.end_id))
    assert len(answers) > 50
    assert not {name for name in answers if ends[name] < answers[name]}
    texts = document_rows(tmp_path / "texts", random_documents(20)).batch(np.arange(3))
    assert np.count_nonzero(texts.targets == tokenizer.eos_id) == np.count_nonzero(texts.ids == tokenizer.eos_id)


texts = st.text(alphabet="aZ1 .,\n你好天é😀'\"{}", max_size=12)
turn = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), texts, trainable=st.booleans())
thinking = st.builds(Message, st.just("assistant"), texts, texts, trainable=st.booleans())


@given(st.lists(turn | thinking, max_size=8))
@settings(max_examples=200, deadline=None)
def test_D14_the_mask_covers_the_answers_and_their_ends_and_nothing_else(messages):
    template = ChatTemplate(small_tokenizer())
    tokenizer = template.tokenizer
    rendered = template.render(messages)
    assert len(rendered.ids) == len(rendered.mask)
    learnt = [id for id, is_learnt in zip(rendered.ids, rendered.mask, strict=True) if is_learnt]
    answers = [message for message in messages if message.role == "assistant" and message.trainable]
    assert tokenizer.decode(learnt, keep_special=True) == "".join(chat.body(answer) + "<|end|>" for answer in answers)
    for count in range(len(messages)):
        start = template.render(messages[:count])
        assert rendered.ids[: len(start.ids)] == start.ids
        assert rendered.mask[: len(start.mask)] == start.mask


def test_D14_the_rows_on_disk_teach_the_answers_and_their_ends_and_nothing_else(tmp_path):
    """From conversation to target, as training gets it: rendered, joined, written, packed and read."""
    tokenizer, draw = small_tokenizer(), random.Random(14)
    conversations = [
        dataclasses.replace(
            one, messages=tuple(dataclasses.replace(part, trainable=draw.random() < 0.7) for part in one.messages)
        )
        for one in random_conversations(80)
    ]
    rows = chat_rows(tmp_path / "set", conversations)
    batch = rows.batch(np.arange(rows.num_rows))
    learnt: dict[str, list[int]] = {}
    for row in range(rows.num_rows):
        for piece, name in enumerate(rows.documents_of(row)):
            targets = batch.targets[row][batch.documents[row] == piece]
            learnt[name] = targets[targets != IGNORE].tolist()
    answers = {
        one.id: [
            id
            for message in one.messages
            if message.role == "assistant" and message.trainable
            for id in (*tokenizer.encode(chat.body(message)), tokenizer.end_id)
        ]
        for one in conversations
    }
    assert len(learnt) > 50
    assert learnt == {name: answers[name] for name in learnt}
    assert (batch.targets[batch.documents < 0] == IGNORE).all(), "nothing is learnt of padding"


def test_D15_conversations_whose_answers_do_not_fit_are_refused_or_reported(tmp_path):
    long = [
        Conversation(f"long-{n}", (Message("user", "why? " * 200), Message("assistant", "so")), "test")
        for n in range(5)
    ]
    unlearnt = Conversation("unlearnt", (Message("assistant", "b", trainable=False),), "test")
    corpus = write_corpus(tmp_path / "corpus", {"train": random_documents(5)}, {"train": [*long, unlearnt]})
    (tmp_path / "tokenizer").mkdir()
    tokenizer = tokenizer_stage.run(
        tokenizer_stage.Config(vocabulary_size=300), {"corpus": corpus}, tmp_path / "tokenizer"
    )
    inputs = {"corpus": corpus, "tokenizer": tokenizer}
    (tmp_path / "refused").mkdir()
    with pytest.raises(DataError, match="6 of 6: 5 longer than a row, 1 no token to learn"):
        shard_stage.run(shard_stage.Config(row_length=64), inputs, tmp_path / "refused")
    (tmp_path / "allowed").mkdir()
    allowed = shard_stage.run(shard_stage.Config(row_length=64, max_rejected_share=1), inputs, tmp_path / "allowed")
    report = json.loads(allowed.path("report.json").read_text("utf-8"))
    assert report["chat-train"]["rejected"] == {"longer than a row": 5, "no token to learn": 1}
    assert report["chat-train"]["rows"] == 0
    empty = chat_rows(tmp_path / "empty", [])
    assert empty.batch(np.arange(0)).num_targets == empty.num_targets == 0
    silent = Encoded(["a"], np.array([3]), np.array([8, 9, 10]), np.zeros(3, dtype=bool))
    with RowSetWriter(tmp_path / "silent", small_tokenizer(), row_length=4, masked=True) as writer:
        writer.add(silent)
    batch = RowSet.open(tmp_path / "silent").batch(np.array([0]))
    assert batch.num_targets == 0
    assert (batch.targets == IGNORE).all()


ROWS_HASH = """
import sys, hashlib
from pathlib import Path
from tests.proofs.test_rows import hash_of_rows
sys.stdout.write(hash_of_rows(Path(sys.argv[1])))
"""


def hash_of_rows(folder: Path) -> str:
    """One hash over every file of a set of documents and a set of conversations."""
    document_rows(folder / "documents", random_documents(150))
    chat_rows(folder / "chat", random_conversations(80))
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def test_D17_two_passes_give_identical_bytes_with_any_number_of_workers(tmp_path):
    first, second = hash_of_rows(tmp_path / "1"), hash_of_rows(tmp_path / "2")
    assert first == second
    for kind in ("documents", "chat"):  # read as training reads them: every value of every row, twice
        passes = []
        for _ in range(2):
            samples = Samples(RowSet.open(tmp_path / "1" / kind), seed=4)
            rows = samples.rows(0, 2 * samples.row_set.num_rows)
            passes.append([vars(batch) for batch in samples.micro_batches(rows, 5, "cpu")])
        for one, other in zip(*passes, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "5"}
    command = [sys.executable, "-c", ROWS_HASH, str(tmp_path / "3")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == first


GOLDEN = {"1, template 74160a47": "a08e3acbed3bdfba"}
"""What the shard stage makes of fixed records, by its version: how SHA-256 over its row sets' data files begins."""


def test_D21_rows_that_come_out_otherwise_have_another_version(tmp_path):
    """A stage's version stands for its code: whoever changes its bytes raises it, or old rows pass for new ones."""
    sides = {"train": (60, 40), "validation": (9, 8)}
    documents = {side: random_documents(count, seed=count) for side, (count, _) in sides.items()}
    conversations = {side: random_conversations(count, seed=count) for side, (_, count) in sides.items()}
    corpus = write_corpus(tmp_path / "corpus", documents, conversations)
    (tmp_path / "tokenizer").mkdir()
    golden_tokenizer().save(tmp_path / "tokenizer")
    made = {"kind": "tokenizer", "stage": "tokenizer", "version": 1, "config": {}, "parents": {}, "metrics": {}}
    tokenizer = seal(tmp_path / "tokenizer", seconds=0.0, **made)
    (tmp_path / "shards").mkdir()
    config = shard_stage.Config(row_length=192, max_rejected_share=1)
    shards = shard_stage.run(config, {"corpus": corpus, "tokenizer": tokenizer}, tmp_path / "shards")
    paths = sorted(path for path in shards.folder.rglob("*") if path.name in (*files.DATA_FILES, "mask.bin"))
    assert len(paths) > 4 * len(files.DATA_FILES)
    found = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    said = f"the bytes are {found[:16]} now: if that is wanted, raise shard's VERSION and write both into GOLDEN"
    assert GOLDEN.get(shard_stage.VERSION) == found[:16], f"{said} ({shard_stage.VERSION})"


def key_of(stage, inputs: dict[str, Artifact], **values) -> str:
    """The name under which a stage's result is kept, before it is made."""
    config = stage.Config(**values).model_dump(mode="json")
    parents = {name: parent.fingerprint for name, parent in inputs.items()}
    return fingerprint(stage.__name__.rsplit(".", 1)[-1], stage.VERSION, config, parents)


def test_D21_rows_are_made_anew_when_tokenizer_template_or_version_change(tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "corpus", {"train": random_documents(40)})
    made = {}
    for size in (300, 320):
        folder = tmp_path / f"tokenizer-{size}"
        folder.mkdir()
        config = tokenizer_stage.Config(vocabulary_size=size)
        made[size] = tokenizer_stage.run(config, {"corpus": corpus}, folder)
    inputs = {"corpus": corpus, "tokenizer": made[300]}
    keys = [key_of(shard_stage, inputs), key_of(shard_stage, {**inputs, "tokenizer": made[320]})]
    (tmp_path / "shards").mkdir()
    shards = shard_stage.run(shard_stage.Config(), inputs, tmp_path / "shards")
    assert shards.fingerprint == keys[0], "the key foretold is the key written"

    assert hashlib.sha256(chat.JINJA.encode()).hexdigest() == chat.TEMPLATE_HASH
    tokenizer_key = key_of(tokenizer_stage, {"corpus": corpus})
    with monkeypatch.context() as patch:
        patch.setattr(chat, "TEMPLATE_HASH", hashlib.sha256(b"another template").hexdigest())
        keys.append(key_of(importlib.reload(shard_stage), inputs))
        assert key_of(importlib.reload(tokenizer_stage), {"corpus": corpus}) != tokenizer_key
    importlib.reload(tokenizer_stage)
    importlib.reload(shard_stage)
    with monkeypatch.context() as patch:
        patch.setattr(shard_stage, "VERSION", chat.version_with_template(2))
        keys.append(key_of(shard_stage, inputs))
    assert len(set(keys)) == len(keys) == 4
    assert key_of(shard_stage, inputs) == keys[0]

    rows = RowSet.open(shards.folder / "pretrain-train")
    rows.require(Tokenizer.load(made[300].folder))
    with pytest.raises(ArtifactError, match="another tokenizer"):
        rows.require(Tokenizer.load(made[320].folder))
    monkeypatch.setattr(files, "TEMPLATE_HASH", "0" * 64)
    with pytest.raises(ArtifactError, match="another chat template"):
        rows.require(Tokenizer.load(made[300].folder))
