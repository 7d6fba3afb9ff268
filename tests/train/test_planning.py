"""How many rows go through the model at once: the same on every rank, and when a run is resumed."""

from types import SimpleNamespace

import pytest
import torch

from danlu.base.world import World
from danlu.model.config import preset
from danlu.train import planning
from danlu.train.planning import activation_budget, choose_micro_batch
from danlu.train.settings import ParallelSettings

CONFIG = preset("base", 32_768)
ON_GPU = World(device="cuda:0", dtype="bfloat16")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 24 GB; what is free on it is another amount at every look."""
    free = iter([20 * 2**30, 6 * 2**30, 2**30])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (next(free), 24 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=24 * 2**30))


def rows(batch_rows, world=ON_GPU, budget=None, **settings):
    budget = activation_budget(CONFIG, world) if budget is None else budget
    return choose_micro_batch(ParallelSettings(**settings), CONFIG, world, batch_rows, 1024, budget)[0]


def test_a_gpus_micro_batch_does_not_hang_on_what_is_free_at_the_moment(gpu):
    found = [rows(256) for _ in range(3)]
    assert len(set(found)) == 1
    assert 1 < found[0] < 256
    left = 24 * 2**30 - CONFIG.training_bytes(0, 0, 2)
    assert found[0] * CONFIG.activation_bytes(1, 1024, 2) < left / 2


def test_a_model_that_fills_the_gpu_goes_row_by_row(gpu, monkeypatch):
    monkeypatch.setattr(planning, "GPU_ACTIVATION_SHARE", 0.0)
    assert rows(256) == 1


def test_ranks_with_the_least_budget_of_all_cut_alike():
    """Their shares of a batch may differ by a row, what goes through at once may not."""
    budget = 5 * CONFIG.activation_bytes(1, 1024, 2)
    worlds = [World(rank, 3, rank, f"cuda:{rank}", "bfloat16") for rank in range(3)]
    assert {rows(31, world, budget) for world in worlds} == {4}


def test_recomputed_activations_leave_room_for_more_rows():
    budget = 3 * CONFIG.activation_bytes(1, 1024, 2)
    assert rows(64, budget=budget) == 3
    assert rows(64, budget=budget, checkpoint_activations=True) >= 9
    assert rows(64, budget=budget, checkpoint_activations=True, micro_batch_rows=2) == 2
