"""The first values: complete, by the table, and a function of seed and name alone."""

from __future__ import annotations

import pytest
import torch

from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from tests.model import material


def built(seed: int = 0, **changes) -> dict[str, torch.Tensor]:
    model = Transformer(material.config(**changes))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(float("nan"))
    initialise(model, seed)
    return {name: weight.detach() for name, weight in model.named_parameters()}


def test_every_weight_is_written():
    for name, weight in built(attention_bias=True, qk_norm=True, position="learned").items():
        assert weight.isfinite().all(), name


def test_the_table():
    weights = built(
        width=256, heads=4, head_width=64, kv_heads=4, mlp_width=512, layers=2, attention_bias=True, qk_norm=True
    )
    assert float(weights["embedding.weight"].std()) == pytest.approx(0.02, rel=0.03)
    assert float(weights["output.weight"].std()) == pytest.approx(0.02, rel=0.03)
    for part in ("attention.query", "attention.key", "attention.value", "mlp.gate", "mlp.up"):
        assert float(weights[f"blocks.1.{part}.weight"].std()) == pytest.approx(256**-0.5, rel=0.03)
    assert float(weights["blocks.1.attention.output.weight"].std()) == pytest.approx(256**-0.5 / 2, rel=0.03)
    assert float(weights["blocks.1.mlp.down.weight"].std()) == pytest.approx(512**-0.5 / 2, rel=0.03)
    for name, weight in weights.items():
        if "norm" in name:
            assert (weight == 1).all(), name
        if name.endswith("bias"):
            assert (weight == 0).all(), name


def test_same_seed_same_weights_other_seed_others():
    first, again, other = built(3), built(3), built(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    drawn = [weight.flatten()[:64] for name, weight in first.items() if weight.ndim == 2]
    assert len({tuple(values.tolist()) for values in drawn}) == len(drawn)  # no two weights are drawn alike


def test_other_parts_change_nothing():
    plain, more = built(), built(attention_bias=True, qk_norm=True, layers=3)
    for name in ("embedding.weight", "blocks.1.attention.query.weight", "blocks.0.mlp.up.weight"):
        assert torch.equal(plain[name], more[name])


def test_first_loss_is_that_of_the_uniform_distribution():
    model = Transformer(material.config(tied=True, vocabulary_size=512))
    initialise(model, 0)
    ids = torch.randint(512, (4, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model.head(model(ids)).flatten(0, 1), ids.roll(-1, 1).flatten())
    assert float(loss) == pytest.approx(torch.tensor(512.0).log().item(), rel=0.02)
