"""M1 to M9: positions, norms, tied matrices, dropout, causality, the cache, padding, backends.

In: tiny models of ours and of transformers. Out: red where the model computes something else than it claims. Each proof
is narrow on purpose: it must go red for its own trap and stay green for the others'. Bounds are relative to the largest
value and written once.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from danlu import convert
from danlu.base.world import World
from danlu.model.attention import BACKENDS
from danlu.model.cache import KeyValueCache
from danlu.model.decoder import choose_decoder
from danlu.model.initialise import initialise
from danlu.model.parts import RMSNorm, rotary_tables
from danlu.model.transformer import Transformer
from danlu.model.weights import load_state, plain_state
from danlu.train.checkpoint import newest_valid
from danlu.train.loop import Learner, train
from danlu.train.objectives import next_token
from danlu.train.run import Run, _save, resume
from danlu.train.settings import CheckpointSettings
from danlu.train.validation import Validation
from tests.model import material
from tests.proofs.mutant import Mutant
from tests.train import material as taught

RELATIVE_BOUND = 1e-5
FAR_POSITION_BOUND = 2e-2
"""At position 32,768 an fp32 angle is off by up to 32,768 × 2^-24 ≈ 2e-3 radians in each pair, in transformers too."""
ROUNDINGS = 4
"""How much farther bf16 may be from the fp32 reference with weights rounded to bf16 than that one is from the reference
itself: the worst of the outputs and gradients of two layers with sharp attention, by the norm of the difference. What
is allowed is measured beside it, in fp32 products, and is no figure of one machine's kernels. Over 144 models: at most
2.9. That is rounding, which goes up as often as down; what goes one way is held by the slope."""
BFLOAT16_BOUND = 1e-1
"""And by how much of fp32's norm it may be off at all."""
BFLOAT16_SLOPE, SLOPE_LENGTH = 3e-2, 128
"""How far the slope of each bf16 gradient over that reference's, <bf16, fp32> / <fp32, fp32>, may be from 1 in rows of
that length. Over 36 models: at most 0.013."""
FAR_THETA = 5e5
"""A base of the rotary wavelengths that neither danlu nor transformers takes by itself."""
NORMS = {
    "attention_norm": "input_layernorm",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "mlp_norm": "post_attention_layernorm",
}
"""The norms of a layer, and what transformers calls them; two stand in models with QK-norm only."""

MUTANTS = {
    "M1": (
        Mutant(  # rotation by the negative angle
            "src/danlu/model/parts.py",
            "torch.cat([-sine, sine], -1)",
            "torch.cat([sine, -sine], -1)",
            entails=("M7",),  # the native decoder turns by itself
        ),
        Mutant(  # every family has the base that most have
            "src/danlu/convert/families/family.py",
            "(DEFAULT_THETA if theta is None else theta)",
            "DEFAULT_THETA",
        ),
    ),
    "M2": Mutant(  # positions rounded to the compute dtype
        "src/danlu/model/transformer.py",
        "rotary_tables(positions, self.config.head_width",
        "rotary_tables(positions.to(self.compute_dtype), self.config.head_width",
    ),
    "M3": (
        Mutant(  # the norm in the activations' own precision
            "src/danlu/model/parts.py", "        wide = x.float()\n        normed", "        wide = x\n        normed"
        ),
        Mutant(  # another epsilon, and only where one token alone does not show it
            "src/danlu/model/attention.py",
            "self.query_norm = RMSNorm(config.head_width, config.norm_epsilon)",
            "self.query_norm = RMSNorm(config.head_width, 1e-6)",
        ),
    ),
    "M4": Mutant(  # the tied head has a matrix of its own
        "src/danlu/model/transformer.py",
        "None if config.tied else Linear(config.width, config.vocabulary_size)",
        "Linear(config.width, config.vocabulary_size)",
    ),
    "M5": (
        Mutant(  # dropout in evaluation
            "src/danlu/model/transformer.py",
            "F.dropout(x.to(self.compute_dtype), self.config.dropout, self.training)",
            "F.dropout(x.to(self.compute_dtype), self.config.dropout, True)",
        ),
        Mutant(  # and only in the evaluations of a training run
            "src/danlu/train/validation.py", "        model.eval()\n", ""
        ),
    ),
    "M6": Mutant(  # the document mask replaces the causal one
        "src/danlu/model/attention.py",
        "allowed = allowed & (documents",
        "allowed = (documents",
    ),
    "M7": (
        Mutant(  # a decoded token stands one position too far
            "src/danlu/model/transformer.py",
            "rotary_tables(positions, self.config.head_width",
            "rotary_tables(positions + int(view is not None and ids.shape[1] == 1), self.config.head_width",
            entails=("M8",),  # a prompt of one token, alone and in a batch
        ),
        Mutant(  # rows shorter than the longest look at places that nobody has written
            "src/danlu/model/attention.py",
            "bool((positions == cache.limit - 1).all())",
            "bool((positions == cache.limit - 1).any())",
            entails=("M8",),
        ),
        Mutant(  # the native decoder leaves QK-norm out
            "src/danlu/model/decoder.py",
            "found[name] = None if norm is None else norm.weight",
            "found[name] = None",
        ),
        Mutant(  # and the biases
            "src/danlu/model/decoder.py",
            'found[f"{name}_bias"] = getattr(attention, name).bias',
            'found[f"{name}_bias"] = None',
        ),
    ),
    "M8": Mutant(  # padding is written over the first position
        "src/danlu/model/cache.py", "positions.where(positions >= 0, cache.length)", "positions.clamp(min=0)"
    ),
    "M9": (
        Mutant(  # one backend scales by the number of heads
            "src/danlu/model/attention.py",
            "(queries * head_width**-0.5)",
            "(queries * heads**-0.5)",
            entails=("M7",),  # the native decoder scales by itself
        ),
        Mutant(  # only backward: the queries' gradient is four percent too large
            "src/danlu/model/attention.py",
            "(queries * head_width**-0.5)",
            "(queries * head_width**-0.5 + 0.01 * (queries - queries.detach()))",
        ),
        Mutant(  # only backward, and only in bf16: six percent
            "src/danlu/model/attention.py",
            "(stacked @ keys.transpose(2, 3))",
            "((stacked + (stacked - stacked.detach()) * (0.06 if keys.dtype == torch.bfloat16 else 0)) "
            "@ keys.transpose(2, 3))",
        ),
    ),
}


@pytest.mark.parametrize("family", material.FAMILIES)
@torch.no_grad()
def test_M1_rotary_positions_are_those_of_the_families(family, tmp_path):
    pytest.importorskip("transformers")
    theirs = material.foreign(family, rope_parameters={"rope_type": "default", "rope_theta": FAR_THETA})
    loaded = convert.load(material.save_foreign(theirs, tmp_path / "theirs"))
    loaded.model.attention_backend = "sdpa"
    ids = material.ids(1, 4096)
    ours, expected = loaded.model.head(loaded.model(ids)), theirs(ids).logits
    assert ours.shape[1] == 4096
    assert material.relative_error(ours, expected) <= RELATIVE_BOUND
    # There and back: no permutation of heads, of groups or of halves is left over.
    convert.save(tmp_path / "ours", loaded.model, None, card="")
    again = convert.load(tmp_path / "ours").model
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), loaded.model.parameters(), strict=True))


def test_M2_rotary_tables_are_exact_far_out_and_after_the_meta_device():
    far = torch.arange(32_768 - 64, 32_768).unsqueeze(0)
    cosine, sine = rotary_tables(far, 16, 10_000.0)
    angles = far.double().unsqueeze(-1) / 10_000.0 ** (torch.arange(0, 16, 2).double() / 16)  # (1, T, K / 2)
    assert cosine.dtype == sine.dtype == torch.float32
    assert float((cosine[0, :, 0, :8] - angles.cos()[0]).abs().max()) < 4e-3
    assert float((sine[0, :, 0, :8].abs() - angles.sin()[0].abs()).abs().max()) < 4e-3

    ids = material.ids(1, 64)
    for dtype, bound in ((torch.float32, FAR_POSITION_BOUND), (torch.bfloat16, 0.2)):
        model = material.model(backend="sdpa")  # that backends agree is M9's
        reference = material.model(backend="sdpa").double()
        model.compute_dtype, reference.compute_dtype = dtype, torch.float64
        with torch.no_grad():
            # Rotary positions are relative: the exact logits out there are those of positions 0 to 63.
            expected = reference.head(reference(ids))
            found = model.head(model(ids, far)).double()
        assert material.relative_error(found, expected) <= bound

    with torch.device("meta"):
        late = Transformer(material.config())
    late.to_empty(device="cpu")
    early = Transformer(material.config())
    initialise(late, 5)
    initialise(early, 5)
    with torch.no_grad():
        assert torch.equal(late.head(late(ids, far)), early.head(early(ids, far)))
    assert not list(early.buffers())


@pytest.mark.parametrize("family", material.FAMILIES)
@torch.no_grad()
def test_M3_norms_equal_the_reference_in_every_layer(family, tmp_path):
    pytest.importorskip("transformers")
    theirs = material.foreign(family, rms_norm_eps=1e-3)
    model = convert.load(material.save_foreign(theirs, tmp_path)).model
    pairs = [(model.norm, theirs.model.norm)]
    for block, layer in zip(model.blocks, theirs.model.layers, strict=True):
        ours, wanted = dict(block.named_modules()), dict(layer.named_modules())
        pairs += [(ours[name], wanted[foreign]) for name, foreign in NORMS.items() if foreign in wanted]
    assert len(pairs) == 1 + model.config.layers * (4 if family == "qwen3" else 2)
    found: dict[torch.nn.Module, Tensor] = {}
    for norm in itertools.chain(*pairs):
        norm.register_forward_hook(lambda module, arguments, output: found.update({module: output}))
    # One token at position 0: nothing is turned and nothing is mixed, so every norm is compared by itself.
    ids = torch.arange(material.VOCABULARY).unsqueeze(1)
    for whole in (model, theirs):
        whole(ids)
    for norm, reference in pairs:
        assert material.relative_error(found[norm], found[reference]) <= RELATIVE_BOUND
    # The norm itself on large, small and ordinary values, bit for bit in bf16 and within the bound in fp32.
    reference = theirs.model.norm
    norm = RMSNorm(64, 1e-3)
    norm.weight.copy_(reference.weight)
    for scale in (1e-3, 1.0, 300.0):
        x = torch.randn(50, 64, generator=torch.Generator().manual_seed(1)) * scale
        assert material.relative_error(norm(x), reference(x)) <= RELATIVE_BOUND
        rounded = x.to(torch.bfloat16)
        assert torch.equal(norm(rounded), reference.to(torch.bfloat16)(rounded))
        reference.float()
        reference.weight.copy_(norm.weight)


def test_M4_tied_embeddings_stay_one_matrix(tmp_path):
    tied = material.model(tied=True)
    names = [name for name, _ in tied.named_parameters()]
    assert "output.weight" not in names
    assert sum(weight.numel() for weight in tied.parameters()) == tied.config.parameters().total

    # The gradient is the sum of both uses, taken apart by a twin whose head is a second matrix of the same values.
    twin = Transformer(material.config(tied=False)).eval()
    state = plain_state(tied)
    load_state(twin, {**state, "output.weight": state["embedding.weight"]})
    ids = material.ids(2, 24)
    for model in (tied, twin):
        torch.nn.functional.cross_entropy(model.head(model(ids)).flatten(0, 1), ids.roll(-1, 1).flatten()).backward()
    assert twin.output is not None
    both = twin.embedding.weight.grad + twin.output.weight.grad
    assert material.relative_error(tied.embedding.weight.grad, both) <= RELATIVE_BOUND

    # Made without storage and filled afterwards: still one matrix, and the one that a plain model has.
    with torch.device("meta"):
        late = Transformer(tied.config)
    late.to_empty(device="cpu")
    early = Transformer(tied.config)
    for model in (late, early):
        initialise(model, 5)
        assert model.head.weight is model.embedding.weight
    assert torch.equal(late.head.weight, early.head.weight)

    # Through a file and a step of an optimizer: still one matrix, stored once.
    convert.save(tmp_path, tied, None, card="")
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 (the handle is no mapping)
    loaded = convert.load(tmp_path).model
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded.head(loaded(ids)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(loaded.embedding.weight, tied.embedding.weight)
    assert torch.equal(loaded.head(torch.eye(64)), loaded.embedding.weight.T)


def test_M4_a_tied_model_is_resumed_to_the_same_bits(tmp_path):
    """Matrix and optimizer state are saved once, under one name, and found again."""
    rows = taught.row_set(tmp_path / "rows", documents=30)
    plan = taught.plan(16, 4, save_every=2)

    def go_on(out: Path, until: int | None) -> Learner:
        learner = taught.learner(rows, tied=True)
        check = Validation(rows, next_token, 4, 4, [1] * taught.VOCABULARY)
        run = Run(out, learner, plan, check, CheckpointSettings(finish="last"), lambda: [], peak_flops=1e9)
        folder = out / "checkpoints"
        progress = resume(learner, plan, folder)
        for report in train(learner, plan, progress, taught.outside(save=lambda: _save(run, progress, folder))):
            if report.step == until:
                break
        return learner

    whole = go_on(tmp_path / "whole", None)
    go_on(tmp_path / "halves", 3)
    found = newest_valid(tmp_path / "halves" / "checkpoints")
    assert found.step == 2
    assert "output.weight" not in found.tensors("model")
    assert {name.rpartition("/")[0] for name in found.tensors("optimizer")} == found.tensors("model").keys()
    halves = go_on(tmp_path / "halves", None)
    assert halves.model.head.weight is halves.model.embedding.weight
    for one, other in zip(halves.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_M5_dropout_is_off_in_evaluation_and_the_mode_comes_back():
    from danlu.evaluate.score import score_texts
    from tests import tiny

    model, ids = material.model(dropout=0.3), material.ids(2, 24)
    with torch.no_grad():
        assert torch.equal(model(ids), model(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))
    for training in (True, False):
        scored = tiny.model(dropout=0.3).train(training)
        twice = [score_texts(scored, tiny.tokenizer(), ["the old library"])[0].nats for _ in range(2)]
        assert twice[0] == twice[1]
        assert scored.training is training
        assert all(part.training is training for part in scored.modules())


def test_M5_the_evaluations_of_a_training_run_are_without_dropout(tmp_path):
    rows = taught.row_set(tmp_path / "rows", documents=30)
    check = Validation(rows, next_token, 4, 8, [1] * taught.VOCABULARY)
    plain = check.measure(taught.model(dropout=0.0).eval(), World())
    for training in (True, False):
        model = taught.model(dropout=0.3).train(training)
        assert [check.measure(model, World()) for _ in range(2)] == [plain, plain]
        assert all(part.training is training for part in model.modules())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["plain", "packed", "cached", "padded"])
@torch.no_grad()
def test_M6_no_position_sees_a_later_one(kind, backend):
    model = material.model(backend=backend)
    ids, positions, documents = material.packed([[19, 13]])

    def logits(ids: Tensor) -> Tensor:
        if kind == "plain":
            return model.head(model(ids))
        if kind == "packed":
            return model.head(model(ids, positions, documents))
        there = torch.arange(32).unsqueeze(0)
        padded = torch.where(there < 5, -1, there - 5) if kind == "padded" else there
        return model.head(model(ids, padded, cache=KeyValueCache(model.config, 1, 32)))

    before = logits(ids)
    for t in (7, 18, 19, 31):
        changed = ids.clone()
        changed[0, t] = (changed[0, t] + 1) % material.VOCABULARY
        after = logits(changed)
        assert torch.equal(after[0, :t], before[0, :t])
        assert not torch.equal(after[0, t], before[0, t])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kv_heads": 1, "qk_norm": True},
        {"kv_heads": 4},
        {"attention_bias": True},
        {"position": "learned"},
    ],
)
@torch.no_grad()
def test_M7_cached_decoding_equals_the_full_forward(changes, backend):
    """By the model's own forward, and by the native decoder where the engine decodes with it; each with its cache."""
    model = material.model(backend=backend, **changes)
    lengths, new_tokens = [3, 11, 6], 12
    caches = [KeyValueCache(model.config, 4, 40) for _ in range(2)]
    decoder, _ = choose_decoder(model, caches[1])
    slots = torch.tensor([3, 0, 1])
    rows = [material.ids(1, length, seed=length)[0].tolist() for length in lengths]
    nexts = []
    for row, slot in zip(rows, slots, strict=True):
        prompt = torch.tensor([row])
        positions = torch.arange(len(row)).unsqueeze(0)
        hidden = [model(prompt, positions, cache=cache, slots=slot.unsqueeze(0))[:, -1] for cache in caches]
        nexts.append(check_against_full(model, row, *(model.head(one)[0] for one in hidden)))
    for _ in range(new_tokens):
        for row, token in zip(rows, nexts, strict=True):
            row.append(token)
        ids, positions = torch.tensor(nexts), torch.tensor([len(row) - 1 for row in rows])
        ways = [model.head(model(ids[:, None], positions[:, None], cache=caches[0], slots=slots)[:, -1])]
        if decoder is not None:
            ways.append(decoder.logits(decoder.hidden(ids, positions, slots)))
        nexts = [check_against_full(model, row, *ones) for row, *ones in zip(rows, *ways, strict=True)]


def check_against_full(model: Transformer, row: list[int], *ways: Tensor) -> int:
    """Compare logits of a row's next token with those of the full forward; return the greedy token of all."""
    full = model.head(model(torch.tensor([row])))[0, -1]
    for logits in ways:
        assert material.relative_error(logits, full) <= RELATIVE_BOUND
        assert int(logits.argmax()) == int(full.argmax())
    return int(full.argmax())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_M8_padded_batches_equal_single_rows(side, backend):
    model = material.model(backend=backend)
    lengths = [4, 13, 1, 9]
    longest = max(lengths)
    rows = [material.ids(1, length, seed=length)[0] for length in lengths]
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    positions = torch.full_like(ids, -1)
    places = [slice(longest - length, longest) if side == "left" else slice(0, length) for length in lengths]
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        ids[number, place], positions[number, place] = row, torch.arange(len(row))
    cache = KeyValueCache(model.config, len(rows), 32)
    together = model(ids, positions, cache=cache)
    token = material.ids(len(rows), 1, seed=99)
    then = model(token, torch.tensor(lengths).unsqueeze(1), cache=cache)
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        single = KeyValueCache(model.config, 1, 32)
        alone = model(row.unsqueeze(0), cache=single)[0]
        assert material.relative_error(together[number, place], alone) <= RELATIVE_BOUND
        after = model(token[number : number + 1], torch.tensor([[len(row)]]), cache=single)[0]
        assert material.relative_error(then[number], after) <= RELATIVE_BOUND


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def slope(found: Tensor, wanted: Tensor) -> float:
    return float((found * wanted).sum() / wanted.square().sum())


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_M9_attention_backends_agree_forward_and_backward(packed, kv_heads):
    def outcome(backend: str, dtype: torch.dtype = torch.float32, weights: torch.dtype = torch.float32) -> list[Tensor]:
        model = material.model(backend=backend, kv_heads=kv_heads)
        model.to(weights).float()
        model.compute_dtype = dtype
        hidden = model(ids, positions, documents) if packed else model(ids)
        hidden.float().square().mean().backward()
        found = [hidden.detach().float(), *(parameter.grad for parameter in model.parameters())]
        return [one for one in found if one is not None]

    for length in (1, 2, 33, 128):
        ids, positions, documents = material.packed([material.random_lengths(length, row) for row in (1, 2)])
        exact, rounded = outcome("eager"), outcome("eager", weights=torch.bfloat16)
        # A row of one token has no gradient for its query.
        known = [number for number, one in enumerate(exact) if float(one.abs().max()) > 1e-12]
        limit = ROUNDINGS * max(distance(rounded[number], exact[number]) for number in known)
        for backend in BACKENDS:
            found, halved = outcome(backend), outcome(backend, torch.bfloat16)
            assert all(one.isfinite().all() for one in (*found, *halved))
            for number in known:
                assert material.relative_error(found[number], exact[number]) <= RELATIVE_BOUND
                assert distance(halved[number], rounded[number]) <= limit
                assert distance(halved[number], exact[number]) <= BFLOAT16_BOUND
                assert length < SLOPE_LENGTH or abs(slope(halved[number], rounded[number]) - 1) <= BFLOAT16_SLOPE
