"""One run of `learning.py`: a process that trains for so many minutes on prepared ids and says what it has learnt.

In: a side, the folder of the prepared run, a seed, minutes and the time at which the process was started. Out: one line
of JSON on standard output. The peers read the same ids as a stream cut into rows, in an order drawn from the seed, and
keep their own defaults but for what a run of minutes makes senseless: litgpt's batch of 512 rows and warm-up of 2,000
steps, the Trainer's learning rate of 5e-5. Both get batches of 16 rows, a warm-up of a twentieth of the steps, and the
learning rate that was best in the trials of `learning.py tune`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = {"width": 288, "layers": 6, "heads": 6, "mlp": 768}
ROWS, LENGTH, VOCABULARY = 16, 256, 8192
WARMUP_SHARE = 0.05
BLOCK_ROWS = 16
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
        return replace(found, documents=np.zeros_like(found.documents), positions=places.astype(found.positions.dtype))

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
    from danlu.shards.files import RowSet
    from danlu.stages import pretrain

    batch_of, pace = RowSet.batch, pretrain.pace
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
    RowSet.batch = batch_of  # type: ignore[method-assign]
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

    def batches(self, seed: int) -> Iterator[np.ndarray]:
        """Batches (ROWS, LENGTH + 1) without end, every epoch in an order of its own."""
        random = np.random.default_rng(seed)
        while True:
            order = random.permutation(self.num_rows)
            for start in range(0, len(order) - ROWS + 1, ROWS):
                yield self.rows(order[start : start + ROWS])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """These rows, (n, LENGTH + 1) int64."""
        return self.ids[numbers[:, None] * LENGTH + np.arange(LENGTH + 1)].astype(np.int64)


def halves(count: int) -> dict[str, np.ndarray]:
    """The held-out rows by which rates and rules may be chosen, and those of which a result is told.

    They take turns by blocks, because the rows come one language after the other.
    """
    block = np.arange(count) // BLOCK_ROWS % 2
    return {"bits_per_byte_to_choose_by": np.flatnonzero(block == 0), "bits_per_byte": np.flatnonzero(block == 1)}


def judged(run: Path, logits_of: Callable[[Any], Any]) -> dict[str, float]:
    """Bits per byte of both halves of the held-out documents, as one stream: all tokens' bits over all their bytes."""
    import torch

    stream = Stream(run / "shard" / "pretrain-validation")
    spelt = np.array(json.loads((run / "bytes.json").read_text())["token_bytes"])
    found = {}
    for name, half in halves(stream.num_rows).items():
        bits, size = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(half), ROWS):
                rows = torch.from_numpy(stream.rows(half[start : start + ROWS]))
                logits, targets = logits_of(rows[:, :-1]).float(), rows[:, 1:]
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
                bits += float(loss) / math.log(2)
                size += int(spelt[targets.numpy()].sum())
        found[name] = bits / size
    return found


def ours_judged(run: Path, made: Path) -> dict[str, float]:
    """The same of a model folder of ours, on the packed rows that hold the same documents, masked as it was trained."""
    import torch

    from danlu import convert
    from danlu.base.world import World
    from danlu.parallel.device import discover
    from danlu.shards.files import RowSet
    from danlu.train.objectives import next_token
    from danlu.train.samples import token_bytes
    from danlu.train.validation import Validation

    class Half(Validation):
        def rows(self) -> np.ndarray:
            return chosen

    loaded = convert.load(made, dtype=discover().dtype)
    held_out = RowSet.open(run / "shard" / "pretrain-validation")
    assert loaded.tokenizer is not None
    lengths = token_bytes(loaded.tokenizer.decode_bytes, loaded.tokenizer.size)
    found = {}
    for name, half in halves(held_out.num_rows).items():
        chosen = half
        with torch.no_grad():
            told = Half(held_out, next_token, ROWS, held_out.num_rows, lengths).measure(loaded.model, World())
        found[name] = told["bits_per_byte"]
    return found


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

    def build() -> tuple[Any, Any]:
        from litgpt.pretrain import initialize_weights

        with fabric.init_module(empty_init=False):
            model = GPT(config)
        initialize_weights(fabric, model, n_layer=config.n_layer, n_embd=config.n_embd)
        model = fabric.setup(torch.compile(model))
        chosen = {"lr": options.learning_rate, "betas": (0.9, 0.95), "weight_decay": 0.1}
        return model, fabric.setup_optimizers(
            instantiate_torch_optimizer("AdamW", model.parameters(), fused=False, **chosen)
        )

    batches = Stream(options.run / "shard" / "pretrain-train").batches(options.seed)

    def step(model: Any, optimizer: Any, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids = torch.from_numpy(next(batches))
        fabric.backward(chunked_cross_entropy(model(ids[:, :-1].contiguous()), ids[:, 1:].contiguous()))
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = build()
    steps = planned(options, lambda: step(model, optimizer, 0.0))
    for number in range(steps):
        warm = min(1.0, (number + 1) / (WARMUP_SHARE * steps))
        course = 0.5 * (1 + math.cos(math.pi * max(0.0, number / steps - WARMUP_SHARE) / (1 - WARMUP_SHARE)))
        step(model, optimizer, options.learning_rate * warm * (0.1 + 0.9 * course))
    ended_at = time.time()
    model.eval()
    return {
        **judged(options.run, model),
        "tokens": steps * ROWS * LENGTH,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(ended_at - options.began_at, 1),
        "learning_rate": options.learning_rate,
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
            per_device_train_batch_size=ROWS,
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

    def logits_of(ids: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(input_ids=ids).logits

    return {
        **judged(options.run, logits_of),
        "tokens": steps * ROWS * LENGTH,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(ended_at - options.began_at, 1),
        "learning_rate": options.learning_rate,
    }


SIDES = {"danlu": danlu, "litgpt": litgpt, "trainer": trainer}

if __name__ == "__main__":
    main()
