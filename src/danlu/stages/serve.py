"""Serve: start the server, let it answer, stop it; the proof that what was made can be asked.

Takes: an exported folder, or a model.
Makes: `replies.json`: the same question answered whole, as a stream, and as a plain completion, with the requests.
Cost: loading the model, then seconds. The command `danlu serve` is the server that stays.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from danlu.base import console
from danlu.base.artifact import Artifact, seal, write_atomically
from danlu.base.config import Settings
from danlu.base.errors import ArtifactError, UserError

VERSION = 1
ANSWER_SECONDS = 300.0


class Config(Settings):
    """What is asked of the server, and how large it is."""

    prompt: str = Field("Who are you? 你是谁？", min_length=1, description="what the three requests ask")
    max_tokens: int = Field(64, ge=1, description="longest answer in tokens")
    slots: int = Field(4, ge=1, le=1024, description="sequences decoded together")
    seed: int = Field(0, description="seed of the requests; they are greedy, so it changes nothing but their record")


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Serve the model on a free port of this machine, ask three times, keep the replies."""
    from danlu.convert import load
    from danlu.infer.engine import Engine
    from danlu.parallel.device import say_left_idle
    from danlu.serve.app import application
    from danlu.serve.auth import KeyRing
    from danlu.serve.server import LOOPBACK, background, listen

    started_at = time.monotonic()
    source = inputs["model"]
    say_left_idle("the section serve", "in fp32 a reply is the same alone and beside others; danlu serve uses it")
    loaded, name = load(source.folder), source.folder.name
    if loaded.tokenizer is None:
        raise ArtifactError("the model has no tokenizer, so it cannot be asked", where=source.folder)
    engine = Engine(
        loaded.model,
        num_slots=config.slots,
        length=loaded.config.context_length,
        vocabulary_limit=loaded.tokenizer.size,
    )
    replies = []
    with (
        application(engine, loaded.tokenizer, loaded.template, name=name) as app,
        background(app, listen(LOOPBACK, 0, KeyRing([]))) as url,
    ):
        console.say(f"  serving {name} at {url}")
        for path, body in _requests(config, name, chats=loaded.template is not None):
            reply = _ask(url, path, body)
            replies.append({"path": path, "request": body, **reply})
            console.say(f"  {path}{', streamed' if body['stream'] else ''}: {reply['text']!r:.100}")
    write_atomically(out / "replies.json", json.dumps(replies, indent=1, ensure_ascii=False) + "\n")
    return seal(
        out,
        kind="service",
        stage="serve",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents=inputs,
        metrics={"replies": len(replies), "tokens": sum(reply["usage"]["total_tokens"] for reply in replies)},
        seconds=time.monotonic() - started_at,
        seed=config.seed,
    )


def _requests(config: Config, name: str, *, chats: bool) -> list[tuple[str, dict[str, Any]]]:
    """A whole answer, the same as a stream, and a completion; a model without a template completes all three."""
    shared = {"model": name, "max_tokens": config.max_tokens, "temperature": 0, "seed": config.seed}
    completion = ("/v1/completions", {**shared, "prompt": config.prompt})
    messages = [{"role": "user", "content": config.prompt}]
    first = ("/v1/chat/completions", {**shared, "messages": messages}) if chats else completion
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    return [
        (first[0], {**first[1], "stream": False}),
        (first[0], {**first[1], **streamed}),
        (completion[0], {**completion[1], "stream": False}),
    ]


def _ask(url: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One request over HTTP, as any client would make it: the text, why it ended, the token counts."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise UserError("the served model refused a request", where=path, found=content)
    lines = [line.removeprefix("data: ") for line in content.splitlines() if line.startswith("data: {")]
    events = [json.loads(line) for line in (lines if body["stream"] else [content])]
    return _summary(events)


def _summary(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the objects of one reply say together; a reply that is not streamed is one object."""
    choices = [event["choices"][0] for event in events if event["choices"]]
    parts = [choice.get("delta", choice.get("message", choice)) for choice in choices]
    texts = [part.get("content", part.get("text")) for part in parts]
    return {
        "text": "".join(text for text in texts if text is not None),
        "finish_reason": choices[-1]["finish_reason"],
        "usage": events[-1]["usage"],
    }
