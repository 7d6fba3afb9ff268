"""The proofs that a user runs: each is green on a sound model and machine, and red when what it proves is broken.

In: a tiny model folder, and for every entry of `PROOFS` one breakage, made by replacing a part of danlu in memory.
Out: red where a proof stays green on a broken system. The proofs' bodies are in `danlu.proofs`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from danlu import convert
from danlu.commands import prove
from danlu.convert import Loaded
from danlu.infer.engine import Engine
from danlu.kernels import decode
from danlu.model import attention, decoder, transformer
from danlu.model.cache import CacheView
from danlu.model.config import ModelConfig
from danlu.proofs import machines, models
from danlu.proofs.outcome import NotApplicable, ProofFailed
from danlu.proofs.table import PROOFS, run
from danlu.shards import files, order
from danlu.tokenizer.chat import Rendered
from danlu.tokenizer.train import train
from danlu.tokenizer.vocabularies import KINDS
from danlu.train import checkpoint, loop
from tests import tiny

Patch = pytest.MonkeyPatch
BREAKAGES: dict[str, list[Callable[[Loaded, Patch], Loaded]]] = {}
IN_PLACE = """
import time
from contextlib import contextmanager
from danlu.train import checkpoint

@contextmanager
def folder_in_place(target):
    is_second = target.parent.exists()
    target.mkdir(parents=True)
    yield target
    if is_second:
        (target / "model.safetensors").write_bytes(b"half")
        time.sleep(60)

checkpoint.folder_in_place = folder_in_place
"""
"""Goes before the program that saves: a save's folder is the checkpoint's own, and the second one is not finished."""


def breakage(id: str):
    """Register one thing that breaks the property of a proof; it returns the subject to be tried."""

    def keep(function):
        BREAKAGES.setdefault(id, []).append(function)
        return function

    return keep


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("prove") / "model")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Proofs of the disk write below the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machines, "KILLS", 5)
    monkeypatch.setattr(machines, "DAMAGES", 40)


@pytest.mark.parametrize("id", PROOFS)
def test_prove_is_green_on_a_sound_model(id, sound):
    subject = convert.load(sound)
    (result,) = run(subject, (id,))
    assert result.word == "proved", result.finding
    assert result.finding


@pytest.mark.parametrize("id", PROOFS)
def test_prove_is_red_when_its_property_is_broken(id, sound, tmp_path, monkeypatch):
    for broken in BREAKAGES[id]:
        folder = shutil.copytree(sound, tmp_path / broken.__name__)
        with monkeypatch.context() as patch:
            (result,) = run(broken(convert.load(folder), patch), (id,))
        assert result.word == "FAILED", f"{id} stayed green, although {broken.__name__}: {result.finding}"


def test_prove_says_when_a_proof_does_not_apply(sound):
    subject = dataclasses.replace(convert.load(sound), tokenizer=None, template=None)
    words = {result.id: result.word for result in run(subject, ("D14", "D20", "T4", "M6"))}
    assert words == {"D14": "does not apply", "D20": "does not apply", "T4": "does not apply", "M6": "proved"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_proofs_of_text_hold_for_every_kind_of_vocabulary(kind, tmp_path):
    words = train(tiny.LINES * 4, vocabulary_size=400, kind=kind)
    convert.save(tmp_path / "model", tiny.model(vocabulary_size=448), words, card="A model for tests.\n")
    found = {
        one.id: one for one in run(convert.load(tmp_path / "model"), ("D11", "D13", "D14", "D20", "T1", "T3", "T4"))
    }
    assert {one.word for one in found.values()} == {"proved"}, found
    assert ("does not know" in found["D20"].finding) == (kind in ("wordpiece", "words")), "a loss is counted"


def test_prove_leaves_the_model_as_it_was(sound):
    subject = convert.load(sound)
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    subject.model.train()
    for id, proof in PROOFS.items():
        if proof.needs == "model" and id.startswith(("M", "D1", "T4")):
            list(run(subject, (id,)))
    assert subject.model.training
    assert subject.model.attention_backend == "auto"
    assert subject.model.compute_dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())


@pytest.mark.skipif(decode.library()[0] is None, reason=decode.library()[1])
def test_prove_tries_the_native_decoder_too(sound, monkeypatch):
    """M7 is of every way in which the engine decodes."""
    subject, hidden = convert.load(sound), decoder.Decoder.hidden
    (result,) = run(subject, ("M7",))
    assert "by torch" in result.finding
    assert "by native decoding" in result.finding
    monkeypatch.setattr(
        decoder.Decoder, "hidden", lambda self, ids, places, slots: hidden(self, ids, places - 1, slots)
    )
    (result,) = run(subject, ("M7",))
    assert result.word == "FAILED"
    assert "native decoding" in result.finding


def test_prove_command_exits_with_1_on_a_failure(sound, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("danlu.proofs.table.PROOFS", {id: PROOFS[id] for id in ("D8", "X3")})
    assert prove.run(sound) == 0
    folder = shutil.copytree(sound, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    assert prove.run(folder) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said
    assert "not shown" in said


def test_prove_errors_that_are_not_proofs_are_not_swallowed(monkeypatch):
    broken = dataclasses.replace(PROOFS["D8"], function=lambda: 1 / 0)
    monkeypatch.setattr("danlu.proofs.table.PROOFS", {"D8": broken})
    with pytest.raises(ZeroDivisionError):
        list(run(None))
    assert not issubclass(ProofFailed, NotApplicable)


def test_every_proof_has_a_breakage():
    assert set(BREAKAGES) == set(PROOFS)


@breakage("D7")
def _a_rank_loses_its_last_sample(subject, patch):
    whole = loop.share
    patch.setattr(loop, "share", lambda start, stop, rank, size: whole(start, stop, rank, size)[: -1 if rank else None])
    return subject


@breakage("D8")
def _every_epoch_has_one_key(subject, patch):
    keys = order.SampleOrder._keys
    patch.setattr(order.SampleOrder, "_keys", lambda self, epochs: keys(self, epochs * 0))
    return subject


@breakage("RT15")
def _dropout_depends_on_the_clock(subject, patch):
    patch.setattr(loop, "step_seed", lambda *_: time.monotonic_ns())
    return subject


@breakage("RT4")
def _saves_write_in_place(subject, patch):
    patch.setattr(machines, "SAVER", IN_PLACE + machines.SAVER)
    return subject


@breakage("O10")
def _only_sizes_are_compared(subject, patch):
    check = machines.check_files
    patch.setattr(machines, "check_files", lambda folder, manifest: check(folder, manifest, hashes=False))
    return subject


@breakage("RT3")
def _checkpoints_are_not_verified(subject, patch):
    patch.setattr(checkpoint, "check_files", lambda folder, manifest: [])
    return subject


@breakage("RT3")
def _the_newest_checkpoint_is_taken_unseen(subject, patch):
    def newest(folder: Path) -> checkpoint.Checkpoint:
        step = checkpoint.steps_on_disk(folder)[0]
        return checkpoint.Checkpoint(folder / checkpoint.folder_name(step), step, {})

    patch.setattr(checkpoint, "newest_valid", newest)
    return subject


@breakage("RT3")
def _a_damaged_checkpoint_is_deleted(subject, patch):
    honest = checkpoint.newest_valid

    def newest(folder: Path) -> checkpoint.Checkpoint | None:
        found = honest(folder)
        for step in checkpoint.steps_on_disk(folder):
            if found is not None and step > found.step:
                shutil.rmtree(folder / checkpoint.folder_name(step))
        return found

    patch.setattr(checkpoint, "newest_valid", newest)
    return subject


@breakage("O16")
def _the_head_is_forgotten(subject, patch):
    formula = ModelConfig.flops_per_token
    patch.setattr(
        ModelConfig,
        "flops_per_token",
        lambda self, length: formula(self, length) - 6.0 * self.vocabulary_size * self.width,
    )
    return subject


@breakage("O16")
def _every_head_is_counted_with_keys_of_its_own(subject, patch):
    count = ModelConfig.parameters
    patch.setattr(ModelConfig, "parameters", lambda self: count(self.model_copy(update={"kv_heads": self.heads})))
    return subject


@breakage("X12")
def _any_address_is_served(subject, patch):
    patch.setattr("danlu.serve.server.check_bind", lambda host, keys: None)
    return subject


def with_tokenizer(subject: Loaded, **methods) -> Loaded:
    """The subject with some of its tokenizer's methods replaced."""
    for name, method in methods.items():
        setattr(subject.tokenizer, name, method)
    return subject


@breakage("D20")
def _white_space_is_stripped(subject, patch):
    encode = subject.tokenizer.encode
    return with_tokenizer(subject, encode=lambda text: encode(text.strip()))


@breakage("D13")
def _spelled_control_tokens_are_believed(subject, patch):
    return with_tokenizer(subject, encode=subject.tokenizer.encode_rendered)


@breakage("T1")
def _the_exported_tokenizer_is_another(subject, patch):
    return dataclasses.replace(subject, tokenizer=train(["quite other text, 完全不同的文字"] * 9, vocabulary_size=300))


def with_template(subject: Loaded, change: Callable[[Rendered], Rendered], **methods) -> Loaded:
    """The subject with a template whose rendering is changed afterwards."""
    honest = subject.template
    template = SimpleNamespace(
        tokenizer=honest.tokenizer,
        render=lambda messages: change(honest.render(messages)),
        render_batch=lambda many: [change(one) for one in honest.render_batch(many)],
        prompt=methods.get("prompt", honest.prompt),
    )
    return dataclasses.replace(subject, template=template)


@breakage("D11")
def _two_start_marks(subject, patch):
    return with_template(subject, lambda one: Rendered([one.ids[0], *one.ids], [False, *one.mask]))


@breakage("D14")
def _the_question_is_learned_too(subject, patch):
    return with_template(subject, lambda one: Rendered(one.ids, [True] * len(one.ids)))


@breakage("D14")
def _the_mask_on_disk_is_off_by_one(subject, patch):
    add = files.RowSetWriter.add
    patch.setattr(
        files.RowSetWriter,
        "add",
        lambda self, encoded: add(self, dataclasses.replace(encoded, mask=np.roll(encoded.mask, 1))),
    )
    return subject


@breakage("T3")
def _asked_without_the_start_mark(subject, patch):
    prompt = subject.template.prompt
    return with_template(subject, lambda one: one, prompt=lambda messages: prompt(messages)[1:])


@breakage("M5")
def _dropout_stays_on(subject, patch):
    """In a folder without dropout."""
    assert subject.config.dropout == 0
    patch.setattr(transformer.Transformer, "eval", lambda self: self.train())
    return subject


@breakage("M6")
def _the_mask_is_gone(subject, patch):
    patch.setattr(transformer, "look", lambda *arguments: attention.Sight(arguments[-1], None, False))
    return subject


@breakage("M7")
def _the_cache_writes_one_place_too_far(subject, patch):
    store = CacheView.store

    def shifted(self, layer, keys, values):
        return store(self, layer, keys, values.roll(1, -1)) if keys.shape[1] == 1 else store(self, layer, keys, values)

    patch.setattr(CacheView, "store", shifted)
    return subject


@breakage("M8")
def _answers_are_exchanged(subject, patch):
    answer = Engine.run
    patch.setattr(Engine, "run", lambda self, requests: answer(self, requests)[::-1])
    return subject


@breakage("M9")
def _one_backend_scales_wrongly(subject, patch):
    attend = attention.attend_sdpa
    patch.setattr(attention, "attend_sdpa", lambda queries, *rest: attend(queries * 1.01, *rest))
    return subject


@breakage("D1")
def _document_numbers_are_ignored(subject, patch):
    look = transformer.look

    def one_document(ids, positions, documents, *rest):
        return look(ids, positions, None, *rest)

    patch.setattr(transformer, "look", one_document)
    return subject


@breakage("T4")
def _every_row_may_be_chosen(subject, patch):
    honest = models.generate
    rows = subject.config.vocabulary_size
    patch.setattr(models, "generate", lambda *given, vocabulary_limit: honest(*given, vocabulary_limit=rows))
    return subject


@breakage("X3")
def _generation_stops_at_one_mark_only(subject, patch):
    path = subject.folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [subject.tokenizer.eos_id]}))
    return subject


@breakage("X1")
def _a_norm_is_another(subject, patch):
    with torch.no_grad():
        subject.model.norm.weight[3] *= 1.5
    return subject
