"""Proofs on this machine: its disk, its arithmetic, the sample order, the counting of work, the server's door.

In: nothing. Out: a finding with figures, or `ProofFailed`. Called by `proofs.table`. What is written lies in a
temporary folder below the current one, so that it is this disk that is tried, and is removed again.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.base.artifact import Artifact, check_files, seal
from danlu.base.errors import ArtifactError, UserError
from danlu.base.world import World
from danlu.proofs.outcome import NotApplicable, ProofFailed, require, scratch_folder

if TYPE_CHECKING:
    from torch import Tensor

    from danlu.shards.files import RowSet

KILLS = 12
DAMAGES = 120
FILE_BYTES = 400_000
ANOTHER_RUN = """
import sys
from pathlib import Path
import torch
from danlu.proofs import machines
from danlu.shards.files import RowSet
torch.set_num_threads(int(sys.argv[2]))
sys.stdout.write(machines.hash_of(machines._small_run(RowSet.open(Path(sys.argv[1])))))
"""
SAVER = """
import os, sys
from pathlib import Path
import torch
from danlu.train import checkpoint
for line in sys.stdin:
    if os.fork() == 0:
        folder, step = Path(line.rstrip("\\n")), 0
        while True:
            step += 1
            weights = torch.full((int(sys.argv[1]),), float(step))
            checkpoint.save(folder, step, {"model": {"w": weights}}, {"step": step})
            if step == 1:
                print(os.getpid(), flush=True)
    print(os.wait()[1], flush=True)
"""
"""For each folder named to it, a child that saves into it without end, and says its number after the first save; then
how the child ended. Forked, so that torch is imported once and not for every kill."""


def the_order_is_a_partition() -> str:
    """D7: over ranks and steps of every size, each row of an epoch is read exactly once."""
    import numpy as np

    from danlu.shards.order import SampleOrder, step_samples
    from danlu.train.loop import own_share

    tried = 0
    for rows in (1, 2, 7, 64, 250):
        order = SampleOrder(rows, seed=11)
        for size in (1, 2, 3, 4):
            for batch in (1, 5, 16):
                spans = [step_samples(step, batch, rows) for step in range(-(-rows // batch))]
                steps = [(order.rows(*span), span[0]) for span in spans]
                worlds = [World(rank=rank, size=size) for rank in range(size)]
                read = np.concatenate([own_share(*step, world) for step in steps for world in worlds])
                require(
                    sorted(read.tolist()) == list(range(rows)),
                    f"{rows} rows, {size} ranks, batches of {batch}: {len(read)} reads, {len(set(read.tolist()))} rows",
                )
                tried += 1
    return f"{tried} combinations of rows, ranks and batch sizes"


def epochs_differ_and_seeds_repeat() -> str:
    """D8: each epoch has an order of its own, the same seed always the same one, and any step can be asked for."""
    from danlu.shards.order import SampleOrder

    rows, order = 1000, SampleOrder(1000, seed=3)
    epochs = [order.rows(epoch * rows, (epoch + 1) * rows).tolist() for epoch in range(3)]
    require(len({tuple(epoch) for epoch in epochs}) == 3, "two epochs have the same order")
    require(epochs[0] != list(range(rows)), "the rows are not mixed")
    again = SampleOrder(rows, seed=3)
    require(again.rows(1500, 1600).tolist() == (epochs[1] + epochs[2])[500:600], "a replayed step reads other rows")
    require(SampleOrder(rows, seed=4).rows(0, rows).tolist() != epochs[0], "another seed gives the same order")
    fixed = sum(one == place for place, one in enumerate(epochs[0]))
    return f"3 epochs of {rows} rows, all different; {fixed} rows in their own place (1 is expected)"


def damage_is_noticed() -> str:
    """O10: every damaged, cut, missing or exchanged file of an artefact on this disk is named."""
    generator = random.Random(5)
    with scratch_folder() as folder:
        for name in ("weights.bin", "other.bin"):
            (folder / name).write_bytes(generator.randbytes(FILE_BYTES))
        made = seal(folder, kind="proof", stage="prove", version=1, config={}, parents={}, metrics={}, seconds=0.0)
        require(not check_files(folder, made.manifest), "an intact artefact is called damaged")
        for _ in range(DAMAGES):
            _damage(generator, made)
        big = folder / "weights.bin"
        started_at = time.perf_counter()
        rounds = 20
        for _ in range(rounds):
            check_files(folder, made.manifest)
        rate = rounds * 2 * big.stat().st_size / (time.perf_counter() - started_at)
    return f"{DAMAGES} damages, all named; verification reads {rate / 1e9:.2f} GB/s"


def _damage(generator: random.Random, made: Artifact) -> None:
    """Damage one file in one way, require that its name is in what the check says, and mend it."""
    name = generator.choice(("weights.bin", "other.bin"))
    path = made.folder / name
    whole = path.read_bytes()
    way = generator.choice(("bit", "cut", "grown", "zeros", "missing", "exchanged"))
    at = generator.randrange(len(whole))
    if way == "bit":
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << generator.randrange(8))]) + whole[at + 1 :])
    elif way == "cut":
        path.write_bytes(whole[:at])
    elif way == "grown":
        path.write_bytes(whole + b"\0")
    elif way == "zeros":
        page = at // 4096 * 4096
        path.write_bytes(whole[:page] + bytes(len(whole[page : page + 4096])) + whole[page + 4096 :])
    elif way == "missing":
        path.unlink()
    else:
        path.write_bytes(generator.randbytes(len(whole)))
    said = check_files(made.folder, made.manifest)
    path.write_bytes(whole)
    require(any(line.startswith(name) for line in said), f"{name} was damaged ({way} at byte {at}) and nothing said so")


def a_kill_leaves_old_or_new() -> str:
    """RT4: a process killed with signal 9 while it saves checkpoints leaves whole ones, never a part of one."""
    if not hasattr(os, "fork"):
        raise NotApplicable("this system cannot fork a process")
    generator = random.Random(time.monotonic_ns())
    saves = within = 0
    command = [sys.executable, "-c", SAVER, str(FILE_BYTES // 4)]
    with (
        scratch_folder() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as saver,
    ):
        for number in range(KILLS):
            target = folder / str(number)
            _kill_a_saver(saver, target, generator.uniform(0.0, 0.05))
            saves += _whole_checkpoints(target)
            within += any(target.glob(".step-*"))
    require(within > 0, f"none of {KILLS} kills fell within a save")
    found = f"{within} of them within a save of {FILE_BYTES // 1000} kB; {saves} checkpoints visible, all whole"
    return f"{KILLS} kills, {found}"


def _kill_a_saver(saver: subprocess.Popen[str], target: Path, seconds: float) -> None:
    """Let a process save into `target` until `seconds` after its first save."""
    assert saver.stdin is not None
    assert saver.stdout is not None
    saver.stdin.write(f"{target}\n")
    saver.stdin.flush()
    said = saver.stdout.readline()
    time.sleep(seconds)
    with suppress(ProcessLookupError, ValueError):  # it ended by itself, after a save or before
        os.kill(int(said), signal.SIGKILL)
        said = saver.stdout.readline()
    require(said.strip() == str(int(signal.SIGKILL)), f"the process that saves ended by itself: {said.strip()}")


def _whole_checkpoints(folder: Path) -> int:
    """How many checkpoints a killed process left; ProofFailed where one of them is not as it was saved."""
    from danlu.train import checkpoint

    steps = checkpoint.steps_on_disk(folder)
    for step in steps:
        try:
            weights = checkpoint.open_checkpoint(folder / checkpoint.folder_name(step)).tensors("model")["w"]
        except ArtifactError as error:
            raise ProofFailed(f"a part of a checkpoint is visible: {error}") from None
        require(bool((weights == step).all()), f"checkpoint {step} has other weights than were saved")
    newest = checkpoint.newest_valid(folder)
    require(newest is not None, "a save had ended before the kill, and no checkpoint is found")
    assert newest is not None
    require(newest.step == max(steps), f"checkpoint {newest.step} is used, and {max(steps)} is whole")
    return len(steps)


def a_damaged_checkpoint_is_passed_over() -> str:
    """RT3: of three checkpoints the newest is used; damaged, it is named and the one before it is used."""
    import torch

    from danlu.train import checkpoint

    with scratch_folder() as folder:
        for step in (1, 2, 3):
            weights = {"w": torch.full((1000,), float(step))}
            checkpoint.save(folder, step, {"model": weights}, {"step": step})
        newest = checkpoint.newest_valid(folder)
        require(newest is not None and newest.step == 3, "the newest of three whole checkpoints is not found")
        path = folder / checkpoint.folder_name(3) / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-7] ^= 4
        path.write_bytes(data)
        try:
            checkpoint.open_checkpoint(path.parent)
        except ArtifactError as error:
            require("model.safetensors" in str(error), f"the damaged file is not named: {error}")
        else:
            require(False, "one flipped bit in the weights is not noticed")
        with redirect_stderr(io.StringIO()):  # the warning is for a run; this damage is wanted
            older = checkpoint.newest_valid(folder)
        require(path.is_file() and path.read_bytes() == data, "the damaged checkpoint does not lie where it lay")
        require(older is not None and older.step == 2, "the checkpoint before the damaged one is not the one used")
        assert older is not None
        require(
            bool((older.tensors("model")["w"] == 2.0).all()), "the older checkpoint has other weights than were saved"
        )
    return "one flipped bit is named, the checkpoint before it is used, the damaged one still lies there"


def the_same_run_gives_the_same_bits() -> str:
    """RT15: some steps of danlu's own loop, with dropout, end in the same bits here and in a process of its own."""
    import torch

    with scratch_folder() as folder:
        made, threads = _small_run(_few_rows(folder)), torch.get_num_threads()
        # Another process, because hashes of strings, and what hangs on their order, differ from process to process.
        command = [sys.executable, "-c", ANOTHER_RUN, str(folder), str(threads)]
        another = subprocess.run(command, capture_output=True, text=True, check=False)
    require(another.returncode == 0, f"the run in another process failed: {another.stderr[-500:]}")
    require(another.stdout == hash_of(made), "the same run in another process ends in other bits")
    return f"{sum(one.numel() for one in made):,} numbers, {threads} threads, two processes, bitwise equal"


def hash_of(tensors: list[Tensor]) -> str:
    """SHA-256 over the bytes of all tensors."""
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(tensor.numpy().tobytes())
    return made.hexdigest()


def _few_rows(folder: Path) -> RowSet:
    """Rows of random ids, several documents in each."""
    import numpy as np

    from danlu.shards.files import Encoded, RowSet, RowSetWriter
    from danlu.tokenizer.train import train

    chooser = np.random.default_rng(0)
    lengths = chooser.integers(3, 60, size=40)
    ids = chooser.integers(8, 264, size=int(lengths.sum()))
    with RowSetWriter(folder, train(["a b"], vocabulary_size=264), row_length=64, masked=False) as writer:
        writer.add(Encoded([str(number) for number in range(len(lengths))], lengths, ids))
    return RowSet.open(folder)


def _small_run(rows: RowSet) -> list[Tensor]:
    """Weights and optimizer state of a small model after four steps as a training stage makes them on this CPU."""
    from danlu.model.config import preset
    from danlu.model.initialise import initialise
    from danlu.model.transformer import Transformer
    from danlu.parallel.device import discover
    from danlu.parallel.place import place
    from danlu.train.loop import Learner, Outside, Plan, Progress, train
    from danlu.train.objectives import next_token
    from danlu.train.optimizers import Optimizer
    from danlu.train.samples import Samples
    from danlu.train.schedules import Shape
    from danlu.train.settings import OptimizerSettings

    world = replace(discover("cpu"), rank=0, size=1)
    model = Transformer(preset("tiny", 320, context_length=rows.row_length, dropout=0.1))
    initialise(model, 1)
    optimizer = Optimizer(place(model, world), OptimizerSettings(), learning_rate=1e-3)
    learner = Learner(model, optimizer, next_token, Samples(rows, seed=1), world)
    steps = 4
    plan = Plan(
        total_samples=4 * steps,
        batch_rows=4,
        micro_batch_rows=2,
        learning_rate=1e-3,
        schedule="cosine",
        shape=Shape.of(steps, warmup=0.25, decay=0.5, floor=0.1),
        clip=1.0,
        evaluate_every=steps,
        save_every=steps,
        patience=0,
        seed=1,
    )
    outside = Outside(evaluate=lambda: {"loss": 0.0}, save=lambda: None, asked_to_stop=lambda: False)
    for _ in train(learner, plan, Progress(), outside):
        pass
    return [*(parameter.detach() for parameter in model.parameters()), *optimizer.state().values()]


def work_is_counted_right() -> str:
    """O16: the formula for FLOPs is what the products of a training step really cost; speed is tokens by seconds."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from danlu.model.config import preset
    from danlu.model.initialise import initialise
    from danlu.model.transformer import Transformer
    from danlu.train.meters import Speedometer

    # Grouped queries, and heads wider together than the model: where a formula for the plain case is wrong.
    config = preset("tiny", 512, kv_heads=1, head_width=128)
    model, rows, length = Transformer(config), 2, 128
    model.attention_backend = "eager"
    initialise(model, 1)
    ids = torch.randint(512, (rows, length), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model.head(model(ids)).float().logsumexp(-1).sum().backward()
    counted = {str(name): flops for name, flops in counter.get_flop_counts()["Global"].items()}
    inside = sum(flops for name, flops in counted.items() if "bmm" in name)  # attention: half of it is masked away
    measured = (sum(counted.values()) - inside / 2) / (rows * length)
    gap = abs(config.flops_per_token(length) / measured - 1)
    require(gap <= 0.02, f"the formula says {config.flops_per_token(length):.3g} FLOPs a token, counted {measured:.3g}")
    meter = Speedometer(flops_per_token=100.0, peak_flops=1e5)
    for seconds in (0.5, 1.5):
        meter.add(500, seconds)
    require(meter.tokens_per_second == 500.0, f"1,000 tokens in 2 s are called {meter.tokens_per_second} a second")
    require(abs(meter.utilisation - 0.5) < 1e-9, f"half of the peak is called {meter.utilisation:.0%}")
    return f"formula and count differ by {gap:.2%}"


def the_door_is_closed() -> str:
    """X12: the server binds to loopback by default, and to a public address only with a key."""
    from danlu.serve.auth import KeyRing, is_loopback, new_key
    from danlu.serve.server import LOOPBACK, listen

    nobody, somebody = KeyRing([]), KeyRing([new_key()])
    public = ("0.0.0.0", "::", "", "192.168.1.5", "example.org", "127.0.0.1.example.org")
    for host in public:
        try:
            listen(host, 0, nobody).close()
        except UserError as error:
            require("key" in str(error), f"{host!r} is refused for another reason: {error}")
        else:
            require(False, f"{host!r} is served without a key")
    with listen(LOOPBACK, 0, nobody) as opened:
        bound = opened.getsockname()[0]
    require(is_loopback(bound), f"the default address is {bound}")
    require(not somebody.accepts("") and not nobody.accepts(""), "an empty key opens the server")
    return f"default {bound}; {len(public)} public addresses refused without a key"
