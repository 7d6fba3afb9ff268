"""`danlu STAGE`: one stage, as a section of a recipe or alone.

In: a recipe file and overrides, or `--input need=FOLDER`, `--out FOLDER` and values. Out: one artefact.
Called by `cli`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from danlu import running
from danlu.base import artifact, console
from danlu.base.artifact import Artifact
from danlu.base.errors import ArtifactError, ConfigError, nearest
from danlu.base.world import World
from danlu.recipe import Recipe, single_step
from danlu.running import ALONE
from danlu.stages import Stage


def run(
    stage: Stage,
    words: Sequence[str],
    *,
    runs: Path,
    inputs: Sequence[str],
    out: Path | None,
    again: bool,
    world: World = ALONE,
) -> None:
    """Run the recipe's sections of this stage, or the stage alone on given folders."""
    pages = [word for word in words if "=" not in word]
    values = [word for word in words if "=" in word]
    if len(pages) == 1 and out is None:
        _from_recipe(stage, Path(pages[0]), values, runs, again, world)
    elif not pages and out is not None:
        _alone(stage, values, inputs, out, again, world)
    else:
        raise ConfigError(
            f"danlu {stage.name} takes a recipe, or --out with the inputs it needs",
            found=" ".join(words) if words else "neither",
            remedy=f"danlu {stage.name} recipes/quickstart.yaml, or danlu {stage.name} --out FOLDER "
            + " ".join(f"--input {need}=FOLDER" for need in stage.takes),
        )


def _from_recipe(stage: Stage, page: Path, values: Sequence[str], runs: Path, again: bool, world: World) -> None:
    read = Recipe.load(page, values)
    names = [section.name for section in read.sections if section.stage.name == stage.name]
    if not names:
        raise ConfigError(f"the recipe has no section of the stage {stage.name}", where=page)
    for name in names:
        running.run(read, runs=runs, from_section=name, until=name, again=again, world=world)


def _open(need: str, folder: Path, stage: Stage) -> Artifact:
    """An input as an artefact; of a model folder that danlu did not make the error says what can be done with it."""
    if need == "model" and (folder / "config.json").is_file() and not artifact.is_finished(folder):
        raise ArtifactError(
            f"{stage.name} takes models that danlu has sealed",
            where=folder,
            found=f"a model folder without {artifact.MANIFEST}",
            remedy="begin a pre-training with it: pretrain.start=FOLDER; danlu chat, serve and prove take it as it is",
        )
    return artifact.open_artifact(folder, stage.takes[need])


def _alone(stage: Stage, values: Sequence[str], inputs: Sequence[str], out: Path, again: bool, world: World) -> None:
    """A recipe of one section, whose inputs are folders."""
    opened = {}
    for word in inputs:
        need, equals, folder = word.partition("=")
        if not equals or need not in stage.takes:
            raise ConfigError(
                f"{stage.name} has no input of that name{nearest(need, stage.takes)}",
                found=word,
                remedy=f"inputs: {', '.join(stage.takes) if stage.takes else 'none'}",
            )
        opened[need] = _open(need, Path(folder), stage)
    missing = [need for need in stage.takes if need not in opened]
    if missing:
        raise ConfigError(
            f"{stage.name} needs {', '.join(missing)}",
            remedy=" ".join(f"--input {need}=FOLDER" for need in missing),
        )
    step = single_step(stage, values, opened, out)
    made = running.run_step(step, opened, again=again, world=world)
    console.say(f"{made.kind}: {made.folder}")
    console.emit("done", artifacts={stage.name: str(made.folder)})
