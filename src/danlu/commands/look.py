"""`danlu look`: documents, conversations, rejections with their reasons, or training rows with their loss mask.

In: a corpus, shards or evaluation folder. Out: coloured text on the terminal. Called by `cli`.
Changes nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.markup import escape

from danlu.base import artifact, console
from danlu.base.artifact import Artifact
from danlu.base.errors import ArtifactError, ConfigError, nearest

if TYPE_CHECKING:
    from danlu.shards.look import ShownToken

OPEN, CLOSE = "⟦", "⟧"
"""Around targets of the loss where there are no colours."""


def run(folder: Path, *, what: str = "", count: int = 5, start: int = 0, reason: str = "") -> None:
    """Show `count` items from `start` on; `what` chooses the part, by default the first that the kind has."""
    opened = artifact.open_artifact(folder, verify=False)
    if opened.kind not in LOOKERS:
        raise ArtifactError(
            "there is nothing to look at in an artefact of this kind",
            where=folder,
            found=opened.kind,
            remedy=f"kinds that can be looked at: {', '.join(LOOKERS)}; danlu inspect shows the rest",
        )
    LOOKERS[opened.kind](opened, what, count, start, reason)


def _part(what: str, parts: dict[str, str]) -> str:
    if not what:
        return next(iter(parts.values()))
    if what not in parts:
        raise ConfigError(f"no part {what!r}{nearest(what, parts)}", found=", ".join(parts))
    return parts[what]


def _lines(path: Path, start: int, count: int, keep: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from itertools.islice(filter(keep, map(orjson.loads, file)), start, start + count)


def _of_every_reason(path: Path, start: int, count: int) -> Iterator[dict[str, Any]]:
    """Say how many rejections each reason has, and give some of each in turn, of the most frequent first."""
    numbers: Counter[str] = Counter()
    first: dict[str, list[dict[str, Any]]] = {}
    with path.open("rb") as file:
        for record in map(orjson.loads, file):
            numbers[record["reason"]] += 1
            if numbers[record["reason"]] <= start + count:
                first.setdefault(record["reason"], []).append(record)
    counted = ", ".join(f"{number:,} {reason}" for reason, number in numbers.most_common())
    console.say(counted if numbers else "nothing was rejected", style="dim")
    turns = itertools.zip_longest(*(first[reason] for reason, _ in numbers.most_common()))
    return itertools.islice((record for turn in turns for record in turn if record is not None), start, start + count)


def _corpus(opened: Artifact, what: str, count: int, start: int, reason: str) -> None:
    parts = {
        "documents": "train.jsonl",
        "validation": "validation.jsonl",
        "test": "test.jsonl",
        "conversations": "conversations-train.jsonl",
        "conversations-validation": "conversations-validation.jsonl",
        "conversations-test": "conversations-test.jsonl",
        "rejected": "rejected.jsonl",
    }
    name = _part("rejected" if reason and not what else what, parts)
    path, is_mixed = opened.path(name), name == parts["rejected"] and not reason
    for record in (
        _of_every_reason(path, start, count)
        if is_mixed
        else _lines(path, start, count, lambda record: not reason or record.get("reason") == reason)
    ):
        if "reason" in record:
            console.say_markup(f"[red]{escape(record['reason'])}[/red]  [dim]{escape(record['source'])}[/dim]")
            console.say(f"  {record['excerpt']!r}")
            if record.get("detail"):
                console.say(f"  {record['detail']}", style="dim")
        elif "messages" in record:
            console.say_markup(
                f"[dim]{escape(record['id'])}  {escape(record['task'])} {escape(record['language'])}[/dim]"
            )
            for message in record["messages"]:
                console.say_markup(f"  [bold]{message['role']}[/bold]  {escape(message['content'])}")
        else:
            console.say_markup(f"[dim]{escape(record['id'])}  {escape(record['language'])}[/dim]")
            console.say(record["text"])
        console.say()


def _shards(opened: Artifact, what: str, count: int, start: int, reason: str) -> None:
    """Rows of training text, each with what of it is learnt."""
    from danlu.shards.files import RowSet
    from danlu.shards.look import describe_rows
    from danlu.tokenizer.tokenizer import Tokenizer

    sizes = {path.parent.name: path.stat().st_size for path in opened.folder.glob("*/ids.bin")}
    names = {name: name for name in sorted(sizes, key=lambda name: (name != "pretrain-train", -sizes[name]))}
    rows = RowSet.open(opened.folder / _part(what, names))
    parent = (opened.folder / opened.manifest["parents"]["tokenizer"]["folder"]).resolve()
    tokenizer = Tokenizer.load(parent)
    coloured = console.has_colour()
    key = "green: target of the loss; dim: read only" if coloured else f"{OPEN}target of the loss{CLOSE}"
    console.say(f"{key}; | : next document", style="dim")
    chosen = range(start, min(start + count, rows.num_rows))
    for number, row in zip(chosen, describe_rows(rows, tokenizer, chosen), strict=True):
        console.say_markup(f"[bold]row {number}[/bold] [dim]{escape(', '.join(rows.documents_of(number)[:4]))}[/dim]")
        console.say_markup(marked(row, coloured=coloured))
        console.say()


def marked(row: Sequence[ShownToken], *, coloured: bool) -> str:
    """A row as markup: tokens parted by `·`, documents by `|`; without colours, what is learnt stands in brackets."""
    documents = []
    for _, tokens in itertools.groupby(row, key=lambda token: token.document):
        runs = []
        for is_target, run in itertools.groupby(tokens, key=lambda token: token.is_target):
            text = escape("·".join(token.text for token in run))
            if coloured:
                runs.append(f"[green]{text}[/green]" if is_target else f"[dim]{text}[/dim]")
            else:
                runs.append(f"{OPEN}{text}{CLOSE}" if is_target else text)
        documents.append("·".join(runs))
    return "·[yellow]|[/yellow]·".join(documents)


def _evaluation(opened: Artifact, what: str, count: int, start: int, reason: str) -> None:
    """Questions with reference and answer; `--what TASK` shows one task."""
    for record in _lines(opened.path("answers.jsonl"), start, count, lambda one: not what or one.get("task") == what):
        mark = "[green]right[/green]" if record.get("exact_match") else "[red]wrong[/red]"
        console.say_markup(
            f"{mark}  [dim]{escape(str(record.get('task')))} {escape(str(record.get('language')))}[/dim]"
        )
        for name in ("question", "reference", "answer"):
            console.say(f"  {name:10}{record.get(name, '')}")
        console.say()


LOOKERS: dict[str, Callable[[Artifact, str, int, int, str], None]] = {
    "corpus": _corpus,
    "shards": _shards,
    "evaluation": _evaluation,
}
