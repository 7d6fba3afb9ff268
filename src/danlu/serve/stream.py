"""Tokens become text, text becomes what a client sees: content, reasoning, tool calls; never a stop string.

In: token ids or pieces of text, as they arrive. Out: `Delta`s. Called by `answering` and the chat command. Pure:
no model, no HTTP, no clock. The answer that is not streamed is put together from the same deltas, so both are equal
by construction; and where the pieces are cut makes no difference, which the tests try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from danlu.base.records import Message, ToolCall
from danlu.tokenizer.chat import CALL, THINK, THINK_END, parse


@dataclass(frozen=True, slots=True)
class Delta:
    """A further piece of an answer; exactly one of the three is set."""

    content: str = ""
    reasoning: str = ""
    call: ToolCall | None = None


def held_back(text: str, marks: Iterable[str]) -> int:
    """Length of the longest end of `text` that could be the beginning of a mark: it must wait for what follows."""
    longest = 0
    for mark in marks:
        for size in range(min(len(mark) - 1, len(text)), longest, -1):
            if text.endswith(mark[:size]):
                longest = size
                break
    return longest


class StopStrings:
    """Passes text on up to the first stop string, and nothing of it or after it."""

    def __init__(self, stop: Sequence[str]):
        self.stop = tuple(stop)
        self.hit: str | None = None
        self._held = ""

    def push(self, text: str) -> str:
        """The text that is now known to belong to the answer."""
        if self.hit is not None:
            return ""
        self._held += text
        found = [(at + len(stop), at, stop) for stop in self.stop if (at := self._held.find(stop)) >= 0]
        if found:
            # The stop that is complete first wins, as it would if the text came one character at a time.
            _, at, self.hit = min(found)
            released, self._held = self._held[:at], ""
            return released
        keep = held_back(self._held, self.stop)
        released, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return released

    def finish(self) -> str:
        """What was held back and turned out to be no stop string."""
        released, self._held = self._held, ""
        return released


class Router:
    """Separates a reply into reasoning, content and tool calls, in the written form of `tokenizer.chat`.

    Gives what `chat.parse` gives, but for reasoning that breaks off before its end mark: it has been shown as
    reasoning already and stays reasoning. Without `tools` a call's text is content.
    """

    def __init__(self, *, tools: bool = False):
        self._tools = tools
        self._state = "start"
        self._held = ""
        self._is_content_start = True

    @property
    def is_reasoning(self) -> bool:
        return self._state == "reasoning"

    def push(self, text: str) -> list[Delta]:
        """The deltas that this text completes."""
        self._held += text
        deltas: list[Delta] = []
        while True:
            state = self._state
            deltas += STEPS[state](self)
            if self._state == state:
                return [delta for delta in deltas if delta != Delta()]

    def _start(self) -> list[Delta]:
        """Undecided while the text could still become the mark of reasoning."""
        if self._held.startswith(THINK):
            self._held, self._state = self._held[len(THINK) :], "reasoning"
        elif not THINK.startswith(self._held):
            self._state = "content"
        return []

    def _reasoning(self) -> list[Delta]:
        before, mark, after = self._held.partition(THINK_END)
        if not mark:
            return [Delta(reasoning=self._release(THINK_END))]
        self._held, self._state = after, "content"
        return [Delta(reasoning=before)]

    def _content(self) -> list[Delta]:
        if not self._tools:
            return [Delta(content=self._release())]
        if self._is_content_start and CALL.startswith(self._held[: len(CALL)]):
            if self._held.startswith(CALL):
                self._state = "calls"
            return []
        at = self._held.find("\n" + CALL)
        if at >= 0:
            released, self._held, self._state = self._held[:at], self._held[at:], "calls"
        else:
            released = self._release("\n" + CALL)
        self._is_content_start = self._is_content_start and not released
        return [Delta(content=released)]

    def _calls(self) -> list[Delta]:
        """Only at the end is it known whether calls are well formed; until then nothing is said."""
        return []

    def _release(self, *marks: str) -> str:
        """Take out what cannot be the beginning of a mark."""
        keep = held_back(self._held, marks)
        released, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return released

    def finish(self) -> list[Delta]:
        """The deltas of all that was held back."""
        rest, self._held = self._held, ""
        if self._state == "reasoning":
            return [Delta(reasoning=rest)] if rest else []
        if self._state == "calls":
            # The line end before a call belongs to the written form, not to the content.
            message = parse(rest.removeprefix("\n"))
            if message.tool_calls and not message.content:
                return [Delta(call=call) for call in message.tool_calls]
        return [Delta(content=rest)] if rest else []


STEPS = {
    "start": Router._start,
    "reasoning": Router._reasoning,
    "content": Router._content,
    "calls": Router._calls,
}
"""What each state does with the text at hand; a step that changes the state is followed by the next one's."""


@dataclass
class Assembled:
    """An answer put together from its deltas."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, deltas: Iterable[Delta]) -> Assembled:
        """Append the deltas and return self."""
        for delta in deltas:
            self.content += delta.content
            self.reasoning += delta.reasoning
            if delta.call is not None:
                self.calls.append(delta.call)
        return self

    def message(self) -> Message:
        """The answer as a record."""
        return Message("assistant", self.content, self.reasoning, tuple(self.calls))
