"""An engine in a thread of its own, for callers in other threads.

In: requests and cancellations from anywhere, at once and without waiting. Out: events, given to each request's own
callback from the engine's thread. Called by `serve` and by whoever must not block. The engine is touched by its
thread only; the callers' side of the border is one queue.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from danlu.base.errors import UserError
from danlu.infer.engine import Engine, Event, Request

logger = logging.getLogger("danlu.infer")
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class _Submit:
    ticket: int
    request: Request
    listener: Listener


@dataclass(frozen=True, slots=True)
class _Cancel:
    ticket: int


class Runner:
    """Runs `engine` until `close`. A listener is called in the engine's thread and must return at once."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.num_failures = 0
        self._inbox: queue.SimpleQueue[_Submit | _Cancel | None] = queue.SimpleQueue()
        self._tickets = count()
        self._listeners: dict[int, tuple[int, Listener]] = {}  # engine id -> ticket, listener
        self._ids: dict[int, int] = {}  # ticket -> engine id
        self._step_started_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="danlu-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Listener) -> int:
        """Hand over a request and return its ticket; everything else, errors too, arrives at the listener."""
        ticket = next(self._tickets)
        self._inbox.put(_Submit(ticket, request, listener))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Ask for an end; the slot is free before the step after the present one. Its listener hears no more."""
        self._inbox.put(_Cancel(ticket))

    def close(self) -> None:
        """Stop after the present step and wait for the thread; requests under way hear `cancelled`."""
        self._inbox.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def seconds_in_step(self) -> float:
        """How long the present step has taken; 0 between steps. A stuck engine shows here."""
        started_at = self._step_started_at
        return 0.0 if started_at is None else time.monotonic() - started_at

    def _work(self) -> None:
        while self._take_orders():
            self._step_started_at = time.monotonic()
            try:
                events = self.engine.step()
            except Exception:  # whatever failed, those who wait must hear of it and the next request must be served
                logger.exception("the engine failed in a step; the requests under way are ended")
                events = self._give_up()
            self._step_started_at = None
            for event in events:
                self._deliver(event)
        for id in list(self._listeners):
            self._deliver(Event(id, None, finish_reason="cancelled"))

    def _take_orders(self) -> bool:
        """Take every order that has arrived; without work, wait for one. False when it is time to stop."""
        while True:
            try:
                order = self._inbox.get(block=not self._listeners)
            except queue.Empty:
                return True
            if order is None:
                return False
            if isinstance(order, _Submit):
                self._submit(order)
            else:
                self._cancel(order.ticket)

    def _submit(self, order: _Submit) -> None:
        try:
            id = self.engine.submit(order.request)
        except UserError:
            # Callers check the prompt before; what still arrives here is theirs to mend, and must not stop the thread.
            logger.exception("a request was refused")
            order.listener(Event(order.ticket, None, finish_reason="error"))
            return
        self._ids[order.ticket] = id
        self._listeners[id] = (order.ticket, order.listener)

    def _cancel(self, ticket: int) -> None:
        id = self._ids.pop(ticket, None)
        if id is not None:
            del self._listeners[id]
            self.engine.cancel(id)

    def _give_up(self) -> list[Event]:
        self.num_failures += 1
        for id in list(self._listeners):
            self.engine.cancel(id)
        return [Event(id, None, finish_reason="error") for id in self._listeners]

    def _deliver(self, event: Event) -> None:
        if event.id not in self._listeners:  # cancelled in the meantime
            return
        ticket, listener = self._listeners[event.id]
        if event.finish_reason is not None:
            del self._listeners[event.id], self._ids[ticket]
        listener(replace(event, id=ticket))
