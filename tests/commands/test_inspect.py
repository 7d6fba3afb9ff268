"""`danlu inspect` walks back through the parents and says of each whether it is still the one that was read."""

import json
import shutil

import pytest

from danlu.base import artifact
from danlu.base.errors import ArtifactError
from danlu.commands import inspect
from danlu.commands import list as list_runs


def sealed(folder, text, config, parents):
    """An artefact of one file; what lay in the folder is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "model.safetensors").write_text(text)
    facts = {"kind": "model", "stage": "pretrain", "version": 1, "metrics": {}, "seconds": 1.0}
    return artifact.seal(folder, config=config, parents=parents, **facts)


@pytest.mark.parametrize(
    ("text", "config", "said"),
    [
        ("weights", {"minutes": 2}, "the same"),
        ("other weights", {"minutes": 2}, "made anew since, with other files"),
        ("weights", {"minutes": 3}, "another is there now"),
    ],
)
def test_a_parent_is_compared_by_its_settings_and_by_its_files(tmp_path, capsys, text, config, said):
    parent = sealed(tmp_path / "pretrain", "weights", {"minutes": 2}, {})
    child = sealed(tmp_path / "finetune", "tuned", {}, {"model": parent})
    sealed(tmp_path / "pretrain", text, config, {})
    inspect.run(child.folder)
    assert " ".join(capsys.readouterr().out.split("made from")[1].split()).endswith(f"../pretrain {said}")


def test_a_parent_of_which_no_files_were_recorded_is_not_called_the_same(tmp_path, capsys):
    parent = sealed(tmp_path / "pretrain", "weights", {}, {})
    child = sealed(tmp_path / "finetune", "tuned", {}, {"model": parent})
    manifest = json.loads((child.folder / artifact.MANIFEST).read_text())
    del manifest["parents"]["model"]["content"]
    artifact.write_manifest(child.folder, manifest)
    inspect.run(child.folder)
    assert "its files were not recorded" in " ".join(capsys.readouterr().out.split())


def test_a_damaged_artefact_is_an_error_for_programs_too(tmp_path, capsys):
    made = sealed(tmp_path / "pretrain", "weights", {}, {})
    (made.folder / "model.safetensors").write_text("other")
    with pytest.raises(ArtifactError, match=r"model\.safetensors"):
        inspect.run(made.folder, as_json=True)
    assert json.loads(capsys.readouterr().out)["fingerprint"] == made.fingerprint


def test_one_manifest_that_cannot_be_read_hides_no_other(tmp_path, capsys):
    parent = sealed(tmp_path / "pretrain", "weights", {}, {})
    child = sealed(tmp_path / "finetune", "tuned", {}, {"model": parent})
    (parent.folder / artifact.MANIFEST).write_text("{")
    inspect.run(child.folder)
    assert "the manifest cannot be read" in " ".join(capsys.readouterr().out.split())
    list_runs.run(tmp_path)
    said = capsys.readouterr().out
    assert "the manifest cannot be read" in said
    assert "stale (its input model is another now)" in " ".join(said.split())
