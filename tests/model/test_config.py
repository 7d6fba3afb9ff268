"""Counts of parameters, FLOPs and bytes against what is built and measured."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch

from danlu.base.errors import ConfigError
from danlu.model.config import PRESETS, ModelConfig, preset
from danlu.model.transformer import Transformer
from tests.model import material


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_built_model(name):
    config = preset(name, 32_768)
    with torch.device("meta"):
        built = Transformer(config)
    assert config.parameters().total == sum(weight.numel() for weight in built.parameters())


@pytest.mark.parametrize(
    ("tied", "bias", "norm", "position"),
    list(itertools.product([False, True], [False, True], [False, True], ["rope", "learned"])),
)
def test_parameters_with_every_option(tied, bias, norm, position):
    config = material.config(tied=tied, attention_bias=bias, qk_norm=norm, position=position)
    built = dict(Transformer(config).named_parameters())
    counts = config.parameters()
    assert counts.total == sum(weight.numel() for weight in built.values())
    assert counts.embedding == sum(weight.numel() for name, weight in built.items() if "embedding" in name)
    head = config.vocabulary_size * config.width if tied else 0
    matrices = [weight for name, weight in built.items() if weight.ndim == 2 and "embedding" not in name]
    assert counts.matmul == sum(weight.numel() for weight in matrices) + head


def test_tiny_is_about_a_million():
    assert 1.0e6 < preset("tiny", 2048).parameters().total < 1.3e6


def test_flops_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    model, ids = material.model(backend="eager"), material.ids(2, 128)
    with FlopCounterMode(display=False) as counter:
        model.head(model(ids)).sum().backward()
    counted = counter.get_total_flops() / ids.numel()
    # torch counts whole squares of scores; the causal formula counts their lower half
    config = model.config
    whole_squares = 6 * config.layers * config.heads * config.head_width * ids.shape[1]
    assert counted == pytest.approx(config.flops_per_token(ids.shape[1]) + whole_squares, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activation_bytes_are_those_that_backward_keeps(dtype):
    model, ids = material.model(backend="eager", width=128, heads=4, head_width=32, mlp_width=384), material.ids(4, 128)
    model.compute_dtype = dtype
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights and tensor.numel() > 60_000:  # casts of weights are counted elsewhere
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model(ids)
    assert sum(kept.values()) == pytest.approx(model.config.activation_bytes(4, 128, dtype.itemsize), rel=0.3)
    assert hidden.shape == (4, 128, 128)
    inputs = model.config.layers * hidden.numel() * dtype.itemsize
    of_one_block = model.config.activation_bytes(4, 128, dtype.itemsize) // model.config.layers
    assert model.config.activation_bytes(4, 128, dtype.itemsize, recomputed=True) == inputs + of_one_block


def test_cache_bytes_are_those_that_the_cache_takes():
    from danlu.model.cache import KeyValueCache

    config = material.config()
    cache = KeyValueCache(config, 3, 40, torch.bfloat16)
    taken = sum(tensor.nbytes for tensor in [*cache.keys, *cache.values])
    assert config.cache_bytes(3, 40, 2) == taken


def test_training_bytes_grow_with_the_batch_and_hold_the_states():
    config = preset("base", 32_768)
    small, large = (config.training_bytes(rows, 512, 2) for rows in (1, 8))
    assert config.parameters().total * 16 < small < large


def test_wrong_sizes_are_named():
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        preset("tinny", 512)
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        material.config(kv_heads=3)
    with pytest.raises(ValueError, match="must be even"):
        material.config(head_width=15)
    assert material.config(head_width=15, position="learned").head_width == 15


def test_overrides_reach_the_config():
    assert preset("tiny", 512, layers=2, tied=False) == ModelConfig(
        vocabulary_size=512, **{**PRESETS["tiny"], "layers": 2, "tied": False}
    )


def test_config_needs_no_torch():
    code = "import sys; import danlu.model.config, danlu.convert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
