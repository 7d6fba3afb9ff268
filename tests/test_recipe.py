"""Recipes: strict reading, wiring by kind, overrides, fingerprints, keep / continue / refuse / again."""

import json
from pathlib import Path

import pytest
import yaml

from danlu import recipe as recipes
from danlu.base import artifact
from danlu.base.errors import ArtifactError, ConfigError, DataError
from danlu.recipe import Recipe

ROOT = Path(__file__).parent.parent
FOX = """The quick brown fox jumps over the lazy dog, and the dog dreams of a fox that is neither quick nor brown.
In the morning both of them walk down to the river, where the water is cold and the stones are round.
狐狸跳过了懒狗，懒狗梦见了一只不快也不红的狐狸。早上它们一起走到河边，河水很凉，石头很圆。
"""
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


def small(tmp_path, extra=""):
    (tmp_path / "text").mkdir(exist_ok=True)
    (tmp_path / "text" / "a.txt").write_text(FOX)
    page = {"name": "small", "prepare": {"sources": [str(tmp_path / "text")]}, "tokenizer": {"vocabulary_size": 300}}
    return write(tmp_path, yaml.safe_dump(page, sort_keys=False) + extra)


def test_finished_sections_are_kept_and_changed_ones_refused_with_the_difference(tmp_path, capsys):
    page, runs = small(tmp_path), tmp_path / "runs"
    first = recipes.run(page, runs=runs)
    second = recipes.run(page, runs=runs)
    assert first["tokenizer"].manifest == second["tokenizer"].manifest, "nothing was made twice"
    assert "kept" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="vocabulary_size: 300 -> 280"):
        recipes.run(page, "tokenizer.vocabulary_size=280", runs=runs)
    again = recipes.run(page, "tokenizer.vocabulary_size=280", runs=runs, again=True)
    assert again["prepare"].manifest == first["prepare"].manifest, "only what was stale is made again"
    assert again["tokenizer"].config["vocabulary_size"] == 280


def test_changed_source_text_is_noticed(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    recipes.run(page, runs=runs)
    (tmp_path / "text" / "a.txt").write_text(FOX.replace("brown", "red"))
    with pytest.raises(ConfigError, match="raw source files have changed"):
        recipes.run(page, runs=runs)


def test_from_needs_what_comes_before_and_until_stops(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    with pytest.raises(ArtifactError, match="prepare is needed and is to do"):
        recipes.run(page, runs=runs, from_section="tokenizer")
    assert list(recipes.run(page, runs=runs, until="prepare")) == ["prepare"]
    assert list(recipes.run(page, runs=runs, from_section="tokenizer")) == ["prepare", "tokenizer"]
    with pytest.raises(ConfigError, match="did you mean 'tokenizer'"):
        recipes.run(page, runs=runs, until="tokeniser")


def test_damage_is_found_before_a_section_is_built_on_it(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = recipes.run(page, runs=runs)
    path = made["prepare"].folder / "train.jsonl"
    path.write_bytes(path.read_bytes().replace(b"fox", b"f0x"))
    with pytest.raises(ArtifactError, match="another SHA-256"):
        recipes.run(page, runs=runs)


def test_an_unfinished_folder_is_continued_and_one_of_another_config_refused(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = recipes.run(page, runs=runs)
    (made["tokenizer"].folder / artifact.MANIFEST).unlink()
    assert Recipe.load(page).plan(runs)[1].state == "interrupted"
    with pytest.raises(ConfigError, match="was made from something else"):
        recipes.run(page, "tokenizer.vocabulary_size=280", runs=runs)
    assert recipes.run(page, runs=runs)["tokenizer"].fingerprint == made["tokenizer"].fingerprint


def test_one_run_at_a_time(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    with recipes._only_one(runs / "small", 0), pytest.raises(ArtifactError, match="running already"):
        recipes.run(page, runs=runs)


def test_the_manifest_walks_back_to_the_text(tmp_path):
    made = recipes.run(small(tmp_path), runs=tmp_path / "runs")
    manifest = json.loads((made["tokenizer"].folder / artifact.MANIFEST).read_text())
    parent = (made["tokenizer"].folder / manifest["parents"]["corpus"]["folder"]).resolve()
    assert artifact.read_manifest(parent)["fingerprint"] == manifest["parents"]["corpus"]["fingerprint"]
    assert artifact.read_manifest(parent)["sources"] is not None


@pytest.mark.parametrize("name", ["prepare", "tokenizer"])
def test_a_folder_with_somebodys_files_is_never_touched(tmp_path, name):
    page, runs = small(tmp_path), tmp_path / "runs"
    mine = runs / "small" / name / "train.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ArtifactError, match="not this stage's"):
        recipes.run(page, runs=runs)
    assert mine.read_text() == "mine"
    assert list(mine.parent.iterdir()) == [mine]


@pytest.mark.parametrize("damage", ["edited", "torn manifest"])
def test_again_mends_what_is_damaged(tmp_path, damage):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = recipes.run(page, runs=runs)
    path = made["tokenizer"].folder / ("tokenizer.json" if damage == "edited" else artifact.MANIFEST)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises((ArtifactError, ConfigError)):
        recipes.run(page, runs=runs)
    again = recipes.run(page, runs=runs, again=True)
    assert again["tokenizer"].fingerprint == made["tokenizer"].fingerprint
    assert again["prepare"].manifest == made["prepare"].manifest, "what was good is kept"
    artifact.open_artifact(again["tokenizer"].folder)
