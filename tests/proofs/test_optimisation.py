"""Optimisation: what an update is made of, on one rank. O1 O3 O4 O5 O6 O7 O11 O16 O18, D4, D15 and RT15.

Ranks are in `test_ranks`, kills and resuming in `test_resume`. Equal means relative error at most 1e-5 in fp32 where
sums are taken in another order, and bitwise elsewhere.
"""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from danlu.base.world import World
from danlu.model.parts import Head
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.train import schedules
from danlu.train.loop import Progress, train, update
from danlu.train.meters import Speedometer
from danlu.train.objectives import next_token
from danlu.train.optimizers import Optimizer
from danlu.train.samples import Samples, to_tensors
from danlu.train.settings import OptimizerSettings
from tests import tiny
from tests.proofs.mutant import Mutant
from tests.train import material

RELATIVE = 1e-5
ROOT = Path(__file__).parents[2]

MUTANTS = {
    # The mean of the micro-batches' means, weighted rightly over ranks, so that O2 does not see it.
    "O1": Mutant(
        "src/danlu/train/loop.py",
        "(loss.sum / max(1, targets)).backward()",
        "(loss.sum / max(1, loss.count) / len(batches) * sum(one.num_targets for one in batches) / targets).backward()",
    ),
    "O3": Mutant(
        "src/danlu/train/loop.py",
        "(loss.sum / max(1, targets)).backward()",
        "(loss.sum / max(1, targets) / max(1, targets)).backward()",
    ),
    "O4": Mutant(
        "src/danlu/train/loop.py",
        "return -(-self.total_samples // self.batch_rows)",
        "return self.total_samples // self.batch_rows",
    ),
    "O5": Mutant(
        "src/danlu/train/loop.py",
        "        loss_sum += float(loss.sum.detach())\n",
        "        loss_sum += float(loss.sum.detach())\n        clip_gradients(model, plan.clip)\n",
    ),
    "O6": (
        Mutant(
            "src/danlu/train/loop.py",
            "factor(plan.schedule, progress.step, plan.shape)",
            "factor(plan.schedule, progress.step * (plan.batch_rows // plan.micro_batch_rows), plan.shape)",
        ),
        Mutant(  # set and told after the update, which went by the rate before
            "src/danlu/train/loop.py",
            "        optimizer.step()\n    progress.step += 1\n",
            "        rate = optimizer.set_rate(factor(plan.schedule, max(0, progress.step - 1), plan.shape))\n"
            "        optimizer.step()\n"
            "    rate = optimizer.set_rate(factor(plan.schedule, progress.step, plan.shape))\n"
            "    progress.step += 1\n",
        ),
    ),
    "O7": Mutant(
        "src/danlu/train/optimizers.py",
        'decay = {"hidden": settings.weight_decay, "head": settings.weight_decay}',
        'decay = dict.fromkeys(("hidden", "head", "embedding", "vector"), settings.weight_decay)',
    ),
    "O11": Mutant(  # the weights themselves are bf16
        "src/danlu/parallel/place.py",
        "model.to(world.device)",
        "model.to(world.device, getattr(torch, world.dtype))",
    ),
    "O16": (
        Mutant(
            "src/danlu/train/loop.py",
            "sum(batch.num_tokens for batch in batches)",
            "sum(batch.ids.numel() for batch in batches)",
        ),
        Mutant(  # attention counted as if nothing were masked
            "src/danlu/model/config.py",
            "6.0 * self.layers * attention_width * row_length",
            "12.0 * self.layers * attention_width * row_length",
        ),
        Mutant(  # as if every query head had keys and values of its own
            "src/danlu/model/config.py",
            "self.width * (query + 2 * key_value)",
            "self.width * (3 * query)",
        ),
        Mutant(  # and as if heads times their width were the model's width
            "src/danlu/model/config.py",
            "attention_width = self.heads * self.head_width",
            "attention_width = self.width",
        ),
    ),
    "O18": Mutant(
        "src/danlu/model/transformer.py",
        "x = checkpoint(block, x, rotary, sight, use_reentrant=False)",
        "x = checkpoint(block, x, rotary, sight, use_reentrant=False, preserve_rng_state=False)",
    ),
    # Shifted once more where every position is learnt, as in plain text, so that D12 does not see it.
    "D4": Mutant(
        "src/danlu/train/samples.py",
        "flat = batch.targets.reshape(-1)",
        "plain = (batch.targets[:, 0] != IGNORE).all()\n"
        "    flat = (np.roll(batch.targets, -1, axis=1) if plain else batch.targets).reshape(-1)",
    ),
    "D15": (
        Mutant(
            "src/danlu/train/objectives.py",
            "return Loss((hidden.float() * 0.0).sum(), 0)",
            "return Loss(functional.cross_entropy(hidden.float()[:0, 0], batch.target_ids[:0]), 0)",
        ),
        Mutant(  # momentum and decay move the weights where nothing was learnt
            "src/danlu/train/loop.py", "    if targets > 0:", "    if True:"
        ),
    ),
    "RT15": (
        Mutant(
            "src/danlu/model/initialise.py",
            "torch.Generator().manual_seed(own_seed)",
            "torch.Generator().manual_seed(own_seed ^ torch.Generator().seed() >> 1)",
        ),
        Mutant(  # an order that is the process's own: sums come out with other bits
            "src/danlu/train/loop.py",
            "[parameter for parameter in model.parameters() if parameter.grad is not None]",
            "[one for _, one in sorted(model.named_parameters(), key=lambda pair: hash(pair[0]))]",
            entails=("RT1",),  # which compares runs of several processes
        ),
    ),
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rows(tmp_path):
    """Rows whose numbers of targets differ."""
    found = material.row_set(tmp_path / "rows", documents=40, learnt_share=0.6)
    counts = [found.batch(np.array([row])).num_targets for row in range(found.num_rows)]
    assert len(set(counts)) > 4, "the trap needs unequal counts"
    return found


def gradients(learner) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in learner.model.named_parameters()}


def relative_error(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The largest, over the tensors, of |found - wanted| / |wanted|."""
    return max(float((found[name] - value).detach().norm() / value.detach().norm()) for name, value in wanted.items())


def one_update(rows, batch_rows, micro_batch_rows, **changes):
    learner = material.learner(rows)
    plan = material.plan(batch_rows, batch_rows, micro_batch_rows, **{"clip": 0.0, **changes})
    return learner, update(learner, plan, Progress(), clock=lambda: 0.0)


class Repeated(Samples):
    """Every sample is row 0."""

    def rows(self, start, stop):
        return np.zeros(stop - start, dtype=np.int64)


def test_O1_accumulation_does_not_change_the_gradient(rows):
    whole, report = one_update(rows, 8, 8)
    for micro_batch_rows in (4, 2, 1):
        parts, other = one_update(rows, 8, micro_batch_rows)
        assert relative_error(gradients(parts), gradients(whole)) <= RELATIVE
        assert other.loss == pytest.approx(report.loss, rel=RELATIVE)


def test_O3_the_gradient_norm_does_not_depend_on_how_often_a_micro_batch_is_repeated(rows):
    norms = []
    for count in (1, 2, 4):
        learner = material.learner(rows)
        learner.samples = Repeated(rows, 0)
        norms.append(update(learner, material.plan(count, count, 1, clip=0.0), Progress(), lambda: 0.0).gradient_norm)
    assert norms == pytest.approx([norms[0]] * 3, rel=RELATIVE)


@pytest.fixture
def even_rows(tmp_path):
    """Rows with equal numbers of targets: how micro-batches are weighed is O1's, not these proofs'."""
    with RowSetWriter(tmp_path / "even", tiny.tokenizer(), row_length=material.ROW_LENGTH, masked=False) as writer:
        ids = np.random.default_rng(0).integers(8, material.VOCABULARY, size=10 * material.ROW_LENGTH)
        writer.add(Encoded([str(row) for row in range(10)], np.full(10, material.ROW_LENGTH), ids))
    return RowSet.open(tmp_path / "even")


def test_O4_the_last_partial_window_is_stepped_with_its_own_weight(even_rows):
    weights = []
    for micro_batch_rows in (2, 4):  # windows of two micro-batches, the last of one; against whole batches
        rule = OptimizerSettings(name="sgd", momentum=0, weight_decay=0)
        learner = material.learner(even_rows, optimizer=rule, learning_rate=0.1)
        shape = schedules.Shape(3, 0, 0, 0.0)
        plan = material.plan(10, 4, micro_batch_rows, schedule="constant", shape=shape, clip=0.0)
        reports = list(train(learner, plan, Progress(), material.outside()))
        assert [len(report.rows) for report in reports] == [4, 4, 2]
        assert sorted(np.concatenate([report.rows for report in reports]).tolist()) == list(range(10))
        weights.append(dict(learner.model.named_parameters()))
    assert relative_error(weights[0], weights[1]) <= RELATIVE


def test_O5_the_norm_of_the_summed_gradient_is_clipped_once(even_rows):
    whole, _ = one_update(even_rows, 8, 8)
    wanted = gradients(whole)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in wanted.values()))
    limit = norm / 50
    clipped, report = one_update(even_rows, 8, 2, clip=limit)
    assert report.gradient_norm == pytest.approx(norm, rel=RELATIVE)
    guarded = norm + 1e-6  # as torch divides
    scaled = {name: gradient * (limit / guarded) for name, gradient in wanted.items()}
    assert relative_error(gradients(clipped), scaled) <= 2 * RELATIVE


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd", "constant"])
def test_O6_the_learning_rate_is_the_formula_of_the_step_for_any_accumulation_and_across_resume(rows, name):
    shape = schedules.Shape.of(12, warmup=0.25, decay=0.5, floor=0.1)
    wanted = [1e-2 * schedules.factor(name, step, shape) for step in range(12)]
    for micro_batch_rows in (4, 1):
        plan = material.plan(48, 4, micro_batch_rows, schedule=name, shape=shape)
        learner, progress = material.learner(rows), Progress()
        applied = rates_of_updates(learner)
        logged = []
        for report in train(learner, plan, progress, material.outside()):
            logged.append(report.learning_rate)
            if report.step == 5:
                break
        state = {key: value.clone() for key, value in learner.optimizer.state().items()}
        resumed = material.learner(rows)
        resumed.optimizer.load_state(state)
        applied_then = rates_of_updates(resumed)
        logged += [report.learning_rate for report in train(resumed, plan, replace(progress), material.outside())]
        assert logged == applied + applied_then == wanted


def rates_of_updates(learner) -> list[float]:
    """The learning rates of the updates to come, as they are while the weights are moved; one for all groups."""
    rates, step = [], learner.optimizer.step

    def recorded() -> None:
        (rate,) = {group["lr"] for rule in learner.optimizer._rules for group in rule.param_groups}
        rates.append(rate)
        step()

    learner.optimizer.step = recorded
    return rates


def test_O6_a_learning_rate_worked_out_by_hand(rows):
    """Two steps of warm-up, then a cosine over three from the peak, 0.01, towards the floor, 0.001."""
    learner = material.learner(rows, learning_rate=1e-2)
    applied = rates_of_updates(learner)
    plan = material.plan(20, 4, schedule="cosine", shape=schedules.Shape.of(5, warmup=0.4, decay=0.6, floor=0.1))
    list(train(learner, plan, Progress(), material.outside()))
    assert applied == pytest.approx([0.005, 0.01, 0.01, 0.001 + 0.009 * 3 / 4, 0.001 + 0.009 / 4])


def test_O7_only_matrices_decay_and_never_embeddings(rows):
    matrices = [f"{part}.weight" for part in (
        "attention.query", "attention.key", "attention.value", "attention.output", "mlp.gate", "mlp.up", "mlp.down"
    )]  # fmt: skip
    hidden = {f"blocks.{layer}.{name}" for layer in range(2) for name in matrices}
    for tied, rule in ((True, "adamw"), (False, "muon")):
        model = material.model(tied=tied, attention_bias=True, qk_norm=True, position="learned")
        optimizer = Optimizer(model, OptimizerSettings(name=rule, weight_decay=0.5), 0.1)
        assert set(optimizer.decayed()) == hidden | (set() if tied else {"output.weight"})
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
        assert moved == set(optimizer.decayed())


def test_O11_updates_below_the_rounding_of_bf16_move_the_fp32_weights(rows):
    """Five updates that bf16 weights would swallow: fp32 ones move by each, and so do gradients and moments in fp32."""
    learner = material.learner(rows, world=World(dtype="bfloat16"), learning_rate=1e-6)
    assert learner.model.compute_dtype == torch.bfloat16
    before = {name: value.detach().clone() for name, value in learner.model.named_parameters()}
    shape = schedules.Shape(5, 0, 0, 0.0)
    list(train(learner, material.plan(40, 8, schedule="constant", shape=shape), Progress(), material.outside()))
    swallowed = 0
    for name, value in learner.model.named_parameters():
        assert value.dtype == value.grad.dtype == torch.float32
        learnt = value.grad.abs() > 1e-6  # Adam moves such a weight by about the learning rate in each step
        moved = (value.detach() - before[name]).abs()[learnt]
        assert 1e-6 < float(moved.median()) <= 5.5e-6, name
        swallowed += int((value.bfloat16() == before[name].bfloat16()).sum())
    assert swallowed > 0.9 * sum(value.numel() for value in before.values()), "the trap needs updates of that size"
    assert all(tensor.dtype == torch.float32 for tensor in learner.optimizer.state().values())


def test_O16_speed_counts_no_padding_and_flops_are_those_of_the_products(tmp_path):
    rows = material.row_set(tmp_path, documents=30)
    assert rows.num_tokens < rows.num_rows * rows.row_length, "the trap needs padding"
    learner = material.learner(rows)
    ticks = iter(range(100))
    progress = Progress()
    report = update(learner, material.plan(rows.num_rows, rows.num_rows), progress, clock=lambda: float(next(ticks)))
    meter = Speedometer(flops_per_token=100.0, peak_flops=1e6)
    meter.add(report.tokens, report.seconds)
    assert (report.tokens, report.seconds) == (rows.num_tokens, 1.0)
    assert meter.tokens_per_second == rows.num_tokens
    assert meter.utilisation == pytest.approx(rows.num_tokens * 100.0 / 1e6)

    model = material.model(kv_heads=1, head_width=32)  # one group, and heads twice as wide together as the model
    model.attention_backend = "eager"  # the counter sees products, and not into the fused kernel
    length = material.ROW_LENGTH
    ids = torch.randint(0, material.VOCABULARY, (3, length))
    with FlopCounterMode(display=False) as counter:
        model.head(model(ids)).float().logsumexp(-1).sum().backward()
    # The backend computes the masked half of the scores too; the formula counts the causal half only.
    masked_half = 6 * model.config.layers * model.config.heads * model.config.head_width * length
    counted = counter.get_total_flops() / ids.numel()
    assert counted == pytest.approx(model.config.flops_per_token(length) + masked_half, rel=0.02)


def test_O18_recomputed_activations_give_the_same_gradients_with_dropout(rows):
    found = []
    for recompute in (False, True):
        learner = material.learner(rows, dropout=0.3)
        learner.model.checkpoint_activations = recompute
        update(learner, material.plan(8, 8, 4, clip=0.0), Progress(), lambda: 0.0)
        found.append(gradients(learner))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_D4_the_model_predicts_the_next_token_and_not_this_one_or_the_one_after(tmp_path):
    sequence = np.array([9, 40, 17, 62, 9, 33, 80, 17, 51, 9, 71, 26, 88, 12, 40, 95])
    with RowSetWriter(tmp_path / "rows", tiny.tokenizer(), row_length=16, masked=False) as writer:
        writer.add(Encoded(["one"], np.array([16]), sequence))
    rows = RowSet.open(tmp_path / "rows")
    learner = material.learner(rows)
    for _ in train(learner, material.plan(80, 1), Progress(), material.outside()):
        pass
    with torch.no_grad():
        model = learner.model.eval()
        guesses = model.head(model(torch.from_numpy(sequence)[None]))[0].argmax(-1).numpy()
    assert (guesses[:-1] == sequence[1:]).mean() == 1.0
    assert (guesses == sequence).mean() < 0.5
    assert (guesses[:-2] == sequence[2:]).mean() < 0.5


def test_D4_hand_computed_loss_of_four_tokens(tmp_path):
    with RowSetWriter(tmp_path / "rows", tiny.tokenizer(), row_length=8, masked=False) as writer:
        writer.add(Encoded(["one"], np.array([4]), np.array([2, 0, 1, 2])))
    batch = to_tensors(RowSet.open(tmp_path / "rows").batch(np.array([0])), "cpu")
    # The "model" gives each token the probabilities 1/2, 1/4, 1/4, rotated so that the token after id n is n + 1.
    table = torch.tensor([[0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25]]).log()
    loss = next_token(table[batch.ids.clamp(max=2)], Head(torch.eye(table.shape[-1])), batch)
    assert loss.count == 3
    assert float(loss.sum) == pytest.approx(3 * math.log(2))


def test_D15_rows_without_targets_contribute_nothing_and_no_nan(tmp_path):
    taught = material.row_set(tmp_path / "taught", documents=30)
    mute = material.row_set(tmp_path / "mute", documents=30, learnt_share=0.0)
    batch, empty = (to_tensors(rows.batch(np.arange(3)), "cpu") for rows in (taught, mute))
    assert empty.num_targets == 0
    model = material.model()
    wanted = None
    for batches in ([batch], [empty, batch, empty]):
        model.zero_grad()
        for one in batches:
            loss = next_token(model(one.ids, one.positions, one.documents), model.head, one)
            assert math.isfinite(float(loss.sum.detach()))
            loss.sum.backward()
        found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        wanted = found if wanted is None else wanted
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_D15_a_step_without_targets_changes_nothing(tmp_path):
    """Neither by momentum nor by decay, which a step before it has set going."""
    taught = material.row_set(tmp_path / "taught", documents=30)
    mute = material.row_set(tmp_path / "mute", documents=30, learnt_share=0.0)
    learner = material.learner(taught, optimizer=OptimizerSettings(name="adamw", weight_decay=0.1))
    plan, progress = material.plan(8, 4), Progress()
    assert update(learner, plan, progress, lambda: 0.0).targets > 0
    everything = {**dict(learner.model.named_parameters()), **learner.optimizer.state()}
    before = {name: value.detach().clone() for name, value in everything.items()}
    learner.samples = Samples(mute, 0)
    report = update(learner, plan, progress, lambda: 0.0)
    assert (report.targets, report.loss, report.step) == (0, 0.0, 2)
    assert all(torch.equal(value, before[name]) for name, value in everything.items())


def hash_of_run(folder: Path, dtype: str, threads: int, rule: str, steps: int) -> str:
    """What a run comes to, as SHA-256: every loss, gradient norm, weight and moment."""
    torch.set_num_threads(threads)
    settings = OptimizerSettings(name=rule)
    learner = material.learner(RowSet.open(folder), dropout=0.2, world=World(dtype=dtype), optimizer=settings, seed=3)
    plan = material.plan(2 * steps, 2, 2, seed=3, clip=0.1)
    reports = list(train(learner, plan, Progress(), material.outside()))
    assert all(report.gradient_norm > plan.clip for report in reports), "the trap needs gradients that are clipped"
    made = hashlib.sha256(repr([(report.loss, report.gradient_norm) for report in reports]).encode())
    for tensor in (*learner.model.parameters(), *learner.optimizer.state().values()):
        made.update(tensor.detach().numpy().tobytes())
    return made.hexdigest()


# Few and plain steps on two threads: where cores are contended, threads wait long for each other.
@pytest.mark.parametrize("run", [("float32", 1, "muon", 4), ("bfloat16", 2, "adamw", 2)], ids=lambda run: run[0])
def test_RT15_two_runs_of_one_config_are_bitwise_equal(rows, tmp_path, run):
    assert hash_of_run(tmp_path / "rows", *run) == hash_of_run(tmp_path / "rows", *run)


HASH_OF_RUN = """
import sys
from pathlib import Path
from tests.proofs.test_optimisation import hash_of_run
sys.stdout.write(hash_of_run(Path(sys.argv[1]), "float32", 1, "muon", 4))
"""


def test_RT15_two_processes_come_to_the_same_bits(rows, tmp_path):
    """Each has other hashes of strings: an order that hangs on them is the same in one process and in two is not."""
    command = [sys.executable, "-c", HASH_OF_RUN, str(tmp_path / "rows")]
    runs = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE)
        for seed in ("5", "6")
    ]
    found = [run.communicate()[0].decode() for run in runs]
    assert found == [hash_of_run(tmp_path / "rows", "float32", 1, "muon", 4)] * 2
