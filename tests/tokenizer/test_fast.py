"""Fast encoders: the ids of the reference on every kind of text and of byte-level vocabulary, or they do not serve."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from danlu.base import console
from danlu.base.errors import DataError, MissingPackage
from danlu.tokenizer import fast
from danlu.tokenizer.tokenizer import Run, Tokenizer
from danlu.tokenizer.train import train
from tests.small import random_texts, small_tokenizer

LIBRARIES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is in danlu[fast]"),
    )
    for name in fast.MAKERS
]
TOKENIZERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "tokenizers"
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ADDED = ("<think>", "<thinking>", "<tool_call>")
WITH_ADDED = ("<think>a<thinking><|eos|> <tool_call>\u0338e\u0301", "<tool_call", "e\u0301<tool_call><tool_call>", "")


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch):
    monkeypatch.setattr(console, "_said", set())


def own() -> Tokenizer:
    """A tokenizer of this test's own: encoders are set on it."""
    return Tokenizer(Backend.from_str(small_tokenizer().backend.to_str()), small_tokenizer().settings)


def _gpt2_split(backend: Backend) -> None:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _llama3(backend: Backend) -> None:
    backend.model.ignore_merges = True
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _qwen3(backend: Backend) -> None:
    backend.normalizer = normalizers.NFC()
    backend.add_tokens([AddedToken(token, normalized=False) for token in ADDED])


VARIANTS = {"ours": lambda backend: None, "gpt2": _gpt2_split, "llama3": _llama3, "qwen3": _qwen3}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_library_gives_the_ids_of_the_reference(library, variant):
    tokenizer = own()
    VARIANTS[variant](tokenizer.backend)
    tokenizer = Tokenizer(tokenizer.backend, tokenizer.settings)
    encoder = fast.choose(tokenizer, library)
    assert (encoder.name, encoder.reason) == (library, "its ids are those of the reference")
    texts = [*random_texts(300, seed=7), *WITH_ADDED, " ".join(tokenizer.special)]
    expected = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts) == expected
    run = tokenizer.encode_run(texts)
    assert run.ids.tolist() == [id for ids in expected for id in ids]
    assert run.lengths.tolist() == [len(ids) for ids in expected]
    assert not set(run.ids.tolist()) & set(tokenizer.special.values())
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.encode_batch(["", ""]) == [[], []]


@pytest.mark.parametrize("library", LIBRARIES)
def test_any_text_at_all(library):
    tokenizer = own()
    fast.choose(tokenizer, library)

    @given(st.lists(st.text(max_size=60), max_size=4))
    @settings(max_examples=60, deadline=None)
    def check(texts):
        assert tokenizer.encode_batch(texts) == tokenizer.reference_batch(texts)

    check()


@pytest.mark.skipif(not TOKENIZERS.is_dir(), reason="the shared data folder is not beside the repository")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["gpt2", "minimind", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_foreign_tokenizers_are_served(library, name, tmp_path):
    for path in (TOKENIZERS / name).iterdir():
        if path.suffix == ".gz":
            (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, tmp_path / path.name)
    tokenizer = Tokenizer.load(tmp_path)
    assert fast.choose(tokenizer, library).name == library
    texts = [case["text"] for case in json.loads((TOKENIZERS / name / "golden.json").read_text("utf-8"))["cases"]]
    assert tokenizer.encode_batch(texts) == tokenizer.reference_batch(texts)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_text_that_is_not_unicode_is_named_as_by_the_reference(library):
    tokenizer = own()
    fast.choose(tokenizer, library)
    with pytest.raises(DataError, match="a lone surrogate at character 3"):
        tokenizer.encode_run(["good", "abc\ud800"])


def test_auto_takes_the_first_that_is_equal():
    installed = [name for name in fast.MAKERS if importlib.util.find_spec(name) is not None]
    assert fast.choose(own()).name == (installed[0] if installed else "tokenizers")


def test_without_a_library_the_reference_serves_and_a_named_one_is_an_error(monkeypatch):
    for name in fast.MAKERS:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tokenizer = own()
    encoder = fast.choose(tokenizer)
    assert (encoder.name, tokenizer.bulk) == ("tokenizers", None)
    assert "danlu[fast]" in encoder.reason
    with pytest.raises(MissingPackage, match=r"danlu\[fast\]"):
        fast.choose(tokenizer, "tiktoken")


def test_an_encoder_that_differs_is_left_out_and_the_difference_is_named(monkeypatch, capsys):
    def wrong(tokenizer):
        def encode(texts):
            ids, lengths = tokenizer.encode_run(texts)
            return Run(np.where(ids == tokenizer.encode("Z")[0], 5, ids), lengths)

        return encode

    monkeypatch.setattr(fast, "MAKERS", {"json": wrong})  # any module that is installed
    monkeypatch.setattr(fast.metadata, "version", lambda name: "1.0")
    tokenizer = own()
    encoder = fast.choose(tokenizer)
    assert (encoder.name, tokenizer.bulk) == ("tokenizers", None)
    shown = capsys.readouterr().err
    assert "json 1.0 gives other ids: token " in shown
    assert "at 'Z" in shown
    assert f"is 5, not {tokenizer.encode('Z')[0]}" in shown
    assert shown.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("tiktoken") is None, reason="tiktoken is in danlu[fast]")
@pytest.mark.parametrize("mistake", ["split", "merges", "added tokens", "normaliser"])
def test_each_mistake_in_the_translation_is_found(monkeypatch, mistake):
    """The sample is a proof only if it bites: the translation for tiktoken is spoilt in each of its parts."""
    tokenizer = own()
    _qwen3(tokenizer.backend)
    tokenizer = Tokenizer(tokenizer.backend, tokenizer.settings)
    described, ranks = fast._description, fast._by_rank

    def spoilt_ranks(model):
        right = ranks(model)
        if mistake == "merges":
            tokens = list(right)
            return {token: right[token] for token in (*tokens[:300], *reversed(tokens[300:]))}
        return right

    def spoilt(tokenizer):
        right = described(tokenizer)
        return {**right, "added_tokens": []} if mistake == "added tokens" else right

    monkeypatch.setattr(fast, "_by_rank", spoilt_ranks)
    monkeypatch.setattr(fast, "_description", spoilt)
    if mistake == "split":
        monkeypatch.setattr(fast, "_split_pattern", lambda described: fast.GPT2_SPLIT)
    encode = fast._tiktoken(tokenizer)
    if mistake == "normaliser":
        tokenizer.backend.normalizer = normalizers.NFD()  # after the encoder was made with NFC
    assert fast.difference(tokenizer, encode) is not None


def test_other_kinds_than_byte_level_stay_with_the_reference(capsys):
    tokenizer = train(random_texts(50), vocabulary_size=400, kind="unigram")
    assert fast.choose(tokenizer).name == "tokenizers"
    assert capsys.readouterr().err == ""
    installed = [name for name in fast.MAKERS if importlib.util.find_spec(name) is not None]
    for name in installed:
        assert "not byte-level BPE" in fast.choose(tokenizer, name).reason
        assert f"{name} cannot express" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda whole: whole["pre_tokenizer"]["pretokenizers"][-1].update(add_prefix_space=True), "begins every text"),
        (lambda whole: whole["model"].update(end_of_word_suffix="</w>"), "carry marks"),
        (lambda whole: whole["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "one regular expression"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(spoil, reason):
    pytest.importorskip("tiktoken", reason="tiktoken is in danlu[fast]")
    tokenizer = own()
    whole = json.loads(tokenizer.backend.to_str())
    spoil(whole)
    tokenizer.backend = Backend.from_str(json.dumps(whole))
    with pytest.raises(fast.Unsuited, match=reason):
        fast._tiktoken(tokenizer)


def test_gigatoken_is_made_anew_after_much_text(monkeypatch):
    gigatoken = pytest.importorskip("gigatoken", reason="gigatoken is in danlu[fast]")
    made = []
    original = gigatoken.Tokenizer.from_json
    monkeypatch.setattr(gigatoken.Tokenizer, "from_json", lambda data: made.append(1) or original(data))
    monkeypatch.setattr(fast, "RENEW_CHARACTERS", 100)
    tokenizer = own()
    fast.choose(tokenizer, "gigatoken")
    before = len(made)
    for text in random_texts(20, seed=3):
        assert tokenizer.encode_batch([text * 5]) == tokenizer.reference_batch([text * 5])
    assert len(made) > before + 1


def test_very_many_spaces_are_spared_tiktoken(monkeypatch):
    pytest.importorskip("tiktoken", reason="tiktoken is in danlu[fast]")
    tokenizer = own()
    fast.choose(tokenizer, "tiktoken")
    monkeypatch.setattr(tokenizer, "encode", lambda text: [9])  # the reference, which takes its time with these
    assert tokenizer.encode_batch(["a" + " " * 1_000_000 + "b"]) == [[9]]


def test_the_sample_holds_every_token_and_is_the_same_each_time():
    tokenizer = small_tokenizer()
    texts = list(fast.sample(tokenizer))
    assert texts == list(fast.sample(tokenizer))
    seen = {id for ids in tokenizer.encode_batch(texts) for id in ids}
    for id in range(tokenizer.size):
        try:
            tokenizer.bytes_of(id).decode()
        except UnicodeDecodeError:
            continue  # a token that ends inside a character comes as it comes
        assert id in seen or id in tokenizer.special_ids, tokenizer.token_text(id)
