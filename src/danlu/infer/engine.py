"""Many sequences, one model, one cache: prompts and answers of all requests advance together, step by step.

In: requests (prompt ids and `Sampling`). Out: events, one per token, as they are chosen. Called by `runner` (the
server's thread), the chat command and evaluation. Equals `generate` token for token in fp32 at temperature 0, and at
any temperature for a given seed. Not thread-safe (see `runner`), knows no text and no HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from danlu.base.errors import DataError
from danlu.infer.generate import fresh_seed, require_known, require_room
from danlu.infer.sampling import Choice, Sampling, choose, describe
from danlu.infer.scheduler import Scheduler, Sequence, Work
from danlu.model.cache import KeyValueCache
from danlu.model.decoder import Decoder, choose_decoder
from danlu.model.transformer import Transformer
from danlu.parallel.place import choose_products

STEP_TOKENS = 512
"""Tokens of one step: large enough to keep two cores or a small GPU busy, small enough that decoding is not held up."""
PADDED = 2
LOG_ENTRIES = 10_000
PADDING = -1


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for."""

    prompt: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Event:
    """One more token of sequence `id`, or its end, or both.

    `finish_reason` is `stop` (the token is the stop id and no part of the answer), `length`, `cancelled` or `error`
    (both without a token).
    """

    id: int
    token: int | None
    logprob: float | None = None
    finish_reason: str | None = None
    top: tuple[tuple[int, float], ...] = ()

    @property
    def is_text(self) -> bool:
        """True where the token belongs to the answer."""
        return self.token is not None and self.finish_reason != "stop"


@dataclass(frozen=True, slots=True)
class StepEntry:
    """One line of the engine's log: how many sequences one step decoded together, and what it cost."""

    step: int
    decoding: int
    prefilling: int
    tokens: int
    waiting: int
    seconds: float


class Engine:
    """`num_slots` sequences of at most `length` tokens each share one cache and one forward pass per step.

    `vocabulary_limit` is the tokenizer's size: ids at and above it are never chosen.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        num_slots: int,
        length: int,
        vocabulary_limit: int,
        step_tokens: int = STEP_TOKENS,
    ):
        parameter = next(model.parameters())
        self.model, self.length, self.vocabulary_limit = model.eval(), length, vocabulary_limit
        self.num_slots, self.device = num_slots, parameter.device
        self.cache = KeyValueCache(model.config, num_slots, length, dtype=model.compute_dtype, device=self.device)
        choose_products(model)
        self.decoder, self.decoder_reason = choose_decoder(model, self.cache)
        self.scheduler = Scheduler(
            num_slots=num_slots, cache_tokens=num_slots * length, step_tokens=max(step_tokens, num_slots)
        )
        self.log: deque[StepEntry] = deque(maxlen=LOG_ENTRIES)
        self._sequences: dict[int, Sequence] = {}
        self._mail: dict[int, deque[Event]] = {}
        self._ids, self._steps = count(), count()

    @property
    def has_work(self) -> bool:
        return not self.scheduler.is_idle

    def submit(self, request: Request) -> int:
        """Queue a request and return its id; UserError where the prompt is empty, too long or holds unknown ids."""
        require_room(len(request.prompt), self.length)
        require_known(request.prompt, self.vocabulary_limit)
        sampling, id = request.sampling, next(self._ids)
        seed = fresh_seed() if sampling.seed is None else sampling.seed
        limit = min(len(request.prompt) + sampling.max_tokens, self.length)
        self._mail[id] = deque()
        if sampling.max_tokens == 0:
            self._mail[id].append(Event(id, None, finish_reason="length"))
            return id
        self._sequences[id] = Sequence(id, request.prompt, sampling, seed, limit)
        self.scheduler.add(self._sequences[id])
        return id

    def step(self) -> list[Event]:
        """Advance every running sequence and return all events that nobody has taken yet."""
        self._advance()
        events = [event for box in self._mail.values() for event in box]
        self._mail = {id: deque() for id in self._sequences}
        return events

    def stream(self, id: int) -> Iterator[Event]:
        """The events of one sequence to its end, stepping the engine while there are none; each is handed out once."""
        while True:
            while not self._mail[id]:
                self._advance()
            event = self._mail[id].popleft()
            if event.finish_reason is not None:
                del self._mail[id]
                yield event
                return
            yield event

    def run(self, requests: Ordered[Request]) -> list[list[int]]:
        """All requests to their ends; the answers' ids in the order of the requests, without stop ids."""
        ids = [self.submit(request) for request in requests]
        return [self._whole(id) for id in ids]

    def _whole(self, id: int) -> list[int]:
        """The tokens of one sequence's text; an answer that failed is no short answer."""
        tokens = []
        for event in self.stream(id):
            if event.finish_reason == "error":
                raise DataError(
                    "an answer could not be computed",
                    found="logits that are not finite",
                    remedy="the model's weights are damaged or have diverged; try an earlier checkpoint",
                )
            if event.token is not None and event.is_text:
                tokens.append(event.token)
        return tokens

    def cancel(self, id: int, reason: str = "cancelled") -> None:
        """End a sequence now and free its slot; an unknown or finished id is left alone."""
        sequence = self._sequences.pop(id, None)
        if sequence is not None:
            self.scheduler.finish(sequence)
            self._mail[id].append(Event(id, None, finish_reason=reason))

    def preempt(self, id: int) -> None:
        """Take the slot of a running sequence away for now; it will be computed anew and go on with the same tokens."""
        self.scheduler.preempt(self._sequences[id])

    @torch.inference_mode()
    def _advance(self) -> None:
        started_at = time.monotonic()
        # By slot: rows of neighbouring slots read the cache in place, others would copy it.
        plan = sorted(self.scheduler.schedule(), key=lambda work: work.sequence.slot)
        if not plan:
            return
        decoding = [work for work in plan if work.num_tokens == 1]
        prefilling = [work for work in plan if work.num_tokens > 1]
        # Passes of their own, since one would pad every row to the length of the longest prompt.
        for group in (decoding, *alike(prefilling)):
            if group:
                self._compute(group)
        entry = StepEntry(
            step=next(self._steps),
            decoding=len(decoding),
            prefilling=len(prefilling),
            tokens=sum(work.num_tokens for work in plan),
            waiting=len(self.scheduler.waiting),
            seconds=time.monotonic() - started_at,
        )
        self.log.append(entry)

    def _compute(self, group: list[Work]) -> None:
        """One forward pass over the group; choose a token for each sequence whose pending tokens are all computed."""
        decoder = self.decoder if all(work.num_tokens == 1 for work in group) else None
        if decoder is not None and not decoder.takes(len(group)):
            decoder = None
        hidden = self._forward(group) if decoder is None else self._decode(group, decoder)  # (B, T, D)
        self.scheduler.computed(group)
        ready = [row for row, work in enumerate(group) if work.chooses]
        if not ready:
            return
        last = [group[row].num_tokens - 1 for row in ready]
        head = self.model.head if decoder is None else decoder.logits
        logits = head(hidden[ready, last])[:, : self.vocabulary_limit].float().cpu()  # (R, V)
        sequences = [group[row].sequence for row in ready]
        for sequence, choice in zip(sequences, choose_together(logits, sequences), strict=True):
            self._accept(sequence, choice)

    def _forward(self, group: list[Work]) -> Tensor:
        width = max(work.num_tokens for work in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        positions = torch.full((len(group), width), PADDING, dtype=torch.long)
        for row, work in enumerate(group):
            ids[row, : work.num_tokens] = torch.tensor(work.sequence.tokens(work.start, work.stop))
            positions[row, : work.num_tokens] = torch.arange(work.start, work.stop)
        slots = torch.tensor([work.sequence.slot for work in group])
        on = self.device
        return self.model(ids.to(on), positions=positions.to(on), cache=self.cache, slots=slots.to(on))

    def _decode(self, group: list[Work], decoder: Decoder) -> Tensor:
        """The same for one token a row, by the native decoder."""
        ids = torch.tensor([work.sequence.tokens(work.start, work.stop)[0] for work in group])
        positions = torch.tensor([work.start for work in group])
        slots = torch.tensor([work.sequence.slot for work in group])
        return decoder.hidden(ids, positions, slots).unsqueeze(1)

    def _accept(self, sequence: Sequence, choice: Choice | None) -> None:
        """Append the chosen token and post it; end the sequence where it stops, is full, or could not be decided."""
        if choice is None:
            self.cancel(sequence.id, reason="error")
            return
        stopped = choice.token in sequence.sampling.stop_ids
        if not stopped:
            sequence.generated.append(choice.token)
        reason = "stop" if stopped else "length" if sequence.length >= sequence.limit else None
        self._mail[sequence.id].append(Event(sequence.id, choice.token, choice.logprob, reason, choice.top))
        if reason is not None:
            del self._sequences[sequence.id]
            self.scheduler.finish(sequence)


def alike(prefilling: Ordered[Work]) -> list[list[Work]]:
    """Work of like length together: with its padding a group computes at most `PADDED` times the tokens it holds."""
    groups: list[list[Work]] = []
    real = 0
    for work in sorted(prefilling, key=lambda work: -work.num_tokens):
        if groups and (len(groups[-1]) + 1) * groups[-1][0].num_tokens <= PADDED * (real + work.num_tokens):
            groups[-1].append(work)
            real += work.num_tokens
        else:
            groups.append([work])
            real = work.num_tokens
    return [sorted(group, key=lambda work: work.sequence.slot) for group in groups]


def choose_together(logits: Tensor, sequences: Ordered[Sequence]) -> list[Choice | None]:
    """One choice per row of logits (R, V); None where the logits are not finite, which must not harm the other rows."""
    sound = torch.isfinite(logits).all(dim=-1).tolist()
    greedy = logits.argmax(dim=-1).tolist()
    choices: list[Choice | None] = []
    for row, sequence in enumerate(sequences):
        sampling = sequence.sampling
        if not sound[row]:
            choices.append(None)
        elif sampling.temperature == 0 and sampling.leaves_logits_alone:
            choices.append(describe(logits[row], greedy[row], sampling.logprobs))
        else:
            choices.append(choose(logits[row], sampling, sequence.prompt, sequence.generated, sequence.seed))
    return choices
