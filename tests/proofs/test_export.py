"""X1, X3, T4, T5, O17: what leaves danlu means the same elsewhere.

In: a tiny model with a tokenizer of ours, exported. Out: red where transformers, in a fresh process that never imports
danlu, computes other logits, goes on with other tokens, does not stop, or emits a row that is no token; and where our
own two ways of generating emit one. Placing a compiled model (O17) is `parallel`'s.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from danlu import convert
from danlu.base.world import World
from danlu.convert.vocabulary import fitted
from danlu.infer.engine import Engine, Request
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling
from danlu.model.weights import load_state, plain_state
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.tokenizer.extend import extend
from danlu.train.loop import Learner, Progress, train
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.samples import Samples
from danlu.train.settings import OptimizerSettings
from tests import tiny
from tests.model import material
from tests.proofs.mutant import Mutant
from tests.train import material as taught

RELATIVE_BOUND = 1e-5
PROMPTS, NEW_TOKENS = 32, 64

MUTANTS = {
    "X1": (
        Mutant(  # two matrices change places on the way out, and back on the way in
            "src/danlu/convert/families/family.py",
            '"mlp.gate": "mlp.gate_proj",\n    "mlp.up": "mlp.up_proj",',
            '"mlp.gate": "mlp.up_proj",\n    "mlp.up": "mlp.gate_proj",',
        ),
        Mutant(  # a value that is only right where it is the default
            "src/danlu/convert/families/family.py",
            '"rope_theta": config.rope_theta,\n'
            '        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},',
            '"rope_theta": DEFAULT_THETA,\n'
            '        "rope_parameters": {"rope_type": "default", "rope_theta": DEFAULT_THETA},',
        ),
        Mutant(  # a key that is left out, and not missed where heads times head width is the width
            "src/danlu/convert/families/family.py", '        "head_dim": config.head_width,\n', ""
        ),
    ),
    "X3": Mutant(  # only the end of a document ends a reply
        "src/danlu/convert/writer.py", "sorted(tokenizer.stop_ids)", "tokenizer.eos_id"
    ),
    "T4": (
        Mutant(  # rows beyond the tokenizer may be emitted elsewhere
            "src/danlu/convert/writer.py",
            "range(tokenizer.size, config.vocabulary_size)",
            "range(config.vocabulary_size, config.vocabulary_size)",
        ),
        Mutant(  # and by the engine
            "src/danlu/infer/engine.py",
            "head(hidden[ready, last])[:, : self.vocabulary_limit]",
            "head(hidden[ready, last])",
            entails=("T2",),  # the server stumbles over such an answer
        ),
        Mutant(  # and by the reference
            "src/danlu/infer/generate.py",
            "model.head(hidden[:, -1])[0, :vocabulary_limit]",
            "model.head(hidden[:, -1])[0]",
        ),
    ),
    "T5": Mutant(  # the new rows are there and stay what they were
        "src/danlu/model/vocabulary.py",
        "    load_state(wider, state)\n",
        "    load_state(wider, state)\n"
        "    for one in (wider.embedding, *([] if wider.output is None else [wider.output])):\n"
        "        with torch.enable_grad():\n"
        "            one.weight.register_hook(lambda g: g.index_fill(0, torch.arange(known, rows), 0.0))\n",
    ),
    "O17": Mutant(  # torch.compile's prefix stays in the names
        "src/danlu/model/weights.py", 'WRAPPERS = ("_orig_mod", "module")', 'WRAPPERS = ("module",)'
    ),
}

FRESH_PROCESS = """
import json, sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, work, new_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(folder).eval()
AutoTokenizer.from_pretrained(folder)
prompts = load_file(work + "/prompts.safetensors")
with torch.no_grad():
    save_file({name: model(ids).logits.contiguous() for name, ids in prompts.items()}, work + "/logits.safetensors")
model.generation_config.eos_token_id = None
ids = prompts["greedy"]
out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False)
json.dump({"greedy": out[0, ids.shape[1]:].tolist(), "danlu": "danlu" in sys.modules}, open(work + "/answer.json", "w"))
"""


def ask_transformers(
    folder: Path, work: Path, prompts: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict]:
    """Logits by prompt, and the answer, of transformers in a process of its own."""
    work.mkdir()
    save_file(prompts, work / "prompts.safetensors")
    command = [sys.executable, "-c", FRESH_PROCESS, str(folder), str(work), str(NEW_TOKENS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return load_file(work / "logits.safetensors"), json.loads((work / "answer.json").read_text())


# No value that transformers, or we, would take where the exported config does not name it.
ODD = {"rope_theta": 5e5, "norm_epsilon": 1e-3, "head_width": 32}


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "tied": True}, {"qk_norm": True, "kv_heads": 1}])
def test_X1_exported_logits_and_greedy_tokens_are_ours(changes, tmp_path):
    pytest.importorskip("transformers")
    context = 128
    tokenizer, model = tiny.tokenizer(), tiny.model(context_length=context, **ODD, **changes)
    material.enliven(model, 3)
    convert.save(tmp_path / "export", model, tokenizer, card="")
    chooser = torch.Generator().manual_seed(0)
    lengths = [1, context, *torch.randint(1, context + 1, (PROMPTS - 2,), generator=chooser).tolist()]
    prompts = {
        f"prompt{number}": torch.randint(tokenizer.size, (1, length), generator=chooser)
        for number, length in enumerate(lengths)
    }
    prompts["greedy"] = torch.randint(tokenizer.size, (1, 10), generator=chooser)
    logits, answer = ask_transformers(tmp_path / "export", tmp_path / "work", prompts)
    assert answer["danlu"] is False
    with torch.no_grad():
        for name, ids in prompts.items():
            assert material.relative_error(model.head(model(ids)), logits[name]) <= RELATIVE_BOUND
    sampling = Sampling(temperature=0.0, max_tokens=NEW_TOKENS)
    ours = generate(model, prompts["greedy"][0].tolist(), sampling, vocabulary_limit=tokenizer.size)
    assert len(ours) == NEW_TOKENS
    assert len(set(ours)) > 3
    assert answer["greedy"] == ours


def test_X3_the_folder_loads_in_one_call_and_stops_at_every_stop_token(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer, model = tiny.tokenizer(), tiny.model()
    convert.save(tmp_path, model, tokenizer, card="")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.pad_id,
    )
    for config in (theirs.generation_config, theirs.config):
        assert set(config.eos_token_id) == tokenizer.stop_ids == {tokenizer.eos_id, tokenizer.end_id}
        assert config.pad_token_id == tokenizer.pad_id not in tokenizer.stop_ids
        assert config.bos_token_id == tokenizer.bos_id

    # Seen, not only read: a head that always answers one token stops at once exactly where that token is a stop token.
    prompt = torch.tensor([tokenizer.encode("the old library")])
    for token in (*sorted(tokenizer.stop_ids), tokenizer.special["<|user|>"], tokenizer.encode("a")[0]):
        with torch.no_grad():
            theirs.model.norm.weight.zero_()
        bias = torch.full((theirs.config.vocab_size,), -9.0)
        bias[token] = 9.0
        theirs.lm_head.bias = torch.nn.Parameter(bias)
        out = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=5)[0, prompt.shape[1] :]
        assert out.tolist() == ([token] if token in tokenizer.stop_ids else [token] * 5)


def test_T4_rows_beyond_the_tokenizer_exist_and_are_never_emitted_elsewhere(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer, model = tiny.tokenizer(), tiny.model()
    assert model.config.vocabulary_size > tokenizer.size
    with torch.no_grad():  # make a row that is no token the likeliest one, whatever the prompt
        model.output.weight[tokenizer.size :] = (
            40 * model.output.weight[: model.config.vocabulary_size - tokenizer.size]
        )
    convert.save(tmp_path, model, tokenizer, card="")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.lm_head.weight.shape[0] == model.config.vocabulary_size
    prompt = torch.tensor([tokenizer.encode("Where is the teacher?")])
    with torch.no_grad():
        assert int(theirs(prompt).logits[0, -1].argmax()) >= tokenizer.size
    out = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False)
    assert int(out.max()) < tokenizer.size
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).decode(out[0])


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_T4_our_own_sampler_never_chooses_a_row_beyond_the_tokenizer(temperature):
    tokenizer, model = tiny.tokenizer(), tiny.model()
    beyond = model.config.vocabulary_size - tokenizer.size
    with torch.no_grad():
        model.output.weight[tokenizer.size :] = 40 * model.output.weight[:beyond]
    prompt = tokenizer.encode("Where is the teacher?")
    with torch.no_grad():
        assert int(model.head(model(torch.tensor([prompt])))[0, -1].argmax()) >= tokenizer.size
    sampling = Sampling(temperature=temperature, max_tokens=20, seed=3)
    alone = generate(model, prompt, sampling, vocabulary_limit=tokenizer.size)
    engine = Engine(model, num_slots=2, length=64, vocabulary_limit=tokenizer.size)
    together = engine.run([Request(tuple(prompt), sampling), Request(tuple(prompt[:3]), sampling)])
    for chosen in (alone, *together):
        assert len(chosen) == 20
        assert max(chosen) < tokenizer.size


@pytest.mark.parametrize("tied", [False, True])
def test_T5_a_new_token_is_learnt_saved_and_spoken_in_every_form(tied, tmp_path):
    """A tokenizer with more tokens, a model that is taught them: here, read again, and in transformers."""
    transformers = pytest.importorskip("transformers")
    loaded = convert.load(tiny.folder(tmp_path / "old", tied=tied))
    old = loaded.tokenizer
    longer = extend(old, ["苹果公司发布了新的手机，机器学习很有用。" * 3] * 3, vocabulary_size=old.size + 20)
    sequence = [longer.bos_id, *longer.encode("机器学习很有用，苹果公司发布了新的手机。"), longer.eos_id]
    new = {id for id in sequence if id >= old.size}
    assert len(new) > 2

    model = fitted(loaded, longer)
    before = [matrix.detach().clone() for matrix in (model.embedding.weight, model.head.weight)]
    with RowSetWriter(tmp_path / "rows", longer, row_length=len(sequence), masked=False) as writer:
        writer.add(Encoded(["one"], np.array([len(sequence)]), np.array(sequence)))
    rows = RowSet.open(tmp_path / "rows")
    learner = Learner(model, Optimizer(model, OptimizerSettings(), 1e-2), next_token, Samples(rows, 0), World())
    for _ in train(learner, taught.plan(60, 1), Progress(), taught.outside()):
        pass
    for matrix, was in zip((model.embedding.weight, model.head.weight), before, strict=True):
        moved = (matrix.detach() - was).abs().amax(-1)
        assert all(float(moved[id]) > 1e-3 for id in new)

    model.eval()
    greedy = Sampling(temperature=0.0, max_tokens=len(sequence), stop_ids=longer.stop_ids)
    convert.save(tmp_path / "export", model, longer, card="")
    again = convert.load(tmp_path / "export")
    for one in (model, again.model):
        assert generate(one, sequence[:1], greedy, vocabulary_limit=longer.size) == sequence[1:-1]
    assert again.tokenizer.decode(sequence) == longer.decode(sequence)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    first = torch.tensor([sequence[:1]])
    out = theirs.generate(first, attention_mask=torch.ones_like(first), max_new_tokens=len(sequence), do_sample=False)
    assert out[0].tolist() == sequence


def test_O17_names_of_a_compiled_model_are_the_plain_ones(tmp_path):
    plain = tiny.model(3)
    wrapped = torch.compile(tiny.model(3), backend="eager")
    assert any("_orig_mod" in name for name, _ in wrapped.named_parameters())
    assert plain_state(wrapped).keys() == plain_state(plain).keys()
    inside = tiny.model(3)
    for number, block in enumerate(inside.blocks):
        inside.blocks[number] = torch.compile(block, backend="eager")
    for model in (wrapped, inside, torch.nn.DataParallel(plain)):
        folder = tmp_path / "folder"
        convert.save(folder, model, tiny.tokenizer(), card="")
        loaded = convert.load(folder).model  # compiled → file → eager
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), plain.parameters(), strict=True))
        shutil.rmtree(folder)
    other = torch.compile(tiny.model(4), backend="eager")
    load_state(other, plain_state(plain))  # and eager → compiled
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), plain.parameters(), strict=True))
