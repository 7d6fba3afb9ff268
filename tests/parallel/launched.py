"""Two ranks of one launch: groups one after another, words, and a recipe that is made again under their feet.

In: a folder. Out: `rank-0.json` and `rank-1.json` there. Run by `test_launch` under torchrun.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from danlu import running
from danlu.base import console
from danlu.base.errors import UserError
from danlu.base.world import World
from danlu.parallel.collectives import joined, least_over_ranks, sum_over_ranks
from danlu.parallel.launch import hearing, telling
from danlu.recipe import Recipe
from danlu.stages import prepare

LATE_SECONDS = 0.5
"""By this the first rank is behind, so that an order that is only usual does not pass for one that is kept."""
MINUTES = 0.02
PAGE = {
    "name": "two",
    "prepare": {"sources": [{"little-world": {"stories": 40, "lists": 20, "conversations": 160}}]},
    "tokenizer": {"vocabulary_size": 768},
    "shard": {"row_length": 512},
    "pretrain": {
        "tokens": 4000,
        "model": {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64},
    },
    "finetune": {"tokens": 2000, "questions": 0},
}


def groups(world: World) -> list[int]:
    """Sums in two process groups, one after the other; the first rank is late for the second."""
    found = []
    for number in range(2):
        if number == 1 and world.is_first:
            time.sleep(LATE_SECONDS)
        with joined(world):
            found += [sum_over_ranks(world.rank + 1, world), least_over_ranks(7 + world.rank, world)]
    return found


def words(world: World) -> list[str]:
    """What the other rank heard, up to the error that ended the first rank's part."""
    if world.is_first:
        try:
            with telling(world) as tell:
                tell("one")
                time.sleep(LATE_SECONDS)
                tell("two")
                raise UserError("the disk is full")
        except UserError as error:
            return [error.what]
    heard = []
    try:
        with hearing(world) as hear:
            while True:
                heard.append(hear())
    except UserError as error:
        return [*heard, error.what]


def recipe(world: World, folder: Path) -> dict[str, Any]:
    """Make all, mark what was made, make it again from the tokenizer on; what each rank found where it was done."""
    page = Recipe.from_dict(PAGE)
    if not world.is_first:
        prepare.source_fingerprint = None  # type: ignore[assignment]  # the first rank reads the raw files for all
    first = running.run(page, runs=folder, world=world)
    kept = running.run(page, runs=folder, world=world)
    assert {name: one.manifest for name, one in kept.items()} == {name: one.manifest for name, one in first.items()}
    if world.is_first:
        for one in first.values():
            (one.folder / "old").touch()
        remove = shutil.rmtree

        def remove_late(path: Path, **options: Any) -> None:
            time.sleep(LATE_SECONDS)
            remove(path, **options)

        shutil.rmtree = remove_late  # type: ignore[assignment]
    old: dict[str, list[str]] = {}
    for name in ("tokenizer", "shard", "pretrain", "finetune"):
        made = running.run(page, runs=folder, world=world, from_section=name, until=name, again=True)
        old[name] = [section for section, one in made.items() if (one.folder / "old").exists()]
    return {"old": old, "manifests": {name: one.manifest for name, one in made.items()}}


def by_the_clock(world: World, folder: Path) -> dict[str, Any]:
    """The same recipe with a length in minutes: what the plan came to, and the steps that were done."""
    page = Recipe.from_dict(PAGE, ["pretrain.tokens=null", f"pretrain.minutes={MINUTES}"])
    made = running.run(page, runs=folder, world=world, from_section="pretrain", until="pretrain", again=True)[
        "pretrain"
    ]
    return {"plan": json.loads((made.folder / "plan.json").read_text()), "metrics": made.metrics}


def main(folder: Path) -> None:
    world = World(rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]))
    console.set_mode(quiet=True)
    found = {"groups": groups(world), "words": words(world), "recipe": recipe(world, folder)}
    found["minutes"] = by_the_clock(world, folder)
    (folder / f"rank-{world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
