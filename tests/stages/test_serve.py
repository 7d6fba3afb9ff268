"""The serve stage from a sealed model folder to `replies.json`."""

from __future__ import annotations

import json
import threading

import pytest

from danlu.base import console
from danlu.base.artifact import open_artifact, seal
from danlu.base.errors import ArtifactError
from danlu.parallel import device
from danlu.stages import STAGES
from danlu.stages.serve import Config, run
from tests import tiny


@pytest.fixture
def model(tmp_path):
    folder = tiny.folder(tmp_path / "finetune")
    return seal(
        folder, kind="model", stage="finetune", version=1, config={}, parents={}, metrics={}, seconds=1.0, seed=0
    )


def test_three_requests_are_answered_and_kept(model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "serve"
    out.mkdir()
    monkeypatch.setattr(console, "_said", set())
    monkeypatch.setattr(device, "accelerator", lambda: "a Test GPU")
    made = run(Config(prompt="你好", max_tokens=10), {"model": model}, out)
    assert "a Test GPU, and the section serve computes on the CPU: " in capsys.readouterr().err
    assert open_artifact(out, "service").fingerprint == made.fingerprint
    replies = json.loads((out / "replies.json").read_text(encoding="utf-8"))
    assert [(reply["path"], reply["request"]["stream"]) for reply in replies] == [
        ("/v1/chat/completions", False),
        ("/v1/chat/completions", True),
        ("/v1/completions", False),
    ]
    assert replies[0]["text"] == replies[1]["text"] != ""
    assert replies[0]["usage"] == replies[1]["usage"]
    assert all(reply["usage"]["completion_tokens"] == 10 and reply["finish_reason"] == "length" for reply in replies)
    assert made.metrics["replies"] == 3
    assert made.kind == STAGES["serve"].makes
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("danlu-")]  # it has stopped


def test_a_second_run_gives_the_same_replies(model, tmp_path):
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run(Config(max_tokens=8), {"model": model}, tmp_path / name)
        texts.append((tmp_path / name / "replies.json").read_bytes())
    assert texts[0] == texts[1]


def test_a_model_without_a_tokenizer_is_refused(model, tmp_path):
    for name in ("tokenizer.json", "manifest.json"):
        (model.folder / name).unlink()
    with pytest.raises(ArtifactError, match="no tokenizer"):
        run(Config(), {"model": model}, tmp_path)
