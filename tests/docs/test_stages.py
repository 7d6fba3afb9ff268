"""The pages of the stages run: commands, outputs, settings, proofs and stored numbers are what the code and files say.

In: `docs/stages`, in both languages. Out: red where a command prints something else than the page shows, a setting is
missing, invented or has another default, a file of the artefact is not told, a proof does not exist, or a number does
not stand in the stored result that the page names. In a shown output `...` stands for whatever varies: alone on a line
for any lines, within a line for any characters. One run of `docs/stages/town.yaml` serves all pages.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import yaml
from pydantic_core import PydanticUndefined

from danlu import cli
from danlu.base import console
from danlu.base.config import Settings, _types_in, read_settings
from danlu.model.config import PRESETS, ModelConfig, preset
from danlu.proofs.table import PROOFS
from danlu.stages import STAGES
from danlu.stages.pretrain import Config as PretrainConfig
from tests.docs import pages
from tests.docs.test_textbook import YEAR, numbers

FOLDER = pages.ROOT / "docs" / "stages"
ENGLISH = [FOLDER / f"{name}.md" for name in STAGES]
BOTH = [language for page in ENGLISH for language in (page, page.with_suffix(".zh.md"))]
SECTIONS = {
    ".md": [
        "What it takes and makes",
        "How to use it",
        "Every setting",
        "The ideas behind it",
        "What goes wrong",
        "How to prove it",
        "What the numbers mean",
        "Where to read the code",
    ],
    ".zh.md": ["输入与产出", "用法", "全部设置", "背后的想法", "会出什么错", "怎样证明", "数字的含义", "从哪里读代码"],
}
PORT = "8000"
"""The one that the pages name; the test takes a free one instead."""
START_SECONDS = 60.0
UNTOLD = {"started.json"}
"""What is in every folder: what the run began with."""
SCALES = {"": 1, "%": 100, "kB": 1e-3, "MB": 1e-6}
STORED = re.compile(r"\[([\w-]+\.json)\]\(\.\./results/\1\) `([^`]+)`")


def by_name(page: Path) -> str:
    return page.name


def suffix(page: Path) -> str:
    return ".zh.md" if ".zh." in page.name else ".md"


def stage_of(page: Path) -> str:
    return page.name.split(".")[0]


def section(page: Path, index: int) -> str:
    """The text of the section of that number, from 0, without its heading."""
    name = SECTIONS[suffix(page)][index]
    following = page.read_text(encoding="utf-8").split(f"\n## {name}\n", 1)[1]
    return following.split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {index - 1 for index, line in enumerate(lines) if set(line) <= set("|-: ")}
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for index, row in enumerate(cells) if index not in heads and index - 1 not in heads]


def code(cell: str) -> str:
    """The text between a cell's first backticks."""
    return re.findall(r"`([^`]*)`", cell)[0]


def execute(line: str) -> tuple[int, str]:
    """Exit code and output of a `danlu` command, run in this process as the console script would run it."""
    output, exit_code = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        patch.setattr(sys, "argv", shlex.split(line))
        patch.setattr(console, "SILENT_SECONDS", 1e9)  # progress depends on the clock
        patch.setattr(console, "_said", {"the machine is busy"})
        patch.setattr(console._terminal, "_width", console.PLAIN_WIDTH)
        try:
            cli.main()
        except SystemExit as ended:
            exit_code = int(ended.code or 0)
    return exit_code, tidy(output.getvalue())


def tidy(output: str) -> str:
    """With plain spaces, none at the ends of lines, and without what a busy machine says about itself."""
    lines = [line.rstrip() for line in output.replace("\xa0", " ").strip("\n").splitlines()]
    return "\n".join(line for line in lines if not line.startswith("warning: the machine is busy"))


def fits(shown: str, output: str) -> bool:
    """Whether the output is the shown one, `...` standing for anything; beside it, columns may be of any width."""
    pattern = ""
    for line in shown.strip("\n").splitlines():
        words = [r"(?:\ )+".join(map(re.escape, re.split(" +", part))) for part in line.split("...")]
        exactly = re.escape(line) if len(words) == 1 else ".*".join(words)
        pattern += r"(?:.*\n)*?" if line == "..." else exactly + r"\n"
    return re.fullmatch(pattern, output + "\n") is not None


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder from which the sample town can be seen, with a finished run of the recipe that the index shows."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "docs").symlink_to(pages.ROOT / "docs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.chdir(folder):
        run_page(FOLDER / "README.md")
        yield folder
    torch.set_num_threads(threads)


def run_page(page: Path) -> None:
    """Run the blocks of a page in order and compare what each prints with the block of text that follows it."""
    names: dict[str, Any] = {}
    shutil.rmtree("alone", ignore_errors=True)  # what an earlier page made beside the recipe's run
    blocks = [*pages.blocks(page), pages.Block("", "", 0)]
    with contextlib.ExitStack() as ended_with_the_page:
        free_port = str(_free_port())
        for block, after in itertools.pairwise(blocks):
            shown = after.text if after.language == "text" else None
            text = block.text.replace(PORT, free_port)
            if block.language == "bash":
                assert shown is not None, f"{page.name}:{block.line}: no output is shown"
                _run_commands(text, shown.replace(PORT, free_port), f"{page.name}:{block.line}", ended_with_the_page)
            elif block.language == "python":
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(text, f"{page.name}:{block.line}", "exec"), names)  # noqa: S102 - the page's own
                assert shown is not None, f"{page.name}:{block.line}: no output is shown"
                assert fits(shown, tidy(output.getvalue())), output.getvalue()


def _run_commands(text: str, shown: str, where: str, ended: contextlib.ExitStack) -> None:
    """Run the lines of one block; a line that ends with `&` is a server, which stays until the page ends."""
    outputs = []
    for line in text.replace("\\\n", " ").splitlines():
        assert line.startswith("danlu "), f"{where}: only danlu is run here: {line}"
        if line.endswith("&"):
            outputs.append(ended.enter_context(_server(line.removesuffix("&"))))
            continue
        exit_code, output = execute(line)
        assert (exit_code == 0) == ("error: " not in output), f"{where}: exit code {exit_code}\n{output}"
        outputs.append(output)
    output = "\n".join(outputs)
    assert fits(shown, output), f"{where}: {text}shows\n{shown}\nand prints\n{output}"


@contextlib.contextmanager
def _server(line: str):
    """A `danlu serve` of its own process; yields what it says until it answers."""
    words = [sys.executable, "-m", *shlex.split(line)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")
    assert process.stdout is not None
    said = []
    try:
        for spoken in process.stdout:
            said.append(spoken)
            if "Ctrl-C" in spoken:
                break
        yield tidy("".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=START_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def groups_of(annotation: Any) -> list[type[Settings]]:
    """The models of settings that a field can hold."""
    return [one for one in _types_in(annotation) if isinstance(one, type) and issubclass(one, Settings)]


def all_settings(model: type[Settings], given: Settings | None = None, prefix: str = "") -> dict[str, Any]:
    """Every setting by its path, with its default; groups are spelled out, and a source by its generator's name."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True) if given is None else getattr(given, name)
        groups = groups_of(field.annotation)
        if not isinstance(default, Settings):
            found[prefix + name] = default
        for group in groups:
            generator = group.model_fields.get("generator")
            middle = f"{generator.default}." if generator is not None else ""
            found |= all_settings(group, default if isinstance(default, group) else None, f"{prefix}{name}.{middle}")
    if model is PretrainConfig:
        shape = preset(model.model_fields["size"].default, 1)
        found |= {f"model.{name}": getattr(shape, name) for name in ModelConfig.model_fields if name not in NO_SETTING}
    return found


NO_SETTING = {"vocabulary_size"}
"""Of the architecture: what the tokenizer decides."""


def choices(model: type[Settings], path: str) -> list[str]:
    """The words that a setting can have, where it can have some only."""
    name, _, rest = path.partition(".")
    field = model.model_fields.get(name)
    if field is None:
        return []
    groups = groups_of(field.annotation)
    if rest:
        return [word for group in groups for word in choices(group, rest)]
    literals = [one for one in _types_in(field.annotation) if get_origin(one) is Literal]
    return [word for one in literals for word in get_args(one)]


def as_written(default: Any) -> str:
    """A default as a recipe would say it."""
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, str):
        return default if default else '""'
    return json.dumps(default, ensure_ascii=False)


def stored(file: str, path: str) -> float:
    """A number in a stored result; `marks[task=core,language=en].n` finds an item of a list."""
    value: Any = json.loads((pages.ROOT / "docs" / "results" / file).read_bytes())
    for name, condition in re.findall(r"([^.\[\]]+)(?:\[([^\]]+)\])?\.?", path):
        value = value[name]
        if condition:
            wanted = dict(pair.split("=") for pair in condition.split(","))
            (value,) = (one for one in value if all(str(one[key]) == text for key, text in wanted.items()))
    return float(value)


def each(path: str) -> list[str]:
    """The paths that one in the manner of `rows.{kept,dropped}` names."""
    stem, _, names = path.partition("{")
    return [stem + name for name in names.removesuffix("}").split(",")]


def is_stored(cell: str, value: float) -> bool:
    """Whether `88.3 %`, `93.0 MB` or `1,384 s` is the value, rounded to the places that are given."""
    number, _, unit = cell.partition(" ")
    places = len(number.partition(".")[2])
    if "e" in number:
        return f"{value:.{len(number.partition('e')[0].partition('.')[2])}e}" == number
    return f"{value * SCALES.get(unit, 1):,.{places}f}" == number


def test_each_stage_has_its_page_in_both_languages_and_the_indexes_list_them():
    for end in SECTIONS:
        links = pages.links(FOLDER / f"README{end}")
        listed = [link for link in links if link.endswith(".md") and "/" not in link and "README" not in link]
        assert listed == [f"{name}{end}" for name in STAGES]
        assert f"stages/README{end}" in pages.links(pages.ROOT / "docs" / f"README{end}")
        assert f"docs/stages/README{end}" in pages.links(pages.ROOT / f"README{end}")


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_sections_are_the_same_on_every_page(page):
    assert [one.text for one in pages.headings(page) if one.level == 2] == SECTIONS[suffix(page)]


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_each_command_prints_what_the_page_shows(page, workshop):
    assert len(pages.blocks(page, "bash")) >= 3
    run_page(page)


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_the_page_shows_real_messages_and_a_recipe_that_can_be_read(page):
    assert sum(block.text.count("error: ") for block in pages.blocks(page, "text")) >= 2
    name = stage_of(page)
    (recipe,) = pages.blocks(page, "yaml")
    values = yaml.safe_load(recipe.text)
    assert list(values) == [name]
    read_settings(STAGES[name].module().Config, values[name], page.name)


@pytest.mark.parametrize("page", ENGLISH, ids=by_name)
def test_both_languages_run_the_same_and_have_the_same_tables(page):
    chinese = page.with_suffix(".zh.md")
    assert [(one.language, one.text) for one in pages.blocks(page)] == [
        (one.language, one.text) for one in pages.blocks(chinese)
    ]
    firsts = [[row[0] for row in rows(pages.prose(one))] for one in (page, chinese)]
    assert firsts[0] == firsts[1]


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_every_file_of_the_artefact_is_told(page, workshop):
    told = [code(row[0]) for row in rows(section(page, 0))]
    folder = workshop / "runs" / "town" / stage_of(page)
    there = {path.name + ("/" if path.is_dir() else "") for path in folder.iterdir()} - UNTOLD
    assert sorted(told) == sorted(there)
    for name in (*STAGES[stage_of(page)].takes, STAGES[stage_of(page)].makes):
        assert f"`{name}`" in section(page, 0)


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_every_setting_is_explained_with_its_default(page):
    model = STAGES[stage_of(page)].module().Config
    told = [row for row in rows(section(page, 2)) if len(row) == 3 and row[0].startswith("`")]
    expected = {name: as_written(default) for name, default in all_settings(model).items()}
    assert {code(name): code(default) for name, default, _ in told} == expected
    assert len(told) == len(expected)
    for name, _, meaning in told:
        assert len(meaning) > 4, name
        words = choices(model, code(name))
        assert all(f"`{word}`" in meaning for word in words if len(words) > 1), (name, words)


@pytest.mark.parametrize("page", [one for one in BOTH if stage_of(one) == "pretrain"], ids=by_name)
def test_the_sizes_are_those_of_the_dial(page):
    told = {code(row[0]): row[1:] for row in rows(section(page, 2)) if len(row) > 3}
    names = ("width", "layers", "heads", "kv_heads", "mlp_width", "context_length")
    assert told == {size: [str(shape[name]) for name in names] for size, shape in PRESETS.items()}


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_proofs_exist_where_the_page_says(page):
    told = rows(section(page, 5))
    assert told
    for name, file, by_danlu, _ in told:
        assert f"def test_{code(name)}_" in (page.parent / pages.LINK.findall(file)[0][1]).read_text(encoding="utf-8")
        assert (code(name) in PROOFS) == ("`danlu prove`" in by_danlu), name


def test_every_proof_of_danlu_prove_is_on_some_page():
    told = {code(row[0]) for page in ENGLISH for row in rows(section(page, 5))}
    assert sorted(PROOFS.keys() - told) == []


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_numbers_are_those_of_the_stored_runs(page):
    told = rows(section(page, 6))
    assert len(told) >= 3
    for number, where, _ in told:
        file, path = STORED.findall(where)[0]
        cells, paths = number.split(" / "), each(path)
        assert all(is_stored(*pair) for pair in zip(cells, (stored(file, one) for one in paths), strict=True)), number


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_no_number_of_the_prose_is_invented(page):
    """One with a decimal point or of three digits stands in a block, a default, a size or a stored result."""
    assert invented(page) == []


def invented(page: Path, also: str = "") -> list[str]:
    tables = rows(section(page, 2))
    source = "\n".join([*(block.text for block in pages.blocks(page)), *(" ".join(row[:-1]) for row in tables)])
    source += "\n" + "\n".join(row[0] for row in rows(section(page, 6)))
    source += "\n".join(" ".join(row) for row in tables if len(row) > 3)
    known = {float(number) for number in numbers(source)}
    told = re.sub(r"\]\([^)]*\)|`[^`]*`", "", pages.prose(page)) + also
    return [
        number
        for number in numbers(told)
        if float(number) not in known and ("." in number or len(number) > 2) and float(number) not in YEAR
    ]


@pytest.mark.parametrize("page", BOTH, ids=by_name)
def test_the_code_to_read_begins_with_the_stages_own_file(page):
    links = pages.LINK.findall(section(page, 7))
    assert links[0][1] == f"../../src/danlu/stages/{stage_of(page)}.py"
    assert len(links) >= 3


def test_a_wrong_output_default_or_number_would_be_noticed():
    assert fits("a\n...\nb ... c\n", "a\nx\ny\nb 12 c")
    assert not fits("a\n...\nb ... c\n", "a\nx\nb 12 d")
    assert not fits("rows 54\n", "rows 55")
    assert is_stored("88.3 %", 0.88297)
    assert not is_stored("88.4 %", 0.88297)
    assert is_stored("93.0 MB", 93_046_249)
    assert not is_stored("93.1 MB", 93_046_249)
    assert invented(FOLDER / "shard.md", also=" 98.76 ") == ["98.76"]
    shard = importlib.import_module("danlu.stages.shard")
    assert all_settings(shard.Config)["row_length"] == 512
    finetune = importlib.import_module("danlu.stages.finetune")
    assert all_settings(finetune.Config)["optimizer.schedule"] == "linear"
    assert choices(finetune.Config, "checkpoints.finish") == ["best", "last"]
