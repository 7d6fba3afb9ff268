"""Carry a recipe out: each section kept, continued, refused or made, in order, by one process or by many ranks.

In: a `Recipe` (or its page and overrides), which part of it, whether to make things again. Out: the artefacts by name.
Called by the commands and as `danlu.run`. What a recipe is, and how its folders stand, is `recipe`'s; what a stage does
is in `stages/`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from danlu.base import artifact, console
from danlu.base.artifact import Artifact
from danlu.base.errors import ArtifactError, ConfigError, nearest
from danlu.recipe import STARTED, Recipe, Step, differences, state_of

WAIT_SECONDS = 0.5


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
    while not (artifact.is_finished(step.folder) and state_of(step.folder, step.fingerprint) == "done"):
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
