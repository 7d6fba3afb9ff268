"""The record types that travel between stages, and their JSON Lines form.

In: dictionaries from files; out: frozen records that are known to be well formed, and back.
Called by `corpus` (makes them), `tokenizer.chat`, `shards`, `evaluate` and `serve`. There are no other record types.
Reads only the files of a corpus artefact, which are known to be well formed; `corpus.readers` reads all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Document:
    """One text. `split` is set where the source itself says on which side it belongs; else `prepare` decides."""

    id: str
    text: str
    source: str
    language: str = ""
    split: Split | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "text": self.text, "source": self.source, "language": self.language}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the assistant asks for; `arguments` is the JSON text as written."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `trainable=False` keeps an assistant turn out of the loss (for example a demonstrated mistake)."""

    role: Role
    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    trainable: bool = True

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning:
            record["reasoning_content"] = self.reasoning
        if self.tool_calls:
            record["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        if not self.trainable:
            record["trainable"] = False
        return record


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, the tools on offer, and what evaluation groups by: `task` (`who`, `translate`, …), `language`."""

    id: str
    messages: tuple[Message, ...]
    source: str
    language: str = ""
    task: str = ""
    tools: tuple[Mapping[str, Any], ...] = field(default=())
    split: Split | None = None

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "id": self.id,
            "messages": [message.to_dict() for message in self.messages],
            "source": self.source,
            "language": self.language,
            "task": self.task,
        }
        if self.tools:
            record["tools"] = [dict(tool) for tool in self.tools]
        return record


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of one JSON Lines file of a corpus artefact, one at a time."""
    with path.open("rb") as file:
        for line in file:
            yield document_from_dict(json.loads(line))


def read_conversations(path: Path) -> Iterator[Conversation]:
    """The conversations of one JSON Lines file of a corpus artefact, one at a time."""
    with path.open("rb") as file:
        for line in file:
            yield conversation_from_dict(json.loads(line))


def text_bytes(record: Document | Conversation) -> int:
    """UTF-8 bytes of a document's text, or of what is said in a conversation."""
    if isinstance(record, Document):
        return len(record.text.encode())
    return sum(len(message.content.encode()) for message in record.messages)


def document_from_dict(record: Mapping[str, Any]) -> Document:
    """Read back what `Document.to_dict` wrote; trusts its input (foreign files go through `corpus.readers`)."""
    return Document(record["id"], record["text"], record["source"], record.get("language", ""), record.get("split"))


def message_from_dict(record: Mapping[str, Any]) -> Message:
    """Read back what `Message.to_dict` wrote; also the shape of an OpenAI chat message with string content."""
    calls = tuple(
        ToolCall(call["function"]["name"], call["function"]["arguments"], call.get("id", ""))
        for call in record.get("tool_calls") or ()
    )
    return Message(
        record["role"],
        "" if record.get("content") is None else record["content"],
        record.get("reasoning_content") or "",
        calls,
        record.get("trainable", True),
    )


def conversation_from_dict(record: Mapping[str, Any]) -> Conversation:
    """Read back what `Conversation.to_dict` wrote; trusts its input."""
    return Conversation(
        record["id"],
        tuple(message_from_dict(message) for message in record["messages"]),
        record["source"],
        record.get("language", ""),
        record.get("task", ""),
        tuple(record.get("tools", ())),
        record.get("split"),
    )
