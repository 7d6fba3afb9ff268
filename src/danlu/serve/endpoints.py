"""What each endpoint does: read, check, tokenise, hand to the engine, write the reply.

In: HTTP requests that were let in. Out: JSON, server-sent events, the chat page. Called by `app`, which says which
path leads where. A prompt that does not fit is refused with both numbers; a client that goes away ends its answers.
Prompts and answers are not logged.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from danlu.base.errors import UserError
from danlu.infer.runner import Runner
from danlu.serve.answering import Answers, Finished, begin
from danlu.serve.auth import public
from danlu.serve.limits import Gate
from danlu.serve.metrics import Metrics
from danlu.serve.protocol import ApiError, ChatRequest, CompletionRequest, R, invalid, read
from danlu.serve.replies import DONE, KEEP_ALIVE, ChatReplies, CompletionReplies, Usage, call_count, sse
from danlu.tokenizer.chat import ChatTemplate
from danlu.tokenizer.tokenizer import Tokenizer

logger = logging.getLogger("danlu.serve")
CLIENT_GONE = 499
"""nginx's status for a client that did not wait; nobody receives it, but it is counted."""
STUCK_SECONDS = 60.0
"""A step that takes longer is called stuck by /health; a long prompt on a slow machine stays well below."""
T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """What is served: a model behind its runner, under a name. `template` is None where the model cannot chat.

    `questions` are some of the kind that it was taught to answer, for the chat page to offer.
    """

    name: str
    runner: Runner
    tokenizer: Tokenizer
    template: ChatTemplate | None
    fingerprint: str = "unknown"
    questions: Sequence[str] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.runner.engine.length

    def card(self) -> dict[str, Any]:
        """The model as /v1/models lists it."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "danlu",
            "context_length": self.length,
            "questions": list(self.questions),
        }


@dataclass
class Job:
    """One request's answers together with what they hold; `close` gives it back, once."""

    answers: Answers
    num_prompt_tokens: int
    gate: Gate
    metrics: Metrics
    started_at: float = field(default_factory=time.monotonic)
    is_open: bool = True

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        seconds, answers = time.monotonic() - self.started_at, self.answers
        self.gate.leave(len(answers.choices), seconds)
        if answers.close():
            self.metrics.count("danlu_failed_total" if answers.has_failed else "danlu_cancelled_total")
        self.metrics.count("danlu_prompt_tokens_total", self.num_prompt_tokens)
        self.metrics.count("danlu_generated_tokens_total", answers.num_tokens)
        self.metrics.observe("danlu_request_seconds", seconds)
        if answers.first_token_at is not None:
            self.metrics.observe("danlu_first_token_seconds", answers.first_token_at - self.started_at)

    def usage(self) -> Usage:
        return Usage.of(self.num_prompt_tokens, self.answers)


class EventStream(StreamingResponse):
    """A stream that closes its job however it ends: read to the end, broken off, or never begun."""

    def __init__(self, content: AsyncIterator[bytes], job: Job):
        super().__init__(content, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.job = job

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.close()


class Service:
    """The endpoints, with what they share."""

    def __init__(self, served: Served, max_waiting: int):
        self.served, self.metrics = served, Metrics()
        self.gate = Gate(served.runner.engine.num_slots, max_waiting)
        self._page = files("danlu.serve").joinpath("chat.html").read_text(encoding="utf-8")
        self._page_headers = {
            "Content-Security-Policy": content_security_policy(self._page),
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }

    @public
    async def page(self) -> HTMLResponse:
        return HTMLResponse(self._page, headers=self._page_headers)

    @public
    async def health(self) -> JSONResponse:
        """200 while the engine's thread lives and its steps end; 503 otherwise."""
        runner = self.served.runner
        is_well = runner.is_alive and runner.seconds_in_step < STUCK_SECONDS
        status = "ok" if is_well else "stuck" if runner.is_alive else "stopped"
        return JSONResponse({"status": status}, status_code=200 if is_well else 503)

    async def metrics_page(self) -> PlainTextResponse:
        engine = self.served.runner.engine
        entry = engine.log[-1] if engine.log else None
        gauges = {
            "danlu_answers_active": self.gate.active,
            "danlu_slots": engine.num_slots,
            "danlu_sequences_in_last_step": entry.decoding + entry.prefilling if entry is not None else 0,
            "danlu_engine_failures": self.served.runner.num_failures,
        }
        return PlainTextResponse(self.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [self.served.card()]})

    async def model(self, name: str) -> JSONResponse:
        self._require_model(name)
        return JSONResponse(self.served.card())

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        asked = await _read(request, ChatRequest)
        self._require_model(asked.model)
        template = self.served.template
        if template is None:
            raise ApiError(400, "This model has no chat template; use /v1/completions.", code="chat_not_supported")
        messages, tools = [message.record() for message in asked.messages], asked.offered_tools
        with self.gate.admitted(asked.n):  # a full house says so before it does any work
            prompt = await run_sync(_tokenised, lambda: template.prompt(messages, tools), "messages")
            job = self._begin(asked, [prompt], "messages", copies=asked.n, reads_chat=True, tools=bool(tools))
        replies = ChatReplies(self.served.name, self.served.fingerprint, self.served.tokenizer)
        replies.parallel_calls, replies.wants_logprobs = asked.parallel_tool_calls, asked.logprobs
        return await self._reply(request, asked, job, replies)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        asked = await _read(request, CompletionRequest)
        self._require_model(asked.model)
        with self.gate.admitted(len(asked.prompt) * asked.num_tries):
            prompts = await run_sync(_tokenised, lambda: [self._prompt_ids(one) for one in asked.prompt], "prompt")
            job = self._begin(asked, prompts, "prompt", copies=asked.num_tries)
        replies = CompletionReplies(self.served.name, self.served.fingerprint, self.served.tokenizer, "cmpl")
        replies.wants_logprobs = asked.logprobs is not None
        if asked.echo:
            echoes = [one if isinstance(one, str) else self.served.tokenizer.decode(one) for one in asked.prompt]
            replies.echoes = [echo for echo in echoes for _ in range(asked.num_tries)]
        return await self._reply(request, asked, job, replies)

    def _require_model(self, name: str) -> None:
        if name != self.served.name:
            message = f"The model '{name[:100]}' does not exist; this server has '{self.served.name}'."
            raise ApiError(404, message, param="model", code="model_not_found")

    def _prompt_ids(self, prompt: str | list[int]) -> list[int]:
        """A text begins a document, as in training; ids are taken as they are."""
        if not isinstance(prompt, str):
            return prompt
        tokenizer = self.served.tokenizer
        return ([] if tokenizer.bos_id is None else [tokenizer.bos_id]) + tokenizer.encode(prompt)

    def _begin(
        self,
        asked: ChatRequest | CompletionRequest,
        prompts: Sequence[Sequence[int]],
        param: str,
        *,
        copies: int,
        reads_chat: bool = False,
        tools: bool = False,
    ) -> Job:
        """Check that the prompts fit, and submit the answers, which the gate has taken on."""
        tokenizer = self.served.tokenizer
        sampling = []
        for prompt in prompts:
            room = self._room(prompt, param)
            most = room if asked.wanted_tokens is None else min(asked.wanted_tokens, room)
            sampling.append(asked.sampling(most, tokenizer.stop_ids, tokenizer.size, asked.wanted_logprobs))
        answers = begin(
            self.served.runner,
            tokenizer,
            prompts,
            sampling,
            copies=copies,
            stop=asked.stop,
            reads_chat=reads_chat,
            tools=tools,
        )
        return Job(answers, sum(map(len, prompts)), self.gate, self.metrics)

    def _room(self, prompt: Sequence[int], param: str) -> int:
        """Tokens left for the answer; a prompt that leaves none is refused, never shortened."""
        if not prompt:
            raise invalid(param, "the prompt is empty.")
        room = self.served.length - len(prompt)
        if room < 1:
            raise ApiError(
                400,
                f"This model's context holds {self.served.length} tokens, at least one of them for the answer; "
                f"your {param} came to {len(prompt)} tokens. Please shorten them.",
                param=param,
                code="context_length_exceeded",
            )
        largest = max(prompt)  # after the length is known: a million ids are not looked through in the event loop
        if largest >= self.served.tokenizer.size:
            raise invalid(param, f"{largest} is not a token id; ids are 0 to {self.served.tokenizer.size - 1}.")
        return room

    async def _reply(
        self,
        request: Request,
        asked: ChatRequest | CompletionRequest,
        job: Job,
        replies: ChatReplies | CompletionReplies,
    ) -> Response:
        if asked.stream:
            wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
            return EventStream(_chunks(job, replies, wants_usage=wants_usage), job)
        try:
            answers = await _unless_gone(request, job.answers.whole())
        finally:
            job.close()
        if answers is None:
            return Response(status_code=CLIENT_GONE)
        if isinstance(asked, CompletionRequest):
            answers = best(answers, asked)
        return JSONResponse(replies.whole(answers, job.usage()), headers={"x-request-id": replies.id})

    async def on_api_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        headers = {**error.headers, "x-request-id": error.id}
        return JSONResponse(error.body(), status_code=error.status, headers=headers)

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        """The framework's own 404 and 405, in our shape."""
        assert isinstance(error, HTTPException)
        message = {404: "There is no such path.", 405: "This method is not allowed here."}
        answer = ApiError(error.status_code, message.get(error.status_code, "The request cannot be answered."))
        answer.headers = dict(error.headers) if error.headers is not None else {}
        return await self.on_api_error(request, answer)

    async def on_defect(self, request: Request, error: Exception) -> Response:
        """A defect of ours: the log has the cause, the client an id to quote."""
        answer = ApiError(500, "The server failed on this request.", code="internal_error")
        logger.error("request failed, error id %s", answer.id, exc_info=error)
        return await self.on_api_error(request, answer)


async def _read(request: Request, model: type[R]) -> R:
    """The checked body; only JSON is read, which a form on another site's page cannot send."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "Send the body as 'Content-Type: application/json'.", code="unsupported_media_type")
    return await run_sync(read, model, await request.body())


def _tokenised(tokenise: Any, param: str) -> Any:
    try:
        return tokenise()
    except UserError as error:
        raise invalid(param, f"{error.what}.") from None


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None where the client went away before it was there."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _chunks(job: Job, replies: ChatReplies | CompletionReplies, *, wants_usage: bool) -> AsyncIterator[bytes]:
    """The lines of a stream; an error after its beginning is an event, since the status has been sent."""
    try:
        for index in range(len(job.answers.choices)):
            opening = replies.first(index)
            if opening is not None:
                yield opening
        num_calls = [0] * len(job.answers.choices)
        async for piece in job.answers.pieces():
            if piece.is_silence:
                yield KEEP_ALIVE
                continue
            for chunk in replies.pieces(piece, num_calls[piece.index]):
                yield chunk
            num_calls[piece.index] += call_count(piece.deltas)
        if wants_usage:
            yield sse(replies.wrap(replies.kind, [], job.usage()))
    except ApiError as error:
        yield sse(error.body())
    yield DONE


def best(answers: list[Finished], asked: CompletionRequest) -> list[Finished]:
    """The `n` most likely answers to each prompt, of `best_of` made; in their own order where all are wanted."""
    if asked.num_tries == asked.n:
        return answers
    chosen: list[Finished] = []
    for start in range(0, len(answers), asked.num_tries):
        group = answers[start : start + asked.num_tries]
        chosen += sorted(group, key=lambda answer: -answer.mean_logprob())[: asked.n]
    return chosen


def content_security_policy(page: str) -> str:
    """Only this page's own script and style run, and only this server may be asked."""
    scripts, styles = (
        " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
