"""Reference tests: each family against transformers' own class, in both directions, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from danlu import convert
from danlu.base.errors import ArtifactError, ConfigError
from danlu.convert.families import FAMILIES, family_for
from tests.model import material

transformers = pytest.importorskip("transformers")

PLAIN_LOGITS_BOUND = 1e-5


@torch.no_grad()
def agree(ours, theirs) -> float:
    ids = material.ids(2, 48)
    return material.relative_error(ours.head(ours(ids)), theirs(ids).logits)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", material.FAMILIES)
def test_their_folder_gives_their_logits(family, tied, tmp_path):
    theirs = material.foreign(family, tie_word_embeddings=tied)
    loaded = convert.load(material.save_foreign(theirs, tmp_path))
    assert loaded.config.tied is tied
    assert agree(loaded.model, theirs) <= PLAIN_LOGITS_BOUND


@pytest.mark.parametrize("family", material.FAMILIES)
def test_round_trip_is_exact(family, tmp_path):
    theirs = material.foreign(family)
    loaded = convert.load(material.save_foreign(theirs, tmp_path / "theirs"))
    convert.save(tmp_path / "ours", loaded.model, None, card="")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert type(again) is type(theirs)
    before, after = theirs.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for key in ("hidden_size", "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "vocab_size"):
        assert getattr(again.config, key) == getattr(theirs.config, key), key


@pytest.mark.parametrize(
    ("changes", "architecture"),
    [
        ({}, "LlamaForCausalLM"),
        ({"attention_bias": True}, "Qwen2ForCausalLM"),
        ({"qk_norm": True}, "Qwen3ForCausalLM"),
        ({"tied": True, "kv_heads": 1, "head_width": 32, "rope_theta": 5e5}, "LlamaForCausalLM"),
    ],
)
def test_our_folder_gives_our_logits_in_transformers(changes, architecture, tmp_path):
    model = material.model(**changes)
    convert.save(tmp_path, model, None, card="")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == architecture
    assert agree(model, theirs) <= PLAIN_LOGITS_BOUND
    assert convert.load(tmp_path).config == model.config


@pytest.mark.parametrize("changes", [{"position": "learned"}, {"attention_bias": True, "qk_norm": True}])
def test_what_transformers_cannot_hold_is_said_and_kept_natively(changes, tmp_path):
    model = material.model(**changes)
    assert convert.exportable(model.config)
    convert.save(tmp_path, model, None, card="")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["DanluForCausalLM"]
    loaded = convert.load(tmp_path)
    ids = material.ids(2, 20)
    with torch.no_grad():
        assert torch.equal(loaded.model(ids), model(ids))
    assert loaded.config == model.config


def test_every_architecture_has_one_family():
    for changes in ({}, {"attention_bias": True}, {"qk_norm": True}):
        config = material.config(**changes)
        assert sum(family.holds(config) for family in FAMILIES) == 2  # its own, and the native one
        assert convert.exportable(config) is None
        assert family_for(config) is not FAMILIES[-1]


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("llama", "hidden_act", "gelu"),
        ("llama", "attention_bias", True),
        ("llama", "mlp_bias", True),
        ("llama", "rope_scaling", {"type": "linear", "factor": 2.0}),
        ("llama", "rope_parameters", {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}),
        ("qwen2", "use_sliding_window", True),
        ("qwen3", "attention_bias", True),
    ],
)
def test_mathematics_that_danlu_does_not_compute_is_refused(family, key, value, tmp_path):
    material.save_foreign(material.foreign(family), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, key: value}))
    with pytest.raises(ArtifactError, match="does not compute"):
        convert.load(tmp_path)


def test_old_spellings_are_read(tmp_path):
    material.save_foreign(material.foreign("llama"), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["rope_parameters"], values["head_dim"], values["num_key_value_heads"]
    values |= {"rope_theta": 1234.0, "rope_scaling": None, "num_key_value_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = convert.load(tmp_path).config
    assert (config.rope_theta, config.head_width, config.kv_heads) == (1234.0, 16, 2)


def test_unknown_architecture_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["MambaForCausalLM"], "model_type": "mamba"}))
    with pytest.raises(ArtifactError, match=r"MambaForCausalLM(.|\n)*Qwen3ForCausalLM"):
        convert.load(tmp_path)


def test_impossible_sizes_are_refused(tmp_path):
    material.save_foreign(material.foreign("llama"), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for change, error in (
        ({"num_hidden_layers": 10**9}, ArtifactError),
        ({"hidden_size": -4}, ConfigError),
        ({"num_attention_heads": "many"}, ConfigError),
        ({"intermediate_size": 129}, ArtifactError),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(error):
            convert.load(tmp_path)
