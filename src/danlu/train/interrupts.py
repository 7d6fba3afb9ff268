"""Ctrl-C and SIGTERM during training: the step is finished and saved, and then the run says how to go on.

In: nothing. Out: a question, `asked()`, that the loop puts after every step. Called by the training stages. A second
signal stops at once; the newest checkpoint stays what it was.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from danlu.base import console
from danlu.base.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(UserError):
    """Someone stopped the run; its state lies on the disk."""

    exit_code = 130


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Within the block the first signal only sets a flag; outside the main thread, where Python gives none, nothing."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        console.complain(f"\n{signal.Signals(number).name}: finishing the step and saving; once more stops at once")

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
