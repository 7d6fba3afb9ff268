"""The Transformer of 2017 is the paper's: equal to torch's own layers, with exactly the parameters that are counted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from danlu.model.classic import (
    BASE_2017,
    BIG_2017,
    ClassicBlock,
    ClassicConfig,
    ClassicTransformer,
    LayerNorm,
    sinusoids,
)

SMALL = ClassicConfig(vocabulary_size=11, width=16, layers=2, heads=4, mlp_width=24)


def theirs(block: ClassicBlock) -> nn.Module:
    """torch's layer with the weights of ours; its attention biases, which the paper has not, are zero."""
    kind = nn.TransformerDecoderLayer if block.is_decoder else nn.TransformerEncoderLayer
    layer = kind(SMALL.width, SMALL.heads, SMALL.mlp_width, dropout=0.0, batch_first=True)
    attentions = [(layer.self_attn, block.attention), (getattr(layer, "multihead_attn", None), block.cross)]
    norms = (
        [block.attention_norm, block.cross_norm, block.mlp_norm]
        if block.is_decoder
        else [block.attention_norm, block.mlp_norm]
    )
    with torch.no_grad():
        for one, ours in attentions:
            if ours is not None:
                one.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
                one.out_proj.weight.copy_(ours.output.weight)
        for one, ours in [(layer.linear1, block.up), (layer.linear2, block.down)]:
            one.weight.copy_(ours.weight)
            one.bias.copy_(ours.bias)
        for number, norm in enumerate(norms, 1):
            getattr(layer, f"norm{number}").weight.copy_(norm.weight)
            getattr(layer, f"norm{number}").bias.copy_(norm.bias)
    return layer


@torch.no_grad()
def moved(seed: int = 3) -> ClassicTransformer:
    """A model in which no vector is left at the value that would hide its absence."""
    model = ClassicTransformer(SMALL, seed)
    drawn = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.add_(0.1 * torch.randn(weight.shape, generator=drawn))
    return model


@torch.no_grad()
def test_hidden_states_are_those_of_torchs_own_layers():
    model = moved()
    source, target = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]), torch.tensor([[3, 1, 4], [1, 5, 9]])
    memory = model.embed(source)
    for block in model.encoder:
        memory = theirs(block)(memory)
    torch.testing.assert_close(model.encode(source), memory)
    x, triangle = model.embed(target), nn.Transformer.generate_square_subsequent_mask(3)
    for block in model.decoder:
        x = theirs(block)(x, memory, tgt_mask=triangle)
    torch.testing.assert_close(model(source, target), x)
    assert model.head(x).shape == (2, 3, 11)


@torch.no_grad()
def test_a_target_sees_no_later_target_but_all_of_the_source():
    model = moved()
    before = model(torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6]]))
    later = model(torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 9]]))
    other = model(torch.tensor([[1, 2, 9]]), torch.tensor([[4, 5, 6]]))
    torch.testing.assert_close(before[:, :2], later[:, :2], rtol=0, atol=0)
    assert (before[:, 2] - later[:, 2]).abs().max() > 1e-3
    assert (before[:, 0] - other[:, 0]).abs().max() > 1e-3


def test_layer_norm_is_torchs():
    ours, reference = LayerNorm(5), nn.LayerNorm(5)
    with torch.no_grad():
        for norm in (ours, reference):
            norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)) * 7 + 3
    torch.testing.assert_close(ours(x), reference(x))
    assert ours(x.bfloat16()).dtype == torch.bfloat16


def test_sinusoids_by_the_papers_formula():
    found = sinusoids(torch.arange(50), 8)
    for position in (0, 1, 49):
        for pair in range(4):
            angle = position / 10_000 ** (2 * pair / 8)
            assert float(found[position, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-5)
            assert float(found[position, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-5)


@pytest.mark.parametrize("config", [SMALL, ClassicConfig(10, 8, 1, 2, 16)])
def test_parameters_are_counted_exactly(config):
    model = ClassicTransformer(config)
    assert config.parameters == sum(weight.numel() for weight in model.parameters())
    assert config.encoder_layer == sum(weight.numel() for weight in model.encoder[0].parameters())
    assert config.decoder_layer == sum(weight.numel() for weight in model.decoder[0].parameters())


def test_the_papers_two_models():
    assert (BASE_2017.parameters, BIG_2017.parameters) == (63_045_632, 214_171_648)


def test_the_same_seed_gives_the_same_weights():
    one, other, third = (ClassicTransformer(SMALL, seed).embedding.weight for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
