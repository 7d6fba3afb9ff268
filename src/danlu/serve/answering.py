"""One request's answers on their way from the engine to the client, for any number of choices.

In: prompts and a request's sampling. Out: `Piece`s as they are decoded; or all of it, put together from the same
pieces. Called by `app`. Turns the engine's ids into text and cuts at stop strings; knows no HTTP and no JSON.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from danlu.infer.engine import Event, Request
from danlu.infer.runner import Runner
from danlu.infer.sampling import Sampling
from danlu.serve.protocol import ApiError
from danlu.serve.stream import Assembled, Delta, Router, StopStrings
from danlu.tokenizer.tokenizer import Tokenizer

SILENCE_SECONDS = 15.0
SEED_STRIDE = 2**64
"""Between the seeds of one request's choices: beyond the range of seeds that clients can name, so none collides."""


@dataclass(frozen=True, slots=True)
class TokenProbability:
    """One token of an answer with its log-probability, the likeliest alternatives, and where it begins.

    `offset` counts the characters of the answer that were complete before it; tokens that share a character share it.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of choice `index`: what to show, its tokens' probabilities, and the end where it is one."""

    index: int
    deltas: tuple[Delta, ...] = ()
    probabilities: tuple[TokenProbability, ...] = ()
    finish_reason: str | None = None

    @property
    def is_silence(self) -> bool:
        """True where nothing came for a while, which a stream says with a comment so that proxies keep it open."""
        return self.index < 0


SILENCE = Piece(-1)


class Choice:
    """One answer: ids in, pieces out. `reads_chat` separates reasoning and calls; else all text is content.

    `last` is the prompt's last id: with some foreign tokenizers a first space belongs to the text unless it begins one.
    """

    def __init__(
        self, index: int, tokenizer: Tokenizer, last: int, stop: Sequence[str], *, reads_chat: bool, tools: bool
    ):
        self.index = index
        self.num_tokens = self.num_reasoning_tokens = 0
        self.finish_reason: str | None = None
        self._decoder, self._stop = tokenizer.stream(), StopStrings(stop)
        self._decoder.push(last)
        self._router = Router(tools=tools) if reads_chat else None
        self._held: list[TokenProbability] = []
        self._num_characters = 0
        self._has_calls = False

    def push(self, event: Event) -> Piece:
        """The piece that this event completes; its `finish_reason` is set where the answer is over."""
        text = ""
        if event.is_text and event.token is not None:
            offset, text = self._num_characters, self._decoder.push(event.token)
            self._num_characters += len(text)
            self.num_tokens += 1
            self.num_reasoning_tokens += self._router is not None and self._router.is_reasoning
            if event.logprob is not None:
                self._held.append(TokenProbability(event.token, event.logprob, event.top, offset))
        passed = self._stop.push(text)
        is_over = event.finish_reason is not None or self._stop.hit is not None
        if is_over and self._stop.hit is None:
            passed += self._stop.push(self._decoder.finish()) + self._stop.finish()
        deltas = self._routed(passed, is_over=is_over)
        if is_over:
            self.finish_reason = self._reason(event)
        return Piece(self.index, tuple(deltas), self._released(bool(deltas) or is_over), self.finish_reason)

    def _routed(self, text: str, *, is_over: bool) -> list[Delta]:
        if self._router is None:
            return [Delta(content=text)] if text else []
        deltas = self._router.push(text) + (self._router.finish() if is_over else [])
        self._has_calls = self._has_calls or any(delta.call is not None for delta in deltas)
        return deltas

    def _reason(self, event: Event) -> str:
        if self._stop.hit is not None:
            return "stop"
        reason = event.finish_reason or "stop"
        return "tool_calls" if self._has_calls and reason == "stop" else reason

    def _released(self, is_shown: bool) -> tuple[TokenProbability, ...]:
        """Probabilities travel with the text that their tokens became part of."""
        if not is_shown:
            return ()
        released, self._held = tuple(self._held), []
        return released


@dataclass
class Finished:
    """One whole answer, put together from its pieces."""

    index: int
    text: Assembled = field(default_factory=Assembled)
    probabilities: list[TokenProbability] = field(default_factory=list)
    finish_reason: str = ""

    def mean_logprob(self) -> float:
        """What `best_of` ranks by; the emptiest answer counts as the least likely."""
        if not self.probabilities:
            return float("-inf")
        return sum(item.logprob for item in self.probabilities) / len(self.probabilities)


class Answers:
    """All choices of one request. Iterate for pieces as they come; `close` ends what is still under way."""

    def __init__(self, runner: Runner, choices: Sequence[Choice], requests: Sequence[Request]):
        self.choices = list(choices)
        self.first_token_at: float | None = None
        self.has_failed = False
        self._runner, self._open = runner, set(range(len(self.choices)))
        self._queue: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listener(index: int, event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: the server has stopped and nobody waits
                loop.call_soon_threadsafe(self._queue.put_nowait, (index, event))

        self._tickets = [
            runner.submit(request, lambda event, index=index: listener(index, event))  # type: ignore[misc]
            for index, request in enumerate(requests)
        ]

    @property
    def num_tokens(self) -> int:
        return sum(choice.num_tokens for choice in self.choices)

    @property
    def num_reasoning_tokens(self) -> int:
        return sum(choice.num_reasoning_tokens for choice in self.choices)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Every piece of every choice; ApiError 500 where the engine failed."""
        while self._open:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    index, event = await self._queue.get()
            except TimeoutError:
                yield SILENCE
                continue
            if index not in self._open:
                continue
            if self.first_token_at is None:
                self.first_token_at = time.monotonic()
            if event.finish_reason in ("error", "cancelled"):
                self.has_failed = True
                raise ApiError(500 if event.finish_reason == "error" else 503, "The answer could not be completed.")
            piece = self.choices[index].push(event)
            if piece.finish_reason is not None:
                self._open.discard(index)
                if event.finish_reason is None:  # ended by a stop string: the engine does not know of it
                    self._runner.cancel(self._tickets[index])
            if piece.deltas or piece.finish_reason is not None:
                yield piece

    async def whole(self) -> list[Finished]:
        """All answers to their ends, from the same pieces that a streaming client sees."""
        finished = [Finished(choice.index) for choice in self.choices]
        async for piece in self.pieces():
            if piece.is_silence:
                continue
            answer = finished[piece.index]
            answer.text.add(piece.deltas)
            answer.probabilities += piece.probabilities
            answer.finish_reason = piece.finish_reason or ""
        return finished

    def close(self) -> int:
        """Cancel what is still under way and return how many answers that were."""
        for index in self._open:
            self._runner.cancel(self._tickets[index])
        cancelled, self._open = len(self._open), set()
        return cancelled


def begin(
    runner: Runner,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sequence[Sampling],
    *,
    copies: int,
    stop: Sequence[str],
    reads_chat: bool = False,
    tools: bool = False,
) -> Answers:
    """Submit `copies` answers to each prompt; the copies of a seeded request differ, the first is the single one."""
    requests = [
        Request(tuple(prompt), replace(one, seed=None if one.seed is None else one.seed + copy * SEED_STRIDE))
        for prompt, one in zip(prompts, sampling, strict=True)
        for copy in range(copies)
    ]
    choices = [
        Choice(index, tokenizer, request.prompt[-1], stop, reads_chat=reads_chat, tools=tools)
        for index, request in enumerate(requests)
    ]
    return Answers(runner, choices, requests)
