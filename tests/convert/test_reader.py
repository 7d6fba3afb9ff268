"""Reading model folders: what is missing, damaged, foreign or dangerous is named and nothing of it is used."""

from __future__ import annotations

import json

import pytest
import torch

from danlu import convert
from danlu.base.artifact import seal
from danlu.base.errors import ArtifactError, ConfigError
from tests import tiny
from tests.model import material


@pytest.fixture
def folder(tmp_path):
    return tiny.folder(tmp_path / "model")


def test_everything_comes_back(folder):
    loaded = convert.load(folder)
    assert not loaded.model.training
    assert loaded.tokenizer is not None
    assert loaded.template is not None
    assert loaded.tokenizer.fingerprint == tiny.tokenizer().fingerprint
    for (name, one), (_, other) in zip(loaded.model.named_parameters(), tiny.model().named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_half_precision_halves_and_computes(folder):
    loaded = convert.load(folder, dtype="bfloat16")
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.bfloat16}
    assert loaded.model.compute_dtype == torch.bfloat16
    with torch.no_grad():
        assert loaded.model(material.ids(1, 4)).dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="did you mean 'float16'"):
        convert.load(folder, dtype="float15")


def test_no_model_folder(tmp_path):
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        convert.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\ufeff\x00"])
def test_config_that_is_no_object(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ArtifactError, match="config"):
        convert.load(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.ckpt"])
def test_pickled_weights_are_never_opened(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/danlu-was-here'\ntR.")
    with pytest.raises(ArtifactError, match=r"never opens(.|\n)*safetensors"):
        convert.load(folder)


def test_pickled_weights_beside_safetensors_are_ignored(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04garbage")
    assert convert.load(folder).config.width == 64


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_torn_weights(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="cannot be read"):
        convert.load(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"neither model\.safetensors nor"):
        convert.load(folder)


def test_manifest_guards_every_file(folder):
    seal(folder, kind="model", stage="test", version=1, config={}, parents={}, metrics={}, seconds=0)
    convert.load(folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"damaged(.|\n)*model\.safetensors has another SHA-256"):
        convert.load(folder)


def edit_weights(folder, edit) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_missing_surplus_and_misshapen_weights_are_named(folder):
    def edit(tensors):
        tensors["model.layers.9.surplus"] = tensors.pop("model.norm.weight")
        tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1].contiguous()

    edit_weights(folder, edit)
    with pytest.raises(ArtifactError) as caught:
        convert.load(folder)
    for part in ("model.norm.weight is missing", "model.layers.9.surplus has no place", "lm_head.weight is ["):
        assert part in str(caught.value)


def test_a_tied_matrix_stored_twice_must_be_the_same_matrix(tmp_path):
    folder = tiny.folder(tmp_path, tied=True)
    edit_weights(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"] + 0}))
    assert convert.load(folder).config.tied
    edit_weights(folder, lambda tensors: tensors["lm_head.weight"].add_(1))
    with pytest.raises(ArtifactError, match="lm_head"):
        convert.load(folder)


def test_tables_of_old_files_are_no_weights(folder):
    edit_weights(
        folder, lambda tensors: tensors.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    )
    convert.load(folder)


def sharded(tmp_path):
    folder = tmp_path / "sharded"
    convert.save(folder, tiny.model(), tiny.tokenizer(), card="", shard_bytes=60_000)
    return folder, json.loads((folder / "model.safetensors.index.json").read_text())


def test_shards_are_read(tmp_path):
    folder, index = sharded(tmp_path)
    assert len(set(index["weight_map"].values())) > 2
    for one, other in zip(convert.load(folder).model.parameters(), tiny.model().parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "model.bin", 5, "sub/x.safetensors"])
def test_an_index_cannot_lead_out_of_the_folder(tmp_path, name):
    folder, index = sharded(tmp_path)
    index["weight_map"]["model.norm.weight"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match="index"):
        convert.load(folder)


def test_a_missing_shard_is_named(tmp_path):
    folder, index = sharded(tmp_path)
    gone = sorted(index["weight_map"].values())[1]
    (folder / gone).unlink()
    with pytest.raises(ArtifactError, match=gone):
        convert.load(folder)


def test_a_larger_tokenizer_is_refused(tmp_path):
    convert.save(tmp_path, material.model(), None, card="")
    tiny.tokenizer().save(tmp_path)
    with pytest.raises(ArtifactError, match="more tokens than"):
        convert.load(tmp_path)
