"""Numbers about the running server, as Prometheus reads them.

In: counts and durations. Out: the text of `/metrics`. Called by `app` and `answering`. Labels are route templates
and statuses only, never what a client wrote, so that their number is bounded. Single-threaded: the event loop's.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from typing import Any

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds; upper bounds, inclusive."""

COUNTERS = {
    "danlu_requests_total": "requests by route and status",
    "danlu_prompt_tokens_total": "tokens of prompts",
    "danlu_generated_tokens_total": "tokens of answers",
    "danlu_cancelled_total": "requests whose client went away",
    "danlu_failed_total": "requests whose answer the engine could not complete: it failed, or was stopped",
}
HISTOGRAMS = {
    "danlu_request_seconds": "seconds from request to the end of the answer",
    "danlu_first_token_seconds": "seconds from request to the first token of the answer",
}
GAUGES = {
    "danlu_answers_active": "answers under way or waiting",
    "danlu_slots": "sequences that can be decoded together",
    "danlu_sequences_in_last_step": "sequences that the engine's last step worked on",
    "danlu_engine_failures": "steps in which the engine failed; each ends the requests under way",
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters and histograms; gauges are given when the page is written."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], float] = defaultdict(float)
        self._buckets = {name: [0] * (len(DURATION_BUCKETS) + 1) for name in HISTOGRAMS}
        self._sums = dict.fromkeys(HISTOGRAMS, 0.0)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add `amount` to a counter of the table above."""
        assert name in COUNTERS, name
        self._counts[name, tuple(sorted(labels.items()))] += amount

    def observe(self, name: str, seconds: float) -> None:
        """Put one duration into a histogram of the table above."""
        place = sum(seconds > bound for bound in DURATION_BUCKETS)
        self._buckets[name][place] += 1
        self._sums[name] += seconds

    def text(self, gauges: Mapping[str, float]) -> str:
        """The page: counters, histograms, and the gauges of the table above as they stand now."""
        lines: list[str] = []
        for name, help in COUNTERS.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} counter"]
            found = {labels: value for (key, labels), value in self._counts.items() if key == name}
            lines += [
                f"{name}{_labels(labels)} {_number(value)}" for labels, value in sorted((found or {(): 0.0}).items())
            ]
        for name, help in HISTOGRAMS.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} histogram", *self._histogram(name)]
        for name, value in gauges.items():
            lines += [f"# HELP {name} {GAUGES[name]}", f"# TYPE {name} gauge", f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str) -> list[str]:
        lines, total = [], 0
        for bound, number in zip([*map(str, DURATION_BUCKETS), "+Inf"], self._buckets[name], strict=True):
            total += number
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {_number(self._sums[name])}", f"{name}_count {total}"]


class CountRequests:
    """ASGI middleware: counts requests by route template and status, and forbids guessing of content types."""

    def __init__(self, app: Any, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")  # set by the router, in this same scope
                self.metrics.count("danlu_requests_total", route=route, status=str(message["status"]))
                message["headers"] = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self.app(scope, receive, counted)


def _number(value: float) -> str:
    """All its digits: a counter that is rounded stands still, and then jumps."""
    return str(int(value)) if value == int(value) else repr(value)


def _labels(labels: Labels) -> str:
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
