"""Writing model folders: complete, in any dtype, in shards, over an earlier one."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from danlu import convert
from danlu.base.errors import ArtifactError
from tests import tiny
from tests.model import material

FILES = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
}


def test_the_folder_is_complete(tmp_path):
    convert.save(tmp_path, tiny.model(), tiny.tokenizer(), card="# A model")
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert (tmp_path / "README.md").read_text() == "# A model\n"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_rounded_once(tmp_path, dtype):
    model = material.model()
    convert.save(tmp_path, model, None, dtype=dtype, card="")
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, dtype)}
    assert torch.equal(stored["model.norm.weight"], model.norm.weight.to(getattr(torch, dtype)))
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == dtype


def test_a_smaller_model_leaves_no_shards_of_the_larger(tmp_path):
    convert.save(tmp_path, tiny.model(), tiny.tokenizer(), card="", shard_bytes=60_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    convert.save(tmp_path, tiny.model(), tiny.tokenizer(), card="")
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_transformers_reads_shards(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = tiny.model()
    convert.save(tmp_path, model, tiny.tokenizer(), card="", shard_bytes=60_000)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = material.ids(1, 20)
    with torch.no_grad():
        assert material.relative_error(model.head(model(ids)), theirs(ids).logits) <= 1e-5


def test_a_larger_tokenizer_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="more tokens than"):
        convert.save(tmp_path, material.model(), tiny.tokenizer(), card="")


def test_the_card_states_what_it_is_given():
    text = convert.model_card("Town", material.config(), {"Loss": 1.23456, "Tokens": 20_000_000}, about="About.")
    for part in (
        "# Town",
        "About.",
        "| Loss | 1.235 |",
        "| Tokens | 20,000,000 |",
        "LlamaForCausalLM",
        "from_pretrained",
    ):
        assert part in text
    native = convert.model_card("Town", material.config(position="learned"), {})
    assert "Only danlu reads this folder" in native
    assert "from_pretrained" not in native
