import json

import pytest
import torch
from safetensors.torch import load_file

from danlu.base.errors import ArtifactError
from danlu.train import checkpoint

PARTS = {
    "model": {"a.weight": torch.randn(3, 5), "b": torch.randn(2, dtype=torch.bfloat16)},
    "optimizer": {"a.weight/step": torch.tensor(3.0), "a.weight/exp_avg": torch.randn(3, 5)},
    "random": {"torch": torch.get_rng_state()},
}


def damaged(folder, capsys):
    found = checkpoint.newest_valid(folder)
    return found, capsys.readouterr().err


def test_what_is_saved_is_what_is_read(tmp_path):
    folder = checkpoint.save(tmp_path, 7, PARTS, {"tokens": 99})
    found = checkpoint.newest_valid(tmp_path)
    assert (found.folder, found.step, found.facts) == (folder, 7, {"tokens": 99})
    for part, tensors in PARTS.items():
        back = found.tensors(part)
        assert back.keys() == tensors.keys()
        assert all(torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype for name in back)


def test_the_field_reads_our_tensor_files(tmp_path):
    folder = checkpoint.save(tmp_path, 1, PARTS, {})
    assert torch.equal(load_file(folder / "model.safetensors")["a.weight"], PARTS["model"]["a.weight"])


def test_a_non_contiguous_and_an_empty_tensor(tmp_path):
    matrix = torch.randn(4, 6)
    parts = {"model": {"turned": matrix.T, "none": torch.zeros(0, 3)}}
    checkpoint.save(tmp_path, 1, parts, {})
    back = checkpoint.newest_valid(tmp_path).tensors("model")
    assert torch.equal(back["turned"], matrix.T)
    assert back["none"].shape == (0, 3)


@pytest.mark.parametrize("harm", ["flip", "truncate", "missing", "manifest", "no manifest", "swap"])
def test_damage_is_named_and_the_older_one_taken(tmp_path, capsys, harm):
    checkpoint.save(tmp_path, 1, PARTS, {"which": "old"})
    newer = checkpoint.save(tmp_path, 2, {**PARTS, "model": {"a.weight": torch.zeros(3, 5)}}, {"which": "new"})
    weights, manifest = newer / "model.safetensors", newer / "manifest.json"
    if harm == "flip":
        data = bytearray(weights.read_bytes())
        data[-3] ^= 16
        weights.write_bytes(data)
    elif harm == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif harm == "missing":
        weights.unlink()
    elif harm == "manifest":
        manifest.write_text(manifest.read_text().replace('"new"', '"old"'))
    elif harm == "no manifest":
        manifest.unlink()
    else:
        (newer / "random.safetensors").write_bytes((newer / "optimizer.safetensors").read_bytes())
    found, said = damaged(tmp_path, capsys)
    assert (found.step, found.facts["which"]) == (1, "old")
    assert "step-00000002" in said
    assert newer.is_dir(), "nothing is deleted"


def test_a_renamed_folder_is_not_another_step(tmp_path):
    checkpoint.save(tmp_path, 1, PARTS, {}).rename(tmp_path / "step-00000009")
    with pytest.raises(ArtifactError, match="not a checkpoint of this place"):
        checkpoint.open_checkpoint(tmp_path / "step-00000009")


def test_the_last_and_the_best_are_kept(tmp_path):
    for step in range(1, 7):
        checkpoint.save(tmp_path, step, PARTS, {})
        checkpoint.prune(tmp_path, 2, best_step=2)
    assert checkpoint.steps_on_disk(tmp_path) == [6, 5, 2]


def test_leavings_are_swept_and_damaged_folders_step_aside(tmp_path):
    (tmp_path / ".step-00000004.abc.tmp").mkdir(parents=True)
    checkpoint.save(tmp_path, 4, PARTS, {})
    checkpoint.sweep(tmp_path)
    checkpoint.discard(tmp_path, [4])
    checkpoint.save(tmp_path, 4, PARTS, {})
    checkpoint.discard(tmp_path, [4])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-step-00000004-0", "damaged-step-00000004-1"]


def test_the_manifest_is_json_that_people_can_read(tmp_path):
    folder = checkpoint.save(tmp_path, 3, PARTS, {"tokens": 5})
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kind"] == "checkpoint"
    assert manifest["files"].keys() == {"model.safetensors", "optimizer.safetensors", "random.safetensors"}
