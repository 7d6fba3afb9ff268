import pytest
import torch

from danlu.base.errors import ArtifactError
from danlu.train.optimizers import Optimizer
from danlu.train.settings import OptimizerSettings
from tests.train import material


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_state_goes_out_and_back_in(name):
    settings = OptimizerSettings(name=name)
    first = material.model(tied=False)
    optimizer = Optimizer(first, settings, 1e-2)
    step(first, optimizer, 1)
    second = material.model(tied=False)
    second.load_state_dict(first.state_dict())
    copied = Optimizer(second, settings, 1e-2)
    copied.load_state({key: value.clone() for key, value in optimizer.state().items()})
    step(first, optimizer, 2)
    step(second, copied, 2)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    for key, value in optimizer.state().items():
        assert torch.equal(value, copied.state()[key]), key


def test_state_of_another_model_is_refused():
    optimizer = Optimizer(material.model(), OptimizerSettings(), 1e-2)
    with pytest.raises(ArtifactError, match="does not fit"):
        optimizer.load_state({"blocks.9.mlp.up.weight/momentum_buffer": torch.zeros(2)})


def test_muon_moves_hidden_matrices_and_adamw_the_rest():
    model = material.model(tied=False)
    optimizer = Optimizer(model, OptimizerSettings(name="muon"), 1e-2)
    step(model, optimizer, 0)
    keys = {
        name: {path.rpartition("/")[2] for path in optimizer.state() if path.startswith(f"{name}/")}
        for name in (
            "embedding.weight",
            "output.weight",
            "norm.weight",
            "blocks.0.attention.query.weight",
            "blocks.1.mlp.down.weight",
        )
    }
    adam = {"step", "exp_avg", "exp_avg_sq"}
    assert keys["embedding.weight"] == keys["output.weight"] == keys["norm.weight"] == adam
    assert keys["blocks.0.attention.query.weight"] == keys["blocks.1.mlp.down.weight"] == {"momentum_buffer"}


def test_embeddings_may_have_a_rate_of_their_own():
    optimizer = Optimizer(material.model(), OptimizerSettings(name="sgd", embedding_rate=3.0), 0.5)
    assert optimizer.set_rate(0.5) == 0.25
    rates = {group["names"][0]: group["lr"] for rule in optimizer._rules for group in rule.param_groups}
    assert rates["embedding.weight"] == 0.75
    assert rates["norm.weight" if "norm.weight" in rates else "blocks.0.attention_norm.weight"] == 0.25


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_every_rule_learns(name, tmp_path):
    rows = material.row_set(tmp_path, documents=8)
    rate = {"sgd": 0.5}.get(name, 1e-2)
    learner = material.learner(rows, optimizer=OptimizerSettings(name=name, weight_decay=0), learning_rate=rate)
    from danlu.train.loop import train

    reports = list(
        train(learner, material.plan(25 * rows.num_rows, rows.num_rows), material.progress(), material.outside())
    )
    assert reports[-1].loss < 0.8 * reports[0].loss
