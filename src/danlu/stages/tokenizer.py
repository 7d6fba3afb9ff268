"""Tokenizer: learn a vocabulary from the corpus, or add to one.

Takes: a corpus; with `extend`, also the folder of the tokenizer or model whose vocabulary is added to.
Makes: `tokenizer.json` and its neighbours with the chat template, as transformers reads them, and `report.json` (bytes
per token by language, the share of unknown words where a kind has such, the longest tokens, a sentence in tokens).
Cost: about a second for each megabyte of `sample_bytes`, and memory for the different words in it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from danlu.base import console
from danlu.base.artifact import Artifact, fingerprint, seal, write_atomically
from danlu.base.books import check_balance
from danlu.base.config import Bytes, Count, ReadPath, Settings
from danlu.base.errors import ConfigError, DataError
from danlu.base.records import read_conversations, read_documents
from danlu.tokenizer.chat import turns, version_with_template
from danlu.tokenizer.extend import extend
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import SMALLEST_VOCABULARY, compression, train
from danlu.tokenizer.vocabularies import KINDS, kind_of
from danlu.tokenizer.words import segmenter

VERSION = version_with_template(1)
DIARY = ("report.json",)
"""Files about the making, for people: no later stage reads them."""
MEASURED_BYTES = 1_000_000
"""Held-out text of each language that the report measures."""
EXAMPLE_CHARACTERS = 60


class Config(Settings):
    """What the vocabulary is learnt from and how large it may become."""

    kind: Literal["bpe", "wordpiece", "unigram", "characters", "bytes", "words"] = Field(
        "bpe", description="what a token is; wordpiece and words write <UNK> for what they do not know"
    )
    extend: ReadPath | None = Field(
        None, min_length=1, description="a folder with a tokenizer: its ids are kept, new tokens come after them"
    )
    vocabulary_size: Count = Field(
        8192, ge=SMALLEST_VOCABULARY, le=1_000_000, description="tokens in all: 8 control tokens, 256 bytes, merges"
    )
    min_frequency: int = Field(2, ge=1, description="how often a pair, character or word must occur to become a token")
    max_token_length: int = Field(15, ge=1, description="longest token in bytes; a Chinese character has three")
    sample_bytes: Bytes = Field(
        20_000_000, ge=1, description="about how much text is read for learning, drawn evenly from the whole corpus"
    )
    seed: int = Field(0, description="chooses the texts where the corpus is larger than sample_bytes")

    @model_validator(mode="after")
    def _limits_mean_something(self) -> Config:
        for name in ("min_frequency", "max_token_length"):
            is_default = getattr(self, name) == type(self).model_fields[name].default
            if name not in KINDS[self.kind].limits and not is_default:
                raise ValueError(f"{name} says nothing about kind: {self.kind}; leave it out")
        if self.kind == "bytes" and self.extend is not None:
            raise ValueError("kind: bytes has no new tokens to learn; say kind: bpe, which adds merges to bytes")
        return self


def source_fingerprint(config: Config) -> str | None:
    """The name of the vocabulary that is added to, and of what cuts Chinese into words, where there is one."""
    base = None if config.extend is None else _base(config, config.extend).fingerprint
    if config.kind != "words":
        return base
    return fingerprint("words", segmenter(), {}, {} if base is None else {"extend": base})


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Learn the vocabulary, measure it on held-out text, write both."""
    started_at = time.monotonic()
    corpus, books = inputs["corpus"], Books()
    with console.progress("reading text", unit="bytes") as progress:
        tokenizer = _learn(config, _counted(sample(corpus, config, books), progress, corpus, books))
    books.check(corpus)
    languages = compression(tokenizer, _measured(corpus))
    report = {
        "vocabulary_size": tokenizer.size,
        "asked_for": config.vocabulary_size,
        **({"kind": config.kind} if config.kind != "bpe" else {}),
        **({"segmenter": segmenter()} if config.kind == "words" else {}),
        "texts": {"given": books.given.texts, "learnt_from": books.learnt.texts, "beyond_sample": books.beyond.texts},
        "languages": languages,
        "longest_tokens": _longest(tokenizer),
        "examples": _examples(tokenizer, corpus),
    }
    tokenizer.save(out)
    write_atomically(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    _tell(report)
    return seal(
        out,
        kind="tokenizer",
        stage="tokenizer",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents=inputs,
        diary=DIARY,
        metrics={
            "vocabulary_size": tokenizer.size,
            "bytes_per_token": {name: row["bytes_per_token"] for name, row in languages.items()},
        },
        seconds=time.monotonic() - started_at,
        seed=config.seed,
        sources=source_fingerprint(config),
    )


@dataclass
class Amount:
    """Some text: turns of conversations count one by one."""

    texts: int = 0
    bytes: int = 0

    def add(self, text: str) -> None:
        self.texts += 1
        self.bytes += len(text.encode())


@dataclass
class Books:
    """What the corpus gave, and where it went; nothing where a kind of vocabulary reads no text."""

    records: Counter[str] = field(default_factory=Counter)
    given: Amount = field(default_factory=Amount)
    learnt: Amount = field(default_factory=Amount)
    beyond: Amount = field(default_factory=Amount)

    def check(self, corpus: Artifact) -> None:
        """LawBroken unless every record was read, and every text learnt from or left to keep to `sample_bytes`."""
        for kind, count in self.records.items():
            if kind in corpus.metrics:  # a corpus that no `prepare` made has no such books
                check_balance(f"{kind} of the corpus", corpus.metrics[kind].get("train", 0), {"read": count})
        for what in ("texts", "bytes"):
            went = {"learnt from": getattr(self.learnt, what), "beyond the sample": getattr(self.beyond, what)}
            check_balance(f"{what} of the tokenizer", getattr(self.given, what), went)


def _learn(config: Config, texts: Iterator[str]) -> Tokenizer:
    """A vocabulary of its own, or the one of `extend` with more tokens."""
    limits: dict[str, int] = {
        "vocabulary_size": config.vocabulary_size,
        "min_frequency": config.min_frequency,
        "max_token_length": config.max_token_length,
    }
    if config.extend is None:
        return train(texts, kind=config.kind, **limits)
    base = _base(config, config.extend)
    longer = extend(base, texts, **limits)
    console.say(f"{longer.size - base.size:,} new tokens after the {base.size:,} of {config.extend}")
    return longer


def _base(config: Config, folder: str) -> Tokenizer:
    """The tokenizer to extend; ConfigError where it is of another kind."""
    tokenizer = Tokenizer.load(Path(folder).expanduser())
    found = kind_of(json.loads(tokenizer.backend.to_str()))
    if config.kind not in (found, {"bytes": "bpe"}.get(found)):
        raise ConfigError(
            "the tokenizer to extend is of another kind",
            where=folder,
            found=f"{found}, and tokenizer.kind is {config.kind}",
            remedy=f"say tokenizer.kind={found}",
        )
    return tokenizer


def _texts(corpus: Artifact, split: str, read: Counter[str]) -> Iterator[tuple[str, str, str]]:
    """`(id, language, text)` of every document and of every turn, as the tokenizer will meet them; counts records."""
    read.update(documents=0, conversations=0)
    for document in read_documents(corpus.path(f"{split}.jsonl")):
        read["documents"] += 1
        yield document.id, document.language, document.text
    for conversation in read_conversations(corpus.path(f"conversations-{split}.jsonl")):
        read["conversations"] += 1
        for _, text, _ in turns(conversation.messages, conversation.tools):
            yield conversation.id, conversation.language, text


def sample(corpus: Artifact, config: Config, books: Books) -> Iterator[str]:
    """A share of the records, chosen by a keyed hash of their ids: the same ones in whatever order they come."""
    names = ("train.jsonl", "conversations-train.jsonl")
    size = sum(corpus.path(name).stat().st_size for name in names)
    limit = min(1.0, config.sample_bytes / size) * 2**64 if size else 0
    key = str(config.seed).encode()
    for id, _, text in _texts(corpus, "train", books.records):
        books.given.add(text)
        drawn = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        if int.from_bytes(drawn) < limit:
            yield text
        else:
            books.beyond.add(text)


def _counted(texts: Iterable[str], progress: console.Progress, corpus: Artifact, books: Books) -> Iterator[str]:
    """Pass the texts on, count and show how much was read, and refuse a corpus without any."""
    for text in texts:
        yield text
        before = books.learnt.bytes
        books.learnt.add(text)
        progress.advance(books.learnt.bytes - before)
    if not books.learnt.texts:
        raise DataError("there is no text to learn a vocabulary from", where=corpus.folder, found="no training text")


def _measured(corpus: Artifact) -> Iterator[tuple[str, str]]:
    """`(language, text)` of held-out text, up to MEASURED_BYTES each; of training text where nothing is held out."""
    for split in ("validation", "train"):
        seen: dict[str, int] = {}
        for _, language, text in _texts(corpus, split, Counter()):
            if seen.get(language, 0) < MEASURED_BYTES:
                seen[language] = seen.get(language, 0) + len(text.encode())
                yield language, text
        if seen:
            return


def _longest(tokenizer: Tokenizer) -> list[str]:
    texts = [tokenizer.token_text(id) for id in range(tokenizer.size) if id not in tokenizer.special.values()]
    return sorted(texts, key=lambda text: (-len(text.encode()), text))[:20]


def _examples(tokenizer: Tokenizer, corpus: Artifact) -> dict[str, list[str]]:
    """The beginning of the first text of each language, in tokens."""
    examples: dict[str, list[str]] = {}
    for language, text in _measured(corpus):
        if language not in examples and text.strip():
            examples[language] = [tokenizer.token_text(id) for id in tokenizer.encode(text[:EXAMPLE_CHARACTERS])]
    return examples


def _tell(report: Mapping[str, Any]) -> None:
    if report["vocabulary_size"] < report["asked_for"] and report.get("kind") != "bytes":
        learnt = {"bpe": "pairs", "characters": "characters", "words": "words"}.get(report.get("kind", "bpe"), "pieces")
        console.say(f"the text has {learnt} for {report['vocabulary_size']:,} of {report['asked_for']:,} tokens")
    unknown = ("unknown", "share of tokens") if "unknown" in report["languages"].get("all", {}) else ()
    console.table(
        ("language", "texts", "bytes", "tokens", "bytes per token", *unknown),
        [(n, *r.values()) for n, r in report["languages"].items()],
    )
    for tokens in report["examples"].values():
        console.say("  " + "·".join(tokens).replace("\n", "\\n"), style="dim")
