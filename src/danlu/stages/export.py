"""Write a model as the complete folder that transformers, vLLM and others load in one call, and check that they can.

Takes: a model, and the corpus whose test texts are the prompts of the check.
Makes: `config.json`, weights in the chosen dtype, tokenizer, chat template, `generation_config.json`, model card. The
stored weights must be the model's own, rounded once; where transformers is installed its logits and its greedy tokens
must be ours, else the reason for not asking is said and recorded.
Cost: the weights are written once and read twice; one forward pass for each prompt, by us and by transformers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from danlu.base import console
from danlu.base.artifact import Artifact, seal
from danlu.base.config import Settings
from danlu.base.errors import ArtifactError, UserError

if TYPE_CHECKING:
    from danlu.convert import Loaded
    from danlu.model.config import ModelConfig

VERSION = 2
DIARY = ("README.md",)
"""Files about the making, for people: no later stage reads them."""
LONGEST_PROMPT = 16
"""Of the greedy check: enough to be about something, short enough to leave room for the answer."""


class Config(Settings):
    """What to write and how hard to look at it."""

    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="dtype of the stored weights")
    check: bool = Field(True, description="compare logits and greedy tokens with transformers where it is installed")
    prompts: int = Field(32, ge=1, description="prompts of the check, from one token up to the whole context")
    greedy_tokens: int = Field(64, ge=1, description="tokens generated greedily by both sides of the check")


def refusal(model: ModelConfig) -> str | None:
    """Why no such model can be exported, or None; a recipe asks before anything is trained."""
    from danlu.convert.families import exportable

    return exportable(model)


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Load, write, read back, compare."""
    from danlu import convert

    started_at = time.monotonic()
    model = convert.load(inputs["model"].folder)
    reason = refusal(model.config)
    if reason is not None:
        raise UserError("this model cannot be exported", where=model.folder, found=reason)
    if model.tokenizer is None:
        raise ArtifactError("the model folder has no tokenizer to export", where=model.folder)
    convert.save(out, model.model, model.tokenizer, dtype=config.dtype, card=_card(model, inputs["model"], config))
    size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    console.say(f"wrote {out}: {console.size(size)} of {config.dtype} weights")
    written = convert.load(out)
    _same_weights(model, written, config.dtype)
    checked = _check(config, written, inputs["corpus"])
    return seal(
        out,
        kind="export",
        stage="export",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents=inputs,
        diary=DIARY,
        metrics={"weight_bytes": size, "parameters": model.config.parameters().total, **checked},
        seconds=time.monotonic() - started_at,
        extra={"questions": inputs["model"].manifest.get("questions", [])},
    )


def _card(model: Loaded, parent: Artifact, config: Config) -> str:
    from danlu import convert

    facts: dict[str, Any] = {"Stored as": config.dtype, "Made from": f"danlu model {parent.fingerprint[:16]}"}
    facts |= {name: value for name, value in parent.metrics.items() if isinstance(value, int | float | str)}
    size = console.size(model.config.parameters().total, "").strip()
    return convert.model_card(
        f"danlu model, {size} parameters",
        model.config,
        facts,
        about="Trained and exported by danlu (丹炉): from raw text to this folder by one recipe.",
        chat=model.template is not None,
    )


def _same_weights(model: Loaded, written: Loaded, dtype: str) -> None:
    """Every stored weight is the model's own, rounded to `dtype` and nothing else."""
    import torch

    from danlu.convert.reader import torch_dtype

    kept = dict(written.model.named_parameters())
    for name, weight in model.model.named_parameters():
        rounded = weight.to(torch_dtype(dtype))
        if not bool(rounded.isfinite().all()):
            raise UserError(
                f"the weights do not fit into {dtype}",
                where=model.folder,
                found=f"{name} has a value that is not finite there",
                remedy="export.dtype=bfloat16 or float32",
            )
        if not torch.equal(rounded.float(), kept[name]):
            raise ArtifactError(
                "the exported folder does not hold the model's weights", where=written.folder, found=name
            )


def _check(config: Config, written: Loaded, corpus: Artifact) -> dict[str, Any]:
    """Compare with transformers; the facts for the manifest. A difference is an error."""
    from danlu.convert import check

    reason = check.unavailable() if config.check else "switched off by check: false"
    if reason is not None:
        console.say(f"logits not compared with transformers: {reason}")
        return {"checked": False, "check_reason": reason}
    prompts = _prompts(written, corpus, config.prompts)
    prompt = prompts[-1][: min(LONGEST_PROMPT, max(1, written.config.context_length - config.greedy_tokens))]
    new_tokens = min(config.greedy_tokens, written.config.context_length - len(prompt))
    found = check.compare_with_transformers(written.folder, written.model, prompts, prompt, new_tokens)
    if not found.relative_error <= check.RELATIVE_BOUND:
        raise ArtifactError(
            "transformers computes other logits from the exported folder",
            where=written.folder,
            found=f"relative error {found.relative_error:.2e}, bound {check.RELATIVE_BOUND:.0e}",
        )
    greedy = _greedy(written, prompt, new_tokens)
    if greedy != found.greedy:
        raise ArtifactError(
            "transformers generates other tokens from the exported folder",
            where=written.folder,
            found=f"{found.greedy} instead of {greedy}",
        )
    console.say(
        f"transformers {found.version} agrees: logits of {len(prompts)} prompts up to {max(map(len, prompts))} tokens "
        f"within {found.relative_error:.1e}, {len(greedy)} greedy tokens equal"
    )
    return {
        "checked": True,
        "transformers": found.version,
        "max_relative_logit_error": found.relative_error,
        "prompts": len(prompts),
        "longest_prompt": max(map(len, prompts)),
        "greedy_tokens_equal": len(greedy),
    }


def _prompts(written: Loaded, corpus: Artifact, count: int) -> list[list[int]]:
    """`count` stretches of test text, their lengths in equal ratios from 1 to the context length."""
    assert written.tokenizer is not None
    longest = written.config.context_length
    lengths = [round(longest ** (number / max(count - 1, 1))) for number in range(count)]
    ids: list[int] = []
    with corpus.path("test.jsonl").open(encoding="utf-8") as file:
        for line in file:
            if len(ids) >= sum(lengths):
                break
            ids += written.tokenizer.encode(json.loads(line)["text"])
    if not ids:  # a corpus of conversations only: the check is of numbers, any ids serve
        ids = [number * 7919 % written.tokenizer.size for number in range(longest)]
    prompts, start = [], 0
    for length in lengths:
        stretch = [ids[(start + step) % len(ids)] for step in range(length)]
        prompts.append(stretch)
        start += length
    return prompts


def _greedy(written: Loaded, prompt: Sequence[int], new_tokens: int) -> list[int]:
    """Our own greedy tokens; like the other side's they go on past stop tokens, so that all of them are compared."""
    from danlu.infer.generate import generate
    from danlu.infer.sampling import Sampling

    assert written.tokenizer is not None
    sampling = Sampling(temperature=0.0, max_tokens=new_tokens)
    return generate(written.model, prompt, sampling, vocabulary_limit=written.tokenizer.size)
