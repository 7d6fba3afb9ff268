"""Recipes: strict reading, wiring by kind, overrides, what a plan resolves to."""

import contextlib
import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import ConfigError, DataError
from danlu.recipe import Recipe
from danlu.stages import STAGES

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
    recipe = Recipe.load(ROOT / "recipes" / "your-text.yaml")
    with pytest.raises(DataError, match=r"text") as caught:
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


def test_mistakes_of_every_kind_come_together(tmp_path, monkeypatch):
    """Five bad overrides, a wrong value beside two that do not fit each other, wiring, an absent file: one error."""
    monkeypatch.chdir(tmp_path)
    page = write(
        tmp_path,
        "prepare: {sources: [gone.txt], private_data: {action: pseudonym, key_file: nokey}}\n"
        "tokenizer: {kind: characters, max_token_length: 9, vocabulary_size: many,"
        " inputs: {corpus: prepar, shards: x}}\n"
        "shard: {conversations: none, conversation_share: 0.5, row_length: 9999999999}\n"
        "pretrain: {}\n",
    )
    words = ["pretrain", "=3", "name.x=1", "prepare.seed=[", "pretrain.minuets=3"]
    with pytest.raises(ConfigError) as caught:
        Recipe.load(page, words)
    said = caught.value.found.split("\n         ")
    beginnings = (
        "'pretrain': an override is written path=value",
        "'=3': an override is written path=value",
        "prepare.seed: the value is not valid YAML",
        "tokenizer.vocabulary_size: 'many' is not a count",
        "tokenizer: max_token_length says nothing about kind: characters",
        "shard.row_length: input should be less than",
        "shard: conversation_share is of the conversations in the rows",
        "pretrain.minuets: unknown setting (did you mean 'minutes'?)",
        "tokenizer.inputs.shards: tokenizer takes no such input",
        "tokenizer.inputs.corpus: no earlier section 'prepar' (did you mean 'prepare'?)",
        "prepare.sources.path: gone.txt is not there",
        "prepare.private_data.key_file: nokey is not there",
    )
    for beginning in beginnings:
        assert sum(line.startswith(beginning) for line in said) == 1, beginning
    assert any("name.x" in line for line in said) or any(line.startswith("name:") for line in said)
    assert f"{len(said)} problems" in str(caught.value)
    assert len(said) == len(beginnings) + 1


def test_a_mistake_brings_no_others_that_are_only_its_consequences(tmp_path):
    page = write(
        tmp_path,
        "prepare: {sources: [python-docs]}\ntokeniser: {}\nmine: {stage: 3}\nshard: {}\n"
        "pretrain: {inputs: {tokenizer: mine}}\nexport: {}\n",
    )
    with pytest.raises(ConfigError, match="2 problems") as caught:
        Recipe.load(page)
    assert "tokeniser: no stage" in str(caught.value)
    assert "mine: no stage 3" in str(caught.value)


def test_every_path_that_is_not_there_is_named_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = {
        "prepare": {"sources": ["a", "b"], "decontaminate": "c"},
        "tokenizer": {"extend": "d"},
        "shard": {},
        "pretrain": {"start": "e"},
        "again": {"stage": "pretrain", "embeddings": "f"},
        "export": {"inputs": {"model": "pretrain"}},
    }
    with pytest.raises(DataError) as caught:
        Recipe.from_dict(page).plan(tmp_path)
    places = [line.split(" is not there")[0] for line in caught.value.found.split("\n         ")]
    assert places == [
        "prepare.sources.path: a",
        "prepare.sources.path: b",
        "prepare.decontaminate.files.path: c",
        "tokenizer.extend: d",
        "pretrain.start: e",
        "again.embeddings: f",
    ]
    told = dict.fromkeys(("prepare", "tokenizer", "pretrain", "again"), "elsewhere")
    assert Recipe.from_dict(page).plan(tmp_path, told), "as told by another rank"
    Path("e").mkdir()
    with pytest.raises(ConfigError, match="7 problems") as caught:
        Recipe.from_dict(page, ["shard.row_lenght=256"])
    assert "did you mean 'row_length'" in str(caught.value)
    assert "pretrain: this is not a model folder (e); give the folder of a model" in str(caught.value)


@pytest.mark.parametrize("position", ["rope", "learned"])
def test_rows_longer_than_the_context_are_refused_when_the_recipe_is_read(position):
    page = {
        "prepare": {"sources": ["python-docs"]},
        "tokenizer": {},
        "shard": {"row_length": 256},
        "pretrain": {"model": {"position": position, "context_length": 256}},
    }
    Recipe.from_dict(page)
    with pytest.raises(ConfigError, match="pretrain: rows of 512 tokens do not fit into a context of 256") as caught:
        Recipe.from_dict(page, ["shard.row_length=512"])
    assert "leave it out, or make shorter rows: shard.row_length=256" in str(caught.value)
    Recipe.from_dict(page, ["shard.row_length=512", "pretrain.model={position: learned}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "stands here twice"),
        ("? [a]\n: 1\n", "a name is one word"),
        ("? {a: 1}\n: 1\n", "a name is one word"),
        ("a: " + "[" * 100_000, "not valid YAML"),
        ("a: " + "{a: " * 100_000, "not valid YAML"),
        ("seed: " + "9" * 5000 + "\n", "not valid YAML"),
        ("seed: 0b_\n", "not valid YAML"),
        ("seed: !!int x\n", "tags such as"),
        ("seed: !!timestamp x\n", "tags such as"),
        ("1: {}\nexprot: false\n", "no such section to switch off"),
        ("prepare: {stage: [a]}\n", r"no stage \['a'\]"),
        ("prepare: {sources: [python-docs], 1: 2}\n", "prepare.1"),
        ("prepare: {sources: [python-docs]}\ntokenizer: {inputs: {corpus: [prepare]}}\n", "a mapping of input to"),
        ("prepare: {sources: [python-docs]}\ntokenizer: {inputs: {1: prepare}}\n", "a mapping of input to"),
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


def test_a_date_is_a_word_like_any_other(tmp_path):
    page = write(tmp_path, "name: 2026-02-30\nprepare: {sources: [python-docs]}\n")
    assert Recipe.load(page).name == "2026-02-30"
    assert Recipe.load(page, ["name=2026-02-31"]).name == "2026-02-31"
    with pytest.raises(ConfigError, match="seed: a whole number; found '2026-02-28'"):
        Recipe.load(page, ["seed=2026-02-28"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_recipe_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch, number):
    page = write(tmp_path, "prepare: {sources: [python-docs]}\n")

    def refuses(path, **_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_text", refuses)
    with pytest.raises(ConfigError, match="the recipe cannot be read") as caught:
        Recipe.load(page)
    assert os.strerror(number) in str(caught.value)


def test_a_path_that_is_too_long_for_the_system_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="the recipe cannot be read"):
        Recipe.load(tmp_path / ("x" * 300))


WORDS = st.sampled_from([*STAGES, "name", "seed", "stage", "inputs", "corpus", "model", "", "sources", "kind"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS
KEYS = WORDS | st.integers() | st.booleans() | st.none() | st.floats()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.lists(st.text(max_size=12), max_size=2))
def test_whatever_stands_on_a_page_is_read_or_refused_in_words(page, words):
    with contextlib.suppress(ConfigError):
        Recipe.from_dict(page, words)


@settings(max_examples=300, deadline=None)
@given(st.text("ab:[]{}-?!&*<>|'\"#%@`,. \n0123456789_xob=~TZ", max_size=30))
def test_whatever_text_a_value_is_it_is_read_or_refused_in_words(text):
    with contextlib.suppress(ConfigError):
        Recipe.from_dict({"prepare": {"sources": ["python-docs"]}}, [f"prepare.seed={text}"])


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
