"""Teaching and placing: D12 (the model learns to stop) and O17 (compiled names never reach a file)."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from danlu.base.records import Message
from danlu.base.world import World
from danlu.infer.engine import Engine, Request
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling
from danlu.parallel.place import CPP_COMPILERS, place
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.tokenizer.chat import ChatTemplate
from danlu.train import checkpoint
from danlu.train.loop import Progress, train, update
from danlu.train.run import load_parameters, parameters_by_name
from tests import tiny
from tests.proofs.mutant import Mutant
from tests.train import material

MUTANTS = {
    # What masking "pad = eos" does to the loss: the end of the turn is never a target.
    "D12": Mutant(
        "src/danlu/train/samples.py",
        "index = np.flatnonzero(flat != IGNORE)",
        "index = np.flatnonzero((flat != IGNORE) & (flat != 7))",
    ),
    "O9": Mutant(  # the optimizer's state is put back into the wrong precision
        "src/danlu/train/optimizers.py",
        "owners[name].state[parameter][key] = tensor.to(device).clone()",
        "owners[name].state[parameter][key] = tensor.to(device).bfloat16().to(tensor.dtype)",
    ),
    "O17": Mutant(
        "src/danlu/parallel/place.py",
        "        for block in model.blocks:\n            block.compile(dynamic=False)",
        "        for index, block in enumerate(model.blocks):\n"
        "            model.blocks[index] = torch.compile(block, dynamic=False)",
    ),
}
needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in CPP_COMPILERS), reason="no C++ compiler: torch.compile cannot be used here"
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_D12_after_two_hundred_steps_the_model_stops_by_itself(tmp_path):
    tokenizer = tiny.tokenizer()
    template = ChatTemplate(tokenizer)
    assert tokenizer.end_id == 7
    talks = [
        (Message("user", "Where is the teacher?"), Message("assistant", "In the old library.")),
        (Message("user", "老师在哪里？"), Message("assistant", "在图书馆里。")),
        (Message("user", "one two three"), Message("assistant", "four five")),
    ]
    rendered = [template.render(talk) for talk in talks]
    with RowSetWriter(tmp_path / "rows", tokenizer, row_length=64, masked=True) as writer:
        ids = np.concatenate([np.array(one.ids) for one in rendered])
        mask = np.concatenate([np.array(one.mask) for one in rendered])
        writer.add(Encoded(["a", "b", "c"], np.array([len(one.ids) for one in rendered]), ids, mask))
    rows = RowSet.open(tmp_path / "rows")
    batch = rows.batch(np.arange(rows.num_rows))
    # more ends than answers would be the business of D14
    assert int((batch.targets == tokenizer.end_id).sum()) >= len(talks), "each answer's end is in the loss"

    learner = material.learner(rows, vocabulary_size=tokenizer.size + 24, context_length=64, learning_rate=5e-3)
    for _ in train(learner, material.plan(200, 1), Progress(), material.outside()):
        pass
    learner.model.eval()
    sampling = Sampling(temperature=0.0, max_tokens=40, stop_ids=tokenizer.stop_ids)
    for question, wanted in talks:
        answer = generate(learner.model, template.prompt([question]), sampling, vocabulary_limit=tokenizer.size)
        assert tokenizer.decode(answer) == wanted.content
        assert len(answer) < sampling.max_tokens


@needs_compiler
def test_O17_a_compiled_model_is_saved_under_plain_names_and_read_by_an_eager_one_and_back(tmp_path):
    eager, compiled = material.model(seed=1), place(material.model(seed=2), World(), compile="on")
    assert any(module._compiled_call_impl is not None for module in compiled.modules()) or hasattr(
        compiled.blocks[0], "_orig_mod"
    ), "the trap needs a compiled model"
    for number, (source, target) in enumerate(((compiled, eager), (eager, compiled)), start=1):
        checkpoint.save(tmp_path, number, {"model": parameters_by_name(source)}, {})
        tensors = checkpoint.newest_valid(tmp_path).tensors("model")
        assert tensors.keys() == dict(material.model().named_parameters()).keys()
        load_parameters(target, tensors)
        assert all(
            torch.equal(one, other) for one, other in zip(eager.parameters(), compiled.parameters(), strict=True)
        )
        with torch.no_grad():
            target.embedding.weight.add_(number)


@needs_compiler
@pytest.mark.slow
def test_O9_a_compiled_run_resumes_to_the_same_bits(tmp_path):
    rows = material.row_set(tmp_path / "rows")
    plan = material.plan(20 * 4, 4, 4)

    def fresh():
        learner = material.learner(rows, dropout=0.1)
        place(learner.model, World(), compile="on")
        return learner

    torch.compiler.reset()
    counters.clear()
    whole, progress = fresh(), Progress()
    # A run shows what its model says before the first step; a resumed one does not.
    tested = Engine(whole.model, num_slots=1, length=64, vocabulary_limit=material.VOCABULARY)
    tested.decoder = None
    tested.run([Request((8, 9, 10), Sampling(temperature=0.0, max_tokens=20))])
    while progress.step < 20:
        update(whole, plan, progress, lambda: 0.0)
        if progress.step == 10:
            parts = {"model": parameters_by_name(whole.model), "optimizer": whole.optimizer.state()}
            checkpoint.save(tmp_path / "checkpoints", 10, parts, {})
    assert counters["stats"]["unique_graphs"] == 1, "training's one shape, and nothing of the sample's"
    resumed, progress = fresh(), Progress(step=10)
    saved = checkpoint.newest_valid(tmp_path / "checkpoints")
    load_parameters(resumed.model, saved.tensors("model"))
    resumed.optimizer.load_state(saved.tensors("optimizer"))
    while progress.step < 20:
        update(resumed, plan, progress, lambda: 0.0)
    assert all(
        torch.equal(one, other) for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    )
