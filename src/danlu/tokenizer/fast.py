"""Fast encoders behind the same `tokenizer.json`: optional libraries that give the same ids in a fraction of the time.

In: a tokenizer and the name of an encoder, or `auto`. Out: the encoder that serves, and why; `Tokenizer.bulk` is set to
it. Called by the `shard` stage, where all text is encoded. Before one serves, its ids are compared with the reference's
(`tokenizers`) on `sample`: difficult texts, the control tokens spelled out, and every token of the vocabulary. One that
differs or cannot express the tokenizer is left out, and the reference serves. Byte-level BPE only: the kind that our
own recipes learn and that GPT-2, Llama 3 and Qwen have. Sources: https://github.com/marcelroed/gigatoken (MIT),
https://github.com/openai/tiktoken (MIT); what was measured: docs/decisions/0012-fast-tokenizers.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import numpy as np

from danlu.base import console
from danlu.base.errors import require
from danlu.tokenizer.bytetable import byte_alphabet
from danlu.tokenizer.tokenizer import Run, Tokenizer, run_of

Choice = Literal["auto", "tokenizers", "tiktoken", "gigatoken"]
Encode = Callable[[Sequence[str]], Run]

REFERENCE = "tokenizers"
GPT2_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a ByteLevel pre-tokenizer does where the file names no split (https://github.com/openai/gpt-2)."""
RENEW_CHARACTERS = 8_000_000
"""gigatoken keeps every word it has met: made anew after this much text, its memory stays flat."""
LONG = 50_000
LONG_SPACE = re.compile(rf"\s{{{LONG}}}")
"""tiktoken's splitter has a stack of limited depth, and steps back over each character of white space."""
SAMPLE_GROUP = 32
SAMPLE_MIXED = 20_000
CODE_POINTS = (*range(0x3400), *range(0x3400, 0xD800, 61), *range(0xE000, 0x110000, 61))
"""Every character of most scripts, and some of all planes."""

TEXTS = (
    "",
    "The quick brown fox's 3 friends didn't know: they'LL pay $1,234.56 (or 7%) — \"soon\", I'd say.",
    "丹炉是一个从原始文本到大模型的开源系统。它在笔记本上也能运行，代码只有一份！",
    "中英mixed混排text，第1章 Chapter １２３：《红楼梦》、“引号”……「繁體字」",
    "0 00 000 123 1234 12345 3.14159 1e-9 0x1F ² ½ Ⅷ ٣٤ 一二三 ①②",
    " ",
    "  leading, trailing  ",
    "a\tb\t\tc\r\nd\r\re\n\n\n  f\n \n\tg \u00a0 \u2003\u3000 h\u2028i\u2029j\u0085k\u200bl\ufeffm",
    "👩‍👩‍👧‍👦 👍🏽 🇨🇳 ❤️ 😀😀😀 a😀b",
    "e\u0301 e\u0301\u0302\u0323 n\u0303 \u0301alone >\u0338 か\u3099 क्षि ลำ שָׁלוֹם مُحَمَّد 각 각",
    "".join(map(chr, range(0x20))) + "\x7f\x80\x9f\u061c\u200e\u202e\u2066\ufff9",
    "Ã©â‚¬ ä½\xa0 \ufffd\ufffd �? \\xff\\ud800 %E4%BD &#x4f60; \ue000 \uffff \U0010ffff",
    "it's IT'S it’s 's 'S 'ſ \u212a 'll 'LL 're'Ve'M'd't don''t '' 'ss",
    "def f(x):\n    return {\n        'a': x ** 2,  # 注释\n    }\n\n\n\nif __name__ == \"__main__\":\n\tprint(f(3))",
    "http://www.example.com/a_b-c?d=e&f=%20#g user@mail.cn C:\\dir\\file.txt ~/x/../y",
    "a" * 3000,
    "ab" * 1500,
    "中" * 1000,
    " " * 3000,
    "\n" * 3000,
    "!?" * 1500,
    "1" * 3000,
)
"""Where splitters, byte tables and merges usually go wrong."""


class Unsuited(Exception):
    """The library has no way to say what this tokenizer does."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Which library encodes, in which version, and why this one."""

    name: str
    version: str
    reason: str


def choose(tokenizer: Tokenizer, wanted: Choice = "auto") -> Encoder:
    """Set `tokenizer.bulk` to the encoder that is wanted, if its ids are the reference's, and say which it became.

    `auto` takes the fastest that is installed and equal. A named one that is not installed is a MissingPackage.
    """
    tokenizer.bulk = None
    reason = "asked for" if wanted == REFERENCE else "no faster library is installed (pip install 'danlu[fast]')"
    for name in MAKERS if wanted == "auto" else () if wanted == REFERENCE else (wanted,):
        if wanted == "auto" and importlib.util.find_spec(name) is None:
            continue
        require(name, "fast")
        try:
            encode = MAKERS[name](tokenizer)
        except Unsuited as error:
            reason = f"{name} cannot express this tokenizer: {error}"
            if wanted != "auto":
                console.warn_once(f"texts are encoded by {REFERENCE}: {reason}")
            continue
        found = difference(tokenizer, encode)
        if found is None:
            tokenizer.bulk = encode
            return Encoder(name, metadata.version(name), "its ids are those of the reference")
        reason = f"{name} {metadata.version(name)} gives other ids: {found}"
        console.warn_once(f"texts are encoded by another library: {reason}")
    return Encoder(REFERENCE, metadata.version(REFERENCE), reason)


def difference(tokenizer: Tokenizer, encode: Encode) -> str | None:
    """The first text of `sample` for which an encoder's ids are not the reference's, and both; None where all agree."""
    texts = list(sample(tokenizer))
    expected, found = run_of(tokenizer.reference_batch(texts)), encode(texts)
    if np.array_equal(expected.ids, found.ids) and np.array_equal(expected.lengths, found.lengths):
        return None
    wanted, got = (np.split(run.ids, np.cumsum(run.lengths)[:-1]) for run in (expected, found))
    for text, one, other in zip(texts, wanted, got, strict=True):
        if not np.array_equal(one, other):
            same = int(np.logical_and.accumulate(one[: len(other)] == other[: len(one)]).sum())
            rest = text[len(tokenizer.decode(one[:same].tolist())) :]
            named = [str(row[same]) if same < len(row) else "missing" for row in (other, one)]
            return f"token {same} of {text[:20]!r}…, at {rest[:10]!r}…, is {named[0]}, not {named[1]}"
    raise AssertionError("equal texts make equal runs")


def sample(tokenizer: Tokenizer) -> Iterator[str]:
    """The same texts each time for the same tokenizer: half a megabyte, one and a half for 150,000 tokens.

    Besides `TEXTS`, every token on a line of its own, tokens run together by chance, and characters of every script.
    """
    yield from TEXTS
    added = [token.content for token in tokenizer.backend.get_added_tokens_decoder().values()]
    for token in added:
        yield f"{token} a{token}b {token[:-1]} {token}{token}\n{token}"
    pieces = [tokenizer.bytes_of(id).decode("utf-8", "ignore") for id in range(tokenizer.size)]
    mixed = random.Random(0).sample(pieces, min(len(pieces), SAMPLE_MIXED))
    characters = [f"a{one} {one}1{one}" for one in map(chr, CODE_POINTS)]
    for parts, between in ((pieces, "\n"), (mixed, ""), (characters, "")):
        for start in range(0, len(parts), SAMPLE_GROUP):
            yield between.join(parts[start : start + SAMPLE_GROUP])


def _description(tokenizer: Tokenizer) -> dict[str, Any]:
    """`tokenizer.json` without what encoding does not use; Unsuited unless it is byte-level BPE."""
    whole = json.loads(tokenizer.backend.to_str())
    model, first = whole["model"], whole["pre_tokenizer"]
    steps = first.get("pretokenizers", [first]) if first is not None else []
    if model["type"] != "BPE" or not steps or steps[-1]["type"] != "ByteLevel":
        raise Unsuited("it is not byte-level BPE")
    if steps[-1]["add_prefix_space"]:
        raise Unsuited("it begins every text with a space")
    if any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")):
        raise Unsuited("its tokens carry marks")
    ordinary = [token for token in whole["added_tokens"] if not token["special"]]  # control tokens stay text
    return {**whole, "added_tokens": ordinary, "post_processor": None, "truncation": None, "padding": None}


def _gigatoken(tokenizer: Tokenizer) -> Encode:
    """Reads `tokenizer.json` itself; all cores; ids come as one array."""
    import awkward
    import gigatoken

    described = json.dumps(_description(tokenizer), ensure_ascii=False)

    def new() -> Any:
        return gigatoken.Tokenizer.from_json(described)

    try:
        library = new()
    except (RuntimeError, ValueError) as error:  # what it raises for a part that it does not know
        raise Unsuited(str(error).splitlines()[0]) from None
    characters = 0

    def encode(texts: Sequence[str]) -> Run:
        nonlocal library, characters
        if characters > RENEW_CHARACTERS:
            library, characters = new(), 0
        characters += sum(map(len, texts))
        rows = library.encode_batch(list(texts))
        lengths = np.asarray(awkward.num(rows)).astype(np.int64)
        return Run(np.asarray(awkward.flatten(rows)).astype(np.uint32, copy=False), lengths)

    return encode


def _tiktoken(tokenizer: Tokenizer) -> Encode:
    """Knows ranks and one split; the normaliser and added tokens are ours to see to. All cores, a thread for each."""
    import tiktoken

    described = _description(tokenizer)
    tokens = _by_rank(described["model"])
    encoding = tiktoken.Encoding(
        "tokenizer.json",
        pat_str=_split_pattern(described["pre_tokenizer"]),
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={},
    )
    ids = np.array(list(tokens.values()), dtype=np.uint32)
    normaliser = tokenizer.backend.normalizer
    added = re.compile("|".join(re.escape(token["content"]) for token in described["added_tokens"]))

    def one(text: str) -> np.ndarray:
        text.encode()  # the library would replace a lone surrogate in silence
        if (described["added_tokens"] and added.search(text)) or (len(text) >= LONG and LONG_SPACE.search(text)):
            return np.array(tokenizer.encode(text), dtype=np.uint32)
        written = text if normaliser is None else normaliser.normalize_str(text)
        return ids[encoding.encode_to_numpy(written, disallowed_special=())]

    def encode(texts: Sequence[str]) -> Run:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            rows = list(threads.map(one, texts))
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return Run(np.concatenate(rows) if rows else ids[:0], lengths)

    return encode


def _by_rank(model: dict[str, Any]) -> dict[bytes, int]:
    """`{token: id}`: the 256 bytes, then what the merges make, in their order, which is what tiktoken goes by."""
    alphabet, vocabulary = byte_alphabet(), model["vocab"]
    missing = [byte for character, byte in alphabet.items() if character not in vocabulary]
    if missing:
        raise Unsuited(f"{len(missing)} bytes have no token")
    ranked = {bytes([byte]): vocabulary[character] for character, byte in alphabet.items()}
    for left, right in model["merges"]:
        ranked.setdefault(bytes(alphabet[character] for character in left + right), vocabulary[left + right])
    return ranked


def _split_pattern(described: dict[str, Any]) -> str:
    """The one regular expression that cuts texts; Unsuited where there are several, or something else cuts."""
    *splits, last = described.get("pretokenizers", [described])
    if not splits and last["use_regex"]:
        return GPT2_SPLIT
    if len(splits) == 1 and not last["use_regex"]:
        split = splits[0]
        is_plain = split["type"] == "Split" and split["behavior"] == "Isolated" and not split["invert"]
        if is_plain and "Regex" in split["pattern"]:
            return split["pattern"]["Regex"]
    raise Unsuited("its texts are not cut by one regular expression")


MAKERS: dict[str, Callable[[Tokenizer], Encode]] = {"gigatoken": _gigatoken, "tiktoken": _tiktoken}
"""Library -> what makes an encoder of a tokenizer; the fastest first."""
