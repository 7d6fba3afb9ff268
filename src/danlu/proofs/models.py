"""Proofs on a loaded model, ours or foreign: causality, caches, batches, packs, backends, padding rows, transformers.

In: what `convert.load` returns. Out: a finding, or `ProofFailed`. Called by `proofs.table`. Rows are short, so that a
proof costs seconds also on a large model; nothing is written and the model is left as it was found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from danlu.infer.engine import Engine, Request
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling
from danlu.model.attention import BACKENDS
from danlu.model.cache import KeyValueCache
from danlu.model.decoder import Decoder, choose_decoder
from danlu.model.transformer import Transformer
from danlu.proofs.outcome import (
    LOW_PRECISION_BOUND,
    RELATIVE_BOUND,
    NotApplicable,
    difference,
    mean_difference,
    require,
)

if TYPE_CHECKING:
    from danlu.convert import Loaded

ROW = 32
NEW_TOKENS = 12
DROPOUT = 0.1
NUMBER_FORMATS = (
    (torch.float32, RELATIVE_BOUND, difference),
    (torch.bfloat16, LOW_PRECISION_BOUND, mean_difference),
)


def known_ids(subject: Loaded) -> list[int]:
    """Ids that stand for text: without control tokens and without rows that no token has."""
    if subject.tokenizer is None:
        return list(range(subject.config.vocabulary_size))
    control = set(subject.tokenizer.special.values())
    return [id for id in range(subject.tokenizer.size) if id not in control]


def some_ids(subject: Loaded, rows: int, length: int, seed: int = 0) -> Tensor:
    """Random ordinary ids (rows, length), the same for the same seed, on the model's device."""
    known = torch.tensor(known_ids(subject))
    chosen = torch.randint(len(known), (rows, length), generator=torch.Generator().manual_seed(seed))
    return known[chosen].to(device(subject.model))


def device(model: Transformer) -> torch.device:
    return next(model.parameters()).device


def row_length(subject: Loaded) -> int:
    return min(ROW, subject.config.context_length)


def logits(model: Transformer, ids: Tensor, **more: Any) -> Tensor:
    return model.head(model(ids, **more)).float()


@contextmanager
def as_found(model: Transformer) -> Iterator[None]:
    """Evaluation mode inside; mode, attention backend and number format are restored afterwards."""
    before = model.training, model.attention_backend, model.compute_dtype
    model.eval()
    try:
        yield
    finally:
        model.train(before[0])
        model.attention_backend, model.compute_dtype = before[1:]


@torch.no_grad()
def evaluation_is_repeatable(subject: Loaded) -> str:
    """M5: dropout is off in evaluation, and scoring gives the model back in the mode in which it was."""
    from danlu.evaluate.score import Piece, log_likelihoods

    model, ids = subject.model, some_ids(subject, 2, row_length(subject))
    pieces, limit = [Piece(row, 1) for row in ids.tolist()], subject.config.vocabulary_size
    with as_found(model):
        first, second = logits(model, ids), logits(model, ids)
        require(torch.equal(first, second), f"two evaluations differ by {difference(second, first):.1e}")
        learning = _with_dropout(model).train()
        require(not torch.equal(logits(learning, ids), logits(learning, ids)), "there is no dropout in training either")
        wanted = log_likelihoods(model, pieces, vocabulary_limit=limit)
        for _ in range(2):
            found = log_likelihoods(learning, pieces, vocabulary_limit=limit)
            require(found == wanted, f"while it learns with dropout it scores {found}, without dropout {wanted}")
        require(learning.training, "scoring left the model in evaluation mode")
    return f"two passes are bitwise equal; so are scores while learning with dropout {DROPOUT}; the mode is restored"


def _with_dropout(model: Transformer) -> Transformer:
    """A model of the very same weights, which are not copied, with dropout: most folders have none to be left on."""
    with torch.device("meta"):
        twin = Transformer(model.config.model_copy(update={"dropout": DROPOUT}))
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.attention_backend, twin.compute_dtype = model.attention_backend, model.compute_dtype
    return twin


@torch.no_grad()
def the_future_is_not_seen(subject: Loaded) -> str:
    """M6: another token at position t changes no logit before t, bit for bit, in every attention backend."""
    model, length = subject.model, row_length(subject)
    ids, other = some_ids(subject, 1, length), some_ids(subject, 1, length, seed=1)
    places = sorted({1, length // 2, length - 1})
    with as_found(model):
        for model.attention_backend in BACKENDS:
            before = logits(model, ids)
            for place in places:
                changed = torch.where(torch.arange(length, device=ids.device) >= place, other, ids)
                after = logits(model, changed)
                require(
                    torch.equal(after[:, :place], before[:, :place]),
                    f"{model.attention_backend}: a change at position {place} is seen before it",
                )
                moved = bool((ids != changed).any())
                require(not moved or not torch.equal(after, before), "a changed token changes nothing at all")
    return f"bitwise at {len(places)} positions, backends {', '.join(BACKENDS)}"


@torch.no_grad()
def the_cache_changes_nothing(subject: Loaded) -> str:
    """M7: prompt, then token by token through the cache, gives the logits of the full forward pass.

    By torch, and where the engine would decode natively, by the native decoder too.
    """
    model, length = subject.model, row_length(subject)
    ids, found = some_ids(subject, 1, length), []
    with as_found(model):
        full = logits(model, ids)
        for native in (False, True):
            cache = KeyValueCache(model.config, 1, length, dtype=model.compute_dtype, device=ids.device)
            decoder, way = choose_decoder(model, cache) if native else (None, "torch")
            if native and decoder is None:
                found.append(f"not natively ({way})")
                continue
            gap = difference(_decoded(model, ids, cache, decoder), full)
            require(gap <= RELATIVE_BOUND, f"by {way}: cached logits differ by {gap:.1e} of the largest")
            found.append(f"by {way}: largest difference {gap:.0e}")
    return f"{length} positions, {'; '.join(found)}"


def _decoded(model: Transformer, ids: Tensor, cache: KeyValueCache, decoder: Decoder | None) -> Tensor:
    """Logits (1, T, V) of a row (1, T): a third of it at once, then token by token, by the decoder if there is one."""
    start, places = max(ids.shape[1] // 3, 1), torch.arange(ids.shape[1], device=ids.device)[None]
    parts = [logits(model, ids[:, :start], positions=places[:, :start], cache=cache)]
    for at in range(start, ids.shape[1]):
        if decoder is None:
            parts.append(logits(model, ids[:, at : at + 1], positions=places[:, at : at + 1], cache=cache))
        else:
            hidden = decoder.hidden(ids[:, at], places[:, at], torch.zeros(1, dtype=torch.long))  # (1, D)
            parts.append(decoder.logits(hidden).float()[:, None])
    return torch.cat(parts, 1)


@torch.no_grad()
def a_batch_changes_nothing(subject: Loaded) -> str:
    """M8: prompts of unequal lengths, answered together by the engine, get the tokens that each gets alone."""
    model, length = subject.model, row_length(subject)
    limit = subject.tokenizer.size if subject.tokenizer is not None else subject.config.vocabulary_size
    lengths = [max(1, length * share // 8) for share in (1, 2, 3, 5, 1)]
    prompts = [some_ids(subject, 1, size, seed=size)[0].tolist() for size in lengths]
    room = min(NEW_TOKENS, subject.config.context_length - max(lengths))
    if room < 1:
        raise NotApplicable("the context is too short to generate in")
    sampling = Sampling(temperature=0.0, max_tokens=room)
    with as_found(model):
        engine = Engine(model, num_slots=3, length=max(lengths) + room, vocabulary_limit=limit)
        together = engine.run([Request(tuple(prompt), sampling) for prompt in prompts])
        for prompt, found in zip(prompts, together, strict=True):
            alone = generate(model, prompt, sampling, vocabulary_limit=limit)
            _same_tokens(model, prompt, found, alone, limit)
    return f"{len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens, {room} new tokens each, 3 slots"


def _same_tokens(model: Transformer, prompt: Sequence[int], found: list[int], alone: list[int], limit: int) -> None:
    """Equal, or parted at a tie: two logits closer to each other than the bound of equality."""
    if found == alone:
        return
    at = next((i for i, (a, b) in enumerate(zip(found, alone, strict=False)) if a != b), min(len(found), len(alone)))
    row = torch.tensor([[*prompt, *alone[:at]]], device=device(model))
    last = logits(model, row)[0, -1, :limit]
    best = last.topk(2).values
    require(
        float(best[0] - best[1]) <= RELATIVE_BOUND * float(last.abs().max()),
        f"a prompt of {len(prompt)} tokens gets {found} in a batch and {alone} alone",
    )


def backends_agree(subject: Loaded) -> str:
    """M9: every attention backend gives the logits and gradients of the reference, in fp32 and bf16, packed or not."""
    model, length = subject.model, row_length(subject)
    ids = some_ids(subject, 2, length)
    half = length // 2
    places = torch.cat([torch.arange(half), torch.arange(length - half)]).to(ids.device).expand(2, -1)
    documents = (torch.arange(length, device=ids.device) >= half).int().expand(2, -1)
    worst: dict[torch.dtype, float] = {}
    with as_found(model):
        for number, bound, gap_of in NUMBER_FORMATS:
            model.compute_dtype = number
            for packed in ({}, {"positions": places, "documents": documents}):
                reference = None
                for model.attention_backend in BACKENDS:
                    found = _logits_and_gradient(model, ids, packed)
                    reference = found if reference is None else reference
                    gap = max(gap_of(one, other) for one, other in zip(found, reference, strict=True))
                    worst[number] = max(worst.get(number, 0.0), gap)
                    require(gap <= bound, f"{model.attention_backend} in {number}: differs by {gap:.1e} of the largest")
    shown = ", ".join(f"{str(number).removeprefix('torch.')} {gap:.0e}" for number, gap in worst.items())
    return f"{' = '.join(BACKENDS)}, forward and backward: {shown}"


def _logits_and_gradient(model: Transformer, ids: Tensor, packed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of their log-likelihood with respect to the embedded row."""
    with _embedded(model) as inputs, torch.enable_grad():
        found = logits(model, ids, **packed)
        chosen = torch.log_softmax(found, -1).gather(2, ids[:, :, None]).sum()
        return found.detach(), torch.autograd.grad(chosen, inputs[0])[0].float()


@contextmanager
def _embedded(model: Transformer) -> Iterator[list[Tensor]]:
    """Collect what the embedding gives out (B, T, D), as the leaf from which gradients are asked."""
    inputs: list[Tensor] = []

    def take(module: object, arguments: object, output: Tensor) -> Tensor:
        inputs.append(output.detach().requires_grad_())
        return inputs[-1]

    handle = model.embedding.register_forward_hook(take)
    try:
        yield inputs
    finally:
        handle.remove()


def packed_documents_are_strangers(subject: Loaded) -> str:
    """D1: in a packed row, no gradient flows from document B to document A, and B's logits are those of B alone."""
    model, length = subject.model, row_length(subject)
    if length < 4:
        raise NotApplicable("the context is too short to pack two documents")
    half = length // 2
    ids = some_ids(subject, 1, length)
    places = torch.cat([torch.arange(half), torch.arange(length - half)])[None].to(ids.device)
    documents = (torch.arange(length, device=ids.device) >= half).int()[None]
    worst = 0.0
    with as_found(model):
        for model.attention_backend in BACKENDS:
            with _embedded(model) as inputs, torch.enable_grad():
                packed = logits(model, ids, positions=places, documents=documents)
                gradient = torch.autograd.grad(packed[:, half:].square().sum(), inputs[0])[0]
            require(
                not gradient[:, :half].any(), f"{model.attention_backend}: the second document depends on the first"
            )
            require(bool(gradient[:, half:].any()), "the second document depends on nothing")
            with torch.no_grad():
                alone = logits(model, ids[:, half:])
            worst = max(worst, difference(packed[:, half:].detach(), alone))
    require(worst <= RELATIVE_BOUND, f"a packed document's logits differ by {worst:.1e} from those it has alone")
    return f"gradient exactly zero; packed = alone within {worst:.0e}"


@torch.no_grad()
def padding_rows_are_never_chosen(subject: Loaded) -> str:
    """T4: rows of the head beyond the tokenizer's size are not generated, however large their logits."""
    if subject.tokenizer is None:
        raise NotApplicable("the folder has no tokenizer")
    size, rows = subject.tokenizer.size, subject.config.vocabulary_size
    require(rows >= size, f"the tokenizer has {size} ids and the model only {rows} rows")
    if rows == size:
        return f"{rows} rows, {size} ids: no row is without a token"
    model = subject.model
    honest = model.head
    prompt = some_ids(subject, 1, min(4, subject.config.context_length - 1))[0].tolist()
    sampling = Sampling(temperature=1.0, seed=1, max_tokens=min(8, subject.config.context_length - len(prompt)))

    def tempted(hidden: Tensor) -> Tensor:
        found = honest(hidden).clone()
        found[..., size:] = 1e4
        return found

    with as_found(model), _replaced(model, tempted):
        slow = generate(model, prompt, sampling, vocabulary_limit=size)
        engine = Engine(model, num_slots=1, length=subject.config.context_length, vocabulary_limit=size)
        quick = engine.run([Request(tuple(prompt), sampling)])[0]
    beyond = [id for id in slow + quick if id >= size]
    require(not beyond, f"ids {beyond[:5]} were generated; the tokenizer has {size}")
    return f"{rows - size} rows without a token, none generated"


@contextmanager
def _replaced(model: Transformer, head: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The model with another head while the block runs."""
    kind = type(model)
    honest = kind.head
    kind.head = property(lambda self: head)  # type: ignore[assignment]
    try:
        yield
    finally:
        kind.head = honest  # type: ignore[method-assign]


def the_folder_says_where_to_stop(subject: Loaded) -> str:
    """X3: the folder is complete, and its generation settings name the tokens at which a reply ends."""
    missing = [name for name in ("config.json", "tokenizer.json") if not (subject.folder / name).is_file()]
    require(not missing, f"{', '.join(missing)} missing")
    require(bool(list(subject.folder.glob("*.safetensors"))), "no weights in safetensors")
    config = json.loads((subject.folder / "config.json").read_bytes())
    path = subject.folder / "generation_config.json"
    settings = json.loads(path.read_bytes()) if path.is_file() else {}
    stated = settings.get("eos_token_id", config.get("eos_token_id"))
    stops = {stated} if isinstance(stated, int) else set(stated or ())
    require(bool(stops), "neither generation_config.json nor config.json names an eos_token_id")
    if subject.tokenizer is not None:
        wanted = subject.tokenizer.stop_ids
        require(wanted <= stops, f"a reply can end at {sorted(wanted)}, but generation stops at {sorted(stops)} only")
    vocabulary = config.get("vocab_size", subject.config.vocabulary_size)
    require(max(stops) < vocabulary, f"eos {max(stops)} is outside the vocabulary of {vocabulary}")
    return f"generation stops at {sorted(stops)}"


@torch.no_grad()
def transformers_agrees(subject: Loaded) -> str:
    """X1: transformers loads the folder in one call and computes the same logits at every position."""
    from danlu.convert import exportable

    reason = exportable(subject.config)
    if reason is not None:
        raise NotApplicable(f"no class of transformers holds this model: {reason}")
    try:
        import transformers
    except ImportError:
        raise NotApplicable("transformers is not installed (pip install 'danlu[export]')") from None
    transformers.utils.logging.disable_progress_bar()
    length = min(subject.config.context_length, 128)
    ids = some_ids(subject, 2, length)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        str(subject.folder), dtype=torch.float32, local_files_only=True, trust_remote_code=False
    ).eval()
    expected = theirs(ids.cpu()).logits.float()
    with as_found(subject.model):
        found = logits(subject.model, ids).cpu()
    require(found.shape == expected.shape, f"logits are {tuple(found.shape)}, theirs {tuple(expected.shape)}")
    gap = difference(found, expected)
    require(gap <= RELATIVE_BOUND, f"logits differ by {gap:.1e} of the largest, allowed {RELATIVE_BOUND:.0e}")
    return f"{type(theirs).__name__}, {ids.numel()} positions, largest difference {gap:.0e}"
