"""One run of `learning.py`: a process that trains for so many minutes on prepared ids and says what it has learnt.

In: a side, the folder of the prepared run, a seed, minutes and the time at which the process was started. Out: one line
of JSON on standard output. The peers read the same ids as a stream cut into rows, in an order drawn from the seed, and
keep their own defaults but for what a run of minutes makes senseless: litgpt's batch of 512 rows and warm-up of 2,000
steps, the Trainer's learning rate of 5e-5. Both get a warm-up of a twentieth of the steps, and the rows a step and the
learning rate that were best in the trials of `learning.py tune`. All sides are judged alike, in fp32.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = {"width": 288, "layers": 6, "heads": 6, "mlp": 768}
LENGTH, VOCABULARY = 256, 8192
WARMUP_SHARE = 0.05
HELD_OUT = "held-out.json"
TO_CHOOSE_BY, TOLD = slice(0, None, 2), slice(1, None, 2)
"""The held-out pieces by which rates and rules may be chosen, and those of which a result is told: they take turns."""
JUDGED_ROWS = 16
TRIAL_STEPS, RESERVE = 8, 0.97
"""Steps by which a peer measures itself after its first two, and the share of the time left that it then plans for."""


def main() -> None:
    """Train, measure, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--began-at", type=float, required=True)
    parser.add_argument("--learning-rate", type=float, help="of a peer")
    parser.add_argument("--batch-rows", type=int, help="of a peer")
    parser.add_argument("--set", action="append", default=[], help="one more override of our recipe")
    parser.add_argument("--without", choices=WITHOUT, help="one part of ours to take away")
    parser.add_argument("--scale-batch", type=float, default=1.0)
    parser.add_argument("--scale-rate", type=float, default=1.0)
    options = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    found = SIDES[options.side](options)
    out.write(json.dumps(found) + "\n")
    out.flush()


def without_order() -> None:
    """Sample i is row i: the documents one after another, as a stream would have them."""
    from danlu.shards.order import SampleOrder

    SampleOrder.rows = lambda self, start, stop: np.arange(start, stop) % self.num_rows  # type: ignore[method-assign]


def without_masks() -> None:
    """A row is one text: attention and positions go on over the ends of documents."""
    from dataclasses import replace

    from danlu.shards.files import RowSet

    packed = RowSet.batch

    def batch(self: RowSet, rows: Any) -> Any:
        found = packed(self, rows)
        places = np.broadcast_to(np.arange(found.ids.shape[1]), found.ids.shape)
        one = np.minimum(found.documents, 0)  # padding stays padding
        return replace(found, documents=one, positions=places.astype(found.positions.dtype))

    RowSet.batch = batch  # type: ignore[method-assign]


def without_initialisation() -> None:
    """Every matrix normal with standard deviation 0.02, whatever its width and place."""
    from danlu.model import initialise

    normal = initialise._normal
    initialise._normal = lambda weight, std, seed, name: normal(weight, 0.02, seed, name)


WITHOUT = {"order": without_order, "masks": without_masks, "initialisation": without_initialisation}


def danlu(options: argparse.Namespace) -> dict[str, Any]:
    """Our own stage, as a recipe runs it; the ablation takes parts of it away."""
    from learning import FOLDER, recipe

    from danlu import running
    from danlu.convert.reader import architecture
    from danlu.stages import pretrain

    pace = pretrain.pace
    if options.without is not None:
        WITHOUT[options.without]()

    def scaled(*arguments: Any) -> Any:
        found = pace(*arguments)
        rows = max(1, round(found.batch_rows * options.scale_batch))
        return type(found)(rows, found.learning_rate * options.scale_rate)

    pretrain.pace = scaled
    left = options.minutes - (time.time() - options.began_at) / 60
    words = (f"pretrain.minutes={left:.3f}", f"pretrain.seed={options.seed}", *options.set)
    made = running.run(recipe(*words), runs=FOLDER, from_section="pretrain", until="pretrain", again=True)["pretrain"]
    ended_at = time.time()
    plan = json.loads((made.folder / "plan.json").read_text())
    return {
        **ours_judged(options.run, made.folder),
        "tokens": made.metrics["tokens"],
        "parameters": architecture(made.folder).parameters().total,
        "seconds": round(ended_at - options.began_at, 1),
        "learning_rate": plan["learning_rate"],
        "batch_rows": plan["batch_rows"],
    }


class Stream:
    """The ids of a row set one after another, as rows of LENGTH + 1 that overlap by one."""

    def __init__(self, folder: Path):
        facts = json.loads((folder / "rows.json").read_text())
        self.ids = np.fromfile(folder / "ids.bin", dtype=facts["dtype"])
        self.num_rows = (len(self.ids) - 1) // LENGTH

    def batches(self, seed: int, count: int) -> Iterator[np.ndarray]:
        """Batches (count, LENGTH + 1) without end, every epoch in an order of its own."""
        random = np.random.default_rng(seed)
        while True:
            order = random.permutation(self.num_rows)
            for start in range(0, len(order) - count + 1, count):
                yield self.rows(order[start : start + count])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """These rows, (n, LENGTH + 1) int64."""
        return self.ids[numbers[:, None] * LENGTH + np.arange(LENGTH + 1)].astype(np.int64)


def judged(run: Path, logits_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Bits per byte of both halves of the held-out pieces, and the bits of each piece that is told of.

    A piece is read in windows of LENGTH that know nothing of what is before them; its first id, which begins every
    text, is given.
    """
    import torch

    held = json.loads((run / HELD_OUT).read_text())
    spelt, pieces = np.array(held["token_bytes"]), held["pieces"]
    bits, sizes = np.zeros(len(pieces)), np.zeros(len(pieces))
    with torch.no_grad():
        for numbers, window in windows(pieces):
            ids = torch.tensor(window)
            logits, targets = logits_of(ids[:, :-1]).float(), ids[:, 1:]
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").double()
            np.add.at(bits, numbers, losses.sum(1).numpy() / math.log(2))
            np.add.at(sizes, numbers, spelt[targets.numpy()].sum(1))
    return {
        "bits_per_byte_to_choose_by": bits[TO_CHOOSE_BY].sum() / sizes[TO_CHOOSE_BY].sum(),
        "bits_per_byte": bits[TOLD].sum() / sizes[TOLD].sum(),
        "bits": [round(piece, 1) for piece in bits[TOLD].tolist()],
    }


def windows(pieces: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], list[Sequence[int]]]]:
    """Windows of one length together, a few at a time, and the numbers of their pieces."""
    found = [
        (number, piece[start : start + LENGTH + 1])
        for number, piece in enumerate(pieces)
        for start in range(0, len(piece) - 1, LENGTH)
    ]
    for _, alike in itertools.groupby(sorted(found, key=lambda one: len(one[1])), key=lambda one: len(one[1])):
        same = list(alike)
        for start in range(0, len(same), JUDGED_ROWS):
            some = same[start : start + JUDGED_ROWS]
            yield [number for number, _ in some], [row for _, row in some]


def ours_judged(run: Path, made: Path) -> dict[str, Any]:
    """The same of a model folder of ours."""
    from danlu import convert

    model = convert.load(made, dtype="float32").model.eval()
    return judged(run, lambda ids: model.head(model(ids)))


def planned(options: argparse.Namespace, step: Callable[[], None]) -> int:
    """How many steps fit into the time that is left, by the speed of some real ones."""
    step()
    step()
    started_at = time.time()
    for _ in range(TRIAL_STEPS):
        step()
    now = time.time()
    left = options.minutes * 60 - (now - options.began_at)
    return int(left * RESERVE / ((now - started_at) / TRIAL_STEPS))


def litgpt(options: argparse.Namespace) -> dict[str, Any]:
    """The loop of `litgpt pretrain`: compiled, bf16-mixed, AdamW (0.9, 0.95), decay 0.1, cosine, clipping at 1."""
    import lightning
    import torch
    from litgpt.model import GPT, Config
    from litgpt.utils import chunked_cross_entropy, instantiate_torch_optimizer

    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    fabric.launch()
    fabric.seed_everything(options.seed)
    config = Config(
        block_size=LENGTH,
        vocab_size=VOCABULARY,
        padded_vocab_size=VOCABULARY,
        n_layer=SHAPE["layers"],
        n_head=SHAPE["heads"],
        n_embd=SHAPE["width"],
        intermediate_size=SHAPE["mlp"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )

    def build() -> tuple[Any, Any, Any]:
        from litgpt.pretrain import initialize_weights

        with fabric.init_module(empty_init=False):
            plain = GPT(config)
        initialize_weights(fabric, plain, n_layer=config.n_layer, n_embd=config.n_embd)
        model = fabric.setup(torch.compile(plain))
        chosen = {"lr": options.learning_rate, "betas": (0.9, 0.95), "weight_decay": 0.1}
        optimizer = instantiate_torch_optimizer("AdamW", model.parameters(), fused=False, **chosen)
        return plain, model, fabric.setup_optimizers(optimizer)

    batches = Stream(options.run / "shard" / "pretrain-train").batches(options.seed, options.batch_rows)

    def step(model: Any, optimizer: Any, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids = torch.from_numpy(next(batches))
        fabric.backward(chunked_cross_entropy(model(ids[:, :-1].contiguous()), ids[:, 1:].contiguous()))
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()

    plain, model, optimizer = build()
    steps = planned(options, lambda: step(model, optimizer, 0.0))
    for number in range(steps):
        warm = min(1.0, (number + 1) / (WARMUP_SHARE * steps))
        course = 0.5 * (1 + math.cos(math.pi * max(0.0, number / steps - WARMUP_SHARE) / (1 - WARMUP_SHARE)))
        step(model, optimizer, options.learning_rate * warm * (0.1 + 0.9 * course))
    ended_at = time.time()
    return {
        **judged(options.run, plain.eval()),
        "tokens": steps * options.batch_rows * LENGTH,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(ended_at - options.began_at, 1),
        "learning_rate": options.learning_rate,
        "batch_rows": options.batch_rows,
    }


def trainer(options: argparse.Namespace) -> dict[str, Any]:
    """`transformers.Trainer`: bf16, fused AdamW, no decay, linear course, clipping at 1."""
    import tempfile

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

    set_seed(options.seed)
    stream = Stream(options.run / "shard" / "pretrain-train")
    order = np.random.default_rng(options.seed).permutation(stream.num_rows)

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(order)

        def __getitem__(self, index: int) -> dict[str, Any]:
            ids = torch.from_numpy(stream.rows(order[index : index + 1])[0, :-1])
            return {"input_ids": ids, "labels": ids}

    class Clock(TrainerCallback):
        """When each step ended, so that what the Trainer does before its first one is not counted as speed."""

        def __init__(self) -> None:
            self.ended_at: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ended_at.append(time.time())

    def train(steps: int, clock: Clock) -> Any:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=SHAPE["width"],
                intermediate_size=SHAPE["mlp"],
                num_hidden_layers=SHAPE["layers"],
                num_attention_heads=SHAPE["heads"],
                num_key_value_heads=SHAPE["heads"],
                max_position_embeddings=LENGTH,
                tie_word_embeddings=False,
            )
        )
        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=options.batch_rows,
            max_steps=steps,
            learning_rate=options.learning_rate,
            warmup_steps=int(WARMUP_SHARE * steps),
            bf16=True,
            use_cpu=True,
            seed=options.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[clock]).train()
        return model

    clock = Clock()
    train(2 + TRIAL_STEPS, clock)
    a_step = (clock.ended_at[-1] - clock.ended_at[1]) / TRIAL_STEPS
    left = options.minutes * 60 - (time.time() - options.began_at)
    steps = int(left * RESERVE / a_step)
    model = train(steps, Clock()).eval()
    ended_at = time.time()

    return {
        **judged(options.run, lambda ids: model(input_ids=ids).logits),
        "tokens": steps * options.batch_rows * LENGTH,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(ended_at - options.began_at, 1),
        "learning_rate": options.learning_rate,
        "batch_rows": options.batch_rows,
    }


SIDES = {"danlu": danlu, "litgpt": litgpt, "trainer": trainer}

if __name__ == "__main__":
    main()
