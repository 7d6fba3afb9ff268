"""A real model that others trained: stories260k, against its golden values and the text its author published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from danlu import convert
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling
from tests.model.material import relative_error

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "stories260k"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data/models/stories260k is not here")


@pytest.fixture(scope="module")
def loaded():
    return convert.load(FOLDER)


@pytest.fixture(scope="module")
def golden():
    return json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))


def test_parameters(loaded, golden):
    assert loaded.config.parameters().total == golden["parameters"]
    assert loaded.template is None  # its tokenizer has no control tokens of ours


@torch.no_grad()
def test_next_token(loaded, golden):
    logits = loaded.model.head(loaded.model(torch.tensor([golden["next_token"]["ids"]])))[0, -1]
    expected = torch.tensor(golden["next_token"]["logits_last_first8"])
    assert relative_error(logits[:8], expected) <= 1e-5
    best = logits.topk(5)
    assert [id for id, _ in golden["next_token"]["top5"]] == best.indices.tolist()
    assert best.values.tolist() == pytest.approx([value for _, value in golden["next_token"]["top5"]], abs=1e-4)


def test_greedy_text(loaded, golden):
    expected = golden["greedy"]
    prompt = loaded.tokenizer.encode(expected["prompt"])
    found = generate(
        loaded.model,
        expected["prompt_ids"],
        Sampling(temperature=0.0, max_tokens=expected["new_tokens"]),
        vocabulary_limit=loaded.tokenizer.size,
    )
    assert expected["prompt_ids"] == [loaded.tokenizer.bos_id, *prompt]
    assert expected["prompt_ids"] + found == expected["ids"]
    text = loaded.tokenizer.decode(expected["ids"])
    assert golden["published_greedy_text"].startswith(text[:200])


@torch.no_grad()
def test_losses(loaded, golden):
    ids = torch.tensor([golden["nll"]["ids"]])
    logits = loaded.model.head(loaded.model(ids))[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    assert float(losses.sum()) == pytest.approx(golden["nll"]["sum"], abs=1e-3)
    assert float(losses.mean()) == pytest.approx(golden["nll"]["mean"], abs=1e-4)


def test_export_and_back_is_exact(loaded, tmp_path):
    convert.save(tmp_path, loaded.model, loaded.tokenizer, card="")
    again = convert.load(tmp_path)
    assert again.config == loaded.config
    for one, other in zip(again.model.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.tokenizer.fingerprint == loaded.tokenizer.fingerprint
