"""A stage alone, on folders that a person names: what it takes, and what it says of what it does not take."""

import json

import pytest

from danlu.base import artifact
from danlu.base.errors import ArtifactError
from danlu.commands import stage as stage_command
from danlu.recipe import Recipe
from danlu.stages import STAGES


def sealed(folder, kind):
    folder.mkdir()
    return artifact.seal(
        folder, kind=kind, stage=kind, version=1, config={}, parents={}, metrics={}, seconds=0.0
    ).folder


def opened(stage, folder):
    return stage_command._open("model", folder, STAGES[stage])


def test_an_export_is_evaluated_like_the_model_that_it_was_made_from(tmp_path):
    assert opened("evaluate", sealed(tmp_path / "export", "export")).kind == "export"
    page = {name: {} for name in ("prepare", "tokenizer", "shard", "pretrain", "export", "evaluate")}
    page["prepare"] = {"sources": "little-world"}
    recipe = Recipe.from_dict(page)
    assert recipe._wiring()[0]["evaluate"]["model"] == "pretrain", "in a recipe the model itself comes first"


def test_what_is_no_model_of_ours_is_refused_with_a_way_on(tmp_path):
    with pytest.raises(ArtifactError, match="danlu list shows the kind of each"):
        opened("evaluate", sealed(tmp_path / "corpus", "corpus"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ArtifactError, match=r"pretrain\.start=FOLDER"):
        opened("evaluate", foreign)
