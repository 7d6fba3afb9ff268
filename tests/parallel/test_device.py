import os
from pathlib import Path

import pytest
import torch

from danlu.base import console
from danlu.base.errors import ConfigError
from danlu.base.world import World
from danlu.parallel import device, peak
from danlu.parallel.collectives import barrier, from_first, joined, least_over_ranks, sum_gradients, sum_over_ranks
from danlu.parallel.place import choose_compile, place
from tests.train import material


def test_a_single_process_needs_no_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = device.discover("cpu", "float32")
    assert (world.rank, world.size, world.device, world.dtype) == (0, 1, "cpu", "float32")
    assert "asked for" in world.reason


def test_torchruns_environment_is_read(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    world = device.discover("cpu", "float32")
    assert (world.rank, world.size, world.local_rank, world.is_first) == (3, 4, 1, False)
    monkeypatch.setenv("RANK", "three")
    with pytest.raises(ConfigError, match="RANK"):
        device.discover()


@pytest.mark.parametrize(("flags", "wanted"), [("fma avx512_bf16 avx2", "bfloat16"), ("fma avx2", "float32")])
def test_bf16_where_the_processor_has_it(monkeypatch, tmp_path, flags, wanted):
    description = tmp_path / "cpuinfo"
    description.write_text(f"flags\t: {flags}\n")
    monkeypatch.setattr(device, "Path", lambda _: description)
    world = device.discover("cpu", "auto")
    assert world.dtype == wanted
    assert ("avx512_bf16" in world.reason) == (wanted == "bfloat16")


@pytest.mark.parametrize(("name", "dtype"), [("tpu", "auto"), ("cpu", "float8")])
def test_what_is_not_here_is_refused_by_name(name, dtype):
    with pytest.raises(ConfigError, match=f"{name if dtype == 'auto' else dtype}"):
        device.discover(name, dtype)


def test_threads_hold_for_one_section_and_their_reason_is_said():
    before = torch.get_num_threads()
    with device.threads(before + 1) as (count, reason):
        assert (count, reason) == (before + 1, "asked for")
        assert device.describe(World())["threads"] == torch.get_num_threads() == before + 1
    with pytest.raises(RuntimeError, match="in the midst"), device.threads(before + 1):
        raise RuntimeError("in the midst")
    with device.threads(None) as (count, reason):  # the next section asks for nothing
        assert count == torch.get_num_threads() == before
        assert "torch's own" in reason


def test_one_rank_is_told_what_it_said():
    world, values = World(), torch.ones(2)
    with joined(world) as same:
        assert same is world
        assert sum_over_ranks(3, world) == 3
        assert sum_over_ranks(values, world) is values
        assert from_first(2.5, world) == 2.5
        assert least_over_ranks(4, world) == 4
        barrier(world)
        parameter = torch.nn.Parameter(values)
        sum_gradients([parameter], world)
        assert parameter.grad is None


def test_place_sets_the_dtype_and_keeps_the_weights_fp32():
    model = place(material.model(), World(dtype="bfloat16"))
    assert model.compute_dtype == torch.bfloat16
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_compile_says_why():
    model = material.model()
    assert choose_compile("off", model, World()) == (False, "switched off")
    chosen, reason = choose_compile("auto", model, World())
    assert not chosen
    assert "parameters" in reason


def test_compile_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr("danlu.parallel.place.shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="C\\+\\+ compiler"):
        choose_compile("on", material.model(), World())


def test_the_peak_is_the_best_of_several_products():
    ticks = iter([0.0, 0.0, 2.0, 2.0, 2.5, 2.5, 9.0, 9.0, 9.0])
    assert peak.matmul_peak(World(), seconds=3.0, clock=lambda: next(ticks)) > 0


def test_the_peak_waits_for_the_device_that_it_measures(monkeypatch):
    waited = []
    monkeypatch.setattr(peak, "GPU_SIDE", 8)
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    assert peak.matmul_peak(World(device="meta"), seconds=0.0) > 0
    assert waited == ["meta"]


def test_a_gpu_is_the_current_one_and_deterministic_while_it_trains(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with joined(World(device="cuda:1")):  # alone, too
        assert chosen == ["cuda:1"]
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    with joined(World()):
        assert not torch.are_deterministic_algorithms_enabled()
    assert chosen == ["cuda:1"]


def test_a_gpus_library_is_told_before_its_first_product(monkeypatch):
    monkeypatch.delenv(device.WORKSPACE[0], raising=False)
    device.discover("cpu", "float32")
    assert device.WORKSPACE[0] not in os.environ
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(device.WORKSPACE[0], ":16:8")
    assert device.discover("cuda", "float32").device == "cuda:0"
    assert os.environ[device.WORKSPACE[0]] == ":16:8", "what somebody has chosen stays"
    monkeypatch.delenv(device.WORKSPACE[0])
    device.discover("cuda", "float32")
    assert os.environ[device.WORKSPACE[0]] == device.WORKSPACE[1]


def test_a_model_answers_in_fp32_on_a_cpu_and_says_what_stays_idle(monkeypatch, capsys):
    monkeypatch.setattr(console, "_said", set())
    monkeypatch.setenv(device.WORKSPACE[0], ":16:8")
    monkeypatch.setattr(device, "bfloat16_instructions", lambda: "avx512_bf16")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a Test GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    for cuda, mps, name in ((False, False, None), (False, True, "an Apple GPU (mps)"), (True, False, "a Test GPU")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert device.accelerator() == name
        world = device.answering("it")
        assert (world.device, world.dtype) == (("cuda:0", "bfloat16") if cuda else ("cpu", "float32"))
        said = capsys.readouterr().err
        assert (said == "") == (not mps)
        assert said == "" or said.startswith(f"warning: this machine has {name}, and it computes on the CPU: ")


def test_only_two_modules_speak_to_other_ranks():
    source = Path(device.__file__).parents[1]
    users = {path.name for path in source.rglob("*.py") if "torch.distributed as" in path.read_text("utf-8")}
    assert users == {"collectives.py", "launch.py"}
