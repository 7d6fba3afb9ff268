"""The process side of serving: a socket, deadlines on connections, uvicorn, and how it all ends.

In: an application, an address, keys. Out: a running server, in the foreground (`run`) or beside the caller
(`background`, for the stage and the tests). Called by `commands.serve` and `stages.serve`. Binds to loopback unless
told otherwise, and never to a public address without a key. Knows no routes.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from danlu.base.errors import UserError
from danlu.serve.auth import KeyRing, check_bind

LOOPBACK = "127.0.0.1"
HEADER_SECONDS = 10.0
STALL_SECONDS = 60.0
GRACE_SECONDS = 10
MAX_CONNECTIONS = 1024
MAX_HEADER_BYTES = 32_768


class DeadlineProtocol(H11Protocol):
    """uvicorn's HTTP with two deadlines that it lacks: headers arrive in time, and what is sent is read in time."""

    _header_deadline: asyncio.TimerHandle | None = None
    _stall_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:  # the headers have arrived
            _cancel(self._header_deadline)
            self._header_deadline = None
        if self.cycle is before and self._is_between_requests and self._header_deadline is None:
            self._expect_headers()

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._header_deadline = self.loop.call_later(HEADER_SECONDS, self._headers_are_late)

    def _headers_are_late(self) -> None:
        self._header_deadline = None
        if self._is_between_requests:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write: it has so long to catch up."""
        super().pause_writing()
        self._stall_deadline = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stall_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _cancel(self._header_deadline)
        _cancel(self._stall_deadline)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def listen(host: str, port: int, keys: KeyRing) -> socket.socket:
    """A listening socket; UserError where the address is public without a key, taken, or not ours."""
    check_bind(host, keys)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=512)
    except OSError as error:
        raise UserError(
            "the server cannot listen there",
            where=f"{host}:{port}",
            found=error.strerror if error.strerror is not None else error,
            remedy="choose another --port (0 takes a free one) or --host",
        ) from None


def url_of(listening: socket.socket) -> str:
    """The address to type into a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server(app: FastAPI) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # request lines may hold what people wrote; the counts are on /metrics
            server_header=False,
            proxy_headers=False,  # nobody may claim another address than his own
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; answers under way have `GRACE_SECONDS` to end."""
    _server(app).run(sockets=[listening])


@contextmanager
def background(app: FastAPI, listening: socket.socket) -> Iterator[str]:
    """Serve in a thread while the block runs; yields the server's URL."""
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="danlu-server", daemon=True)
    thread.start()
    try:
        yield url_of(listening)  # connections made before the loop runs wait in the socket's queue
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
