"""The raw text of a recipe: its files, those that generators write, and what it is made of, as an artefact.

In: sources as a recipe gives them. Out: `SourceFile`s; the listing, which changes when and only when the text can
change; `sources/manifest.json`, the parent of a corpus. Called by `stages.prepare`. Reads files only to hash them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base import console
from danlu.base.artifact import Artifact, open_artifact, seal
from danlu.base.errors import ArtifactError, DataError
from danlu.corpus import python_docs, world
from danlu.corpus.settings import AnySource, Files
from danlu.corpus.sources import BLANK_LINE, Source, source_files
from danlu.corpus.stamps import Stamped, changed_error, recorded, stamped

FOLDER = "sources"


def _write_little_world(options: Any, folder: Path, seed: int) -> None:
    world.write(
        folder,
        seed=seed,
        stories=options.stories,
        lists=options.lists,
        conversations=options.conversations,
        dirty=options.dirty,
    )


def _write_python_docs(options: Any, folder: Path, seed: int) -> None:
    python_docs.write(folder, max_bytes=options.max_bytes)


GENERATORS: dict[str, tuple[Callable[[Any, Path, int], None], str]] = {
    "little-world": (_write_little_world, str(world.VERSION)),
    "python-docs": (_write_python_docs, f"{python_docs.VERSION} of Python {platform.python_version()}"),
}
"""Name of a source that is written instead of read -> its writer (options, folder, seed), the version of its text."""


def given_files(
    sources: Iterable[AnySource], setting: str, earlier: Iterable[Stamped] = (), *, sheets: bool = False
) -> list[Stamped]:
    """All files of the sources that are paths; `setting` is where they were written, `sheets` takes CSV and TSV too.

    Those that only became longer since they were stamped `earlier` are taken as they were then.
    """
    paths = [source for source in sources if isinstance(source, Files)]
    return stamped(source_files([Source(**source.model_dump(), sheets=sheets) for source in paths], setting), earlier)


def generated_files(sources: Iterable[AnySource], folder: Path, seed: int) -> list[Stamped]:
    """Let the generators write into a folder, and list their files like those of any other."""
    made: list[Source] = []
    for source in sources:
        if not isinstance(source, Files):
            place = folder / (f"{source.generator}-{len(made) + 1}" if made else source.generator)
            console.say(f"writing {source.generator}")
            write, _ = GENERATORS[source.generator]
            write(source, place, seed)
            made.append(Source(str(place), BLANK_LINE))
    return stamped(source_files(made))


def listing(
    sources: Iterable[AnySource], seed: int, given: Sequence[Stamped], evaluation: Sequence[Stamped]
) -> dict[str, Any]:
    """What the text is made of: options and versions of the generators, names and hashes of all files."""
    generated = [
        {**source.model_dump(mode="json"), "seed": seed, "version": GENERATORS[source.generator][1]}
        for source in sources
        if not isinstance(source, Files)
    ]
    named = {"evaluation": recorded(evaluation)} if evaluation else {}
    return {"generated": generated, "files": recorded(given), **named}


def content_of(path: str, setting: str) -> bytes:
    """The bytes of a file that a setting names."""
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DataError(
            f"prepare.{setting} cannot be read", where=path, found=error.strerror, remedy="correct it"
        ) from error


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """DataError where the raw text, or what else was listed, is another one than at the beginning."""
    if now == before:
        return
    once, here = _one_by_one(before), _one_by_one(now)
    changed = sorted(key for key in once.keys() | here.keys() if once.get(key) != here.get(key))
    raise changed_error([name for _, name in changed], len(once))


def _one_by_one(listed: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """Files, evaluation files, options and tools of a listing by what they are and their names."""
    parts = {kind: part for kind, part in listed.items() if isinstance(part, Mapping)}
    return {(kind, name): facts for kind, part in parts.items() for name, facts in part.items()}


def seal_sources(out: Path, listed: Mapping[str, Any], version: int, made_from: str) -> Artifact:
    """The raw text as a parent of its own: names and hashes of all files, in `sources/manifest.json`."""
    folder = out / FOLDER
    folder.mkdir()
    return seal(
        folder,
        kind="sources",
        stage="sources",
        version=version,
        config=listed,
        parents={},
        metrics={name: len(parts) for name, parts in listed.items()},
        seconds=0.0,
        extra={"made_from": made_from},
    )


def is_sealed(out: Path, made_from: str) -> bool:
    """True where a run was killed between its last file and its seal: the corpus is whole and lies on the disk."""
    try:
        return open_artifact(out / FOLDER).manifest.get("made_from") == made_from
    except ArtifactError:
        return False
