"""The README says nothing that is not there: commands, options, files, links; and both languages say the same.

In: `README.md`, its Chinese twin, every page under `docs`. Out: red where a command names a make target, a verb, an
option, a section or a file that does not exist, a link leads nowhere, or the languages have come apart.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import danlu
from danlu.cli import app
from danlu.corpus.world_talk import STORY_EVENTS
from danlu.recipe import Recipe
from danlu.stages import STAGES
from tests.docs import pages

README, README_ZH = pages.ROOT / "README.md", pages.ROOT / "README.zh.md"
BOTH = pytest.mark.parametrize("page", [README, README_ZH], ids=lambda page: page.name)
TWINS = [
    (page.with_name(page.name.replace(".zh.md", ".md")), page) for page in pages.all_pages() if ".zh." in page.name
]
ROOT_COMMAND: Any = typer.main.get_command(app)
BY_PROMPT = ["core", "who", "where", "when", "mood", "translate"]
TOLD_TASKS = [*BY_PROMPT, "repeat", "summary", "extract", "chat", "town", "sum", "wording"]
"""The rows of the README's table of marks, in order."""
TARGETS = re.findall(r"^(\w+):", (pages.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def bash_commands(page: Path) -> list[list[str]]:
    """The commands in the fenced bash blocks of a page, as words; operators part them, a final backslash joins."""
    text = "\n".join(block.text for block in pages.blocks(page, "bash")).replace("\\\n", " ")
    commands: list[list[str]] = []
    for line in text.splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        groups = itertools.groupby(words, key=lambda word: set(word) <= set("&|;<>()"))
        commands += [list(group) for is_operator, group in groups if not is_operator]
    return commands


def command_table(page: Path) -> list[str]:
    """The commands of the README's table, one for each verb."""
    return re.findall(r"^\| `(danlu [^`]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)


def check_danlu(words: list[str]) -> None:
    """A verb that exists, with arguments and options that it has: typer's own parser reads them, and nothing is run."""
    verb, *rest = words
    assert verb in ROOT_COMMAND.commands, f"there is no `danlu {verb}`"
    ROOT_COMMAND.commands[verb].make_context(verb, rest)


def options(verb: str) -> set[str]:
    """The options of a verb."""
    return {name for parameter in ROOT_COMMAND.commands[verb].params for name in parameter.opts}


@pytest.mark.parametrize("page", pages.all_pages(), ids=lambda page: page.relative_to(pages.ROOT).as_posix())
def test_fenced_commands_name_targets_verbs_and_options_that_exist(page):
    for program, *words in bash_commands(page):
        if program == "make":
            assert all(word in TARGETS for word in words if "=" not in word), words
        elif Path(program).name == "danlu":
            check_danlu(words[1:] if words[0] == "--json" else words)


@BOTH
def test_every_fenced_command_of_the_readme_is_one_that_this_test_knows(page):
    assert {Path(words[0]).name for words in bash_commands(page)} == {"make", "danlu"}


@BOTH
def test_the_table_of_commands_has_every_verb_once_and_only_real_options(page):
    listed = [shlex.split(re.sub(r"\[[^\]]*\](\.\.\.)?", "", command))[1:] for command in command_table(page)]
    assert sorted(words[0] for words in listed) == sorted(ROOT_COMMAND.commands)
    for verb, *rest in listed:
        assert {word for word in rest if word.startswith("-")} <= options(verb)


def test_a_wrong_verb_option_or_value_would_be_noticed():
    for words in (["cook"], ["look", "runs/x", "--colour"], ["serve", "runs/x", "--port", "none"], ["inspect"]):
        with pytest.raises(Exception, match=r"no `danlu cook`|--colour|valid integer|(?i:missing)"):
            check_danlu(words)


@BOTH
def test_recipes_overrides_and_run_folders_in_commands_exist(page):
    recipe = Recipe.load(pages.ROOT / "recipes" / "quickstart.yaml")
    sections = {section.name for section in recipe.sections}
    for word in itertools.chain.from_iterable(bash_commands(page)):
        if match := re.fullmatch(r"runs/quickstart/(\w+)", word):
            assert match[1] in sections, word
        elif word.startswith("recipes/"):
            assert (pages.ROOT / word).is_file(), word
        elif re.fullmatch(r"\w+(\.\w+)+=.*", word):
            # the starter recipe of `danlu new` names no length in tokens
            Recipe.load(pages.ROOT / "recipes" / "quickstart.yaml", ["pretrain.tokens=null", word])


@pytest.mark.parametrize("page", pages.all_pages(), ids=lambda page: page.relative_to(pages.ROOT).as_posix())
def test_relative_links_of_all_pages_resolve(page):
    for link in pages.links(page):
        if re.match(r"\w+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if fragment and target.suffix == ".md":
            assert fragment in [pages.anchor(heading.text) for heading in pages.headings(target)], link


@BOTH
def test_files_named_in_the_prose_exist(page):
    text = pages.prose(page)
    for name in re.findall(r"`((?:docs|tests|scripts|recipes|src)/[\w./-]+)`", text):
        assert (pages.ROOT / name).exists(), name
    for name in re.findall(r"python (scripts/\w+\.py)", text):
        assert (pages.ROOT / name).is_file(), name


@pytest.mark.parametrize("pair", TWINS, ids=lambda pair: pair[1].relative_to(pages.ROOT).as_posix())
def test_both_languages_have_the_same_headings_and_the_same_code(pair):
    english, chinese = pair
    assert [heading.level for heading in pages.headings(english)] == [one.level for one in pages.headings(chinese)]
    assert [(block.language, block.text) for block in pages.blocks(english)] == [
        (block.language, block.text) for block in pages.blocks(chinese)
    ]


@pytest.mark.parametrize("page", pages.all_pages(), ids=lambda page: page.relative_to(pages.ROOT).as_posix())
def test_a_table_begins_after_a_line_without_cells_and_all_its_rows_are_as_wide(page):
    """A second head within a table is drawn as two rows of its body, and a cell too many is not drawn at all."""
    lines = pages.prose(page).splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(r"\|(:?-+:?\|)+", line):
            assert number < 2 or not lines[number - 2].startswith("|"), lines[number - 1]
            body = itertools.takewhile(lambda row: row.startswith("|"), lines[number + 1 :])
            for row in (lines[number - 1], *body):
                assert len(re.findall(r"(?<!\\)\|", row)) == line.count("|"), row


def test_both_readmes_have_the_same_tables_and_links():
    tables = [
        [line.count("|") for line in pages.prose(page).splitlines() if "|" in line] for page in (README, README_ZH)
    ]
    assert tables[0] == tables[1]
    assert command_table(README) == command_table(README_ZH)
    found = [{re.sub(r"\.zh|#.*", "", link) for link in pages.links(page)} for page in (README, README_ZH)]
    assert found[0] == found[1]


@BOTH
def test_python_blocks_of_the_readme_compile_and_name_what_the_package_has(page):
    for block in pages.blocks(page, "python"):
        compile(block.text, f"{page.name}:{block.line}", "exec")
        for name in re.findall(r"\bdanlu\.(\w+)\(", block.text):
            assert name in danlu.__all__


@BOTH
def test_the_house_has_the_rooms_that_exist(page):
    house = next(block.text for block in pages.blocks(page, "text") if "L0" in block.text)
    drawn = {name for line in house.splitlines() if line.startswith("L") for name in re.findall(r"(\w+)/", line)}
    there = {path.name for path in (pages.ROOT / "src" / "danlu").iterdir() if any(path.glob("[a-z]*.py"))}
    assert drawn == there - {"stages", "commands"}


@BOTH
def test_each_stage_and_each_picture_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert all(f"`danlu {name}" in text for name in STAGES)
    pictures = re.findall(r"!\[[^\]]+\]\((docs/images/[^)]+)\)", text)
    assert len(pictures) == 3
    for picture in pictures:
        path = pages.ROOT / picture
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 300_000


@BOTH
def test_the_measured_demo_is_that_of_this_recipe_and_its_numbers_are_those_of_the_file(page):
    """`benchmarks/quickstart.py` keeps what a demo reached; another recipe needs another demo."""
    kept = json.loads((pages.ROOT / "docs" / "results" / "quickstart.json").read_bytes())
    assert kept["recipe"] == yaml.safe_load((pages.ROOT / "recipes" / "quickstart.yaml").read_bytes())
    text = page.read_text(encoding="utf-8")
    marks = {(row["task"], row["language"]): row for row in kept["marks"]}
    told = re.findall(r"^\|[^|]+\| \**(\d+) %.*\| \**(\d+) %.*\|$", text, re.MULTILINE)
    percent = {key: f"{100 * row['exact_match']:.0f}" for key, row in marks.items()}
    assert told == [(percent[task, "en"], percent[task, "zh"]) for task in TOLD_TASKS]
    assert {task for task, _ in marks} == set(TOLD_TASKS)
    for language in ("en", "zh"):
        assert f"**{percent['core', language]} %**" in text
        assert re.search(rf"n = {marks['core', language]['n']}\b", text)
    assert f"{kept['text_loss']:.1f} " in text
    assert max(kept["baselines"].values()) == 0, "the page says 0 %"
    least, most = STORY_EVENTS
    by_chance = statistics.mean(1 / events for events in range(least, most + 1))
    assert re.search(rf"\b{100 * by_chance:.0f} %", text), "what one event of the story, picked at random, would reach"
    minutes, seconds = divmod(round(60 * kept["minutes"]), 60)
    assert re.search(rf"\*\*{minutes} (min|分) {seconds} (s|秒)\*\*", text)
