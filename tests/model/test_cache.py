"""The cache: slots in any order, reuse, padding that leaves no trace, prompts in pieces."""

from __future__ import annotations

import pytest
import torch

from danlu.model.cache import KeyValueCache
from tests.model import material


def positions(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


@torch.no_grad()
def test_any_slots_in_any_order_equal_neighbours():
    model, ids = material.model(), material.ids(3, 10)
    there = torch.arange(10).expand(3, -1)
    reference = model(ids, there, cache=KeyValueCache(model.config, 3, 16))
    for slots in ([4, 0, 2], [2, 3, 4], [4, 3, 2]):
        cache = KeyValueCache(model.config, 5, 16)
        assert torch.equal(model(ids, there, cache=cache, slots=torch.tensor(slots)), reference)
        untouched = set(range(5)) - set(slots)
        assert all((keys[list(untouched)] == 0).all() for keys in cache.keys)


@torch.no_grad()
def test_padding_leaves_no_trace():
    model, ids = material.model(), material.ids(2, 6)
    cache = KeyValueCache(model.config, 2, 16)
    model(ids, positions([0, 1, 2, 3, -1, -1], [-1, -1, -1, -1, -1, 0]), cache=cache)
    for stored in [*cache.keys, *cache.values]:
        assert (stored[0, :, 4:16] == 0).all()
        assert (stored[1, :, 1:16] == 0).all()


@torch.no_grad()
def test_a_slot_used_again_forgets():
    model, long, short = material.model(), material.ids(1, 14, seed=1), material.ids(1, 5, seed=2)
    used, fresh = KeyValueCache(model.config, 1, 16), KeyValueCache(model.config, 1, 16)
    model(long, cache=used)
    assert torch.equal(model(short, cache=used), model(short, cache=fresh))
    token = material.ids(1, 1, seed=3)
    assert torch.equal(*(model(token, positions([5]), cache=cache) for cache in (used, fresh)))


@torch.no_grad()
def test_a_prompt_in_pieces_equals_the_prompt():
    model, ids = material.model(), material.ids(1, 20)
    cache = KeyValueCache(model.config, 1, 32)
    pieces = [model(ids[:, a:b], torch.arange(a, b).unsqueeze(0), cache=cache) for a, b in ((0, 7), (7, 8), (8, 20))]
    assert material.relative_error(torch.cat(pieces, 1), model(ids)) <= 1e-5


@torch.no_grad()
def test_misuse_is_refused():
    model = material.model()
    cache = KeyValueCache(model.config, 1, 8)
    with pytest.raises(AssertionError, match="cache of length 8"):
        model(material.ids(1, 1), positions([8]), cache=cache)
    with pytest.raises(AssertionError, match="rows but"):
        model(material.ids(1, 1), positions([0]), cache=cache, slots=torch.tensor([0, 0]))
    with pytest.raises(AssertionError, match="exclude each other"):
        model(material.ids(1, 1), positions([0]), torch.zeros(1, 1), cache=cache)
    with torch.enable_grad(), pytest.raises(AssertionError, match="no_grad"):
        model(material.ids(1, 1), positions([0]), cache=cache)


@torch.no_grad()
def test_a_bf16_cache_serves_a_bf16_model():
    model = material.model().to(torch.bfloat16)
    model.compute_dtype = torch.bfloat16
    cache = KeyValueCache(model.config, 1, 16, torch.bfloat16)
    assert model(material.ids(1, 8), cache=cache).dtype == torch.bfloat16
