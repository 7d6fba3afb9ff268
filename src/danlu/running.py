"""Carry a recipe out: each section kept, continued, refused or made, in order, by one process or by many ranks.

In: a `Recipe` (or its page and overrides), which part of it, whether to make things again. Out: the artefacts by name.
Called by the commands and as `danlu.run`. The first rank alone looks at the folders, decides, clears and marks them;
the others do what it tells them. What a recipe is, and how its folders stand, is `recipe`'s; what a stage does is in
`stages/`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from danlu.base import artifact, console
from danlu.base.artifact import Artifact
from danlu.base.errors import ArtifactError, ConfigError, nearest, one_sentence
from danlu.base.world import World
from danlu.recipe import Recipe
from danlu.step import Step, differences

TAKE, JOIN = "take", "join"
"""What the first rank tells the others of a step: the artefact is there; or: make it with me."""
Tell = Callable[[str], None]
Hear = Callable[[], str]
ALONE = World()
GLANCE_SECONDS = 0.1
"""After this, whoever only looked at a lock (`is_being_made`) has let go of it."""


def run(
    recipe: Recipe | Path | str,
    *overrides: str,
    runs: Path | str = Path("runs"),
    from_section: str | None = None,
    until: str | None = None,
    again: bool = False,
    world: World = ALONE,
    after: Callable[[Step, Artifact], object] | None = None,
) -> dict[str, Artifact]:
    """Run a recipe's sections in order and return their artefacts by name.

    A finished section of the same fingerprint, made from the files that its inputs hold now, is kept; an interrupted
    one continues; a stale one is an error that lists what differs, unless `again`. With `from_section`, earlier
    sections must be finished, and `again` makes everything from there on anew. Under torchrun every rank calls this
    with its rank and size in `world`.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe, overrides)
    first, last = _bounds([section.name for section in recipe.sections], from_section, until)
    if not world.is_first:
        return _follow_recipe(recipe, Path(runs), last, world)
    made: dict[str, Artifact] = {}
    home = Path(runs) / recipe.name
    busy = ArtifactError(
        "this recipe is running already", where=home, remedy="wait for it, or give this one another name"
    )
    with one_sentence(home), _telling(world) as tell, _only_one(home / ".lock", busy):
        steps = recipe.plan(Path(runs))
        tell(json.dumps({step.name: step.ancestry["sources"] for step in steps if "sources" in step.ancestry}))
        for index, step in enumerate(steps[: last + 1]):
            if index < first and step.state != "done":
                raise ArtifactError(
                    f"{step.name} is needed and is {step.state}", where=step.folder, remedy="start from it or before it"
                )
            asked, anyway = again and index >= first, from_section is not None
            inputs = {need: made[parent] for need, parent in step.parents.items()}
            made[step.name] = _carry_out(step, inputs, tell, again=asked, even_good=anyway)
            _object(made, step, steps[index + 1 : last + 1])
            if after is not None:
                after(step, made[step.name])
    return made


def _object(made: Mapping[str, Artifact], step: Step, later: Sequence[Step]) -> None:
    """Raise what a later section would end with on the corpus that was just made, if anything: hours earlier."""
    for one in later:
        module = one.section.stage.module()
        if hasattr(module, "objection") and one.before["shards"].parents["corpus"] == step.name:
            objection = module.objection(made[step.name])
            if objection is not None:
                raise objection


def run_step(step: Step, inputs: Mapping[str, Artifact], *, again: bool = False, world: World = ALONE) -> Artifact:
    """Run one step outside any recipe on opened inputs; `again` makes it anew."""
    if not world.is_first:
        with _hearing(world) as hear:
            return _follow([step], inputs, hear)[step.name]
    with _telling(world) as tell:
        return _carry_out(step, inputs, tell, again=again, even_good=True)


def is_being_made(folder: Path) -> bool:
    """True while a process, on this machine or on one that shares its locks, is making the artefact of this folder."""
    try:
        import fcntl

        with _lock(folder).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # no lock, or a system without any: nothing says that somebody is at work
        return False
    return False


def _is_good(step: Step) -> bool:
    """False where `again` has something to mend: the step is stale, or done and damaged."""
    if step.state == "done":
        return not artifact.damage(step.folder, artifact.read_manifest(step.folder))
    return step.state != "stale"


def _bounds(names: Sequence[str], from_section: str | None, until: str | None) -> tuple[int, int]:
    for asked in (from_section, until):
        if asked is not None and asked not in names:
            raise ConfigError(f"no section {asked!r} in this recipe{nearest(asked, names)}", found=", ".join(names))
    return (
        names.index(from_section) if from_section is not None else 0,
        names.index(until) if until is not None else len(names) - 1,
    )


def _carry_out(step: Step, inputs: Mapping[str, Artifact], tell: Tell, *, again: bool, even_good: bool) -> Artifact:
    """Keep, continue, refuse or make one step, and tell the other ranks what to do about it.

    `again` makes anew what needs it, and with `even_good` what does not.
    """
    busy = ArtifactError("another process is making this", where=step.folder, remedy="wait for it, or make another")
    with one_sentence(step.folder), _only_one(_lock(step.folder), busy):
        step = replace(step)  # what it was when somebody else might still have been at the folder is forgotten
        redo = again and (even_good or not _is_good(step))
        if step.state == "done" and not redo:
            kept = artifact.open_artifact(step.folder)
            duration = console.duration(kept.manifest["seconds"])
            console.say(f"{step.name}: kept (done, {duration}; {step.folder})", style="dim")
            tell(TAKE)
            return kept
        if step.state == "stale" and not redo:
            raise ConfigError(
                f"{step.name} was made from something else than this recipe now says",
                where=step.folder,
                found="\n         ".join(differences(step)),
                remedy="add --again to make it anew, or give the recipe another name (name=...)",
            )
        _begin(step, inputs, redo)
        console.heading(f"{step.name}: {'continuing' if step.state == 'interrupted' else step.section.stage.summary}")
        if step.section.stage.every_rank:
            tell(JOIN)
            return _make(step, inputs)
        done = _make(step, inputs)
        tell(TAKE)
        return done


def _begin(step: Step, inputs: Mapping[str, Artifact], redo: bool) -> None:
    """Make the folder ready: emptied where it is made anew, rid of what kills left, marked with what is being made."""
    folder = step.folder.resolve()
    torn = artifact.leavings(folder, artifact.STARTED if step.state == "to do" else None)
    if step.state == "to do" and folder.is_dir() and set(folder.iterdir()) - set(torn):
        raise ArtifactError(
            "the folder holds files that are not this stage's",
            where=step.folder,
            remedy="give a new or an empty folder; nothing was touched",
        )
    for path in torn:  # a stage seals all that lies in its folder
        path.unlink()
    hidden = folder.with_name(f".{folder.name}.removed")
    if hidden.exists():
        shutil.rmtree(hidden)
    if redo and step.state != "to do":
        console.say(f"{step.name}: the earlier result is removed ({step.folder})", style="dim")
        folder.rename(hidden)  # killed half-way, it is rubbish and not a folder of somebody else's files
        shutil.rmtree(hidden)
    folder.mkdir(parents=True, exist_ok=True)
    started = {
        "fingerprint": step.fingerprint,
        "stage_version": step.section.stage.module().VERSION,
        "config": step.config.model_dump(mode="json"),
        "parents": {
            need: {"fingerprint": parent.fingerprint, "content": parent.content} for need, parent in inputs.items()
        },
        "sources": step.ancestry.get("sources"),
    }
    artifact.write_atomically(folder / artifact.STARTED, json.dumps(started, ensure_ascii=False, indent=1) + "\n")


def _make(step: Step, inputs: Mapping[str, Artifact]) -> Artifact:
    """The stage itself; what it made must be what was planned."""
    with one_sentence(step.folder):
        done: Artifact = step.section.stage.module().run(step.config, inputs, step.folder)
    if done.fingerprint != step.fingerprint:
        raise ArtifactError(
            "the stage's inputs changed while it ran", where=step.folder, remedy="run the recipe again with --again"
        )
    return done


def _follow_recipe(recipe: Recipe, runs: Path, last: int, world: World) -> dict[str, Artifact]:
    """The same plan as the first rank's, whose reading of the raw files is enough, and then each step as told."""
    with _hearing(world) as hear:
        steps = recipe.plan(runs, json.loads(hear()))
        return _follow(steps[: last + 1], {}, hear)


def _follow(steps: Sequence[Step], inputs: Mapping[str, Artifact], hear: Hear) -> dict[str, Artifact]:
    """What the ranks after the first do: each step as they are told, without a look at its folder before that."""
    made: dict[str, Artifact] = {}
    for step in steps:
        if hear() == JOIN:
            taken = {need: made[parent] for need, parent in step.parents.items()}
            made[step.name] = _make(step, {**inputs, **taken})
        else:
            made[step.name] = artifact.open_artifact(step.folder, verify=False)
    return made


@contextmanager
def _telling(world: World) -> Iterator[Tell]:
    """A way to tell the other ranks a word; alone there is nobody to tell, and torch need not be there."""
    if world.size == 1:
        yield lambda word: None
        return
    from danlu.parallel.launch import telling

    with telling(world) as tell:
        yield tell


@contextmanager
def _hearing(world: World) -> Iterator[Hear]:
    from danlu.parallel.launch import hearing

    with hearing(world) as hear:
        yield hear


def _lock(folder: Path) -> Path:
    """The file beside a section's folder that its maker holds."""
    return folder.resolve().with_name(f".{folder.resolve().name}.lock")


@contextmanager
def _only_one(lock: Path, busy: ArtifactError) -> Iterator[None]:
    """Hold a lock, or raise `busy`: two processes making one artefact would destroy each other's work.

    The system lets go of it when its holder ends, however it ends. The empty file stays: whoever removed it could take
    it away from a process that has just opened it, and the next two would both hold a lock.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise ArtifactError(
            "nothing can be made here: the folder cannot be written to",
            where=lock.parent,
            found=error.strerror,
            remedy="give another folder with --runs or --out, or the right to write to this one",
        ) from None
    with file:
        try:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(GLANCE_SECONDS)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except (ImportError, OSError) as error:
            console.warn_once(f"no file locks here ({error}): take care not to make one folder twice at a time")
        yield
