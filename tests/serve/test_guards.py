"""Keys, addresses, limits and counters, each alone."""

from __future__ import annotations

import hmac
import socket

import pytest

from danlu.base.errors import UserError
from danlu.serve.auth import KeyRing, check_bind, is_loopback, new_key
from danlu.serve.limits import Gate
from danlu.serve.metrics import Metrics
from danlu.serve.protocol import ApiError
from danlu.serve.server import listen, url_of

KEY, OTHER = "k" * 24, "o" * 24


def test_keys_open_and_others_do_not():
    ring = KeyRing([KEY, f" {OTHER}\n"])
    assert ring.accepts(KEY)
    assert ring.accepts(OTHER)
    for wrong in ("", KEY[:-1], KEY + "k", KEY.upper(), "键" * 24, "\x00"):
        assert not ring.accepts(wrong)
    assert not KeyRing([]).accepts("")


def test_keys_are_kept_as_salted_hashes_only():
    first, second = KeyRing([KEY]), KeyRing([KEY])
    assert KEY not in repr(vars(first))
    assert first._hashes != second._hashes


def test_every_key_is_compared_in_constant_time(monkeypatch):
    seen = []

    def spy(a, b):
        seen.append((a, b))
        return real(a, b)

    real = hmac.compare_digest
    ring = KeyRing([KEY, OTHER])
    monkeypatch.setattr(hmac, "compare_digest", spy)
    ring.accepts(KEY)
    assert len(seen) == 2  # no early end, and never a plain ==


def test_short_keys_are_refused_and_new_ones_are_long_and_different():
    with pytest.raises(UserError, match="too short"):
        KeyRing(["short"])
    assert len({new_key() for _ in range(20)}) == 20
    assert KeyRing([new_key()])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    check_bind(host, KeyRing([]))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org", "127.0.0.1.example.org", "localhost.x"]
)
def test_public_addresses_need_one(host):
    with pytest.raises(UserError, match="needs an API key"):
        check_bind(host, KeyRing([]))
    check_bind(host, KeyRing([KEY]))


def test_a_taken_port_is_said_in_one_sentence():
    with listen("127.0.0.1", 0, KeyRing([])) as first:
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match="cannot listen there"):
            listen("127.0.0.1", port, KeyRing([]))
    assert isinstance(first, socket.socket)


def test_the_gate_counts_and_says_how_long_to_wait():
    gate = Gate(num_slots=2, max_waiting=2)

    def give_up() -> None:
        with gate.admitted(4):
            assert gate.active == 4
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    with gate.admitted(1):
        assert gate.active == 1, "those of a block that failed have left"
    gate.leave(1, seconds=10)
    gate.enter(3)
    gate.leave(1, seconds=10)
    gate.enter(2)
    with pytest.raises(ApiError) as caught:
        gate.enter(1)
    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"] == "20"  # two wait behind two slots: two rounds of ten seconds
    gate.leave(4, seconds=0.001)
    gate.enter(50)  # larger than the house: alone it may
    with pytest.raises(ApiError):
        gate.enter(1)
    assert 1 <= gate.retry_after_seconds() <= 120


def test_metrics_are_prometheus_text():
    metrics = Metrics()
    metrics.count("danlu_requests_total", route='/a"\\\n', status="200")
    metrics.count("danlu_requests_total", route='/a"\\\n', status="200")
    metrics.count("danlu_prompt_tokens_total", 123_456_789)
    for seconds in (0.001, 0.3, 1000.0):
        metrics.observe("danlu_request_seconds", seconds)
    text = metrics.text({"danlu_slots": 8})
    assert 'danlu_requests_total{route="/a\\"\\\\\\n",status="200"} 2\n' in text
    assert 'danlu_request_seconds_bucket{le="0.005"} 1\n' in text
    assert 'danlu_request_seconds_bucket{le="0.5"} 2\n' in text
    assert 'danlu_request_seconds_bucket{le="+Inf"} 3\n' in text
    assert "danlu_request_seconds_count 3\n" in text
    assert "danlu_request_seconds_sum 1000.301\n" in text
    assert "danlu_prompt_tokens_total 123456789\n" in text
    assert "# HELP danlu_slots sequences that can be decoded together\n# TYPE danlu_slots gauge\n" in text
    assert "danlu_slots 8\n" in text
    assert "danlu_generated_tokens_total 0\n" in text
