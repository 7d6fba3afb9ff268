"""What a recipe is: a page of values, read, checked, and resolved into the stages that it names.

In: a YAML file or a dictionary, and overrides `path=value`. Out: a `Recipe`; from it a plan (one `Step` a section:
config, inputs, folder, fingerprint, state). Called by `running`, which carries the plan out, and by the commands.
Values only: no class paths, no expressions, no includes, no YAML aliases. Writes nothing, and knows no stage's meaning;
those are in `stages/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from danlu.base.artifact import Artifact
from danlu.base.config import SEPARATOR, Settings, paths_in, read_settings
from danlu.base.errors import ConfigError, DataError, UserError, nearest
from danlu.stages import STAGES, Stage
from danlu.step import Section, Step, resolved

TOP_LEVEL = {"name", "seed"}
NAME = re.compile(r"[\w][\w.-]{0,63}")
SECTION_KEYS = {"stage", "inputs"}


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases (they can explode), tags, and keys that overwrite each other; a date is a word."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.events.AliasEvent):
            raise _refused("aliases are not allowed in a recipe", event)
        if event.tag is not None:
            raise _refused(f"tags such as {event.tag} are not allowed in a recipe", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a name is one word, not a list or a mapping", key_node)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _refused(f"{key!r} stands here twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refused(sentence: str, place: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, sentence, place.start_mark)


def _read(text: str) -> Any:
    """The plain values of a YAML text; ValueError says what of it is none."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("brackets within brackets, deeper than anybody can mean") from None


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
        try:
            if not path.is_file():
                raise ConfigError(
                    "there is no such recipe", where=path, remedy="danlu new NAME writes one to start from"
                )
            values = _read(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigError(
                "the recipe cannot be read",
                where=path,
                found=error.strerror,
                remedy="give yourself the right to it, or another path",
            ) from None
        except ValueError as error:
            raise ConfigError(
                "the recipe is not valid YAML", where=path, found=error, remedy="correct this place and start again"
            ) from None
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
        """Build a recipe from plain values; the config of every section is checked and all problems come together.

        A section that is `false` is switched off, on the page or by an override: `export=false`.
        """
        page = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
        found = [problem for override in overrides if (problem := _apply(page, override)) is not None]
        name, seed = str(page.get("name", default_name)), page.get("seed", 0)
        if not NAME.fullmatch(name):
            found.append(f"name: letters, digits, '-', '_' and '.'; found {name!r:.80}")
        if not isinstance(seed, int) or isinstance(seed, bool):
            found.append(f"seed: a whole number; found {seed!r:.80}")
            seed = 0
        known = {key for key in (*STAGES, *values) if isinstance(key, str) and _may_be_switched_off(key, values)}
        read = {
            key: _section(key, value, found, known)
            for key, value in page.items()
            if key not in TOP_LEVEL and not (value is False and _may_be_switched_off(key, values))
        }
        recipe = cls(name, seed, tuple(section for section in read.values() if section is not None), where)
        unread = {key for key, section in read.items() if section is None}
        found += recipe._configs()[1] + recipe._wiring(unread)[1] + recipe._refusals()
        if found:
            raise _refusal(where, found + recipe._absent())
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
                found.extend(str(error.found).split(SEPARATOR))
        return configs, found

    def _wiring(self, unread: Collection[Any] = ()) -> tuple[dict[str, dict[str, str]], list[str]]:
        """For every section: input name -> the nearest earlier section that makes a fitting kind, or the named one.

        What is missing where a section could not be read (`unread`) may be what that one makes: no second problem.
        """
        wires: dict[str, dict[str, str]] = {}
        found = []
        for index, section in enumerate(self.sections):
            wires[section.name] = {}
            for unknown in sorted(section.inputs.keys() - section.stage.takes.keys()):
                found.append(f"{section.name}.inputs.{unknown}: {section.stage.name} takes no such input")
            for need, kinds in section.stage.takes.items():
                chosen = _producer(section, need, kinds, self.sections[:index])
                if isinstance(chosen, Section):
                    wires[section.name][need] = chosen.name
                elif not (unread if need not in section.inputs else section.inputs[need] in unread):
                    found.append(chosen)
        return wires, found

    def _refusals(self) -> list[str]:
        """Models that cannot be, and sections that could do nothing with one: said now, not hours later."""
        (configs, _), (wires, _) = self._configs(), self._wiring()
        modules = {section.name: section.stage.module() for section in self.sections}
        shapes, found = {}, []
        for name in (name for name, module in modules.items() if hasattr(module, "architecture")):
            if name not in configs or _absent(configs[name], name):  # said elsewhere
                continue
            row_length = getattr(configs.get(wires[name].get("shards", "")), "row_length", 1)
            try:
                shapes[name] = modules[name].architecture(configs[name], vocabulary_size=1, row_length=row_length)
            except UserError as error:
                remedy = "" if error.remedy is None else f"; {error.remedy}"
                found.append(f"{name}: {error.what} ({error.where}){remedy}")
        for name in (name for name, module in modules.items() if hasattr(module, "refusal")):
            origin = wires[name].get("model")
            while origin is not None and not hasattr(modules[origin], "architecture"):
                origin = wires[origin].get("model")  # taught further: the shape stays that of its beginning
            reason = modules[name].refusal(shapes[origin]) if origin in shapes else None
            if reason is not None:
                found.append(
                    f"{origin}.model: {name} cannot take it: {reason}; or switch the section off: {name}: false"
                )
        return found

    def _absent(self) -> list[str]:
        """One line for each file or folder that a section reads and that is not there."""
        return [line for name, config in self._configs()[0].items() for line in _absent(config, name)]

    def plan(self, runs: Path = Path("runs"), sources: Mapping[str, str] | None = None) -> list[Step]:
        """Resolve every section against what lies in `runs/NAME`: nothing is started and nothing is written.

        `sources`: section -> fingerprint of its raw files, where another process has read them; else they are read.
        """
        absent = self._absent() if sources is None else []
        if absent:
            raise DataError(
                "the recipe names files that are not there",
                where=self.where,
                found=SEPARATOR.join(absent),
                remedy=f"correct the lines above; paths are read from {Path.cwd()}",
            )
        (configs, _), (wires, _) = self._configs(), self._wiring()
        steps: dict[str, Step] = {}
        for section in self.sections:
            parents = wires[section.name]
            origins = {need: steps[name].folder for need, name in parents.items()}
            ancestry = {need: steps[name].fingerprint for need, name in parents.items()}
            folder = runs / self.name / section.name
            if sources is not None and section.name in sources:
                ancestry["sources"] = sources[section.name]
            step = resolved(section, configs[section.name], parents, origins, ancestry, folder)
            steps[section.name] = replace(step, before={need: steps[name] for need, name in parents.items()})
        return list(steps.values())


def single_step(stage: Stage, values: Sequence[str], inputs: Mapping[str, Artifact], out: Path) -> Step:
    """A step outside any recipe: one stage, `path=value` words, opened inputs and the folder to make."""
    page: dict[str, Any] = {stage.name: {}}
    found = [problem for value in values if (problem := _apply(page, f"{stage.name}.{value}")) is not None]
    try:
        config = read_settings(stage.module().Config, page[stage.name], "the command line", stage.name)
    except ConfigError as error:
        found += str(error.found).split(SEPARATOR)
    if found:
        raise ConfigError(
            "these settings cannot be used",
            where="the command line",
            found=SEPARATOR.join(found),
            remedy="correct the values above and start again",
        )
    origins = {need: one.folder for need, one in inputs.items()}
    ancestry = {need: one.fingerprint for need, one in inputs.items()}
    return resolved(Section(stage.name, stage, page[stage.name], {}), config, {}, origins, ancestry, out)


def _absent(config: Settings, name: str) -> list[str]:
    """One line for each file or folder that the section `name` reads and that is not there."""
    return [
        f"{place}: {path} is not there"
        for place, path in paths_in(config, name)
        if not os.path.lexists(Path(path).expanduser())
    ]


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


def _may_be_switched_off(key: str, page: Mapping[str, Any]) -> bool:
    """A stage's own name, or a section that the page itself describes; any other name is a slip of the pen."""
    return key in STAGES or isinstance(page.get(key), Mapping)


def _section(key: str, value: Any, found: list[str], known: Iterable[str]) -> Section | None:
    if value is None:
        value = {}
    if value is False and isinstance(key, str):
        found.append(f"{key}: there is no such section to switch off{nearest(key, known)}")
        return None
    if not isinstance(key, str) or not NAME.fullmatch(key) or not isinstance(value, dict):
        found.append(f"{key}: a section is a name and a mapping of values; found {value!r:.60}")
        return None
    stage_name = value.get("stage", key)
    if not isinstance(stage_name, str) or stage_name not in STAGES:
        found.append(
            f"{key}: no stage {stage_name!r:.80}{nearest(str(stage_name), [*STAGES, *TOP_LEVEL])}; "
            f"stages: {', '.join(STAGES)} (another name for a section says `stage:`)"
        )
        return None
    inputs = value.get("inputs", {})
    if not isinstance(inputs, dict) or not all(isinstance(word, str) for pair in inputs.items() for word in pair):
        found.append(f"{key}.inputs: a mapping of input to section; found {inputs!r:.60}")
        return None
    return Section(key, STAGES[stage_name], {k: v for k, v in value.items() if k not in SECTION_KEYS}, inputs)


def _refusal(where: str, found: Sequence[str]) -> ConfigError:
    number = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    return ConfigError(
        f"the recipe cannot be used: {number}",
        where=where,
        found=SEPARATOR.join(found),
        remedy="correct the lines above and start again",
    )


def _apply(page: dict[str, Any], override: str) -> str | None:
    """Set one `path=value`, or say why not; the value is read as YAML: `3e-4`, `true` and `[a, b]` mean what they mean
    on the page."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        return f"{override!r:.80}: an override is written path=value, for example pretrain.minutes=5"
    *parents, last = path.split(".")
    try:
        value = _read(text)
    except ValueError as error:
        return f"{path}: the value is not valid YAML: {' '.join(str(error).split())}"
    here = page
    for part in parents:
        inner = here.get(part)
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            return f"{path}: an override leads through a plain value; {part} is {inner!r:.60}"
        here[part] = inner = dict(inner)
        here = inner
    here[last] = value
    return None
