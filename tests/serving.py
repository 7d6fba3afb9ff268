"""A real server on a free port of this machine, for the tests that speak HTTP.

In: a model, keys. Out: its address and its application, while the block runs. Called by tests of `serve` and proofs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import httpx
import openai
from fastapi import FastAPI
from torch import nn

from danlu.infer.engine import Engine
from danlu.serve.app import application
from danlu.serve.auth import KeyRing
from danlu.serve.endpoints import Service
from danlu.serve.server import LOOPBACK, background, listen
from danlu.tokenizer.chat import ChatTemplate
from tests import tiny

NAME = "tiny"
PATIENCE_SECONDS = 120


@cache
def transport() -> httpx.Client:
    """One HTTP client for all tests: making one reads every certificate of the system."""
    return httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False)


@dataclass(frozen=True)
class Running:
    """A server under test."""

    url: str
    app: FastAPI
    engine: Engine

    @property
    def service(self) -> Service:
        return self.app.state.service

    def client(self, key: str = "none") -> openai.OpenAI:
        """The official client, asking this server."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_SECONDS, http_client=transport()
        )


@contextmanager
def serving(
    model: nn.Module | None = None,
    *,
    keys: tuple[str, ...] = (),
    slots: int = 8,
    length: int = 256,
    chats: bool = True,
    max_waiting: int = 256,
    questions: tuple[str, ...] = (),
) -> Iterator[Running]:
    """A server over `model` (a random one by default) with the test tokenizer."""
    tokenizer = tiny.tokenizer()
    engine = Engine(
        tiny.model() if model is None else model,  # type: ignore[arg-type]
        num_slots=slots,
        length=length,
        vocabulary_limit=tokenizer.size,
    )
    ring, template = KeyRing(keys), ChatTemplate(tokenizer) if chats else None
    options = {"name": NAME, "keys": ring, "max_waiting": max_waiting, "questions": questions}
    with (
        application(engine, tokenizer, template, **options) as app,  # type: ignore[arg-type]
        background(app, listen(LOOPBACK, 0, ring)) as url,
    ):
        yield Running(url, app, engine)
