"""The house rules as a table, held against every source file.

In: the text of `src/danlu`, parsed. Out: red, with file and line, where a room imports upward, a forbidden thing is
used, a file says nothing of itself, or a setting is read by nobody. Runs none of the code, except to see in a fresh
process that what must be quick does not import torch, and to look at the settings with their inherited fields.
"""

from __future__ import annotations

import ast
import importlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from danlu.base.config import Settings

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "danlu"

BELOW: dict[str, set[str]] = {
    "base": set(),
    "corpus": {"base"},
    "tokenizer": {"base"},
    "shards": {"base", "tokenizer"},
    "model": {"base", "kernels"},
    "kernels": {"base"},
    "parallel": {"base", "model", "kernels"},
    "train": {"base", "shards", "model", "parallel"},
    "infer": {"base", "tokenizer", "model", "parallel"},
    "evaluate": {"base", "corpus", "tokenizer", "shards", "model", "parallel", "infer"},
    "compress": {"base", "shards", "model", "infer"},
    "convert": {"base", "tokenizer", "model"},
    "serve": {"base", "tokenizer", "infer"},
    "apps": {"infer"},
    "explain": {"base", "tokenizer", "shards", "model"},
    "studio": {"base"},
}
"""Room -> the rooms that it may import besides itself. `HOUSE.md` gives the reason for each."""
ROOMS = set(BELOW)
ABOVE: dict[str, set[str]] = {
    "proofs": ROOMS,
    "stages": ROOMS,
    "commands": ROOMS | {"stages", "recipe", "step", "running", "proofs"},
    "step": {"base", "stages"},
    "recipe": {"base", "stages", "step"},
    "running": {"base", "stages", "recipe", "step", "parallel"},
    "cli": ROOMS | {"commands", "recipe", "stages", "proofs"},
    "__init__": ROOMS | {"recipe", "running", "commands"},
}
TORCH_FREE = {"base", "corpus", "tokenizer", "shards"}
TORCH_FREE_MODULES = ("danlu.model.config", "danlu.train.settings", "danlu.train.dial", "danlu.convert.families")
"""Modules of other rooms that hold values only; settings and `show` read them, and must not wait for torch."""
LAZY = {"stages", "commands", "cli", "step", "recipe", "running", "__init__"}
"""What these import at module level runs without torch; the rest is imported inside the function that needs it."""
CALLED_LAST = {"commands/generate.py": "imported when `danlu.generate` is called, which needs all of it"}
QUICK = ("danlu", "danlu.cli", "danlu.step", "danlu.recipe", "danlu.running", "danlu.stages", *TORCH_FREE_MODULES)
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("numpy", "load"), ("np", "load"), ("os", "system")}
SWITCHES = ("shell", "allow_pickle", "trust_remote_code")
"""Keyword arguments that let data run as code; only `False` may be given."""
FORBIDDEN_NAMES = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"}
MOST_FIELDS = 12
MORE_FIELDS = {"model.config.ModelConfig": 25, "stages.pretrain.Config": 14}
"""An architecture is many numbers. Of pre-training's settings three are one choice, how long (`Length`), of which one
may be given, and `start` and `embeddings` exclude each other: nobody can write more than twelve.
"""
LONG_FILE, MOST_LONG_FILES = 400, 4
LONG_FUNCTION, MOST_LONG_FUNCTIONS = 60, 6


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """`model/attention.py` -> `model`; `recipe.py` -> `recipe`; `python -m danlu` is the command line."""
    name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "cli" if name == "__main__" else name


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imports(path: Path) -> Iterator[tuple[str, bool, ast.AST]]:
    """(module, is it at module level and not for types only, node) for each import; relative ones made absolute."""
    deferred = {
        id(inner)
        for outer in ast.walk(tree(path))
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.dump(outer.test))
        for inner in ast.walk(outer)
    }
    package = ["danlu", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(tree(path)):
        eager = id(node) not in deferred
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, eager, node
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, eager, node
            for alias in node.names:
                yield f"{module}.{alias.name}", eager, node


def own_rooms(module: str) -> str | None:
    """The room of one of our modules; None for `danlu` itself, for its plain values and for other packages."""
    parts = module.split(".")
    if parts[0] != "danlu" or len(parts) < 2:
        return None
    return parts[1] if (SOURCE / parts[1]).is_dir() or (SOURCE / f"{parts[1]}.py").is_file() else None


def module_file(module: str) -> Path | None:
    """The file of one of our modules; None for a name inside a module."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def test_every_room_is_in_the_table():
    unknown = {room(path) for path in files()} - ROOMS - set(ABOVE)
    assert not unknown, f"no line in the table for {unknown}"


def test_imports_point_downward():
    wrong = []
    for path in files():
        here = room(path)
        allowed = {**BELOW, **ABOVE}[here] | ({here} if here != "stages" else set())
        for module, _, node in imports(path):
            there = own_rooms(module)
            if there is None or there in allowed:
                continue
            if here == "stages" and module in ("danlu.stages", f"danlu.stages.{path.stem}"):
                continue
            wrong.append(f"{place(path, node)}: {here} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_stages_and_commands_import_heavy_rooms_inside_functions():
    wrong = [
        f"{place(path, node)}: {module}"
        for path in files()
        if room(path) in LAZY and path.relative_to(SOURCE).as_posix() not in CALLED_LAST
        for module, eager, node in imports(path)
        if eager
        and (there := own_rooms(module)) in ROOMS - TORCH_FREE
        and not module.startswith(TORCH_FREE_MODULES)
        and (SOURCE / str(there)).joinpath("__init__.py") != module_file(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_without_torch_never_import_it():
    wrong = [
        f"{place(path, node)}: {module}"
        for path in files()
        if room(path) in TORCH_FREE
        for module, _, node in imports(path)
        if module.split(".")[0] == "torch"
    ]
    assert not wrong, "\n".join(wrong)


def test_what_must_be_quick_imports_no_torch():
    modules = [*QUICK, *(f"danlu.stages.{path.stem}" for path in (SOURCE / "stages").glob("[a-z]*.py"))]
    program = "import sys\n" + "\n".join(f"import {name}" for name in modules)
    program += "\nfound = {'torch', 'transformers'} & set(sys.modules)\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_distributed_only_in_parallel():
    wrong = []
    for path in files():
        if room(path) == "parallel":
            continue
        wrong += [place(path, node) for module, _, node in imports(path) if module.startswith("torch.distributed")]
        wrong += [
            place(path, node)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute) and node.attr == "distributed" and ast.unparse(node.value) == "torch"
        ]
    assert not wrong, "\n".join(wrong)


def test_environment_is_read_in_two_places_only():
    wrong = [
        place(path, node)
        for path in files()
        if room(path) not in ("cli", "parallel")
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and {a.name for a in node.names} & {"environ"})
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_console_prints():
    wrong = [
        place(path, node)
        for path in files()
        if path != SOURCE / "base" / "console.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_can_run_code_out_of_data():
    wrong = []
    for path in files():
        wrong += [
            f"{place(path, node)}: {module}"
            for module, _, node in imports(path)
            if module.split(".")[0] in FORBIDDEN_MODULES
        ]
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                wrong.append(f"{place(path, node)}: {node.func.id}()")
            if isinstance(node, ast.Attribute) and (ast.unparse(node.value), node.attr) in FORBIDDEN_ATTRIBUTES:
                wrong.append(f"{place(path, node)}: {ast.unparse(node)}")
            if isinstance(node, ast.keyword) and node.arg in SWITCHES and ast.unparse(node.value) != "False":
                wrong.append(f"{place(path, node.value)}: {node.arg}")
    assert not wrong, "\n".join(wrong)


def test_no_bare_except():
    wrong = [
        place(path, node)
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not wrong, "\n".join(wrong)


def test_every_file_opens_with_a_briefing():
    wrong = []
    for path in files():
        text = ast.get_docstring(tree(path)) or ""
        least = {"__init__.py": 1 if tree(path).body else 0, "__main__.py": 1}.get(path.name, 3)
        if len(text.splitlines()) < least:
            wrong.append(str(path.relative_to(ROOT)))
    assert not wrong, "no briefing of at least three lines: " + ", ".join(wrong)


def test_names_say_what_things_are():
    wrong = []
    for path in files():
        if set(path.stem.lower().split("_")) & FORBIDDEN_NAMES:
            wrong.append(str(path.relative_to(ROOT)))
        wrong += [
            f"{place(path, node)}: {node.name}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ClassDef) and node.name.lower().endswith(tuple(FORBIDDEN_NAMES))
        ]
    assert not wrong, "\n".join(wrong)


@cache
def settings() -> list[type[Settings]]:
    """Every config model. Their files are imported: fields are inherited, and a default is a value."""
    names, before = {"Settings"}, 0
    while len(names) > before:
        before = len(names)
        of_settings = {
            (path, node.name)
            for path in files()
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ClassDef) and names & {ast.unparse(base) for base in node.bases}
        }
        names |= {name for _, name in of_settings}
    modules = {".".join(["danlu", *path.relative_to(SOURCE).with_suffix("").parts]) for path, _ in of_settings}
    return [
        model
        for module in sorted(modules)
        for model in vars(importlib.import_module(module)).values()
        if isinstance(model, type) and issubclass(model, Settings) and model.__module__ == module
    ]


def named(model: type[Settings]) -> str:
    return f"{model.__module__.removeprefix('danlu.')}.{model.__name__}"


def test_config_models_are_small_and_every_field_explains_itself():
    wrong = []
    for model in settings():
        most = MORE_FIELDS.get(named(model), MOST_FIELDS)
        if len(model.model_fields) > most:
            wrong.append(f"{named(model)} has {len(model.model_fields)} fields, at most {most}")
        wrong += [
            f"{named(model)}.{name} has no description"
            for name, field in model.model_fields.items()
            if not field.description
        ]
    assert not wrong, "\n".join(wrong)


def test_the_default_of_a_group_is_what_its_class_says():
    """A default that differs from its class's own is lost as soon as a person writes one value of the group."""
    groups = [
        (f"{named(model)}.{name}", field.annotation, default)
        for model in settings()
        for name, field in model.model_fields.items()
        if isinstance(default := field.get_default(call_default_factory=True), Settings)
    ]
    assert {"stages.finetune.Config.optimizer", "stages.prepare.Config.filters"} <= {name for name, *_ in groups}
    wrong = [
        name
        for name, annotation, default in groups
        if type(default) not in (annotation, *get_args(annotation)) or default != type(default)()
    ]
    assert not wrong, "\n".join(wrong)


def test_every_config_field_is_read_somewhere():
    read = {
        node.attr
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    wrong = [f"{named(model)}.{name}" for model in settings() for name in model.model_fields if name not in read]
    assert not wrong, "settings that nothing reads:\n" + "\n".join(wrong)


def test_files_and_functions_stay_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    bodies = [length for path, length in lengths.items() if path.name != "__init__.py"]
    long_files = [f"{path.relative_to(ROOT)} ({length})" for path, length in lengths.items() if length > LONG_FILE]
    long_functions = [
        f"{place(path, node)}: {node.name}"
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONG_FUNCTION
    ]
    assert statistics.median(bodies) <= 180
    assert len(long_files) <= MOST_LONG_FILES, long_files
    assert len(long_functions) <= MOST_LONG_FUNCTIONS, long_functions


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_load(path: Path):
    from danlu.recipe import Recipe

    assert Recipe.load(path).sections
