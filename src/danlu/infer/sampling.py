"""From one row of logits to one token, with the meaning that OpenAI's API gives to each parameter.

In: logits of one position, a `Sampling`, the tokens so far. Out: a `Choice`. Called by `generate` and `engine`, which
therefore agree. Pure: the random number is a function of (seed, position), so a request gives the same tokens alone,
in a batch, after pre-emption and after a restart. Knows no text: stop strings are the business of `serve.stream`.
Source: https://platform.openai.com/docs/api-reference/chat/create; `repetition_penalty` is CTRL's (arXiv 1909.05858),
`min_p` arXiv 2407.01082.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from danlu.base.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. Temperature 0 is greedy; `top_k=0`, `min_p=0` and `top_p=1` switch their filter off.

    `seed=None` lets the caller of `choose` draw one. `logprobs` is the number of alternatives to report beside the
    chosen token, `None` for no log-probabilities at all. `logit_bias` holds (token, bias) pairs.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int = 256
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        wrong = [f"{name}={getattr(self, name)!r}" for name, allowed in RANGES.items() if not allowed(self, name)]
        if wrong:
            raise UserError("these sampling values cannot be used", found=", ".join(wrong))

    @property
    def leaves_logits_alone(self) -> bool:
        """True where neither penalties nor biases change the logits, so that many rows can be decided at once."""
        neutral = self.presence_penalty == 0 and self.frequency_penalty == 0 and self.repetition_penalty == 1
        return neutral and not self.logit_bias


def _between(low: float, high: float) -> Callable[[Sampling, str], bool]:
    return lambda sampling, name: low <= getattr(sampling, name) <= high  # also False for NaN


RANGES = {
    "temperature": _between(0.0, math.inf),
    "top_p": _between(0.0, 1.0),
    "top_k": _between(0, math.inf),
    "min_p": _between(0.0, 1.0),
    "max_tokens": _between(0, math.inf),
    "repetition_penalty": _between(1e-6, 1e6),
    "presence_penalty": _between(-1e3, 1e3),
    "frequency_penalty": _between(-1e3, 1e3),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token. `logprob` and `top` are of the model's own distribution, before bias, penalty and temperature."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def uniform(seed: int, position: int) -> float:
    """The random number in [0, 1) that belongs to this position of a sequence with this seed."""
    drawn = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(drawn, "little") >> 11) * 2.0**-53


def adjusted(logits: Tensor, sampling: Sampling, prompt: Sequence[int], generated: Sequence[int]) -> Tensor:
    """Logits in float64 after bias and penalties.

    Presence and frequency count the generated tokens only, as OpenAI's do; repetition looks at the prompt too.
    """
    result = logits.double().clone()  # (V,)
    for token, bias in sampling.logit_bias:
        result[token] += bias
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*prompt, *generated}), dtype=torch.long)
        seen = seen[seen < len(result)]
        values = result[seen]
        result[seen] = torch.where(
            values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty
        )
    if generated and (sampling.presence_penalty or sampling.frequency_penalty):
        counts = torch.bincount(torch.tensor(generated), minlength=len(result))[: len(result)]
        result -= sampling.frequency_penalty * counts + sampling.presence_penalty * (counts > 0)
    return result


def distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities (V,) in float64 after temperature, then top_k, top_p and min_p; at least one token is kept."""
    scaled = (logits.double() - logits.max()) / sampling.temperature
    weights = torch.softmax(scaled, dim=-1)
    if sampling.top_k > 0 or sampling.top_p < 1.0:
        # Sorted and stable, so that among equals the smaller id is kept and exactly top_k tokens remain.
        ranked, order = torch.sort(weights, descending=True, stable=True)
        if 0 < sampling.top_k < len(ranked):
            ranked[sampling.top_k :] = 0.0
            ranked /= ranked.sum()
        if sampling.top_p < 1.0:
            before = torch.cumsum(ranked, dim=-1) - ranked  # the token that crosses top_p still belongs to the set
            ranked[1:][before[1:] >= sampling.top_p] = 0.0
        weights = torch.zeros_like(weights).scatter_(0, order, ranked)
    if sampling.min_p > 0.0:
        weights[weights < sampling.min_p * weights.max()] = 0.0
    return weights / weights.sum()


def draw(probabilities: Tensor, number: float) -> int:
    """The token at `number` of the cumulative distribution; never one of probability zero."""
    edges = torch.cumsum(probabilities, dim=-1)
    index = int(torch.searchsorted(edges, torch.tensor(number * float(edges[-1]), dtype=edges.dtype), right=True))
    last = int(probabilities.nonzero()[-1])
    return min(index, last)


def choose(logits: Tensor, sampling: Sampling, prompt: Sequence[int], generated: Sequence[int], seed: int) -> Choice:
    """Choose the next token of one sequence.

    `logits` (V,) are the model's for the next position, already cut to the tokenizer's vocabulary.
    """
    changed = logits if sampling.leaves_logits_alone else adjusted(logits, sampling, prompt, generated)
    if sampling.temperature == 0:
        token = int(changed.argmax())
    else:
        token = draw(distribution(changed, sampling), uniform(seed, len(prompt) + len(generated)))
    return describe(logits, token, sampling.logprobs)


def describe(logits: Tensor, token: int, alternatives: int | None) -> Choice:
    """The choice of `token` with its log-probability and the `alternatives` most likely tokens; `None` for neither."""
    if alternatives is None:
        return Choice(token)
    logprobs = torch.log_softmax(logits.double(), dim=-1)  # (V,)
    values, ids = logprobs.topk(min(alternatives, len(logprobs)))
    return Choice(token, float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))
