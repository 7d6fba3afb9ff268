"""The export stage: a checked folder, in each dtype, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest

from danlu import convert
from danlu.base.artifact import open_artifact, seal
from danlu.base.errors import ArtifactError, UserError
from danlu.convert import check
from danlu.stages import export
from tests import tiny
from tests.model import material

SEALED = {"version": 1, "config": {}, "parents": {}, "seconds": 0}


@pytest.fixture
def inputs(tmp_path):
    """A model with lively weights, and a corpus with a little test text."""
    made = tiny.model(context_length=96)
    material.enliven(made, 1)
    convert.save(tmp_path / "model", made, tiny.tokenizer(), card="")
    (tmp_path / "corpus").mkdir()
    lines = [json.dumps({"id": str(n), "text": text, "source": "s"}) for n, text in enumerate(tiny.LINES)]
    (tmp_path / "corpus" / "test.jsonl").write_text("\n".join(lines) + "\n")
    return {
        "model": seal(
            tmp_path / "model",
            kind="model",
            stage="pretrain",
            metrics={"validation_loss": 1.5},
            extra={"questions": ["谁在河边？"]},
            **SEALED,
        ),
        "corpus": seal(tmp_path / "corpus", kind="corpus", stage="prepare", metrics={}, **SEALED),
    }


def run(inputs, tmp_path, **settings):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return export.run(export.Config(**settings), inputs, out)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_folder_is_written_and_agrees_with_transformers(inputs, tmp_path, dtype):
    pytest.importorskip("transformers")
    made = run(inputs, tmp_path, dtype=dtype, prompts=6)
    metrics = open_artifact(made.folder, "export").metrics
    assert made.manifest["questions"] == ["谁在河边？"], "what the model was taught to answer goes with it"
    assert metrics["checked"] is True
    assert metrics["max_relative_logit_error"] <= check.RELATIVE_BOUND
    assert (metrics["prompts"], metrics["longest_prompt"], metrics["greedy_tokens_equal"]) == (6, 96, 64)
    card = (made.folder / "README.md").read_text()
    assert "| validation_loss | 1.5 |" in card
    assert dtype in card


def test_without_transformers_the_reason_is_recorded(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "unavailable", lambda: "transformers is not installed")
    made = run(inputs, tmp_path)
    assert made.metrics["checked"] is False
    assert "not installed" in made.metrics["check_reason"]
    assert "not compared with transformers" in capsys.readouterr().out
    assert run(inputs, tmp_path, check=False).metrics["check_reason"].startswith("switched off")


def test_a_version_that_is_too_old_is_a_reason(monkeypatch):
    monkeypatch.setattr(check.importlib.metadata, "version", lambda name: "4.57.1")
    assert "4.57.1 is older than 5.0" in (check.unavailable() or "")


def test_other_logits_are_an_error(inputs, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(check, "RELATIVE_BOUND", 1e-12)
    with pytest.raises(ArtifactError, match="other logits"):
        run(inputs, tmp_path, prompts=2)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_other_greedy_tokens_are_an_error(inputs, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(export, "_greedy", lambda *_: [0])
    with pytest.raises(ArtifactError, match="other tokens"):
        run(inputs, tmp_path, prompts=2)


def test_what_transformers_cannot_hold_is_refused(inputs, tmp_path):
    shutil.rmtree(tmp_path / "model")
    tiny.folder(tmp_path / "model", position="learned")
    learned = seal(tmp_path / "model", kind="model", stage="pretrain", metrics={}, **SEALED)
    with pytest.raises(UserError, match="learned positions"):
        run({**inputs, "model": learned}, tmp_path)


def test_values_beyond_float16_are_refused(inputs, tmp_path):
    import torch

    made = tiny.model()
    with torch.no_grad():
        made.norm.weight[0] = 1e6
    convert.save(tmp_path / "large", made, tiny.tokenizer(), card="")
    large = seal(tmp_path / "large", kind="model", stage="pretrain", metrics={}, **SEALED)
    with pytest.raises(UserError, match=r"do not fit into float16(.|\n)*norm\.weight"):
        run({**inputs, "model": large}, tmp_path, dtype="float16")


def test_a_corpus_without_texts_still_gives_prompts(inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "test.jsonl").write_text("")
    empty = seal(tmp_path / "empty", kind="corpus", stage="prepare", metrics={}, **SEALED)
    loaded = convert.load(tmp_path / "model")
    prompts = export._prompts(loaded, empty, 8)
    assert len(prompts[0]) == 1
    assert len(prompts[-1]) == loaded.config.context_length
    assert all(0 <= id < loaded.tokenizer.size for prompt in prompts for id in prompt)
