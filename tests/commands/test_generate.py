"""`danlu.generate` around a model that answers what the test says: how the new text begins, and where it is made."""

from __future__ import annotations

import pytest

import danlu
from danlu.base import console
from danlu.commands import generate
from danlu.convert import Loaded, load
from danlu.parallel import device
from tests import tiny
from tests.small import sentence_pieces


@pytest.mark.parametrize(("prompt", "text"), [("hello", " world world"), ("hello world", " hello 龘")])
def test_a_text_that_goes_on_keeps_its_first_space(monkeypatch, tmp_path, prompt, text):
    """Tokenizers of SentencePiece drop a space at the beginning of a text, which the new text is not."""
    tokenizer = sentence_pieces()
    asked, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + text)
    assert whole[: len(asked)] == asked
    monkeypatch.setattr(generate, "continue_ids", lambda *_, **__: whole[len(asked) :])
    loaded = Loaded(tiny.model(), tiny.config(), tokenizer, None, tmp_path)
    assert danlu.generate(loaded, prompt) == text


def test_an_accelerator_that_stays_idle_is_named(monkeypatch, capsys, tmp_path):
    folder = tiny.folder(tmp_path / "model")
    monkeypatch.setattr(console, "_said", set())
    monkeypatch.setattr(device, "accelerator", lambda: "a Test GPU")
    text = danlu.generate(load(folder), "Mei", max_tokens=2)
    assert capsys.readouterr().err == "", "who has loaded it has chosen where"
    assert danlu.generate(folder, "Mei", max_tokens=2) == text
    assert "this machine has a Test GPU, and danlu.generate computes on the CPU" in capsys.readouterr().err
