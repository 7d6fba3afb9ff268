"""Recipes: read, check, plan and run the stages that a page of values names.

In: a YAML file or a dictionary, and overrides `path=value`. Out: a `Recipe`; from it a plan (one `Step` a section:
config, inputs, folder, fingerprint, state) and the artefacts. Called by `cli` and by `danlu.run`. Values only: no class
paths, no expressions, no includes, no YAML aliases. Knows no stage's meaning; those are in `stages/`.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from danlu.base import artifact, console
from danlu.base.artifact import Artifact
from danlu.base.config import Settings, read_settings
from danlu.base.errors import ArtifactError, ConfigError, nearest
from danlu.stages import STAGES, Stage

STARTED = "started.json"
TOP_LEVEL = {"name", "seed"}
NAME = re.compile(r"[\w][\w.-]{0,63}")
SECTION_KEYS = {"stage", "inputs"}
WAIT_SECONDS = 0.5


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases (they can explode) and without keys that overwrite each other."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed in a recipe", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands here twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Section:
    """One named use of a stage, as written."""

    name: str
    stage: Stage
    values: Mapping[str, Any]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """One section, resolved: what would run, on what, to where, and how that folder stands now.

    `state` is `done`, `stale` (made from something else), `interrupted` or `to do`; `parents`: input name -> section,
    `ancestry`: input name (or `sources`, for raw files) -> fingerprint.
    """

    section: Section
    config: Settings
    parents: Mapping[str, str]
    ancestry: Mapping[str, str]
    folder: Path
    fingerprint: str
    state: str

    @property
    def name(self) -> str:
        return self.section.name


@dataclass(frozen=True)
class Recipe:
    """A name, a seed and the sections in order. Make one with `Recipe.load(file)` or `Recipe.from_dict(values)`."""

    name: str
    seed: int
    sections: tuple[Section, ...]
    where: str = "recipe"

    @classmethod
    def load(cls, path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
        """Read a YAML recipe and apply `path=value` overrides; ConfigError lists everything that is wrong."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError("there is no such recipe", where=path, remedy="danlu new NAME writes one to start from")
        try:
            values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError("the recipe is not valid YAML", where=path, found=error) from None
        if not isinstance(values, dict):
            raise ConfigError("a recipe is a page of sections", where=path, found=type(values).__name__)
        return cls.from_dict(values, overrides, where=str(path), default_name=path.stem)

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        where: str = "recipe",
        default_name: str = "run",
    ) -> Recipe:
        """Build a recipe from plain values; the config of every section is checked and all problems come together."""
        page = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
        for override in overrides:
            _apply(page, override)
        found: list[str] = []
        name, seed = str(page.get("name", default_name)), page.get("seed", 0)
        if not NAME.fullmatch(name):
            found.append(f"name: letters, digits, '-', '_' and '.'; found {name!r}")
        if not isinstance(seed, int) or isinstance(seed, bool):
            found.append(f"seed: a whole number; found {seed!r}")
            seed = 0
        sections = [
            section
            for key, value in page.items()
            if key not in TOP_LEVEL and (section := _section(key, value, found)) is not None
        ]
        recipe = cls(name, seed, tuple(sections), where)
        found += recipe._configs()[1]
        found += recipe._wiring()[1] if len(found) == 0 else []
        if found:
            raise _refusal(where, found)
        return recipe

    def _configs(self) -> tuple[dict[str, Settings], list[str]]:
        """Every section's config, and the problems of all of them."""
        configs, found = {}, []
        for section in self.sections:
            model = section.stage.module().Config
            values = dict(section.values)
            if "seed" in model.model_fields:
                values.setdefault("seed", self.seed)
            try:
                configs[section.name] = read_settings(model, values, self.where, section.name)
            except ConfigError as error:
                found.extend(str(error.found).split("\n         "))
        return configs, found

    def _wiring(self) -> tuple[dict[str, dict[str, str]], list[str]]:
        """For every section: input name -> the nearest earlier section that makes a fitting kind, or the named one."""
        wires: dict[str, dict[str, str]] = {}
        found = []
        for index, section in enumerate(self.sections):
            wires[section.name] = {}
            for unknown in section.inputs.keys() - section.stage.takes.keys():
                found.append(f"{section.name}.inputs.{unknown}: {section.stage.name} takes no such input")
            for need, kinds in section.stage.takes.items():
                chosen = _producer(section, need, kinds, self.sections[:index])
                if isinstance(chosen, Section):
                    wires[section.name][need] = chosen.name
                else:
                    found.append(chosen)
        return wires, found

    def plan(self, runs: Path = Path("runs")) -> list[Step]:
        """Resolve every section against what lies in `runs/NAME`: nothing is started and nothing is written."""
        (configs, _), (wires, _) = self._configs(), self._wiring()
        steps: dict[str, Step] = {}
        for section in self.sections:
            parents = wires[section.name]
            ancestry = {need: steps[name].fingerprint for need, name in parents.items()}
            folder = runs / self.name / section.name
            steps[section.name] = _step(section, configs[section.name], parents, ancestry, folder)
        return list(steps.values())


def _step(
    section: Section, config: Settings, parents: Mapping[str, str], ancestry: Mapping[str, str], folder: Path
) -> Step:
    """Resolve one section; a stage that reads raw files adds their fingerprint to its ancestry."""
    module = section.stage.module()
    if hasattr(module, "source_fingerprint"):
        ancestry = {**ancestry, "sources": module.source_fingerprint(config)}
    name = artifact.fingerprint(section.stage.name, module.VERSION, config.model_dump(mode="json"), ancestry)
    return Step(section, config, parents, ancestry, folder, name, _state(folder, name))


def single_step(stage: Stage, values: Sequence[str], inputs: Mapping[str, Artifact], out: Path) -> Step:
    """A step outside any recipe: one stage, `path=value` words, opened inputs and the folder to make."""
    page: dict[str, Any] = {stage.name: {}}
    for value in values:
        _apply(page, f"{stage.name}.{value}")
    config = read_settings(stage.module().Config, page[stage.name], "the command line", stage.name)
    ancestry = {need: one.fingerprint for need, one in inputs.items()}
    return _step(Section(stage.name, stage, page[stage.name], {}), config, {}, ancestry, out)


def _producer(section: Section, need: str, kinds: tuple[str, ...], earlier: Sequence[Section]) -> Section | str:
    """The section that feeds `need`, or the sentence that says why there is none."""
    asked = section.inputs.get(need)
    if asked is not None:
        named = next((one for one in earlier if one.name == asked), None)
        if named is None:
            known = [one.name for one in earlier]
            return f"{section.name}.inputs.{need}: no earlier section {asked!r}{nearest(asked, known)}"
        if named.stage.makes not in kinds:
            return f"{section.name}.inputs.{need}: {asked!r} makes {named.stage.makes}, needed is {' or '.join(kinds)}"
        return named
    for kind in kinds:
        for one in reversed(earlier):
            if one.stage.makes == kind:
                return one
    makers = [stage.name for stage in STAGES.values() if stage.makes in kinds]
    return f"{section.name}: needs a {need}, and no earlier section makes one; put {' or '.join(makers)} before it"


def _section(key: str, value: Any, found: list[str]) -> Section | None:
    if value is None:
        value = {}
    if not isinstance(key, str) or not NAME.fullmatch(key) or not isinstance(value, dict):
        found.append(f"{key}: a section is a name and a mapping of values; found {value!r:.60}")
        return None
    stage_name = value.get("stage", key)
    if stage_name not in STAGES:
        found.append(
            f"{key}: no stage {stage_name!r}{nearest(str(stage_name), [*STAGES, *TOP_LEVEL])}; "
            f"stages: {', '.join(STAGES)} (another name for a section says `stage:`)"
        )
        return None
    inputs = value.get("inputs", {})
    if not isinstance(inputs, dict):
        found.append(f"{key}.inputs: a mapping of input to section; found {inputs!r:.60}")
        return None
    return Section(key, STAGES[stage_name], {k: v for k, v in value.items() if k not in SECTION_KEYS}, inputs)


def _refusal(where: str, found: Sequence[str]) -> ConfigError:
    number = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    return ConfigError(
        f"the recipe cannot be used: {number}",
        where=where,
        found="\n         ".join(found),
        remedy="correct the lines above and start again",
    )


def _apply(page: dict[str, Any], override: str) -> None:
    """Set one `path=value`; the value is read as YAML: `3e-4`, `true` and `[a, b]` mean what they mean on the page."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError("an override is written path=value", found=override, remedy="for example pretrain.minutes=5")
    *parents, last = path.split(".")
    here = page
    for part in parents:
        inner = here.get(part)
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise ConfigError("an override leads through a plain value", where=path, found=f"{part} is {inner!r:.60}")
        here[part] = inner = dict(inner)
        here = inner
    try:
        here[last] = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError("the value of an override is not valid YAML", where=path, found=error) from None


def _state(folder: Path, fingerprint: str) -> str:
    if artifact.is_finished(folder):
        try:
            return "done" if artifact.read_manifest(folder)["fingerprint"] == fingerprint else "stale"
        except ArtifactError:  # torn or foreign: `differences` says so, and --again makes it anew
            return "stale"
    started = _read_started(folder)
    if started is None:
        return "to do"
    return "interrupted" if started.get("fingerprint") == fingerprint else "stale"


def _read_started(folder: Path) -> dict[str, Any] | None:
    try:
        started = json.loads((folder / STARTED).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return started if isinstance(started, dict) else None


def differences(step: Step) -> list[str]:
    """What makes a stale step stale: one line for each config field, parent or version that differs."""
    if artifact.is_finished(step.folder):
        try:
            old: Mapping[str, Any] = artifact.read_manifest(step.folder)
        except ArtifactError as error:
            return [f"{error.what}: {error.found}"]
    else:
        old = _read_started(step.folder) or {"config": {}}
    lines = _differing("", old["config"], step.config.model_dump(mode="json"))
    before = {need: parent["fingerprint"] for need, parent in old.get("parents", {}).items()}
    before["sources"] = old.get("sources")
    for need, now in step.ancestry.items():
        if before.get(need) != now:
            lines.append("the raw source files have changed" if need == "sources" else f"input {need} is another now")
    version = step.section.stage.module().VERSION
    if old.get("stage_version", version) != version:
        lines.append(f"stage version {old['stage_version']}, now {version}")
    return lines or ["the fingerprint differs"]


def _differing(prefix: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _differing(f"{prefix}{key}.", old.get(key), new.get(key))]
    return [] if old == new else [f"{prefix.rstrip('.')}: {old!r:.60} -> {new!r:.60}"]


def run(
    recipe: Recipe | Path | str,
    *overrides: str,
    runs: Path | str = Path("runs"),
    from_section: str | None = None,
    until: str | None = None,
    again: bool = False,
    rank: int = 0,
    after: Callable[[Step, Artifact], object] | None = None,
) -> dict[str, Artifact]:
    """Run a recipe's sections in order and return their artefacts by name.

    A finished section of the same fingerprint is kept; an interrupted one continues; a stale one is an error that lists
    what differs, unless `again`. With `from_section`, earlier sections must be finished, and `again` makes everything
    from there on anew. Under torchrun pass the `rank`: others than the first wait for stages that run once.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe, overrides)
    runs = Path(runs)
    made: dict[str, Artifact] = {}
    with _only_one(runs / recipe.name, rank):
        steps = recipe.plan(runs)
        first, last = _bounds(steps, from_section, until)
        for index, step in enumerate(steps[: last + 1]):
            if index < first and step.state != "done":
                raise ArtifactError(
                    f"{step.name} is needed and is {step.state}", where=step.folder, remedy="start from it or before it"
                )
            redo = again and index >= first and (from_section is not None or not _is_good(step))
            inputs = {need: made[parent] for need, parent in step.parents.items()}
            made[step.name] = carry_out(step, inputs, rank=rank, redo=redo)
            if after is not None and rank == 0:
                after(step, made[step.name])
    return made


def _is_good(step: Step) -> bool:
    """False where `again` has something to mend: the step is stale, or done and damaged."""
    if step.state == "done":
        return not artifact.check_files(step.folder, artifact.read_manifest(step.folder))
    return step.state != "stale"


def _bounds(steps: Sequence[Step], from_section: str | None, until: str | None) -> tuple[int, int]:
    names = [step.name for step in steps]
    for asked in (from_section, until):
        if asked is not None and asked not in names:
            raise ConfigError(f"no section {asked!r} in this recipe{nearest(asked, names)}", found=", ".join(names))
    return (
        names.index(from_section) if from_section is not None else 0,
        names.index(until) if until is not None else len(names) - 1,
    )


def carry_out(step: Step, inputs: Mapping[str, Artifact], *, rank: int = 0, redo: bool = False) -> Artifact:
    """Keep, continue, refuse or make one step; `inputs` are the opened artefacts it takes, by input name."""
    if step.state == "done" and not redo:
        kept = artifact.open_artifact(step.folder)
        if rank == 0:
            console.say(
                f"{step.name}: kept (done, {console.duration(kept.manifest['seconds'])}; {step.folder})", style="dim"
            )
        return kept
    if step.state == "stale" and not redo:
        raise ConfigError(
            f"{step.name} was made from something else than this recipe now says",
            where=step.folder,
            found="\n         ".join(differences(step)),
            remedy="add --again to make it anew, or give the recipe another name (name=...)",
        )
    if rank != 0 and not step.section.stage.every_rank:
        return _await(step)
    if rank == 0:
        _begin(step, redo)
        console.heading(f"{step.name}: {'continuing' if step.state == 'interrupted' else step.section.stage.summary}")
    done = step.section.stage.module().run(step.config, inputs, step.folder)
    if done.fingerprint != step.fingerprint:
        raise ArtifactError(
            "the stage's inputs changed while it ran", where=step.folder, remedy="run the recipe again with --again"
        )
    return done


def _begin(step: Step, redo: bool) -> None:
    """Make the folder ready: emptied where it is made anew, marked with what is being made."""
    if step.state == "to do" and step.folder.is_dir() and any(step.folder.iterdir()):
        raise ArtifactError(
            "the folder holds files that are not this stage's",
            where=step.folder,
            remedy="give a new or an empty folder; nothing was touched",
        )
    if redo and step.folder.exists():
        console.say(f"{step.name}: the earlier result is removed ({step.folder})", style="dim")
        shutil.rmtree(step.folder)
    step.folder.mkdir(parents=True, exist_ok=True)
    started = {
        "fingerprint": step.fingerprint,
        "stage_version": step.section.stage.module().VERSION,
        "config": step.config.model_dump(mode="json"),
        "parents": {need: {"fingerprint": print_} for need, print_ in step.ancestry.items() if need != "sources"},
        "sources": step.ancestry.get("sources"),
    }
    artifact.write_atomically(step.folder / STARTED, json.dumps(started, ensure_ascii=False, indent=1) + "\n")


def _await(step: Step) -> Artifact:
    """Wait until the first rank has finished a stage that runs once; the launcher ends this rank if the first dies."""
    while not (artifact.is_finished(step.folder) and _state(step.folder, step.fingerprint) == "done"):
        time.sleep(WAIT_SECONDS)
    return artifact.open_artifact(step.folder, verify=False)


@contextmanager
def _only_one(folder: Path, rank: int) -> Iterator[None]:
    """Hold the run's lock: two processes making one artefact would destroy each other's work."""
    if rank != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            console.warn_once("no file locks on this system: take care not to run one recipe twice at a time")
        except OSError:
            raise ArtifactError(
                "this recipe is running already", where=folder, remedy="wait for it, or give this one another name"
            ) from None
        yield
