"""One side of `training.py`: a process that trains a model of given sizes, for some seconds whenever it is told to.

In: a side, a size, a dtype; then numbers of seconds, one a line, on standard input: it takes whole steps until they
have passed. Out: lines of JSON on standard output: first the seconds from the start of the process to the end of the
first step, then steps and seconds of each segment, at the end the peak memory. Needs the peer's package for a peer's
side and danlu for ours; the same made-up ids for all, which the Trainer alone shuffles.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import peak_mb

SIZES = {
    "11m": {"width": 288, "layers": 6, "heads": 6, "mlp": 768, "vocabulary": 8192, "length": 256, "rows": 16},
    "110m": {"width": 768, "layers": 12, "heads": 12, "mlp": 2048, "vocabulary": 16384, "length": 512, "rows": 4},
}
DOCUMENTS_PER_ROW = 3
LEARNING_RATE = 3e-4
Step = Callable[[], object]


def main() -> None:
    """Build, take the first step, then do as told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("dtype", choices=("bfloat16", "float32"))
    parser.add_argument("--began-at", type=float, required=True, help="time.time() when the process was started")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)

    def tell(**facts: float) -> None:
        out.write(json.dumps(facts) + "\n")
        out.flush()

    import torch

    torch.set_num_threads(options.threads)

    def drive(step: Step) -> None:
        step()
        tell(first_step_seconds=time.time() - options.began_at)
        for line in sys.stdin:
            steps, started_at = 0, time.perf_counter()
            while steps == 0 or time.perf_counter() - started_at < float(line):
                step()
                steps += 1
            tell(steps=steps, seconds=time.perf_counter() - started_at)
        tell(peak_mb=peak_mb())

    SIDES[options.side](SIZES[options.size], options.dtype, drive)


def rows_of(size: dict[str, int], step: int) -> np.ndarray:
    """Made-up ids of one step, (B, T + 1)."""
    random = np.random.default_rng(step)
    return random.integers(0, size["vocabulary"], size=(size["rows"], size["length"] + 1))


def danlu(size: dict[str, int], dtype: str, drive: Callable[[Step], None], optimizer_name: str = "adamw") -> None:
    """Our loop's own update, documents masked, with the optimizer of the others."""
    from danlu.base.world import World
    from danlu.model.config import ModelConfig
    from danlu.model.initialise import initialise
    from danlu.model.transformer import Transformer
    from danlu.parallel.allocator import keep_freed_memory
    from danlu.parallel.place import choose_compile, place
    from danlu.shards.batches import Batch
    from danlu.train.loop import Learner, Plan, Progress, update
    from danlu.train.objectives import next_token
    from danlu.train.optimizers import Optimizer
    from danlu.train.samples import Samples, to_tensors
    from danlu.train.schedules import Shape
    from danlu.train.settings import OptimizerSettings

    class MadeUp(Samples):
        def __init__(self) -> None:
            piece = np.arange(size["length"]) // (size["length"] // DOCUMENTS_PER_ROW + 1)
            self.documents = np.tile(piece, (size["rows"], 1)).astype(np.int32)
            self.positions = np.tile(
                np.arange(size["length"]) % (size["length"] // DOCUMENTS_PER_ROW + 1), (size["rows"], 1)
            )

        def rows(self, start: int, stop: int) -> np.ndarray:
            return np.arange(start, stop)

        def micro_batches(self, rows: np.ndarray, micro_batch_rows: int, device: str) -> Any:
            ids = rows_of(size, int(rows[0]) // size["rows"])
            yield to_tensors(Batch(ids[:, :-1], ids[:, 1:], self.positions, self.documents, rows), device)

    world = World(device="cpu", dtype=dtype)
    model = Transformer(
        ModelConfig(
            vocabulary_size=size["vocabulary"],
            width=size["width"],
            layers=size["layers"],
            heads=size["heads"],
            kv_heads=size["heads"],
            head_width=size["width"] // size["heads"],
            mlp_width=size["mlp"],
            context_length=size["length"],
            tied=False,
        )
    )
    initialise(model, 0)
    keep_freed_memory("cpu")
    compiled, _ = choose_compile("auto", model, world)
    place(model, world, compile="on" if compiled else "off")
    optimizer = Optimizer(model, OptimizerSettings(name=optimizer_name), LEARNING_RATE)
    learner = Learner(model, optimizer, next_token, MadeUp(), world)
    plan = Plan(
        total_samples=2**40,
        batch_rows=size["rows"],
        micro_batch_rows=size["rows"],
        learning_rate=LEARNING_RATE,
        schedule="constant",
        shape=Shape.of(2**30, warmup=0.0, decay=0.0, floor=1.0),
        clip=1.0,
        evaluate_every=2**40,
        save_every=2**40,
        patience=0,
        seed=0,
    )
    progress = Progress()
    drive(lambda: update(learner, plan, progress, time.perf_counter))


def danlu_default(size: dict[str, int], dtype: str, drive: Callable[[Step], None]) -> None:
    """The same with the optimizer that our recipes take where they name none."""
    from danlu.train.settings import OptimizerSettings

    danlu(size, dtype, drive, OptimizerSettings().name)


def litgpt(size: dict[str, int], dtype: str, drive: Callable[[Step], None]) -> None:
    """The training step of `litgpt pretrain` on a CPU: compiled, mixed precision, AdamW, clipping; no documents."""
    import lightning
    import torch
    from litgpt.model import GPT, Config
    from litgpt.utils import chunked_cross_entropy, instantiate_torch_optimizer

    fabric = lightning.Fabric(
        accelerator="cpu", devices=1, precision="bf16-mixed" if dtype == "bfloat16" else "32-true"
    )
    fabric.launch()
    config = Config(
        block_size=size["length"],
        vocab_size=size["vocabulary"],
        padded_vocab_size=size["vocabulary"],
        n_layer=size["layers"],
        n_head=size["heads"],
        n_embd=size["width"],
        intermediate_size=size["mlp"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    with fabric.init_module(empty_init=False):
        model = GPT(config)
    model = fabric.setup(torch.compile(model))
    optimizer = fabric.setup_optimizers(
        instantiate_torch_optimizer("AdamW", model.parameters(), fused=False, lr=LEARNING_RATE, betas=(0.9, 0.95))
    )
    model.train()
    count = iter(range(2**40))

    def step() -> None:
        ids = torch.from_numpy(rows_of(size, next(count)))
        loss = chunked_cross_entropy(model(ids[:, :-1].contiguous().long()), ids[:, 1:].contiguous().long())
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    drive(step)


def trainer(size: dict[str, int], dtype: str, drive: Callable[[Step], None]) -> None:
    """`transformers.Trainer` on a Llama of the same sizes; a step is one turn of its own loop.

    Its optimizer is AdamW by default, its learning rate falls by default.
    """
    import tempfile
    import threading

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class MadeUp(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 2**20

        def __getitem__(self, index: int) -> dict[str, Any]:
            ids = torch.from_numpy(rows_of(size, index // size["rows"])[index % size["rows"], :-1])
            return {"input_ids": ids, "labels": ids}

    go, done = threading.Semaphore(0), threading.Semaphore(0)

    class Turns(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            go.acquire()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            done.release()

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size["vocabulary"],
            hidden_size=size["width"],
            intermediate_size=size["mlp"],
            num_hidden_layers=size["layers"],
            num_attention_heads=size["heads"],
            num_key_value_heads=size["heads"],
            max_position_embeddings=size["length"],
            tie_word_embeddings=False,
        )
    )
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=size["rows"],
        max_steps=2**20,
        learning_rate=LEARNING_RATE,
        bf16=dtype == "bfloat16",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    running = Trainer(model=model, args=arguments, train_dataset=MadeUp(), callbacks=[Turns()])

    def step() -> None:
        go.release()
        done.acquire()

    def drive_and_leave() -> None:
        drive(step)
        os._exit(0)

    # The loop stays in the main thread, as its users run it; the orders come from beside it.
    threading.Thread(target=drive_and_leave, daemon=True).start()
    running.train()


SIDES = {"danlu": danlu, "litgpt": litgpt, "trainer": trainer, "danlu_default": danlu_default}

if __name__ == "__main__":
    main()
