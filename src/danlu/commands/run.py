"""`danlu run`: carry out a recipe and end with its report.

In: a recipe file and overrides. Out: artefacts below `runs/NAME`, `report.html` beside them, a table of what was made.
Called by `cli` and `commands.demo`. The work is `running.run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from danlu import running
from danlu.base import console
from danlu.base.world import World
from danlu.commands import report
from danlu.recipe import Recipe
from danlu.running import ALONE


def run(
    recipe: Path,
    values: Sequence[str],
    *,
    runs: Path = Path("runs"),
    from_section: str | None = None,
    until: str | None = None,
    again: bool = False,
    world: World = ALONE,
) -> None:
    """Run the sections, rebuild the report after each, and say where everything lies."""
    read = Recipe.load(recipe, values)
    folder = runs / read.name
    made = running.run(
        read,
        runs=runs,
        from_section=from_section,
        until=until,
        again=again,
        world=world,
        after=lambda step, artifact: report.build(folder),
    )
    if not world.is_first:
        return
    console.heading("made")
    console.table(
        ["section", "kind", "time", "folder"],
        [(name, one.kind, console.in_seconds(one.manifest["seconds"]), one.folder) for name, one in made.items()],
    )
    console.say(f"report: {folder / 'report.html'}")
    console.emit(
        "done", artifacts={name: str(one.folder) for name, one in made.items()}, report=str(folder / "report.html")
    )
