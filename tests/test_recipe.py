"""Recipes: strict reading, wiring by kind, overrides, what a plan resolves to."""

import json
from pathlib import Path

import pytest

from danlu.base.errors import ConfigError, DataError
from danlu.recipe import Recipe

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_plans(path, tmp_path):
    recipe = Recipe.load(path)
    if any(not Path(source).exists() for source in paths_of(recipe)):  # a person's own text, which is not here
        (tmp_path / "text.txt").write_text("text")
        recipe = Recipe.load(path, [f"prepare.sources=[{json.dumps(str(tmp_path / 'text.txt'))}]"])
    steps = recipe.plan(tmp_path)
    assert [step.name for step in steps] == [section.name for section in recipe.sections]
    assert {step.state for step in steps} == {"to do"}


def paths_of(recipe):
    """The sources that are files or folders, as the page spells them."""
    config = recipe._configs()[0]["prepare"]
    return [source.path for source in config.sources if hasattr(source, "path")]


def test_text_that_is_not_there_is_named_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.load(ROOT / "recipes" / "real-text.yaml")
    with pytest.raises(DataError, match=r"laws\.jsonl\.gz") as caught:
        recipe.plan(tmp_path)
    assert "prepare.sources" in str(caught.value)


def write(tmp_path, text, name="r.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_five_mistakes_are_five_lines(tmp_path):
    page = write(
        tmp_path,
        "name: 'a b'\nseed: x\nprepare: {sources: [python-docs], min_lenght: 3}\ntokeniser: {}\n"
        "tokenizer: {vocabulary_size: many}\n",
    )
    with pytest.raises(ConfigError) as caught:
        Recipe.load(page)
    assert "5 problems" in str(caught.value)
    for piece in (
        "name:",
        "seed:",
        "prepare.min_lenght",
        "tokeniser: no stage",
        "did you mean 'tokenizer'",
        "vocabulary_size",
    ):
        assert piece in str(caught.value), piece


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "stands here twice"),
        ("a: &x {}\nb: *x\n", "aliases are not allowed"),
        ("- 1\n", "page of sections"),
        ("a: [\n", "not valid YAML"),
        ("tokenizer: {}\n", "needs a corpus"),
        ("prepare: {sources: [python-docs]}\ntokenizer: {inputs: {corpus: prepar}}\n", "did you mean 'prepare'"),
        ("prepare: {sources: [python-docs]}\ntokenizer: {inputs: {shards: prepare}}\n", "takes no such input"),
        ("x: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_page_that_cannot_be_meant_is_refused(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        Recipe.load(write(tmp_path, text))


LEARNED = "pretrain.model={position: learned}"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([LEARNED], "learned positions are in no class"),
        (["pretrain.model={attention_bias: true, qk_norm: true}"], "biases together with QK-norm"),
        ([LEARNED, "export.inputs={model: pretrain}"], "learned positions are in no class"),
    ],
)
def test_a_model_that_no_class_of_transformers_holds_is_refused_before_it_is_trained(words, reason):
    with pytest.raises(ConfigError) as caught:
        Recipe.load(QUICKSTART, words)
    assert f"pretrain.model: export cannot take it: {reason}" in str(caught.value)
    assert "export: false" in str(caught.value)
    names = [section.name for section in Recipe.load(QUICKSTART, [*words, "export=false"]).sections]
    assert names == ["prepare", "tokenizer", "shard", "pretrain", "finetune", "evaluate", "serve"]


def test_a_section_that_is_false_is_switched_off(tmp_path):
    page = write(tmp_path, "prepare: {sources: [python-docs]}\nmine: {stage: tokenizer}\nexport: false\n")
    assert [section.name for section in Recipe.load(page).sections] == ["prepare", "mine"]
    assert [section.name for section in Recipe.load(page, ["mine=false"]).sections] == ["prepare"]
    with pytest.raises(ConfigError, match="no earlier section makes one"):
        Recipe.load(page, ["prepare=false"])
    with pytest.raises(ConfigError, match=r"exprot: there is no such section to switch off .did you mean 'export'"):
        Recipe.load(page, ["exprot=false"])
    with pytest.raises(ConfigError, match=r"mime: there is no such section to switch off .did you mean 'mine'"):
        Recipe.load(page, ["mime=false"])
    slip = write(tmp_path, "prepare: {sources: [python-docs]}\nfinetuen: false\n")
    with pytest.raises(ConfigError, match=r"finetuen: there is no such section .* .did you mean 'finetune'"):
        Recipe.load(slip)


def test_a_share_of_conversations_that_are_left_out_is_refused():
    page = {"prepare": {"sources": ["python-docs"]}, "tokenizer": {}, "shard": {"conversations": "none"}}
    Recipe.from_dict(page)
    with pytest.raises(ConfigError, match="conversations is none"):
        Recipe.from_dict(page, ["shard.conversation_share=0.5"])


def test_overrides_are_the_page(tmp_path):
    recipe = Recipe.load(
        QUICKSTART, ["pretrain.optimizer.beta2=9.9e-1", "name=other", "seed=11", "tokenizer.vocabulary_size=1k"]
    )
    steps = {step.name: step for step in recipe.plan(tmp_path)}
    assert recipe.name == "other"
    assert steps["tokenizer"].config.vocabulary_size == 1000
    assert steps["pretrain"].config.optimizer.beta2 == 0.99
    assert steps["pretrain"].config.seed == 11


@pytest.mark.parametrize("word", ["pretrain", "=3", "name.x=1", "a=[", "pretrain.minuets=3"])
def test_an_override_that_cannot_be_meant_is_refused(word):
    with pytest.raises(ConfigError):
        Recipe.load(QUICKSTART, [word])
