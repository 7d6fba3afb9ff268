"""The bytes behind every id of a vocabulary.

In: a `tokenizers` backend. Out: a list of `bytes`, one per id, whose concatenation is the UTF-8 text of a sequence.
Called by `tokenizer`; it makes decoding and streaming one table look-up, the same for every kind of vocabulary.
Covers three families: byte-level (GPT-2, Llama 3, Qwen, ours), SentencePiece style with byte fallback (Llama 1/2,
Gemma, stories260k), and tokens that stand for their own text (our other kinds; a word's later pieces are marked `##`).
Others are refused, because their tokens have no bytes of their own.
Source: the byte alphabet of GPT-2 (https://github.com/openai/gpt-2, MIT), by its rule: visible Latin-1 stays itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer as Backend

from danlu.base.errors import UserError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPACE = "▁"  # how SentencePiece writes a space inside a token
CONTINUING = "##"  # how WordPiece marks a piece that does not begin its word
DROPS_MARK = {"type": "Replace", "pattern": {"Regex": f"^{CONTINUING}"}, "content": ""}


def byte_alphabet() -> dict[str, int]:
    """`{character: byte}`: the 256 printable characters that byte-level vocabularies write for bytes."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + rank): byte for rank, byte in enumerate(hidden)}


def _decoder_parts(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _decoder_parts(part)
    else:
        yield decoder


def _byte_level(token: str, alphabet: dict[str, int]) -> bytes:
    """A token with a character outside the alphabet is an added one: it stands for its own text."""
    try:
        return bytes(alphabet[character] for character in token)
    except KeyError:
        return token.encode()


def _own_text(token: str, *, has_byte_tokens: bool) -> bytes:
    match = BYTE_TOKEN.fullmatch(token) if has_byte_tokens else None
    return bytes([int(match[1], 16)]) if match else token.encode()


def byte_table(backend: Backend, size: int) -> tuple[list[bytes], bool]:
    """The bytes of ids 0 … size-1 (empty for unused ids), and whether one space at the start of a text is not text."""
    parts = list(_decoder_parts(json.loads(backend.to_str())["decoder"]))
    kinds = {part["type"] for part in parts}
    tokens = [backend.id_to_token(id) for id in range(size)]
    if "ByteLevel" in kinds and kinds <= {"ByteLevel", "Fuse", "ByteFallback"}:
        alphabet = byte_alphabet()
        return [b"" if token is None else _byte_level(token, alphabet) for token in tokens], False
    has_bytes = "ByteFallback" in kinds
    texts = ["" if token is None else token for token in tokens]
    if "Fuse" in kinds and all(part["type"] in ("ByteFallback", "Fuse") or part == DROPS_MARK for part in parts):
        if DROPS_MARK in parts:
            texts = [text.removeprefix(CONTINUING) for text in texts]
        return [_own_text(text, has_byte_tokens=has_bytes) for text in texts], False
    if kinds & {"Replace", "Metaspace"} and kinds <= {"Replace", "Metaspace", "ByteFallback", "Fuse", "Strip"}:
        table = [_own_text(text.replace(SPACE, " "), has_byte_tokens=has_bytes) for text in texts]
        return table, any(_drops_first_space(part) for part in parts)
    raise UserError(
        "this kind of tokenizer is not supported",
        found=f"decoder {' + '.join(sorted(kinds)) if kinds else 'none'}",
        remedy="use a byte-level tokenizer (GPT-2, Llama 3, Qwen) or a SentencePiece one converted to tokenizer.json",
    )


def _drops_first_space(part: dict[str, Any]) -> bool:
    if part["type"] == "Strip":
        return part["content"] == " " and part["start"] == 1
    return part["type"] == "Metaspace" and part.get("prepend_scheme", "always") != "never"
