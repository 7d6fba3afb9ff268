"""One sequence, no tricks: the reference that every faster way of generating has to equal.

In: a model, prompt ids, a `Sampling`. Out: the generated ids. Called by proofs, by samples during training and by
`danlu.generate`. Each token costs a full forward pass over everything before it: no cache, no batch, no padding.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import torch

from danlu.base.errors import UserError
from danlu.infer.sampling import Sampling, choose
from danlu.model.transformer import Transformer

SEED_BITS = 63


def fresh_seed() -> int:
    """A seed for a request that named none; it fits every integer type that a log may use."""
    return secrets.randbits(SEED_BITS)


def require_room(prompt_length: int, length: int) -> None:
    """Refuse a prompt that is empty or leaves no room for an answer: nothing is ever cut off silently."""
    if prompt_length == 0:
        raise UserError("the prompt is empty", remedy="give at least one token")
    if prompt_length >= length:
        raise UserError(
            "the prompt is longer than the model's context",
            found=f"{prompt_length} tokens; the context holds {length}, at least one of them for the answer",
            remedy="shorten the prompt",
        )


def require_known(ids: Sequence[int], vocabulary_limit: int) -> None:
    """Refuse ids that the tokenizer does not have, before they reach a table of embeddings."""
    unknown = next((id for id in ids if not 0 <= id < vocabulary_limit), None)
    if unknown is not None:
        raise UserError("a token id is outside the vocabulary", found=f"{unknown}; ids are 0 to {vocabulary_limit - 1}")


@torch.inference_mode()
def generate(
    model: Transformer, ids: Sequence[int], sampling: Sampling, *, vocabulary_limit: int, length: int | None = None
) -> list[int]:
    """The ids that follow `ids`, without the stop id that ended them.

    Ends at a stop id, after `max_tokens`, or where prompt and answer together fill `length` (the model's context
    length by default). Raises UserError for an empty or over-long prompt.
    """
    limit = model.config.context_length if length is None else length
    prompt = list(ids)
    require_room(len(prompt), limit)
    require_known(prompt, vocabulary_limit)
    seed = fresh_seed() if sampling.seed is None else sampling.seed
    device = next(model.parameters()).device
    generated: list[int] = []
    while len(generated) < min(sampling.max_tokens, limit - len(prompt)):
        hidden = model(torch.tensor([prompt + generated], device=device))  # (1, T, D)
        logits = model.head(hidden[:, -1])[0, :vocabulary_limit].float().cpu()  # (V,)
        token = choose(logits, sampling, prompt, generated, seed).token
        if token in sampling.stop_ids:
            break
        generated.append(token)
    return generated
