"""About how many tokens an epoch holds, before its rows lie on the disk.

In: a training section and the steps before it. Out: tokens, and from what they were estimated; nothing where nothing
can be said. Called by `show`. Counts bytes: of the corpus where it is there, else of the raw files; a token is as long
as the tokenizer measured, else as long as one was in text like most. Reads no text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from danlu.base import artifact, console
from danlu.step import Step

SMALLEST_MEASURED, ITS_BYTES_PER_TOKEN, MORE_BYTES_A_DOUBLING = 512, 1.67, 0.39
"""Byte-level BPE learnt from 5 MB of Chinese and English books, laws, articles and conversations, half and half, held
1.67, 2.49, 3.29 and 3.99 bytes of unseen text in a token with 512, 2,048, 8,192 and 32,768 of them; the two languages
differ by 5 %: a Chinese character has three bytes, and an English word has more tokens."""
LONGEST = 5.0
UNPACKED = 3.0
"""Bytes of text in one byte of a packed file."""
PACKED = (".gz", ".zst", ".xz", ".bz2", ".parquet")
WORLD_BYTES = {"stories": 125, "lists": 80, "conversations": 200}
"""Of the little world, where its few words make tokens twice as long: the bytes of other text that have as many."""


@dataclass(frozen=True)
class Text:
    """Bytes to train on; `conversations` is None where they cannot be told from documents, and all are `documents`."""

    documents: float
    conversations: float | None
    basis: str


def epoch_tokens(step: Step, steps: Mapping[str, Step]) -> tuple[float, str] | None:
    """Tokens of one epoch of a training section, and what the estimate stands on."""
    shards = steps[step.parents["shards"]]
    corpus, tokenizer = steps[shards.parents["corpus"]], steps[shards.parents["tokenizer"]]
    text = _cleaned(corpus) if corpus.state == "done" else _raw(corpus.config)
    ratio, whose = _bytes_per_token(tokenizer)
    config: Any = shards.config
    if step.section.stage.name == "finetune":
        taken = text.conversations
    else:
        share = 0.0 if config.conversations == "none" else config.conversation_share
        taken = text.documents + share * (text.conversations if text.conversations is not None else 0)
    if taken is None or ratio is None:
        return None
    return taken / ratio, f"{text.basis}, {ratio:.2f} bytes a token ({whose})"


def _cleaned(corpus: Step) -> Text:
    """What the corpus holds: its files, less what JSON adds to the text."""
    manifest = artifact.read_manifest(corpus.folder)
    sizes = {name: facts["bytes"] for name, facts in manifest["files"].items()}
    records = {name: size for name, size in sizes.items() if name.endswith(".jsonl") and name != "rejected.jsonl"}
    total = sum(records.values())
    written = manifest["metrics"]["bytes"].get("text_written", total)
    share = written / total if total else 0.0
    documents, conversations = (share * records.get(name, 0) for name in ("train.jsonl", "conversations-train.jsonl"))
    return Text(documents, conversations, f"{console.size(documents + conversations)} of cleaned text")


def _raw(config: Any) -> Text:
    """What the sources hold before cleaning, less what is held out."""
    from danlu.corpus.settings import Files
    from danlu.corpus.sources import Source, source_files

    share = 1 - config.validation_share - config.test_share
    given = [Source(**source.model_dump()) for source in config.sources if isinstance(source, Files)]
    files = [one.path for one in source_files(given) if one.format is not None]
    documents = sum(path.stat().st_size * (UNPACKED if path.suffix in PACKED else 1) for path in files)
    conversations = 0.0
    for source in config.sources:
        options = source.model_dump()
        documents += options.get("max_bytes", 0)
        documents += sum(WORLD_BYTES[kind] * options.get(kind, 0) for kind in ("stories", "lists"))
        conversations += WORLD_BYTES["conversations"] * options.get("conversations", 0)
    total = share * (documents + conversations)
    basis = f"about {console.size(total)} of raw text"
    if files:
        return Text(total, None, basis)
    return Text(share * documents, share * conversations, basis)


def _bytes_per_token(tokenizer: Step) -> tuple[float | None, str]:
    """Bytes of text in a token, and who says so."""
    if tokenizer.state == "done":
        measured = artifact.read_manifest(tokenizer.folder)["metrics"]["bytes_per_token"]
        return measured.get("all"), "this tokenizer's"
    config: Any = tokenizer.config
    if config.kind not in ("bpe", "wordpiece", "unigram"):
        return (1.0, "each is one") if config.kind == "bytes" else (None, "")
    doublings = math.log2(max(config.vocabulary_size, 1) / SMALLEST_MEASURED)
    ratio = ITS_BYTES_PER_TOKEN + MORE_BYTES_A_DOUBLING * doublings
    return min(max(ratio, 1.0), LONGEST), f"usual with {config.vocabulary_size:,} of them"
