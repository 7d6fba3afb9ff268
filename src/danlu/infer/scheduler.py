"""Which sequences work on which tokens in the next step. Numbers only: no tensor, no model, no thread.

In: requests as they arrive, tokens as they are chosen. Out: a plan, one `Work` per sequence and step. Called by
`engine` alone. A sequence is its tokens and a count of those that lie in the cache, so that decoding, a prompt in
pieces and starting over after pre-emption are one and the same thing: compute tokens `computed .. stop`.
Does not know how the cache is laid out; a paged cache replaces the reservation in `_fits`, nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush

from danlu.infer.sampling import Sampling


class State(StrEnum):
    """Waiting for a slot, holding one, or done."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Sequence:
    """One request on its way. `computed` counts the leading tokens whose keys and values are in the cache."""

    id: int
    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int
    limit: int
    """Most tokens that prompt and answer may have together."""
    generated: list[int] = field(default_factory=list)
    computed: int = 0
    slot: int = -1
    state: State = State.WAITING

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.generated)

    @property
    def pending(self) -> int:
        """Tokens that have to be computed before the next one can be chosen; 1 while decoding."""
        return self.length - self.computed

    def tokens(self, start: int, stop: int) -> list[int]:
        """Tokens `start .. stop` of prompt and answer."""
        split = len(self.prompt)
        return [*self.prompt[start:stop], *self.generated[max(start - split, 0) : max(stop - split, 0)]]


@dataclass(frozen=True, slots=True)
class Work:
    """Compute tokens `start .. stop` of a sequence; where `chooses`, the last one's logits choose its next token."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def chooses(self) -> bool:
        return self.stop == self.sequence.length

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start


class Scheduler:
    """First come, first served: a slot and a reservation of cache tokens admit, a budget of tokens bounds a step.

    `num_slots` sequences may run at once; together they may grow to `cache_tokens`; one step computes at most
    `step_tokens`, decoding before prompts, so that a long prompt never makes the others wait for all of it.
    """

    def __init__(self, *, num_slots: int, cache_tokens: int, step_tokens: int):
        assert step_tokens >= num_slots, "a step must hold one token of every running sequence"
        self.cache_tokens, self.step_tokens = cache_tokens, step_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._free_slots = list(range(num_slots))  # a heap: the lowest first, so that running slots stay neighbours

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence at the end of the queue."""
        self.waiting.append(sequence)

    def schedule(self) -> list[Work]:
        """The work of the next step: decoding first, then prompts under way, then new ones, as the budget allows."""
        plan = [self._work(sequence, 1) for sequence in self.running if sequence.pending == 1]
        budget = self.step_tokens - len(plan)
        for sequence in self.running:
            if sequence.pending > 1 and budget > 0:
                plan.append(self._work(sequence, budget))
                budget -= plan[-1].num_tokens
        while self.waiting and budget > 0 and self._fits(self.waiting[0]):
            sequence = self.waiting.popleft()
            sequence.slot, sequence.state = heappop(self._free_slots), State.RUNNING
            self.running.append(sequence)
            plan.append(self._work(sequence, budget))
            budget -= plan[-1].num_tokens
        return plan

    def _work(self, sequence: Sequence, budget: int) -> Work:
        return Work(sequence, sequence.computed, sequence.computed + min(sequence.pending, budget))

    def _fits(self, sequence: Sequence) -> bool:
        """Reserved is what a sequence may grow to, so that one that was admitted can always finish."""
        reserved = sum(other.limit for other in self.running)
        return bool(self._free_slots) and (not self.running or reserved + sequence.limit <= self.cache_tokens)

    def computed(self, plan: Ordered[Work]) -> None:
        """Note that the plan's tokens are in the cache."""
        for work in plan:
            work.sequence.computed = work.stop

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it stands; its slot is free for the next step."""
        self._release(sequence)
        sequence.state = State.FINISHED

    def preempt(self, sequence: Sequence) -> None:
        """Take a running sequence's slot away and put it first in the queue; its tokens will be computed anew."""
        assert sequence.state is State.RUNNING
        self._release(sequence)
        sequence.computed, sequence.state = 0, State.WAITING
        self.waiting.appendleft(sequence)

    def _release(self, sequence: Sequence) -> None:
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
            heappush(self._free_slots, sequence.slot)
            sequence.slot = -1
        elif sequence.state is State.WAITING:
            self.waiting.remove(sequence)
