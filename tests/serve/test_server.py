"""The process side: deadlines for slow clients, over raw sockets."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest

from danlu.serve import limits, server
from tests import tiny
from tests.serving import NAME, serving

PATIENCE_SECONDS = 30


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(server, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(limits.BodyLimit.__init__, "__kwdefaults__", {"max_bytes": 1000, "seconds": 1.0})
    with serving(tiny.Scripted("好" * 30)) as running:
        yield running


def connect(running) -> socket.socket:
    address = urlsplit(running.url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS)


def everything(connection: socket.socket) -> bytes:
    """What the server sends until it closes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        return received
    return received


def received_until(connection: socket.socket, mark: bytes = b"\r\n\r\n") -> bytes:
    """What the server sends up to the mark, by default the end of the headers."""
    received = b""
    while mark not in received:
        data = connection.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    return received


def head(length: int | str, extra: str = "") -> bytes:
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{extra}Content-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_late_headers_end_the_connection(quick, start):
    with connect(quick) as connection:
        connection.sendall(start)
        assert everything(connection) == b""


def test_late_headers_of_a_second_request_too(quick):
    with connect(quick) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in received_until(connection, b'"ok"')
        connection.sendall(b"GET /health HT")
        assert everything(connection) == b""


def test_a_connection_with_timely_requests_outlives_the_header_deadline(quick):
    with connect(quick) as connection:
        for _ in range(6):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in received_until(connection, b'"ok"')
            time.sleep(0.3)


def test_a_late_body_is_a_408(quick):
    with connect(quick) as connection:
        connection.sendall(head(100) + b'{"model"')
        assert b" 408 " in received_until(connection)


@pytest.mark.parametrize("length", [1001, 10**17, "1" * 30])
def test_a_large_body_is_refused_by_its_header(quick, length):
    with connect(quick) as connection:
        connection.sendall(head(length))
        assert received_until(connection).split(b" ")[1] in (b"413", b"400")


def test_a_large_body_in_pieces_is_refused_while_it_comes(quick):
    with connect(quick) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3
        )
        assert b" 413 " in received_until(connection)


def test_large_headers_and_garbage_are_400(quick):
    for sent in (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        with connect(quick) as connection:
            connection.sendall(sent)
            assert b" 400 " in received_until(connection)


def test_a_normal_client_is_served_beside_slow_ones():
    with serving(tiny.Scripted("好" * 30)) as running:
        slow = [connect(running) for _ in range(50)]
        answer = running.client().completions.create(model=NAME, prompt="a", max_tokens=3)
        assert answer.usage.completion_tokens == 3
        for connection in slow:
            connection.close()


def test_a_client_that_does_not_read_is_let_go(quick):
    address = urlsplit(quick.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the server's side fills up soon
        connection.connect((address.hostname, address.port))
        connection.settimeout(PATIENCE_SECONDS)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            keep_asking(connection)


def keep_asking(connection: socket.socket) -> None:
    """Ask for the page again and again and never read it."""
    while True:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
