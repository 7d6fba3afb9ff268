"""How much is taken on: bytes of a body, seconds for it to arrive, answers at once.

In: requests before anything of them is parsed. Out: `ApiError` 408, 413 or 429 with an honest Retry-After. Called by
`app`; deadlines for headers and for clients that do not read are `server`'s, which sees the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import orjson

from danlu.serve.protocol import ApiError

MAX_BODY_BYTES = 8_000_000
BODY_SECONDS = 30.0
DRAIN_SECONDS, DRAIN_BODIES = 2.0, 2
"""How long, and how many times the largest body, is read of a request that is refused for its size."""
RETRY_SECONDS = (1, 120)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: a body is at most so large and arrives within a deadline, whatever its headers claim."""

    def __init__(self, app: Any, *, max_bytes: int = MAX_BODY_BYTES, seconds: float = BODY_SECONDS):
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if len(declared) > 18 or not declared.isdigit() or int(declared) > self.max_bytes:
            await self._drain(receive)
            await send_error(self._too_large(), send)
            return
        await self.app(scope, self._limited(receive), send)

    async def _drain(self, receive: Receive) -> None:
        """Read what is refused, within bounds: closing on unread bytes resets the connection and the answer is lost."""
        num_bytes = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while num_bytes <= DRAIN_BODIES * self.max_bytes:
                    message = await receive()
                    num_bytes += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _limited(self, receive: Receive) -> Receive:
        num_bytes, is_complete = 0, False
        deadline = asyncio.get_running_loop().time() + self.seconds

        async def limited() -> Message:
            nonlocal num_bytes, is_complete
            if is_complete:
                return await receive()  # from here on only the news that the client has gone
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, f"The body did not arrive within {self.seconds:g} seconds.") from None
            num_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if num_bytes > self.max_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The body is larger than {self.max_bytes} bytes.", code="body_too_large")


async def send_error(error: ApiError, send: Send) -> None:
    """Answer with an error where no framework does it for us, and close: the rest of the body is not read."""
    body = orjson.dumps(error.body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", error.id.encode()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Gate:
    """Counts the answers under way; `num_slots` are worked on at once, up to `max_waiting` more wait their turn."""

    def __init__(self, num_slots: int, max_waiting: int):
        self.num_slots, self.max_waiting = num_slots, max_waiting
        self.active = 0
        self._durations: deque[float] = deque(maxlen=32)

    def enter(self, count: int) -> None:
        """Take `count` answers on, or raise a 429. A request that could never fit is let in when nobody else is."""
        if self.active and self.active + count > self.num_slots + self.max_waiting:
            raise ApiError(
                429,
                f"The server is busy: {self.active} answers are under way or waiting.",
                code="queue_full",
                headers={"Retry-After": str(self.retry_after_seconds())},
            )
        self.active += count

    @contextmanager
    def admitted(self, count: int) -> Iterator[None]:
        """Take `count` answers on before the work of making them ready; where the block fails they leave at once."""
        self.enter(count)
        try:
            yield
        except BaseException:  # a cancelled request as well
            self.active -= count
            raise

    def leave(self, count: int, seconds: float) -> None:
        """`count` answers are done after `seconds`."""
        self.active -= count
        self._durations.append(seconds)

    def retry_after_seconds(self) -> int:
        """When a slot's share of those ahead will be done, judged by the latest answers; a whole number of seconds."""
        typical = sum(self._durations) / len(self._durations) if self._durations else 1.0
        rounds = max(self.active - self.num_slots, 0) / self.num_slots + 1
        return round(min(max(typical * rounds, RETRY_SECONDS[0]), RETRY_SECONDS[1]))
