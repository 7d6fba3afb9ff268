"""Proofs of RT3 and RD6: whatever happens to a file of an artefact or a checkpoint is noticed before it is used.

In: a sealed artefact, three checkpoints, and what a tiny run makes of each kind; a thousand random harms and more (a
flipped bit, a zeroed page, a cut, a lost file, two files swapped, files of two saves mixed, a manifest that was edited
or holds NaN, a stale working folder); and for RD6 the corpus and the rows that a recipe is about to read. Out: red
where one goes unnoticed, is not named, hides a good older checkpoint, or where anything is deleted. Says how fast.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
import torch

from danlu import running
from danlu.base import console
from danlu.base.artifact import MANIFEST, UNHASHED_FOLDERS, check_files, is_finished, open_artifact, read_manifest, seal
from danlu.base.errors import ArtifactError
from danlu.recipe import Recipe
from danlu.train import checkpoint
from tests.proofs.mutant import Mutant
from tests.proofs.stage_kills import PAGE

MUTANTS = {
    "RT3": (
        Mutant(
            "src/danlu/base/artifact.py",
            "    if is_hashed and not states_its_hash(manifest):\n",
            '    if is_hashed and manifest.get("sha256") is None:\n',
        ),
        Mutant(  # a checkpoint's manifest is believed
            "src/danlu/train/checkpoint.py",
            "if not isinstance(manifest, dict) or not states_its_hash(manifest):",
            "if not isinstance(manifest, dict):",
        ),
        Mutant(  # a damaged checkpoint is deleted
            "src/danlu/train/checkpoint.py",
            "        except ArtifactError as error:\n",
            "        except ArtifactError as error:\n            shutil.rmtree(folder / folder_name(step))\n",
        ),
    ),
    "RD6": Mutant(
        "src/danlu/running.py",
        "kept = artifact.open_artifact(step.folder)\n",
        "kept = artifact.open_artifact(step.folder, verify=False)\n",
    ),
}
HARMS_IN_ALL = 1000
HARMS_OF_EACH = 42
"""Six of each kind of harm, on each real artefact."""
STEPS = (2, 4, 6)
PAGE_BYTES = 4096


def one_file(folder: Path, draw: random.Random) -> Path:
    """A file that its manifest answers for, or the manifest, with something in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return draw.choice(sorted(path for path in files if path.relative_to(folder).parts[0] not in UNHASHED_FOLDERS))


def flip(folder: Path, other: Path, draw: random.Random) -> str:
    path = one_file(folder, draw)
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return path.name


def zero(folder: Path, other: Path, draw: random.Random) -> str:
    path = one_file(folder, draw)
    data = bytearray(path.read_bytes())
    pages = [start for start in range(0, len(data), PAGE_BYTES) if any(data[start : start + PAGE_BYTES])]
    if not pages:  # a page of zeros would stay as it is
        return flip(folder, other, draw)
    start = draw.choice(pages)
    page = data[start : start + PAGE_BYTES]
    data[start : start + PAGE_BYTES] = bytes(len(page))
    path.write_bytes(data)
    return path.name


def cut(folder: Path, other: Path, draw: random.Random) -> str:
    path = one_file(folder, draw)
    os.truncate(path, draw.randrange(path.stat().st_size))
    return path.name


def lose(folder: Path, other: Path, draw: random.Random) -> str:
    path = one_file(folder, draw)
    path.unlink()
    return path.name


def swap(folder: Path, other: Path, draw: random.Random) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    pairs = [pair for pair in combinations(files, 2) if pair[0].read_bytes() != pair[1].read_bytes()]
    first, second = draw.choice(pairs)
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    return MANIFEST if MANIFEST in (first.name, second.name) else first.name


def mix(folder: Path, other: Path, draw: random.Random) -> str:
    """A file of another save of the same shape takes the place of one."""
    path = one_file(folder, draw)
    while (other / path.relative_to(folder)).read_bytes() == path.read_bytes():  # both have the same control tokens
        path = one_file(folder, draw)
    shutil.copyfile(other / path.relative_to(folder), path)
    return path.name


def edit(folder: Path, other: Path, draw: random.Random) -> str:
    """A value somewhere in the manifest is another one: still JSON that anybody would believe, or that Python reads."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_bytes())
    places = list(leaves(manifest))
    holder, key = draw.choice(places)
    value = holder[key]
    if draw.random() < 1 / 3:
        holder[key] = "HERE"
        odd = draw.choice(("NaN", "1e999", "-Infinity", '"\\ud800"', "1" * 5000, "[" * 5000))
        path.write_text(json.dumps(manifest).replace('"HERE"', odd))
        return MANIFEST
    if isinstance(value, int | float):
        holder[key] = value + 1
    else:
        holder[key] = f"{value}"[:-1] + ("1" if not str(value).endswith("1") else "2")
    path.write_text(json.dumps(manifest))
    return MANIFEST


def leaves(value: object):
    """(its holder, its key) of every plain value in nested dictionaries."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, dict):
            yield from leaves(item)
        elif item is not None:
            yield value, key


HARMS: dict[str, Callable[[Path, Path, random.Random], str]] = {
    "a bit flipped": flip,
    "a page zeroed": zero,
    "cut": cut,
    "a file lost": lose,
    "two files swapped": swap,
    "files of two saves mixed": mix,
    "the manifest edited": edit,
}


def make_artifact(folder: Path, seed: int) -> None:
    (folder / "rows").mkdir(parents=True)
    for name in ("ids.bin", "records.jsonl", "rows/pieces.bin"):
        (folder / name).write_bytes(random.Random(f"{seed} {name}").randbytes(5000))
    facts = {"seed": seed, "config": {"tokens": seed, "model": {"layers": 2}}, "metrics": {"loss": seed + 0.5}}
    seal(folder, kind="shards", stage="shard", version=1, parents={}, seconds=float(seed), **facts)


def save(folder: Path, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    parts = {
        part: {name: torch.randn(30, 30, generator=generator) for name in ("a", "b")} for part in ("model", "optimizer")
    }
    checkpoint.save(folder, step, parts, {"progress": {"step": step, "tokens": 10 * step}, "sha": "0"})


def listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Two artefacts and three checkpoints, intact."""
    top = tmp_path_factory.mktemp("sound")
    for number in (1, 2):
        make_artifact(top / f"artifact-{number}", number)
    for step in STEPS:
        save(top / "checkpoints", step)
    return top


def harmed_artifact(sound: Path, other: Path, work: Path, harm: str, draw: random.Random) -> None:
    folder = work / "artifact"
    shutil.copytree(sound, folder)
    name = HARMS[harm](folder, other, draw)
    before = listed(folder)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    assert name in str(caught.value) or name == MANIFEST
    assert str(folder) in str(caught.value)
    assert listed(folder) == before


def harmed_checkpoint(sound: Path, work: Path, harm: str, draw: random.Random, said: list[str]) -> None:
    folder = work / "checkpoints"
    shutil.copytree(sound / "checkpoints", folder)
    newest = [checkpoint.folder_name(step) for step in STEPS[::-1]]
    count = draw.choice((1, 1, 2))  # of the newest checkpoints
    named = [HARMS[harm](folder / one, folder / newest[-1], draw) for one in newest[:count]]
    (folder / ".step-00000008.abc.tmp").mkdir()  # what a killed save left is no checkpoint
    (folder / ".step-00000008.abc.tmp" / "model.safetensors").write_bytes(b"half")
    before = listed(folder)
    said.clear()
    found = checkpoint.newest_valid(folder)
    assert found is not None
    assert found.step == STEPS[-1 - count]
    assert len(said) == count
    for one, name, sentence in zip(newest, named, said, strict=False):
        assert one in sentence
        assert name in sentence or name == MANIFEST
    assert listed(folder) == before, "nothing is deleted"


def test_RT3_a_thousand_harms_are_noticed_and_named(sound, tmp_path, monkeypatch, record_property):
    said: list[str] = []
    monkeypatch.setattr(console, "warn_once", said.append)
    draw, counts = random.Random(0), Counter()
    assert open_artifact(sound / "artifact-1").kind == "shards"
    assert checkpoint.newest_valid(sound / "checkpoints").step == STEPS[-1]
    for number in range(HARMS_IN_ALL):
        work = tmp_path / str(number)
        harm = draw.choice(list(HARMS))
        if number % 2:
            harmed_checkpoint(sound, work, harm, draw, said)
        else:
            harmed_artifact(sound / "artifact-1", sound / "artifact-2", work, harm, draw)
        counts[harm] += 1
        shutil.rmtree(work)
    record_property("measured", ", ".join(f"{count} x {harm}" for harm, count in counts.items()) + ", all noticed")
    assert counts.total() == HARMS_IN_ALL


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two tiny runs of different seeds: `1/` and `2/`, each with every kind of artefact up to a model."""
    top = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        running.run(Recipe.from_dict({**PAGE, "name": str(seed), "seed": seed}), runs=top, until="pretrain")
    return top


@pytest.mark.parametrize("section", ["prepare", "tokenizer", "shard", "pretrain"])
def test_RT3_harms_of_a_real_artefact_of_each_kind_are_noticed_and_named(runs, tmp_path, section):
    draw = random.Random(section)
    for number in range(HARMS_OF_EACH):
        work = tmp_path / str(number)
        harm = list(HARMS)[number % len(HARMS)]
        harmed_artifact(runs / "1" / section, runs / "2" / section, work, harm, draw)
        shutil.rmtree(work)
    assert open_artifact(runs / "1" / section).folder.name == section


def test_RT3_harms_of_a_real_checkpoint_are_noticed_named_and_the_older_one_is_taken(runs, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(console, "warn_once", said.append)
    real, draw = runs / "1" / "pretrain" / "checkpoints", random.Random(7)
    newest, older = checkpoint.steps_on_disk(real)[:2]
    for number in range(HARMS_OF_EACH):
        folder = tmp_path / str(number)
        shutil.copytree(real, folder)
        harm = list(HARMS)[number % len(HARMS)]
        name = HARMS[harm](folder / checkpoint.folder_name(newest), real / checkpoint.folder_name(older), draw)
        said.clear()
        assert checkpoint.newest_valid(folder).step == older
        assert len(said) == 1
        assert checkpoint.folder_name(newest) in said[0]
        assert name in said[0] or name == MANIFEST
        shutil.rmtree(folder)
    assert checkpoint.newest_valid(real).step == newest


def test_RT3_verifying_is_as_fast_as_hashing(tmp_path, record_property):
    """Measured, not judged: a machine is as fast as it is. Nothing is read twice."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(1 << 27))
    seal(folder, kind="model", stage="pretrain", version=1, config={}, parents={}, metrics={}, seconds=0.0)
    manifest = read_manifest(folder)
    started_at = time.perf_counter()
    assert check_files(folder, manifest) == []
    seconds = time.perf_counter() - started_at
    record_property("measured", f"verifying: {(1 << 27) / seconds / 1e9:.2f} GB/s")


def test_RT3_from_a_crash_to_the_next_step(runs, tmp_path, record_property):
    """Measured: the process of a run is killed, its newest checkpoint is damaged, and the same command is given again;
    the next step that it takes follows the checkpoint before."""
    shutil.copytree(runs / "1", tmp_path / "runs" / "1")
    (tmp_path / "page.yaml").write_text(json.dumps({**PAGE, "name": "1", "seed": 1}))
    words = [sys.executable, "-m", "danlu.cli", "run", "page.yaml", "pretrain.tokens=4M", "--until", "pretrain"]
    out = tmp_path / "runs" / "1" / "pretrain"

    def until(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + 300
        while not happened():
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < ends_at
            time.sleep(0.01)

    with (tmp_path / "said").open("wb") as said:

        def start(*more: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen([*words, *more], cwd=tmp_path, stdout=said, stderr=said)

        first = start("--again")
        try:
            until(first, lambda: len(checkpoint.steps_on_disk(out / "checkpoints")) >= 2 and not is_finished(out))
        finally:
            first.kill()
            first.wait()
        crashed_at, crashed_at_clock = time.perf_counter(), time.time()
        newest, older = checkpoint.steps_on_disk(out / "checkpoints")[:2]
        damaged = out / "checkpoints" / checkpoint.folder_name(newest)
        flip(damaged, damaged, random.Random(1))
        second = start()

        def goes_on() -> bool:
            metrics = out / "metrics.jsonl"
            return metrics.stat().st_mtime > crashed_at_clock and last_step(metrics) > older

        try:
            until(second, goes_on)
            seconds = time.perf_counter() - crashed_at
        finally:
            second.kill()
            second.wait()
    record_property("measured", f"from a crash to the next step: {seconds:.2f} s, start of the program included")
    assert f"going on after step {older:,} of" in (tmp_path / "said").read_text()
    assert damaged.name in (tmp_path / "said").read_text()
    assert list((out / "checkpoints").glob(f"damaged-{damaged.name}*")), "set aside, not deleted"


def last_step(metrics: Path) -> int:
    """The step of the last whole line."""
    lines = metrics.read_bytes().split(b"\n")[:-1]
    return int(json.loads(lines[-1])["step"]) if lines else -1


TOWN = {
    "name": "town",
    "prepare": {"sources": [{"little-world": {"stories": 20, "lists": 10, "conversations": 40}}]},
    "tokenizer": {"vocabulary_size": 512},
    "shard": {},
    "pretrain": {"epochs": 0.5, "model": {"layers": 1}},
}


@pytest.mark.parametrize(("stage", "reader"), [("prepare", "shard"), ("shard", "pretrain")])
def test_RD6_damaged_data_is_named_and_nothing_is_made_of_the_rest(tmp_path, stage, reader):
    """Every file that the next stage may read, harmed in each way; no policy here lets a bad one pass."""
    recipe = Recipe.from_dict(TOWN)
    running.run(recipe, runs=tmp_path, until=stage)
    made, draw = tmp_path / "town" / stage, random.Random(6)
    names = [name for name, facts in read_manifest(made)["files"].items() if facts["bytes"]]
    assert len(names) >= 4
    for name in names:
        path = made / name
        data = path.read_bytes()
        for harmed in (flipped(data, draw), data[: len(data) // 2], data + b"\n", None):
            if harmed is None:
                path.unlink()
            else:
                path.write_bytes(harmed)
            with pytest.raises(ArtifactError) as caught:
                running.run(recipe, runs=tmp_path, until=reader)
            assert name in str(caught.value)
            assert str(made) in str(caught.value)
            assert not (tmp_path / "town" / reader).exists(), "nothing was read, skipped or made"
            path.write_bytes(data)
    assert open_artifact(made).kind == read_manifest(made)["kind"]


def flipped(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
