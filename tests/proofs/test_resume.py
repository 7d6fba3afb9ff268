"""Resuming: RT1 RT4 RT8, D5, O9 and O10. What a kill leaves behind goes on to the same bits.

RT1, D5 and O10 read one campaign of forked kills (`campaign`): at random times, at chosen micro-batches, and at every
file operation of a save. O9 and RT8 stop and resume in this process. RT4 replays what a loss of power would leave.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base import console
from danlu.parallel.place import kernel_set
from danlu.train import checkpoint
from danlu.train import run as run_module
from danlu.train.interrupts import Interrupted
from danlu.train.settings import CheckpointSettings
from tests.proofs.campaign import STEPS, Campaign, final_state, run_apart, show_kills
from tests.proofs.mutant import Mutant

CAMPAIGN = "tests.proofs.campaign"
RANDOM_KILLS, RESUMED_SAVES = 14, 8

MUTANTS = {
    "RT1": Mutant(
        "src/danlu/train/run.py",
        'learner.optimizer.load_state(found.tensors("optimizer"))',
        'found.tensors("optimizer")',
    ),
    "RT4": Mutant(
        "src/danlu/train/checkpoint.py",
        "    with folder_in_place(target) as working:\n",
        "    target.mkdir(parents=True)\n    for working in (target,):\n",
    ),
    "RT8": (
        Mutant(  # a finished run is trained once more
            "src/danlu/train/run.py",
            "    if found is None:\n        return Progress()\n",
            "    if found is None or found.step == plan.steps:\n        return Progress()\n",
            entails=("RT1",),  # one that was killed after its last save is a finished one
        ),
        Mutant(  # at the end of an epoch the optimizer begins anew
            "src/danlu/train/run.py",
            'learner.optimizer.load_state(found.tensors("optimizer"))',
            'learner.optimizer.load_state(found.tensors("optimizer") if found.step % 4 else {})',
            entails=("RT1",),
        ),
    ),
    "D5": Mutant(
        "src/danlu/train/run.py",
        'progress = Progress(**found.facts["progress"])',
        'progress = Progress(**{**found.facts["progress"], "step": found.step + 1})',
    ),
    "O9": Mutant(  # the checkpoint holds the weights in half precision
        "src/danlu/train/run.py",
        '"model": parameters_by_name(run.learner.model),',
        '"model": {name: value.bfloat16() for name, value in parameters_by_name(run.learner.model).items()},',
    ),
    "O10": (
        Mutant(
            "src/danlu/train/checkpoint.py",
            "damage = check_files(folder, manifest)",
            "damage = check_files(folder, manifest, hashes=False)",
        ),
        Mutant(  # a save is written where it will stay
            "src/danlu/train/checkpoint.py",
            "    with folder_in_place(target) as working:\n",
            "    target.mkdir(parents=True)\n    for working in (target,):\n",
        ),
    ),
}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> dict[str, Any]:
    return run_apart(CAMPAIGN, tmp_path_factory.mktemp("campaign"), RANDOM_KILLS, RESUMED_SAVES)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check_bits(result: dict[str, Any]) -> int:
    """Every killed run ends with the reference's bits; prints where the kills fell and returns their number."""
    wanted = result["reference"]["state"]
    assert wanted is not None
    save = result["save"]
    ends = [*result["random"]["ends"], *result["chosen"], *(save["ends"] if save is not None else [])]
    for end in ends:
        assert end["exit"] == 0
        assert end["state"] == wanted
    fell = Counter(result["random"]["kills"])
    fell["forward and backward"] += len(result["chosen"])
    for operation in save["operations"] if save is not None else ():
        fell[f"save: before {operation['call']}"] += 1
    return show_kills(fell)


def test_RT1_killed_anywhere_a_run_ends_with_the_same_bits(campaign):
    assert check_bits(campaign) >= 20


@pytest.mark.slow
def test_RT1_two_hundred_kills(tmp_path):
    assert check_bits(run_apart(CAMPAIGN, tmp_path, 110, 10_000)) >= 200


def test_RT1_a_kill_after_the_last_save_leaves_no_checkpoint_too_many(tmp_path, monkeypatch):
    """The last save has happened, what it makes superfluous still lies there, and no other save is to come."""
    campaign, prune = Campaign(tmp_path), checkpoint.prune

    def killed(folder: Path, keep: int, best_step: int | None) -> None:
        if checkpoint.steps_on_disk(folder)[:1] == [STEPS]:
            raise SystemExit("killed")
        prune(folder, keep, best_step)

    for out in ("whole", "killed"):
        (tmp_path / out).mkdir()
    campaign.attempt(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "prune", killed)
        with pytest.raises(SystemExit):
            campaign.attempt(tmp_path / "killed")
    wanted = checkpoint.steps_on_disk(tmp_path / "whole" / "checkpoints")
    assert checkpoint.steps_on_disk(tmp_path / "killed" / "checkpoints") != wanted
    campaign.attempt(tmp_path / "killed")
    assert checkpoint.steps_on_disk(tmp_path / "killed" / "checkpoints") == wanted


def test_D5_resume_neither_skips_nor_repeats_a_sample(campaign):
    wanted = campaign["reference"]["ids"]
    assert len(wanted) == STEPS
    for end in [*campaign["chosen"], *campaign["random"]["ends"]]:
        assert end["ids"] == wanted


def test_O10_a_kill_during_a_save_leaves_a_whole_checkpoint(campaign):
    if campaign["save"] is None:
        pytest.skip("this machine does not let a process trace its child")
    operations = campaign["save"]["operations"]
    assert {"write", "fsync"} <= {operation["call"] for operation in operations}
    assert any(operation["call"].startswith("rename") for operation in operations)
    found = [operation["newest"] for operation in operations]
    assert set(found) == {4, 6}, "the step before, until the rename; then the new one"
    assert found == sorted(found)
    assert not any(operation["damaged"] for operation in operations), "whatever is visible is whole"


def test_O10_a_corrupted_file_is_detected_by_its_hash(tmp_path, capsys):
    parts = {"model": {"weight": torch.randn(64)}}
    for step in (1, 2):
        checkpoint.save(tmp_path, step, parts, {})
    path = tmp_path / "step-00000002" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert checkpoint.newest_valid(tmp_path).step == 1
    assert "step-00000002" in capsys.readouterr().err


def test_O9_ten_and_ten_steps_are_twenty(tmp_path):
    campaign = Campaign(tmp_path, steps=20)
    for out in ("whole", "halves"):
        (tmp_path / out).mkdir()
    campaign.attempt(tmp_path / "whole")
    with pytest.raises(Interrupted):
        campaign.attempt(tmp_path / "halves", die_at=(9, 0), signal_=signal.SIGTERM)
    campaign.attempt(tmp_path / "halves")
    assert final_state(tmp_path / "halves", 20) == final_state(tmp_path / "whole", 20)


@pytest.fixture
def spoken(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "say", lambda text="", **_: lines.append(text))
    return lines


def test_RT8_every_step_of_three_epochs_can_be_stopped_and_resumed_also_twice(tmp_path, spoken):
    campaign = Campaign(tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    campaign.attempt(whole)
    wanted = final_state(whole, STEPS)
    assert wanted["state"] is not None
    assert [len(rows) for rows in wanted["ids"]] == [4] * STEPS

    for step in range(STEPS):
        out = tmp_path / f"stopped-{step}"
        out.mkdir()
        if step + 1 < STEPS:
            with pytest.raises(Interrupted, match=f"after step {step + 1} of {STEPS}") as caught:
                campaign.attempt(out, die_at=(step, 1), signal_=signal.SIGINT)
            assert caught.value.exit_code == 130
            assert "same command" in str(caught.value)
            if step + 2 < STEPS:  # twice in a row
                with pytest.raises(Interrupted):
                    campaign.attempt(out, die_at=(step + 1, 0), signal_=signal.SIGTERM)
        campaign.attempt(out)
        assert final_state(out, STEPS) == wanted, "the rows, and every bit of weights, optimizer and random state"
        steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, STEPS + 1))

    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    spoken.clear()
    campaign.attempt(whole)
    assert any("nothing to train" in line for line in spoken)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")} == before


def test_O9_who_goes_on_with_other_kernels_is_told(tmp_path, monkeypatch):
    campaign, warnings = Campaign(tmp_path), []
    with pytest.raises(Interrupted):
        campaign.attempt(_made(tmp_path / "run"), die_at=(3, 1), signal_=signal.SIGINT)
    monkeypatch.setattr(console, "warn_once", lambda text, **_: warnings.append(text))

    def elsewhere(model, world, micro_batch_rows):
        there = kernel_set(model, replace(world, dtype="bfloat16", size=2), micro_batch_rows + 1)
        return {**there, "device": "another GPU", "torch": "9.9"}

    monkeypatch.setattr(run_module, "kernel_set", elsewhere)
    campaign.attempt(tmp_path / "run")
    (said,) = [text for text in warnings if "last bit" in text]
    here = ("device cpu", "dtype float32", "ranks 1", "micro_batch_rows 2", f"torch {torch.__version__}")
    there = ("another GPU", "bfloat16", "2", "3", "9.9")
    assert all(f"{was}, now {now}" in said for was, now in zip(here, there, strict=True))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Disk:
    """What a loss of power may leave of a folder: the operations of a save are recorded as they happen.

    A file's content is on the disk once the file was flushed; a folder's names once the folder was. What was not
    flushed may be there or not: both are tried, for the top folder and for the folders in it, after every operation.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        self.root = root
        self.content: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.images: list[dict[str, dict[str, bytes]]] = []
        for path in [root, *root.rglob("*")]:
            self._flush(path)
        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
            monkeypatch.setattr(os, name, self._recorded(name, getattr(os, name)))

    def _recorded(self, name: str, real: Any) -> Any:
        def operation(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            if name == "fsync":
                self._flush(Path(os.readlink(f"/proc/self/fd/{arguments[0]}")))
            for top in (False, True):
                for inner in (False, True):
                    self.images.append(self._image(top, inner))
            return result

        return operation

    def _flush(self, path: Path) -> None:
        number = path.stat().st_ino
        if path.is_dir():
            self.names[number] = {child.name: child.stat().st_ino for child in path.iterdir()}
        else:
            self.content[number] = path.read_bytes()

    def _image(self, top: bool, inner: bool) -> dict[str, dict[str, bytes]]:
        """The tree after a crash; `top`, `inner`: the names there are those flushed last, else those of now."""
        now = {path.name: path.stat().st_ino for path in self.root.iterdir()}
        folders = self.names[self.root.stat().st_ino] if top else now
        inside_now = {
            path.stat().st_ino: {child.name: child.stat().st_ino for child in path.iterdir()}
            for path in self.root.iterdir()
        }
        tree = {}
        for name, number in folders.items():
            flushed = self.names.get(number, {})
            files = flushed if inner else inside_now.get(number, flushed)
            tree[name] = {child: self.content.get(inode, b"") for child, inode in files.items()}
        return tree


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads open files' names from /proc")
def test_RT4_a_reader_sees_the_old_or_the_new_checkpoint_even_after_a_loss_of_power(tmp_path, monkeypatch, capsys):
    assert CheckpointSettings().keep == 2, "two are kept by default"
    folder = tmp_path / "checkpoints"
    for step in (1, 2):
        checkpoint.save(folder, step, {"model": {"weight": torch.full((50,), float(step))}}, {})
    with monkeypatch.context() as patched:
        disk = Disk(folder, patched)
        checkpoint.save(folder, 3, {"model": {"weight": torch.full((50,), 3.0)}}, {})
        checkpoint.prune(folder, 2, best_step=None)
    images = {json.dumps(image, default=bytes.hex, sort_keys=True): image for image in disk.images}
    assert len(images) >= 8
    found = Counter()
    for number, image in enumerate(images.values()):
        copy = tmp_path / f"image-{number}"
        for name, files in image.items():
            (copy / name).mkdir(parents=True)
            for child, data in files.items():
                (copy / name / child).write_bytes(data)
        newest = checkpoint.newest_valid(copy)
        assert newest is not None
        assert newest.tensors("model")["weight"].tolist() == [float(newest.step)] * 50
        for step in checkpoint.steps_on_disk(copy):
            checkpoint.open_checkpoint(copy / checkpoint.folder_name(step))  # whatever is visible is whole
        found[newest.step] += 1
    assert set(found) == {2, 3}
    assert checkpoint.steps_on_disk(folder) == [3, 2]
    assert capsys.readouterr().err == ""
