"""Who may ask: keys, the public routes, and what may be bound without a key.

In: keys as a person wrote them; a request with its routed endpoint. Out: nothing, or an `ApiError` 401 or 403.
Called by `app` before each endpoint and by `server` before binding. Keys are kept as salted hashes and compared in
constant time. Deny by default: an endpoint is open because it carries `public`, never because of a path's spelling.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Iterable
from typing import TypeVar
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from starlette.requests import Request

from danlu.base.errors import UserError
from danlu.serve.protocol import ApiError

MIN_KEY_CHARACTERS = 16
SAFE_METHODS = frozenset({"GET", "HEAD"})
Endpoint = TypeVar("Endpoint", bound=Callable)


class KeyRing:
    """The keys that open the server, as salted hashes; no key can be read back from it."""

    def __init__(self, keys: Iterable[str]):
        self._salt = secrets.token_bytes(16)
        listed = [key.strip() for key in keys]
        short = [index for index, key in enumerate(listed, 1) if len(key) < MIN_KEY_CHARACTERS]
        if short:
            raise UserError(
                "an API key is too short to be safe",
                found=f"key {short[0]} has fewer than {MIN_KEY_CHARACTERS} characters",
                remedy=f"use a random one, for example {new_key()}",
            )
        self._hashes = [self._hash(key) for key in listed]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def _hash(self, key: str) -> bytes:
        # Keys are long and random, so a fast keyed hash is enough; a slow one would be a way to keep the server busy.
        return hashlib.blake2b(key.encode(), key=self._salt).digest()

    def accepts(self, key: str) -> bool:
        """True where `key` is one of ours; takes the same time whichever it is and however much of it is right."""
        found = False
        hashed = self._hash(key)
        for known in self._hashes:
            found |= hmac.compare_digest(hashed, known)
        return found


def new_key() -> str:
    """A new random key."""
    return f"danlu-{secrets.token_urlsafe(24)}"


def public(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint as open to everybody."""
    endpoint.is_public = True  # type: ignore[attr-defined]
    return endpoint


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine can reach; a name other than `localhost` is taken for a public one."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_bind(host: str, keys: KeyRing) -> None:
    """Refuse an address that others can reach where no key is required."""
    if not keys and not is_loopback(host):
        raise UserError(
            "an address that other machines can reach needs an API key",
            where=f"host {host or '(all addresses)'}",
            found="no key",
            remedy=f"write a key such as {new_key()} into a file and pass --key-file, or listen on 127.0.0.1",
        )


class Authoriser:
    """The check before every endpoint. Without keys only this machine's own names are answered.

    The names matter: a web page elsewhere can point its own host name at 127.0.0.1 and would then be "same origin".
    What a header says is judged at once, in the event loop; a key is looked for in a thread. So a public endpoint, such
    as /health, needs no thread and answers while all of them are busy.
    """

    def __init__(self, keys: KeyRing):
        self.keys = keys

    async def __call__(self, request: Request) -> None:
        self._check_origin(request)
        if not self.keys:
            if not is_loopback(_host_name(request.headers.get("host", ""))):
                raise ApiError(403, "This server answers to localhost only.", code="host_not_allowed")
            return
        # What was routed decides, so no spelling of a path can be checked as one thing and served as another.
        if getattr(request.scope.get("endpoint"), "is_public", False):
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not await run_sync(self.keys.accepts, key.strip()):
            raise ApiError(
                401,
                "Missing or wrong API key. Send it as 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_origin(self, request: Request) -> None:
        """Pages of other sites may not make the browser ask for them; programs send no Origin."""
        origin = request.headers.get("origin")
        if request.method in SAFE_METHODS or origin is None:
            return
        if _network_place(origin) != request.headers.get("host", "").lower():
            raise ApiError(403, "Requests from other sites' pages are not answered.", code="origin_not_allowed")


def _network_place(origin: str) -> str | None:
    """`http://a:8000` → `a:8000`; None where it cannot be read, which is nobody's place."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """`[::1]:8000` → `::1`; an empty string where it cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
