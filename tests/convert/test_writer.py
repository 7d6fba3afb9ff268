"""Writing model folders: complete, in any dtype, in shards, over an earlier one, on a full disk, for other programs."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from danlu import convert
from danlu.base.errors import ArtifactError, SystemTrouble
from danlu.base.records import Document, Message
from danlu.convert import weights
from danlu.shards.encode import Tally, encode_documents
from danlu.tokenizer.chat import ChatTemplate
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


def refusing(says: str):
    """safetensors' `save_file` on a disk where it cannot end."""

    def save_file(tensors, path, metadata):
        path.write_bytes(b"a part of it")
        raise SafetensorError(says)

    return save_file


@pytest.mark.parametrize(
    "says",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        'Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })',
    ],
)
def test_on_a_full_disk_the_earlier_weights_stay_and_one_sentence_says_why(tmp_path, monkeypatch, says):
    convert.save(tmp_path, tiny.model(), tiny.tokenizer(), card="")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(weights, "save_file", refusing(says))
    with pytest.raises(SystemTrouble, match=r"the disk is full(.|\n)* bytes are needed, "):
        convert.save(tmp_path, tiny.model(1), tiny.tokenizer(), card="")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_refusal_of_the_system_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "save_file", refusing("Error while serializing: header too large"))
    with pytest.raises(SafetensorError, match="header too large"):
        convert.save(tmp_path, tiny.model(), tiny.tokenizer(), card="")
    assert list(tmp_path.iterdir()) == []


def test_transformers_reads_shards(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = tiny.model()
    convert.save(tmp_path, model, tiny.tokenizer(), card="", shard_bytes=60_000)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = material.ids(1, 20)
    with torch.no_grad():
        assert material.relative_error(model.head(model(ids)), theirs(ids).logits) <= 1e-5


def test_transformers_reads_texts_and_chats_as_they_were_taught(tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = tiny.tokenizer()
    convert.save(tmp_path, tiny.model(context_length=32), ours, card="")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = tiny.LINES[2] * 9
    [encoded] = encode_documents(ours, [Document("one", text, "test")], Tally())
    assert [*theirs(text, verbose=False)["input_ids"], ours.eos_id] == encoded.ids.tolist()
    assert theirs(text, truncation=True)["input_ids"] == encoded.ids.tolist()[:32]
    assert len(encoded.ids) > 33, "it was cut"
    told = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "hello"}]
    taught = ChatTemplate(ours).render([Message(**one) for one in told]).ids
    assert theirs.apply_chat_template(told, tokenize=True, return_dict=False) == taught
    (tmp_path / "chat_template.jinja").unlink()
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert other.apply_chat_template(told, tokenize=True, return_dict=False) == taught, (
        "some programs read the config only"
    )


def test_what_other_programs_are_told_is_no_part_of_the_tokenizer(tmp_path):
    ours = tiny.tokenizer()
    convert.save(tmp_path / "model", tiny.model(), ours, card="")
    again = convert.load(tmp_path / "model").tokenizer
    assert again.fingerprint == ours.fingerprint
    for name, tokenizer in (("ours", ours), ("again", again)):
        tokenizer.save(tmp_path / name)
    stored = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("ours", "again", "model")]
    assert stored[0] == stored[1] != stored[2]


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
