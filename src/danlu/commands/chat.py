"""`danlu chat`: talk to a model in the terminal.

In: a model folder; lines from the keyboard or a pipe, each a message; a backslash at the end of a line joins the next
to it. Out: the replies, as they are generated. Called by `cli`.
`/reset` forgets the conversation, `/quit` or the end of the input ends it, Ctrl-C stops a reply. The oldest turns
leave the conversation, announced, when it outgrows the model's context. A message that fits in no context, or whose
bytes are no text, is passed over with one line, and the conversation goes on as it was.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.base import console
from danlu.base.errors import ArtifactError, UserError, one_sentence
from danlu.base.records import Message

if TYPE_CHECKING:
    from danlu.infer.engine import Engine
    from danlu.infer.sampling import Sampling
    from danlu.serve.stream import Delta
    from danlu.tokenizer.chat import ChatTemplate

PROMPT = "› "
HELP = "/reset forgets the conversation, /quit ends it, Ctrl-C stops a reply; \\ at the end of a line: it goes on"


def run(
    folder: Path, *, system: str = "", temperature: float = 0.0, max_tokens: int = 256, seed: int | None = None
) -> None:
    """Answer line by line until `/quit` or the end of the input."""
    from danlu.convert import load
    from danlu.infer.engine import Engine
    from danlu.infer.sampling import Sampling
    from danlu.parallel.device import answering

    world = answering("danlu chat")
    with one_sentence(folder):
        loaded = load(folder, device=world.device, dtype=world.dtype)
    if loaded.tokenizer is None or loaded.template is None:
        raise ArtifactError(
            "this model cannot chat: it has no chat template of danlu's",
            where=folder,
            remedy="finetune it on conversations first",
        )
    tokenizer, length = loaded.tokenizer, loaded.config.context_length
    with one_sentence(folder):
        engine = Engine(loaded.model, num_slots=1, length=length, vocabulary_limit=tokenizer.size)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed, stop_ids=tokenizer.stop_ids)
    conversation = Conversation(engine, loaded.template, sampling, system)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no text come through, and `_lines` tells
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        console.say(f"{folder.resolve().name}: {HELP}", style="dim")
    for line in _lines(PROMPT if is_terminal and not console.is_json() else ""):
        if line == "/quit":
            return
        if line == "/reset":
            conversation.reset()
            console.say("forgotten", style="dim")
        elif line.startswith("/"):
            console.say(HELP, style="dim")
        else:
            _answer(conversation, line)


def _lines(prompt: str) -> Iterator[str]:
    """Messages that say something, to the end of the input; `\\` at the end of a line joins the next to it."""
    while True:
        console.write(prompt)
        line = sys.stdin.readline()
        while line.endswith("\\\n") and _is_text(line):
            console.write(" " * len(prompt))
            line = line[:-2] + "\n" + sys.stdin.readline()
        if not line:
            return
        if not _is_text(line):
            _pass_over(f"a line is not valid {sys.stdin.encoding} and is passed over: convert it first, or type it")
        elif line.strip():
            yield line.strip()


def _is_text(line: str) -> bool:
    """False where it holds bytes of another encoding, which come in as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in line)


def _pass_over(reason: str) -> None:
    """Say why a message gets no reply; a script gets an event in its place."""
    if console.is_json():
        console.emit("no_reply", reason=reason)
    else:
        console.say(reason, style="dim")


def _answer(conversation: Conversation, line: str) -> None:
    try:
        if console.is_json():
            message = conversation.ask(line, lambda delta: None)
            console.emit("reply", text=message.content, reasoning=message.reasoning)
        else:
            _show(conversation, line)
    except UserError as error:  # the message does not fit; the next one may be shorter
        _pass_over(f"{error.what} ({error.found}); the message is passed over")


def _show(conversation: Conversation, line: str) -> None:
    """The reply as it comes; Ctrl-C breaks it off."""
    try:
        message = conversation.ask(line, lambda delta: console.write(delta.reasoning + delta.content))
        for call in message.tool_calls:
            console.write(f"[{call.name} {call.arguments}]")
        console.write("\n")
    except KeyboardInterrupt:
        console.write(" …\n")


class Conversation:
    """The turns so far; `ask` adds one question and its answer."""

    def __init__(self, engine: Engine, template: ChatTemplate, sampling: Sampling, system: str):
        self._engine, self._template, self._sampling = engine, template, sampling
        self._system = [Message("system", system)] if system else []
        self.turns: list[Message] = []

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.turns = []

    def ask(self, text: str, show: Callable[[Delta], None]) -> Message:
        """The reply to `text`, shown piece by piece; a question whose reply was broken off is forgotten again."""
        from danlu.infer.engine import Request
        from danlu.serve.stream import Assembled, Router

        question = Message("user", text)
        request = Request(tuple(self._prompt(question)), self._sampling)
        router, answer, decoder = Router(), Assembled(), self._template.tokenizer.stream()
        id = self._engine.submit(request)
        try:
            for event in self._engine.stream(id):
                piece = decoder.push(event.token) if event.is_text and event.token is not None else ""
                deltas = router.push(piece)
                if event.finish_reason is not None:
                    deltas += router.push(decoder.finish()) + router.finish()
                answer.add(deltas)
                for delta in deltas:
                    show(delta)
        finally:
            self._engine.cancel(id)  # does nothing where the answer is complete
        self.turns += [question, answer.message()]
        return answer.message()

    def _prompt(self, question: Message) -> list[int]:
        """The ids of the conversation with `question`; the oldest turns leave while no room for an answer is left.

        UserError where the question would not fit alone: then no turn leaves.
        """
        from danlu.infer.generate import require_room

        turns = self.turns
        while True:
            ids = self._template.prompt([*self._system, *turns, question])
            if len(ids) < self._engine.length or not turns:
                break
            turns = turns[2:]
        require_room(len(ids), self._engine.length)
        forgotten = len(self.turns) - len(turns)
        if forgotten:
            console.say(f"the {forgotten} oldest turns no longer fit and are forgotten", style="dim")
            self.turns = turns
        return ids
