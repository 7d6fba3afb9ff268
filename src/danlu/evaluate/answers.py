"""Put the questions of test conversations to a model and mark what it answers.

In: a model, its template, conversations whose last assistant turn is the reference. Out: one `Marked` a conversation:
question, reference, answer, exact match, F1. Called by `stages.evaluate`. Many questions are answered together by the
engine that also serves; greedy, so that the same model gives the same marks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from danlu.base.records import Conversation, Message
from danlu.evaluate.metrics import exact_match, token_f1
from danlu.infer.engine import Engine, Request
from danlu.infer.sampling import Sampling

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.tokenizer.chat import ChatTemplate
    from danlu.tokenizer.tokenizer import Tokenizer

ROUNDS = 8
"""How many times the slots are filled between two reports of progress; the slots run dry only at the end of each."""


@dataclass(frozen=True)
class Marked:
    """One question with its reference, the answer given, and the marks (exact match 0 or 1, F1 0..1)."""

    id: str
    task: str
    language: str
    question: str
    reference: str
    answer: str
    exact_match: float
    f1: float
    finish: str
    """`stop` where the model ended its turn, `length` where it was cut, `too long` where the prompt did not fit."""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def question_and_reference(conversation: Conversation) -> tuple[tuple[Message, ...], str] | None:
    """The turns before the last assistant turn, and that turn's text; None where there is no such turn to ask for."""
    for index in range(len(conversation.messages) - 1, 0, -1):
        message = conversation.messages[index]
        if message.role == "assistant":
            return (conversation.messages[:index], message.content) if message.content else None
    return None


def mark(conversation: Conversation, answer: str, finish: str = "stop") -> Marked:
    """Compare an answer with the conversation's reference."""
    asked = question_and_reference(conversation)
    if asked is None:
        raise ValueError(f"conversation {conversation.id} has no reference answer")
    messages, reference = asked
    return Marked(
        conversation.id,
        conversation.task,
        conversation.language,
        messages[-1].content,
        reference,
        answer,
        exact_match(answer, reference),
        token_f1(answer, reference),
        finish,
    )


def answer_all(
    model: Transformer,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    conversations: Sequence[Conversation],
    *,
    max_tokens: int = 64,
    num_slots: int = 32,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Marked]:
    """Greedy answers to all `conversations` (each has a reference), in order, `num_slots` at a time.

    A prompt that leaves no room for an answer is marked as wrong with `finish="too long"`, never cut. `advance` is
    called with the number of conversations newly done.
    """
    length = model.config.context_length
    engine = Engine(model, num_slots=num_slots, length=length, vocabulary_limit=tokenizer.size)
    marked: list[Marked] = []
    for start in range(0, len(conversations), num_slots * ROUNDS):
        part = conversations[start : start + num_slots * ROUNDS]
        prompts = [_prompt(template, conversation) for conversation in part]
        rooms = [min(max_tokens, length - len(prompt)) for prompt in prompts]
        asked = [index for index, room in enumerate(rooms) if room > 0]
        written = engine.run([Request(tuple(prompts[i]), _greedy(rooms[i], tokenizer.stop_ids)) for i in asked])
        replies = dict(zip(asked, written, strict=True))
        for index, conversation in enumerate(part):
            ids = replies.get(index)
            text = "" if ids is None else _text(tokenizer, template, ids)
            finish = "too long" if ids is None else "length" if len(ids) == rooms[index] else "stop"
            marked.append(mark(conversation, text, finish))
        advance(len(part))
    return marked


def _prompt(template: ChatTemplate, conversation: Conversation) -> list[int]:
    asked = question_and_reference(conversation)
    if asked is None:
        raise ValueError(f"conversation {conversation.id} has no reference answer")
    return template.prompt(asked[0], conversation.tools)


def _greedy(max_tokens: int, stop_ids: frozenset[int]) -> Sampling:
    return Sampling(temperature=0.0, max_tokens=max_tokens, stop_ids=stop_ids)


def _text(tokenizer: Tokenizer, template: ChatTemplate, ids: Sequence[int]) -> str:
    """The reply as a person would read it: without control tokens, reasoning and tool calls."""
    return template.parse(tokenizer.decode(ids)).content.strip()
