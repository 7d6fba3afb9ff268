"""What clients get: the OpenAI response objects, streamed and whole.

In: pieces and finished answers. Out: plain dictionaries, ready for JSON, and the lines of a server-sent event stream.
Called by `app`. Pure.
Source: https://platform.openai.com/docs/api-reference/chat/object, …/chat/streaming, …/completions/object
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from danlu.base.records import ToolCall
from danlu.serve.answering import Answers, Finished, Piece, TokenProbability
from danlu.serve.stream import Delta
from danlu.tokenizer.tokenizer import Tokenizer

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def sse(value: dict[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


@dataclass
class Usage:
    """Token counts of a request."""

    prompt: int
    completion: int = 0
    reasoning: int = 0

    @classmethod
    def of(cls, num_prompt_tokens: int, answers: Answers) -> Usage:
        return cls(num_prompt_tokens, answers.num_tokens, answers.num_reasoning_tokens)

    def body(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


@dataclass
class Envelope:
    """What all objects of one answer share: id, time, model."""

    model: str
    fingerprint: str
    tokenizer: Tokenizer
    prefix: str = "chatcmpl"
    id: str = field(init=False)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.id = f"{self.prefix}-{secrets.token_hex(16)}"

    def wrap(self, kind: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        """The object around `choices`."""
        body = {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }
        return body if usage is None else {**body, "usage": usage.body()}


class ChatReplies(Envelope):
    """Objects of /v1/chat/completions. `parallel_calls=False` lets the first of several tool calls through only."""

    kind = "chat.completion.chunk"
    parallel_calls = True
    wants_logprobs = False

    def whole(self, answers: Sequence[Finished], usage: Usage) -> dict[str, Any]:
        """The answer that is not streamed."""
        return self.wrap("chat.completion", [self._choice(answer) for answer in answers], usage)

    def _choice(self, answer: Finished) -> dict[str, Any]:
        calls = answer.text.calls if self.parallel_calls else answer.text.calls[:1]
        message: dict[str, Any] = {"role": "assistant", "content": answer.text.content, "refusal": None}
        if answer.text.reasoning:
            message["reasoning_content"] = answer.text.reasoning
        if calls:
            message["content"] = answer.text.content if answer.text.content else None
            message["tool_calls"] = [_call(call) for call in calls]
        return {
            "index": answer.index,
            "message": message,
            "finish_reason": answer.finish_reason,
            "logprobs": self._logprobs(answer.probabilities),
        }

    def _logprobs(self, items: Sequence[TokenProbability]) -> dict[str, Any] | None:
        if not self.wants_logprobs:
            return None
        content = []
        for item in items:
            top = [self._token(token, logprob) for token, logprob in item.top]
            content.append({**self._token(item.token, item.logprob), "top_logprobs": top})
        return {"content": content, "refusal": None}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        # Of this one token: decoding drops the space with which some foreign tokenizers begin every text.
        raw = list(self.tokenizer.bytes_of(token))
        return {"token": self.tokenizer.token_text(token), "logprob": logprob, "bytes": raw}

    def first(self, index: int) -> bytes:
        """The chunk that opens a choice: its role."""
        return self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def pieces(self, piece: Piece, num_calls: int) -> Iterator[bytes]:
        """The chunks of one piece; `num_calls` tool calls have been sent before it."""
        probabilities: Sequence[TokenProbability] = piece.probabilities
        for delta in piece.deltas:
            if delta.call is not None:
                if num_calls and not self.parallel_calls:
                    continue
                change: dict[str, Any] = {"tool_calls": [{"index": num_calls, **_call(delta.call)}]}
                num_calls += 1
            else:
                change = {"content": delta.content} if delta.content else {"reasoning_content": delta.reasoning}
            yield self._chunk(piece.index, change, probabilities)
            probabilities = ()
        if piece.finish_reason is not None:
            yield self._chunk(piece.index, {}, probabilities, piece.finish_reason)

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        probabilities: Sequence[TokenProbability] = (),
        finish_reason: str | None = None,
    ) -> bytes:
        logprobs = self._logprobs(probabilities) if probabilities else None
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return sse(self.wrap(self.kind, [choice]))


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id if call.id else new_call_id(), "type": "function", "function": function}


class CompletionReplies(Envelope):
    """Objects of /v1/completions; `echoes` is what stands before each choice's text."""

    kind = "text_completion"
    echoes: Sequence[str] = ()
    wants_logprobs = False

    def whole(self, answers: Sequence[Finished], usage: Usage) -> dict[str, Any]:
        """The answer that is not streamed; choices are numbered in the order given."""
        choices = [
            self._choice(
                index, self._echo(answer.index) + answer.text.content, answer.probabilities, answer.finish_reason
            )
            for index, answer in enumerate(answers)
        ]
        return self.wrap(self.kind, choices, usage)

    def _echo(self, index: int) -> str:
        return self.echoes[index] if self.echoes else ""

    def first(self, index: int) -> bytes | None:
        """The echoed prompt, or nothing."""
        echo = self._echo(index)
        return sse(self.wrap(self.kind, [self._choice(index, echo, (), None)])) if echo else None

    def pieces(self, piece: Piece, num_calls: int) -> Iterator[bytes]:
        """The chunk of one piece."""
        text = "".join(delta.content for delta in piece.deltas)
        yield sse(self.wrap(self.kind, [self._choice(piece.index, text, piece.probabilities, piece.finish_reason)]))

    def _choice(
        self, index: int, text: str, probabilities: Sequence[TokenProbability], finish_reason: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(probabilities) if self.wants_logprobs else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}

    def _logprobs(self, items: Sequence[TokenProbability]) -> dict[str, Any]:
        text = self.tokenizer.token_text
        return {
            "tokens": [text(item.token) for item in items],
            "token_logprobs": [item.logprob for item in items],
            "top_logprobs": [{text(token): logprob for token, logprob in item.top} for item in items],
            "text_offset": [item.offset for item in items],
        }


def call_count(deltas: Sequence[Delta]) -> int:
    """How many of the deltas are tool calls."""
    return sum(delta.call is not None for delta in deltas)
