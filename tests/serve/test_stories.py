"""A real model that others trained, served: the official client gets the text that its author published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.convert import load
from danlu.infer.engine import Engine
from danlu.serve.app import application
from danlu.serve.auth import KeyRing
from danlu.serve.server import LOOPBACK, background, listen
from tests.serving import Running

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "stories260k"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data/models/stories260k is not here")


def test_stories260k_serves_its_published_text():
    loaded = load(FOLDER)
    assert loaded.tokenizer is not None
    golden = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
    engine = Engine(
        loaded.model, num_slots=2, length=loaded.config.context_length, vocabulary_limit=loaded.tokenizer.size
    )
    with (
        application(engine, loaded.tokenizer, loaded.template, name="stories") as app,
        background(app, listen(LOOPBACK, 0, KeyRing([]))) as url,
    ):
        complete = Running(url, app, engine).client().completions.create
        arguments = {"model": "stories", "temperature": 0, "max_tokens": 60}
        whole = complete(prompt="", **arguments).choices[0].text
        streamed = "".join(chunk.choices[0].text for chunk in complete(prompt="", stream=True, **arguments))
        assert streamed == whole
        assert golden["published_greedy_text"].startswith(whole)
        # A text that goes on keeps the space between the words, which this kind of tokenizer drops at a beginning.
        begun = "Once upon a time, there was a little girl named"
        assert complete(prompt=begun, echo=True, **arguments).choices[0].text.startswith(f"{begun} Lily. She loved")
