"""`danlu serve`: a model folder behind the OpenAI protocol, with a chat page, until Ctrl-C.

In: a folder, an address, a file of keys. Out: a running server and what a person needs to use it. Called by `cli`.
Listens on this machine only unless told otherwise; an address that others can reach needs a key.
"""

from __future__ import annotations

from pathlib import Path

from danlu.base import console
from danlu.base.artifact import is_finished, read_manifest
from danlu.base.errors import ArtifactError, SystemTrouble, UserError, one_sentence, trouble

LONGEST_CONTEXT = 8192
"""Tokens a slot holds unless asked for more: memory is taken for all slots at the start."""


def run(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key_file: Path | None = None,
    slots: int = 8,
    length: int | None = None,
) -> None:
    """Serve until interrupted. `length` is the most tokens of prompt and answer together."""
    from danlu.convert import load
    from danlu.infer.engine import Engine
    from danlu.parallel.device import answering
    from danlu.serve.app import application
    from danlu.serve.auth import KeyRing
    from danlu.serve.server import listen, url_of
    from danlu.serve.server import run as run_server

    keys = KeyRing(read_keys(key_file) if key_file is not None else [])
    listening = listen(host, port, keys)  # before the model is loaded: a wrong address is found at once
    world = answering("danlu serve")
    with one_sentence(folder):
        loaded = load(folder, device=world.device, dtype=world.dtype)
    if loaded.tokenizer is None:
        raise ArtifactError("the model folder has no tokenizer", where=folder, remedy="export the model again")
    context = loaded.config.context_length
    if length is not None and length > context:
        raise UserError(
            "the model's context is shorter than that",
            where=folder,
            found=f"--length {length:,}; the model has {context:,} tokens",
            remedy=f"give --length {context} or less, or leave it out",
        )
    room = length if length is not None else min(context, LONGEST_CONTEXT)
    name = folder.resolve().name
    manifest = read_manifest(folder) if is_finished(folder) else {}
    facts = {"fingerprint": manifest.get("fingerprint", "unknown")[:16], "questions": manifest.get("questions", ())}
    try:
        engine = Engine(loaded.model, num_slots=slots, length=room, vocabulary_limit=loaded.tokenizer.size)
    except (MemoryError, RuntimeError) as error:
        if trouble(error, folder) is None:
            raise
        raise SystemTrouble(
            "there is not enough memory for so many tokens at a time",
            where=folder,
            found=f"--slots {slots}, --length {room}",
            remedy="give fewer slots or a shorter length",
        ) from error
    with application(engine, loaded.tokenizer, loaded.template, name=name, keys=keys, **facts) as app:
        _say_where(
            url_of(listening),
            name,
            room,
            context,
            f"{world.device}, {world.dtype}; {engine.decoder_reason}",
            has_keys=bool(keys),
        )
        try:
            run_server(app, listening)
        except KeyboardInterrupt:  # the ordinary way to stop
            console.say("stopped")


def read_keys(path: Path) -> list[str]:
    """One key a line; blank lines and lines that begin with # are passed over."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the file of keys cannot be read", where=path, found=error) from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UserError("the file of keys holds no key", where=path, remedy="write one key of your own a line")
    return keys


def _say_where(url: str, name: str, room: int, context: int, device: str, *, has_keys: bool) -> None:
    console.heading(f"serving {name}")
    clipped = "" if room == context else f" of the model's {context:,}"
    console.table(
        ["", ""],
        [
            ("chat page", f"{url}/"),
            ("OpenAI base URL", f"{url}/v1"),
            ("model", name),
            ("context", console.Quantity(f"{room:,} tokens{clipped}", room, "tokens")),
            ("computed on", device),
            ("key", "required" if has_keys else "none: this machine only"),
        ],
    )
    console.emit("serving", url=url, model=name, context=room)
    console.say("Ctrl-C stops it")
