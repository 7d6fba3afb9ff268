"""Evaluate a model on what it has not seen: how likely it holds test text, and what it answers to test questions.

Takes: a model and the corpus whose test side was kept away from it.
Makes: `evaluation.json` (loss, perplexity, bits per byte by language; exact match and F1 by task and language, with n
and standard error, beside three baselines; with each, how many of its cases stand in the training text) and
`answers.jsonl` (every question, reference and answer).
Cost: one forward pass over the beginnings of `documents` texts a language, one short greedy answer a question; no
gradient. Looking for leaks reads the training text once, some 30 MB a second.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from danlu.base import console
from danlu.base.artifact import Artifact, seal, write_atomically
from danlu.base.books import check_balance
from danlu.base.config import Count, Settings
from danlu.base.errors import DataError
from danlu.base.records import Conversation, Document, read_conversations, read_documents, text_bytes

if TYPE_CHECKING:
    from danlu.convert import Loaded
    from danlu.evaluate.answers import Marked
    from danlu.evaluate.score import Score

VERSION = 3
BEYOND, NO_REFERENCE = "beyond the number asked for", "no answer to compare with"
CUT = "beyond the characters scored of each"
R = TypeVar("R", Document, Conversation)


class Config(Settings):
    """How much to measure. The first cases by a keyed hash of their ids are taken, so every run takes the same."""

    documents: int = Field(200, ge=0, description="test documents scored, for each language")
    document_characters: Count = Field(
        20_000, ge=1, description="most characters scored of each, from its beginning: a book is no hundred articles"
    )
    questions: int = Field(300, ge=0, description="test conversations asked, for each task and language")
    max_tokens: int = Field(64, ge=1, description="most tokens of an answer")
    slots: int = Field(32, ge=1, description="questions answered at the same time")
    baselines: bool = Field(True, description="also let the three baselines answer, learned from the training side")
    leaks: bool = Field(
        True,
        description="also count the test texts and questions of which 13 words in a row, or 20 characters of Chinese, "
        "stand in the training text",
    )
    device: str = Field("auto", description="auto, cpu, cuda")
    seed: int = Field(0, description="chooses which cases are taken where there are more than asked for")


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Score texts, ask questions, compare with the baselines, say and write the result."""
    from danlu import convert
    from danlu.evaluate import report
    from danlu.parallel import device

    started_at = time.monotonic()
    world = device.discover(device=config.device, dtype="float32")
    model, corpus = convert.load(inputs["model"].folder, device=world.device, dtype=world.dtype), inputs["corpus"]
    if model.tokenizer is None:
        raise DataError("the model folder has no tokenizer to measure it with", where=model.folder)
    texts, talks = Account(), Account()
    documents, conversations = _documents(corpus, config, texts), _conversations(corpus, config, talks)
    _require_template(model, conversations)
    scores = _score(model, documents, config.document_characters)
    texts.check("documents", corpus, *_scored(scores))
    marked = _ask(model, conversations, config) if conversations else []
    talks.check("conversations", corpus, *_answered(conversations, marked))
    baselines = _baselines(corpus, conversations) if config.baselines and conversations else {}
    leaked = _leaked(corpus, documents, conversations, config.document_characters) if config.leaks else None
    result = {
        "language_model": _with_leaks(report.language_model(scores), documents, leaked),
        "answers": report.tabulate(marked, baselines, leaked),
        "baselines": list(baselines),
        "core_tasks": list(report.CORE),
        "cut": sum(one.finish == "length" for one in marked),
        "too_long": sum(one.finish == "too long" for one in marked),
    }
    _say(result, talks)
    write_atomically(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomically(out / "answers.jsonl", _lines(marked, baselines))
    return seal(
        out,
        kind="evaluation",
        stage="evaluate",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents=inputs,
        metrics=_metrics(result),
        seconds=time.monotonic() - started_at,
        seed=config.seed,
        extra={"accounts": {"documents": vars(texts), "conversations": vars(talks)}},
    )


def _require_template(model: Loaded, conversations: Sequence[Conversation]) -> None:
    """Texts are scored without a chat template; questions are asked through one."""
    if conversations and model.template is None:
        raise DataError(
            "the model has no chat template to ask questions with",
            where=model.folder,
            found=f"{len(conversations):,} questions, and a tokenizer without danlu's control tokens",
            remedy="set questions=0: then its texts are scored and nothing is asked",
        )


@dataclass
class Account:
    """The test records of one kind and the bytes of their text: how many there are, how many are left out and why."""

    given: int = 0
    given_bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_bytes: dict[str, int] = field(default_factory=dict)

    def counted(self, records: Iterable[R]) -> Iterator[R]:
        for record in records:
            self.given += 1
            self.given_bytes += text_bytes(record)
            yield record

    def leave_out(self, reason: str, record: Document | Conversation) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1
        self.cut(reason, text_bytes(record))

    def cut(self, reason: str, num_bytes: int) -> None:
        """Count bytes as left out; the rest of their record may be used."""
        self.left_out_bytes[reason] = self.left_out_bytes.get(reason, 0) + num_bytes

    def check(self, kind: str, corpus: Artifact, used: Mapping[str, int], used_bytes: Mapping[str, int]) -> None:
        """LawBroken unless all that the corpus holds for the test was read, and then used or left out by reason."""
        if kind in corpus.metrics:  # a corpus that no `prepare` made has no such books
            check_balance(
                f"{kind} of the corpus for the test", corpus.metrics[kind].get("test", 0), {"read": self.given}
            )
        check_balance(f"{kind} for the test", self.given, {**used, **self.left_out})
        check_balance(f"bytes of the {kind} for the test", self.given_bytes, {**used_bytes, **self.left_out_bytes})


def _scored(scores: Mapping[str, Sequence[Score]]) -> tuple[dict[str, int], dict[str, int]]:
    """How many documents were scored, and what became of their bytes."""
    every = [score for part in scores.values() for score in part]
    num_bytes = {"scored": sum(one.bytes for one in every), "given, not scored": sum(one.given for one in every)}
    return {"scored": len(every)}, num_bytes


def _answered(conversations: Sequence[Conversation], marked: Sequence[Marked]) -> tuple[dict[str, int], dict[str, int]]:
    """How many conversations were answered or had a prompt that is too long, and their bytes."""
    outcomes = ["too long" if one.finish == "too long" else "answered" for one in marked]
    num_bytes = Counter[str]()
    for conversation, outcome in zip(conversations, outcomes, strict=False):  # the records' own balance tells of others
        num_bytes[outcome] += text_bytes(conversation)
    return Counter(outcomes), num_bytes


def _choose(records: Iterable[R], key: Callable[[R], Any], most: int, seed: int, account: Account) -> list[R]:
    """At most `most` records for each value of `key`: those with the smallest keyed hash of their id, in that order."""
    groups: dict[Any, list[tuple[bytes, R]]] = {}
    for record in records:
        name = hashlib.blake2b(f"{seed}:{record.id}".encode(), digest_size=8).digest()
        groups.setdefault(key(record), []).append((name, record))
    chosen: list[R] = []
    for group in sorted(groups):
        ordered = [record for _, record in sorted(groups[group], key=lambda pair: (pair[0], pair[1].id))]
        chosen += ordered[:most]
        for record in ordered[most:]:
            account.leave_out(BEYOND, record)
    return chosen


def _documents(corpus: Artifact, config: Config, account: Account) -> list[Document]:
    records = account.counted(read_documents(corpus.path("test.jsonl")))
    chosen = _choose(records, lambda document: document.language, config.documents, config.seed, account)
    for document in chosen:
        if rest := document.text[config.document_characters :]:
            account.cut(CUT, len(rest.encode()))
    return chosen


def _conversations(corpus: Artifact, config: Config, account: Account) -> list[Conversation]:
    records = account.counted(read_conversations(corpus.path("conversations-test.jsonl")))
    askable = _askable(records, account)
    return _choose(askable, lambda one: (one.language, one.task), config.questions, config.seed, account)


def _askable(records: Iterable[Conversation], account: Account) -> Iterator[Conversation]:
    from danlu.evaluate.answers import question_and_reference

    for record in records:
        if question_and_reference(record) is not None:
            yield record
        else:
            account.leave_out(NO_REFERENCE, record)


def _score(model: Loaded, documents: Sequence[Document], most_characters: int) -> dict[str, list[Any]]:
    """Scores by language of the beginnings of the texts."""
    from danlu.evaluate.score import score_texts

    scores: dict[str, list[Any]] = {}
    assert model.tokenizer is not None
    with console.progress("scoring", len(documents), "documents") as progress:
        for start in range(0, len(documents), 32):
            part = documents[start : start + 32]
            found = score_texts(model.model, model.tokenizer, [document.text[:most_characters] for document in part])
            for document, score in zip(part, found, strict=True):
                if not math.isfinite(score.nats):
                    raise DataError("the model's log-likelihood is not a number", where=document.id, found=score.nats)
                scores.setdefault(document.language or "other", []).append(score)
            progress.advance(len(part))
    return scores


def _ask(model: Loaded, conversations: Sequence[Conversation], config: Config) -> list[Marked]:
    from danlu.evaluate.answers import answer_all

    assert model.tokenizer is not None
    assert model.template is not None
    with console.progress("answering", len(conversations), "questions") as progress:
        return answer_all(
            model.model,
            model.tokenizer,
            model.template,
            conversations,
            max_tokens=config.max_tokens,
            num_slots=config.slots,
            advance=progress.advance,
        )


def _baselines(corpus: Artifact, conversations: Sequence[Conversation]) -> dict[str, list[Marked]]:
    """What three systems without a network answer to the same questions, each learned from the training side."""
    from danlu.evaluate.answers import mark
    from danlu.evaluate.baselines import BASELINES, fit

    training = list(read_conversations(corpus.path("conversations-train.jsonl")))
    total = len(BASELINES) * (len(training) + len(conversations))
    with console.progress("baselines", total, "conversations") as shown:
        return {
            name: [mark(one, baseline.answer(one)) for one in shown.each(conversations)]
            for name, baseline in fit(training, shown.each).items()
        }


def _leaked(
    corpus: Artifact, documents: Sequence[Document], conversations: Sequence[Conversation], most_characters: int
) -> set[str]:
    """The ids of all that is measured of which a long run of words stands in the training text."""
    from danlu.corpus.decontaminate import Runs
    from danlu.corpus.units import text_of

    runs = Runs()
    found: set[str] = set()
    for document in documents:
        runs.learn(document.text[:most_characters])
    for conversation in conversations:
        runs.learn(text_of(conversation), "conversations")  # what they share is a prompt, and no leak
    ids = [*(document.id for document in documents), *(conversation.id for conversation in conversations)]
    learned_from: Iterable[Document | Conversation] = itertools.chain(
        read_documents(corpus.path("train.jsonl")), read_conversations(corpus.path("conversations-train.jsonl"))
    )
    with console.progress("looking for leaks", unit="records") as shown:
        for record in shown.each(learned_from):
            hit = runs.find(text_of(record))
            if hit is not None:
                found.update(ids[number] for number in hit.texts)
    return found


def _with_leaks(
    table: dict[str, dict[str, Any]], documents: Sequence[Document], leaked: Collection[str] | None
) -> dict[str, dict[str, Any]]:
    """The language model's rows, each with the number of its documents that leaked."""
    for name, row in table.items():
        own = [one.id for one in documents if name in (one.language or "other", "all")]
        row["leaked"] = None if leaked is None else sum(id in leaked for id in own)
    return table


def _lines(marked: Sequence[Marked], baselines: Mapping[str, Sequence[Marked]]) -> str:
    """`answers.jsonl`: one object a question, with what each baseline answered."""
    lines = []
    for index, one in enumerate(marked):
        theirs = {name: answers[index].answer for name, answers in baselines.items()}
        lines.append(json.dumps({**one.to_dict(), "baselines": theirs}, ensure_ascii=False) + "\n")
    return "".join(lines)


def _say(result: Mapping[str, Any], talks: Account) -> None:
    from danlu.evaluate import report

    rows = [
        [
            report.LANGUAGE_NAMES.get(name, name),
            part["documents"],
            report.leaks(part),
            part["loss"],
            part["perplexity"],
            report.bits(part),
        ]
        for name, part in result["language_model"].items()
    ]
    if rows:
        columns = ["language", "documents", report.LEAKED, "loss", "perplexity", "bits per byte"]
        console.table(columns, rows, title="test text")
        for sentence in report.undefined_bits(result["language_model"]):
            console.say(sentence, style="dim")
    if result["answers"]:
        names = result["baselines"]
        rows = report.answer_rows(result["answers"], names)
        console.table(
            report.answer_columns(names), rows, title="test questions (beside the model: exact match of the baselines)"
        )
    for count, what in (
        (result["cut"], "were cut at max_tokens"),
        (result["too_long"], "had a prompt that does not fit"),
    ):
        if count:
            console.say(f"{count} answers {what}", style="dim")
    if NO_REFERENCE in talks.left_out:
        console.say(f"{talks.left_out[NO_REFERENCE]} conversations have {NO_REFERENCE}", style="dim")


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers that stand in the manifest."""
    table = result["language_model"]
    metrics = {f"bits_per_byte_{name}": row["bits_per_byte"] for name, row in table.items()}
    metrics = {name: value for name, value in metrics.items() if value is not None}
    metrics |= {f"loss_{name}": row["loss"] for name, row in table.items()}
    for row in result["answers"]:
        if row["task"] == "core":
            metrics[f"core_exact_match_{row['language']}"] = row["exact_match"]
            metrics[f"core_f1_{row['language']}"] = row["f1"]
    return metrics
