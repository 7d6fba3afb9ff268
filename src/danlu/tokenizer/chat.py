"""The one chat template: a conversation becomes ids and the mask of what is learnt.

In: messages and the tools on offer. Out: ids with their targets, the prompt for the next reply, the same as text, and
a reply parsed back into content, reasoning and tool calls. Called by `shards`, `evaluate`, `infer`, `serve`; `JINJA`
says the same to every other program and is written into exported folders. Each turn's body is tokenised on its own,
so that no merge straddles a boundary. The written form of reasoning and tool calls is the one of Hermes and Qwen
(https://huggingface.co/Qwen/Qwen3-8B), which serving programs know how to read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.base.errors import DataError, UserError, nearest
from danlu.base.records import Conversation, Message, ToolCall
from danlu.tokenizer.tokenizer import BOS, CONTROL_TOKENS, END, ROLE_TOKENS, Tokenizer

TOOLS_TITLE = "# Tools\n"
THINK, THINK_END = "<think>\n", "\n</think>\n\n"
CALL, CALL_END = "<tool_call>\n", "\n</tool_call>"

JINJA = (
    "{%- set tools_text = '# Tools\\n' + (tools | tojson) if tools else '' -%}"
    "{{- '<|bos|>' -}}"
    "{%- if tools_text and (not messages or messages[0].role != 'system') -%}"
    "{{- '<|system|>' + tools_text + '<|end|>' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- set content = message.content if message.content else '' -%}"
    "{{- '<|' + message.role + '|>' -}}"
    "{%- if message.role == 'system' and loop.first and tools_text -%}"
    "{{- content + ('\\n\\n' if content else '') + tools_text -}}"
    "{%- elif message.role == 'assistant' -%}"
    "{%- if message.reasoning_content -%}"
    "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' -}}"
    "{%- endif -%}"
    "{{- '' + content -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set function = call.function if call.function is defined else call -%}"
    "{{- '\\n' if content or not loop.first else '' -}}"
    "{{- '<tool_call>\\n{\"name\": ' + (function.name | tojson) + ', \"arguments\": ' -}}"
    "{{- function.arguments if function.arguments is string else function.arguments | tojson -}}"
    "{{- '}\\n</tool_call>' -}}"
    "{%- endfor -%}"
    "{%- else -%}"
    "{{- '' + content -}}"
    "{%- endif -%}"
    "{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
"""The template for every other program. A change here or in `body` changes what models see: `TEMPLATE_HASH` follows."""

TEMPLATE_HASH = hashlib.sha256(JINJA.encode()).hexdigest()


def version_with_template(version: int) -> str:
    """A stage version that also changes with the template, so that nothing made with an older one is reused."""
    return f"{version}, template {TEMPLATE_HASH[:8]}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as ids; `mask[i]` says that token i is learnt (assistant bodies and their end token)."""

    ids: list[int]
    mask: list[bool]


class ChatTemplate:
    """Bound to a tokenizer that has our control tokens and carries this template; others are refused."""

    def __init__(self, tokenizer: Tokenizer):
        missing = [token for token in CONTROL_TOKENS if token not in tokenizer.special]
        if missing:
            raise UserError(
                "this tokenizer lacks the control tokens of danlu's chat template",
                found=f"no {' '.join(missing)}",
                remedy="train a tokenizer with danlu, or use the model without the chat template",
            )
        if tokenizer.settings.get("chat_template", JINJA) != JINJA:
            raise UserError(
                "this tokenizer's chat template is not the one of this danlu",
                found="another text in its chat_template.jinja: the model would be asked otherwise than it was taught",
                remedy="use the version of danlu that made it (manifest.json names it), or train it again",
            )
        self.tokenizer = tokenizer
        self._special = tokenizer.special

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Rendered:
        """Ids and loss mask of a whole conversation."""
        listed = list(turns(messages, tools))
        return self._put_together(listed, [self.tokenizer.encode(text) for _, text, _ in listed])

    def render_batch(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        """`render` for many conversations, tokenised on all cores."""
        listed = [list(turns(conversation.messages, conversation.tools)) for conversation in conversations]
        bodies = iter(self.tokenizer.encode_batch([text for one in listed for _, text, _ in one]))
        return [self._put_together(one, [next(bodies) for _ in one]) for one in listed]

    def _put_together(self, listed: Sequence[tuple[str, str, bool]], bodies: Sequence[list[int]]) -> Rendered:
        ids, mask = [self._special[BOS]], [False]
        for (role, _, is_learnt), body in zip(listed, bodies, strict=True):
            ids += [self._special[ROLE_TOKENS[role]], *body, self._special[END]]
            mask += [False] + [is_learnt] * (len(body) + 1)
        return Rendered(ids, mask)

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """What the model reads before it answers: a prefix of what training saw, up to and with `<|assistant|>`."""
        return [*self.render(messages, tools).ids, self._special[ROLE_TOKENS["assistant"]]]

    def text(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), *, generation_prompt: bool
    ) -> str:
        """The conversation as text with its control tokens written out, for people and other programs."""
        parts = [f"{ROLE_TOKENS[role]}{text}{END}" for role, text, _ in turns(messages, tools)]
        return BOS + "".join(parts) + (ROLE_TOKENS["assistant"] if generation_prompt else "")

    def parse(self, text: str) -> Message:
        """A generated reply as a message. What is not well formed stays in the content: nothing is lost."""
        return parse(text)


def turns(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Iterator[tuple[str, str, bool]]:
    """`(role, text between the control tokens, is learnt)` of each turn; tools go into the system turn."""
    tools_text = TOOLS_TITLE + json_text([dict(tool) for tool in tools]) if tools else ""
    if tools_text and (not messages or messages[0].role != "system"):
        yield "system", tools_text, False
    for index, message in enumerate(messages):
        if message.role not in ROLE_TOKENS:
            raise DataError(
                "a message has a role that the chat template does not know",
                found=f"{message.role!r}{nearest(str(message.role), ROLE_TOKENS)}",
                remedy=f"use one of {', '.join(ROLE_TOKENS)}",
            )
        text = body(message)
        if index == 0 and message.role == "system" and tools_text:
            text += ("\n\n" if text else "") + tools_text
        yield message.role, text, message.role == "assistant" and message.trainable


def body(message: Message) -> str:
    """The text of one turn between its control tokens."""
    if message.role != "assistant":
        return message.content
    text = f"{THINK}{message.reasoning}{THINK_END}" if message.reasoning else ""
    text += message.content
    for index, call in enumerate(message.tool_calls):
        text += "\n" if message.content or index else ""
        text += f'{CALL}{{"name": {json_text(call.name)}, "arguments": {call.arguments}}}{CALL_END}'
    return text


def json_text(value: Any) -> str:
    """JSON as transformers' `tojson` writes it."""
    return json.dumps(value, ensure_ascii=False)


def parse(text: str) -> Message:
    """The inverse of `body` for an assistant's turn."""
    reasoning = ""
    if text.startswith(THINK) and THINK_END in text:
        reasoning, _, text = text.removeprefix(THINK).partition(THINK_END)
    start = _first_call(text)
    calls = _calls(text[start:]) if start is not None else None
    if start is None or calls is None:
        return Message("assistant", text, reasoning)
    return Message("assistant", text[:start].removesuffix("\n"), reasoning, calls)


def _first_call(text: str) -> int | None:
    """Where the first call begins: at the start of the text or of a line."""
    if text.startswith(CALL):
        return 0
    at = text.find("\n" + CALL)
    return at + 1 if at >= 0 else None


def _calls(text: str) -> tuple[ToolCall, ...] | None:
    """All calls of a text that consists of calls only, else None."""
    found = []
    while text.strip():
        inner, mark, text = text.strip().removeprefix(CALL).partition(CALL_END)
        call = _call(inner) if mark else None
        if call is None:
            return None
        found.append(call)
    return tuple(found)


def _call(inner: str) -> ToolCall | None:
    """One call from its JSON object; the arguments keep the wording that they were written in."""
    try:
        value = json.loads(inner)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or "arguments" not in value:
        return None
    head = f'{{"name": {json_text(value["name"])}, "arguments": '
    if inner.startswith(head) and inner.endswith("}") and value.keys() == {"name", "arguments"}:
        return ToolCall(value["name"], inner[len(head) : -1])
    return ToolCall(value["name"], json_text(value["arguments"]))
