"""Does an exported folder mean the same to transformers as to us?

In: a folder, our model of it, prompts as ids, and the tokens that we generate greedily. Out: the largest relative error
of the logits and transformers' own greedy tokens, or the reason why nothing could be compared. Called by
`stages.export`. Generates nothing of ours (that is `infer`) and writes nothing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.model.transformer import Transformer

RELATIVE_BOUND = 1e-5
"""Largest difference of two fp32 logits relative to the largest logit of the prompt: other orders of summation."""
OLDEST = (5, 0)


def unavailable() -> str | None:
    """Why transformers cannot be asked here, or None."""
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return "transformers is not installed (pip install 'danlu[export]')"
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        return f"transformers {version} is older than {OLDEST[0]}.{OLDEST[1]}"
    return None


@dataclass(frozen=True)
class Comparison:
    """`relative_error` is the worst over all prompts and positions; `greedy` are the tokens transformers generated."""

    relative_error: float
    greedy: list[int]
    version: str


@torch.inference_mode()
def compare_with_transformers(
    folder: Path, model: Transformer, prompts: Sequence[Sequence[int]], prompt: Sequence[int], new_tokens: int
) -> Comparison:
    """Load `folder` in fp32 by transformers' one call, compare logits on `prompts`, continue `prompt` greedily."""
    import transformers

    with _silent(transformers):
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        worst = 0.0
        for ids in prompts:
            batch = torch.tensor([list(ids)])
            worst = max(worst, relative_error(model.head(model(batch)), theirs(batch).logits))
        batch = torch.tensor([list(prompt)])
        theirs.generation_config.eos_token_id = None  # go on past stop tokens: every token is a comparison
        generated = theirs.generate(
            batch, attention_mask=torch.ones_like(batch), max_new_tokens=new_tokens, do_sample=False
        )
    return Comparison(worst, generated[0, len(prompt) :].tolist(), transformers.__version__)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest reference value; infinite where either is not finite."""
    if not bool(ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    return float((ours - theirs).abs().max() / theirs.abs().max())


@contextlib.contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Keep transformers' bars and advice off the terminal, and leave its settings as they were."""
    logging = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
