"""The application: which path leads to which endpoint, and what stands before all of them.

In: an engine, its model's tokenizer and template, keys. Out: an ASGI application. Called by `commands.serve`,
`stages.serve` and the tests; `server` runs it. Every endpoint needs a key unless it is marked public (`auth`), and
bodies are bounded before they are read (`limits`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import Depends, FastAPI
from starlette.exceptions import HTTPException

from danlu.infer.engine import Engine
from danlu.infer.runner import Runner
from danlu.serve.auth import Authoriser, KeyRing
from danlu.serve.endpoints import Served, Service
from danlu.serve.limits import BodyLimit
from danlu.serve.metrics import CountRequests
from danlu.serve.protocol import ApiError
from danlu.tokenizer.chat import ChatTemplate
from danlu.tokenizer.tokenizer import Tokenizer

MAX_WAITING = 256
NO_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""Newer FastAPI would send requests to a collector that the environment names; older ones ignore the setting."""


@contextmanager
def application(
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    *,
    name: str,
    keys: KeyRing | None = None,
    fingerprint: str = "unknown",
    questions: Sequence[str] = (),
    max_waiting: int = MAX_WAITING,
) -> Iterator[FastAPI]:
    """The application over an engine, which runs in its own thread while the block does."""
    runner = Runner(engine)
    try:
        served = Served(name, runner, tokenizer, template, fingerprint, questions)
        yield create_app(served, keys, max_waiting=max_waiting)
    finally:
        runner.close()


def create_app(served: Served, keys: KeyRing | None = None, *, max_waiting: int = MAX_WAITING) -> FastAPI:
    """The application. Without keys it answers to this machine's own names only (`auth.check_bind` guards the rest)."""
    service = Service(served, max_waiting)
    app = FastAPI(
        title="danlu",
        docs_url=None,  # both documentation pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
        dependencies=[Depends(Authoriser(keys if keys is not None else KeyRing([])))],
    )
    app.get("/")(service.page)
    app.get("/health")(service.health)
    app.get("/metrics")(service.metrics_page)
    app.get("/v1/models")(service.models)
    app.get("/v1/models/{name:path}")(service.model)
    app.post("/v1/chat/completions")(service.chat)
    app.post("/v1/completions")(service.completions)
    app.add_exception_handler(ApiError, service.on_api_error)
    app.add_exception_handler(HTTPException, service.on_http_error)
    app.add_exception_handler(Exception, service.on_defect)
    app.add_middleware(BodyLimit)
    app.add_middleware(CountRequests, metrics=service.metrics)
    app.state.service = service
    return app
