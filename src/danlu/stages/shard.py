"""Shard: turn the corpus into packed rows of ids on disk.

Takes: a corpus and a tokenizer.
Makes: the row sets `pretrain-train`, `pretrain-validation` (documents and conversations) and `chat-train`,
`chat-validation` (conversations with exact loss masks), and `report.json` (tokens in and out, filling, what was left
out and why).
Cost: encoding, some megabytes a second on each core, several times that with `danlu[fast]`; two or four bytes a token
on disk; memory stays flat. Killed, it begins the row set that it was at anew and keeps those that were finished.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from danlu.base import console
from danlu.base.artifact import Artifact, digest, seal, write_atomically
from danlu.base.books import check_balance
from danlu.base.config import Count, Settings
from danlu.base.errors import DataError
from danlu.base.records import read_conversations, read_documents
from danlu.shards.encode import Given, Tally, chosen, encode_conversations, encode_documents
from danlu.shards.files import Encoded, RowSet, RowSetWriter
from danlu.shards.finished import Finished, Notes
from danlu.tokenizer import fast
from danlu.tokenizer.chat import ChatTemplate, version_with_template
from danlu.tokenizer.tokenizer import Tokenizer

VERSION = version_with_template(1)
DIARY = ("report.json",)
"""Files about the making, for people: no later stage reads them."""
ROW_SETS = ("pretrain-train", "pretrain-validation", "chat-train", "chat-validation")
SCRATCH = "scratch"
"""Notes of the row sets that are finished; gone when the artefact is."""


class Config(Settings):
    """How rows are cut and what of the conversations is learnt."""

    row_length: Count = Field(512, ge=8, le=1 << 20, description="tokens in a row: the longest context of training")
    conversations: Literal["all", "answers", "none"] = Field(
        "all", description="conversations in pre-training rows: learn all of their text, the answers only, or leave out"
    )
    conversation_share: float = Field(
        1.0, ge=0, le=1, description="share of the conversations that pre-training rows hold"
    )
    window: int = Field(4096, ge=1, description="pieces packed together; more fill rows better and take more memory")
    encoder: fast.Choice = Field(
        "auto",
        exclude=True,  # an encoder serves only where its ids are equal, so it is no part of what was made
        description="library that encodes; auto: the fastest installed one whose ids are those of tokenizers",
    )
    max_rejected_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of unusable conversations (over-long, nothing to learn, of an unknown role or without an "
        "answer) above which to stop",
    )

    @model_validator(mode="after")
    def _share_is_of_something(self) -> Config:
        if self.conversations == "none" and self.conversation_share < 1:
            raise ValueError("conversation_share is of the conversations in the rows, and conversations is none")
        return self


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Write each row set, count what went in against what came out, and stop where too much was left out."""
    started_at = time.monotonic()
    corpus, tokenizer = inputs["corpus"], Tokenizer.load(inputs["tokenizer"].folder)
    encoder = fast.choose(tokenizer, config.encoder)
    template = ChatTemplate(tokenizer)
    notes = Notes(out / SCRATCH, _made_from(config, inputs))
    made = {name: _row_set(out / name, config, corpus, template, notes) for name in ROW_SETS}
    report = {name: row_set.report for name, row_set in made.items()}
    _tell(report)
    _refuse(report, config, corpus)
    write_atomically(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return seal(
        out,
        kind="shards",
        stage="shard",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents=inputs,
        diary=DIARY,
        spent=(SCRATCH,),
        metrics={
            **{name: {key: row[key] for key in ("rows", "tokens_out", "targets")} for name, row in report.items()},
            "encoder": asdict(encoder),
        },
        seconds=time.monotonic() - started_at + sum(row_set.earlier_seconds for row_set in made.values()),
        extra={"tokenizer": tokenizer.fingerprint},
    )


def _made_from(config: Config, inputs: Mapping[str, Artifact]) -> str:
    """The name of all that rows are made from: a finished row set of another name is not taken."""
    parents = {name: [parent.fingerprint, parent.content] for name, parent in inputs.items()}
    return digest({"version": VERSION, "config": config.model_dump(mode="json"), "parents": parents})


def _row_set(folder: Path, config: Config, corpus: Artifact, template: ChatTemplate, notes: Notes) -> Finished:
    """The row set that an interrupted run has finished, or one that is written now."""
    finished = notes.read(folder)
    if finished is not None:
        console.say(f"{folder.name}: kept, it was finished before", style="dim")
        return finished
    started_at = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)  # leavings of an interrupted run
    report = _write(folder, config, corpus, template)
    return notes.write(folder, report, time.monotonic() - started_at)


def _write(folder: Path, config: Config, corpus: Artifact, template: ChatTemplate) -> dict[str, Any]:
    """Write one row set and account for it; the numbers of what came out are read back from the files."""
    kind, split = folder.name.split("-")
    started_at = time.monotonic()
    given, tally = Given(), Tally()
    masked = kind == "chat" or config.conversations == "answers"
    writer = RowSetWriter(folder, template.tokenizer, row_length=config.row_length, masked=masked, window=config.window)
    with writer, console.progress(folder.name, unit="tokens") as progress:
        for encoded in _encoded(kind, split, config, corpus, template, given, tally):
            writer.add(encoded)
            progress.advance(len(encoded.ids))
    row_set = RowSet.open(folder)
    _check(folder.name, corpus, given, tally, row_set)
    seconds = time.monotonic() - started_at
    slots = row_set.num_rows * row_set.row_length
    return {
        "documents": tally.documents,
        "conversations": tally.conversations,
        "rejected": dict(tally.rejected),
        "bytes": tally.bytes,
        "tokens_in": tally.tokens,
        "tokens_out": row_set.num_tokens,
        "remainder": tally.tokens - row_set.num_tokens,
        "targets": row_set.num_targets,
        "rows": row_set.num_rows,
        "filled": round(row_set.num_tokens / slots, 4) if slots else 0.0,
        "megabytes_per_second": round(tally.bytes / 1e6 / max(seconds, 1e-6), 2),
    }


def _check(name: str, corpus: Artifact, given: Given, tally: Tally, row_set: RowSet) -> None:
    """LawBroken unless the corpus's records, their bytes and their tokens all are in the rows or left out by reason."""
    split = name.split("-")[1]
    encoded = {
        "documents": {"encoded": tally.documents},
        "conversations": {"encoded": tally.conversations, **tally.rejected},
    }
    for kind, count in given.records.items():
        if kind in corpus.metrics:  # a corpus that no `prepare` made has no such books
            check_balance(f"{kind} of the corpus for {name}", corpus.metrics[kind].get(split, 0), {"read": count})
        check_balance(f"{kind} of {name}", count, encoded[kind])
    check_balance(f"bytes of {name}", given.bytes, {"encoded": tally.bytes, "left out": tally.rejected_bytes})
    check_balance(f"records of {name}", tally.documents + tally.conversations, {"on disk": row_set.num_records})
    check_balance(f"tokens of {name}", tally.tokens, {"in rows": row_set.num_tokens})


def _encoded(
    kind: str,
    split: str,
    config: Config,
    corpus: Artifact,
    template: ChatTemplate,
    given: Given,
    tally: Tally,
) -> Iterator[Encoded]:
    """What goes into one row set, in order."""
    conversations = given.counted("conversations", read_conversations(corpus.path(f"conversations-{split}.jsonl")))
    if kind == "chat":
        return encode_conversations(template, conversations, tally, longest=config.row_length)
    texts = given.counted("documents", read_documents(corpus.path(f"{split}.jsonl")))
    documents = encode_documents(template.tokenizer, texts, tally)
    if config.conversations == "none":
        return documents
    some = chosen(conversations, config.conversation_share, tally)
    return chain(documents, encode_conversations(template, some, tally, learn_all=config.conversations == "all"))


def _refuse(report: Mapping[str, Any], config: Config, corpus: Artifact) -> None:
    """DataError where nothing is left to train on, or too many conversations cannot be used."""
    if not report["pretrain-train"]["rows"] and not report["chat-train"]["rows"]:
        raise DataError("there is nothing to train on", where=corpus.folder, found="no training text became a row")
    for name in ("chat-train", "chat-validation"):
        unusable = dict(report[name]["rejected"])
        if name == "chat-train":  # what is no conversation has no side; most would have been for training
            before = corpus.metrics.get("unusable_conversations", {})
            unusable |= {f"{reason} (in rejected.jsonl)": count for reason, count in before.items()}
        rejected = sum(unusable.values())
        given = rejected + report[name]["conversations"]
        share = rejected / max(given, 1)
        if share > config.max_rejected_share:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(unusable.items()))
            raise DataError(
                f"{100 * share:.1f} % of the conversations of {name} cannot be used",
                where=corpus.folder,
                found=f"{rejected:,} of {given:,}: {reasons}",
                remedy="raise shard.row_length, mend the conversations, or raise shard.max_rejected_share",
            )


def _tell(report: Mapping[str, Any]) -> None:
    columns = ("documents", "conversations", "tokens_in", "remainder", "rows", "filled", "targets")
    console.table(
        ("row set", *(name.replace("_", " ") for name in columns)),
        [(name, *(row[column] for column in columns)) for name, row in report.items()],
    )
    for name, row in report.items():
        for reason, count in sorted(row["rejected"].items()):
            console.say(f"{name}: {count:,} conversations left out: {reason}")
