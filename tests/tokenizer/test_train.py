"""Learning a vocabulary: layout of ids, limits, determinism, the report, and equality with a published result."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from danlu.tokenizer.chat import JINJA
from danlu.tokenizer.tokenizer import CONTROL_TOKENS
from danlu.tokenizer.train import SMALLEST_VOCABULARY, compression, train
from tests.small import CHINESE, ENGLISH, random_texts, small_tokenizer

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "peers" / "bpe_training"


def test_ids_are_control_tokens_then_bytes_then_merges():
    tokenizer = train([ENGLISH, CHINESE] * 4, vocabulary_size=300)
    assert tokenizer.size == 300
    assert [tokenizer.token_text(id) for id in range(8)] == list(CONTROL_TOKENS)
    assert {tokenizer.bytes_of(id) for id in range(8, 264)} == {bytes([value]) for value in range(256)}
    assert all(len(tokenizer.bytes_of(id)) > 1 for id in range(264, 300))


def test_the_smallest_vocabulary_encodes_everything_by_bytes():
    tokenizer = train(["abc"], vocabulary_size=SMALLEST_VOCABULARY)
    assert tokenizer.size == SMALLEST_VOCABULARY == 264
    assert len(tokenizer.encode("你好 abc")) == len("你好 abc".encode())


def test_limits_hold():
    texts = ["小明今天去公园散步"] * 10 + ["zebra"] * 3
    short = train(texts, vocabulary_size=400, max_token_length=6)
    assert 4 <= max(len(short.bytes_of(id)) for id in range(8, short.size)) <= 6
    frequent = train(texts, vocabulary_size=400, min_frequency=5, max_token_length=32)
    assert len(frequent.encode("小明今天去公园散步")) == 1
    assert len(frequent.encode("zebra")) == 5
    assert train(texts, vocabulary_size=100_000).size < 400


def test_order_of_texts_and_threads_make_no_difference(tmp_path):
    texts = random_texts(300)
    shuffled = random.Random(1).sample(texts, len(texts))
    here = train(texts, vocabulary_size=600).fingerprint
    assert train(shuffled, vocabulary_size=600).fingerprint == here
    code = "from tests.small import random_texts; from danlu.tokenizer.train import train; "
    code += "import sys; sys.stdout.write(train(random_texts(300), vocabulary_size=600).fingerprint)"
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=True)
    assert done.stdout.decode() == here


def test_a_new_tokenizer_carries_the_template():
    assert small_tokenizer().settings["chat_template"] == JINJA


def test_compression_by_language():
    tokenizer = small_tokenizer()
    table = compression(tokenizer, [("zh", "你好"), ("zh", "天气"), ("en", "hello"), ("", "x")])
    assert list(table) == ["all", "en", "unknown", "zh"]
    assert table["zh"]["texts"] == 2
    assert table["zh"]["bytes"] == 12
    assert table["zh"]["bytes_per_token"] == round(12 / table["zh"]["tokens"], 4)
    assert table["all"]["bytes"] == 12 + 5 + 1
    assert compression(tokenizer, []) == {}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside the repository")
def test_the_librarys_training_gives_a_published_vocabulary():
    """The trainer we rely on against a reference result of others: GPT-2's split, 500 tokens."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([(SHARED / "corpus.en").read_text("utf-8")], trainer)
    expected = json.loads((SHARED / "train-bpe-reference-vocab.json").read_text("utf-8"))
    ours = set(backend.get_vocab())
    assert len(ours & set(expected)) >= 0.98 * len(expected)  # equal counts are merged in another order
