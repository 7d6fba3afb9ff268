"""The little world: bilingual text about a small town, written from a seed as a person's folder would hold it.

In: a folder, a seed, how many stories, lists and conversations. Out: text, JSON Lines and Parquet files, some
compressed, some dirty, and a table of what was written. Called by `raw` (source `little-world`); the
ordinary readers read the folder. Reads nothing.

What is told of the town holds across documents (`world_text.FACTS`). No triple of person, place and day and no sentence
is on both sides of the split; `world_text` says how, `tests/corpus/test_world.py` proves it.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from danlu.base import console
from danlu.base.records import Split
from danlu.corpus.world_dirt import expected, write_dirt
from danlu.corpus.world_talk import HELD_OUT, TRAINING, Talk, wording
from danlu.corpus.world_text import DOCUMENTS, LANGUAGES, read_twice

VERSION = 5
"""Raise it when the same arguments would give another folder."""
DOCUMENT_SPLITS: dict[Split, float] = {"train": 0.94, "validation": 0.03, "test": 0.03}
CONVERSATION_SPLITS: dict[Split, float] = {"train": 0.93, "validation": 0.03, "test": 0.04}
MOST_DRAWS = 200
"""Draws for one new text before its kind counts as exhausted and another kind is drawn."""

Record = dict[str, Any]


def write(
    folder: Path, *, seed: int, stories: int, conversations: int, lists: int = 0, dirty: bool = True
) -> dict[str, Any]:
    """Write the world; return `{documents, lists, conversations, tasks, dirty, expected}`: how much there is.

    `dirty` counts what was planted, `expected` what a cleaner should do with it: `{rejected: {reason: n}, masked: ...,
    kept: ...}`. The same arguments give the same bytes. All texts differ: what is to be found twice is planted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(f"little world {seed}")
    counted: Counter[str] = Counter()
    with console.progress("little world", stories + lists + conversations, "records") as shown:
        documents = list(shown.each(_documents(random, stories)))
        _write_documents(folder, documents)
        _write_lines(folder / "lists.jsonl", shown.each(_lists(random, lists)))
        talks = shown.each(_conversations(random, conversations))
        _write_lines(folder / "conversations.jsonl", _counting(talks, counted))
    dirt = write_dirt(folder, random, [record for record in documents if record["split"] == "train"]) if dirty else {}
    return {
        "documents": len(documents),
        "lists": lists,
        "conversations": counted.total(),
        "tasks": dict(sorted(counted.items())),
        "dirty": dirt,
        "expected": expected(dirt),
    }


def _sides(shares: dict[Split, float], total: int) -> Iterator[Split]:
    """The split of each of `total` records, by its share; every side gets one where there are three records or more."""
    held: dict[Split, int] = {
        split: max(round(total * shares[split]), 1 if total >= 3 else 0) for split in shares if split != "train"
    }
    yield from repeat("train", total - sum(held.values()))
    for split, count in held.items():
        yield from repeat(split, count)


def _documents(random: Random, count: int) -> Iterator[Record]:
    """Stories, diaries, chronicles and bilingual pages; no two alike."""
    kinds = list(DOCUMENTS)
    shares = [share for _, share in DOCUMENTS.values()]
    seen: set[str] = set()
    for number, split in enumerate(_sides(DOCUMENT_SPLITS, count)):
        language = LANGUAGES[number % 2]
        while True:
            kind = random.choices(kinds, shares)[0]
            text = DOCUMENTS[kind][0](random, split, language)
            if text not in seen:
                break
        seen.add(text)
        record = {"id": f"{kind}-{number:06d}", "text": text, "split": split}
        yield record if kind == "bilingual" else {**record, "language": language}


def _lists(random: Random, count: int) -> Iterator[Record]:
    """Lists that are read twice; no two alike."""
    seen: set[str] = set()
    for number, split in enumerate(_sides(DOCUMENT_SPLITS, count)):
        language = LANGUAGES[number % 2]
        while (text := read_twice(random, split, language)) in seen:
            pass
        seen.add(text)
        yield {"id": f"list-{number:06d}", "text": text, "split": split, "language": language}


def _write_documents(folder: Path, documents: Sequence[Record]) -> None:
    """Spread the documents over every format that a folder may hold.

    Plain text carries no split, so only what is for training is written so, into a folder of that name.
    """
    formats: list[list[Record]] = [[] for _ in range(5)]
    for number, record in enumerate(documents):
        formats[number % 5 if record["split"] == "train" else 1 + number % 4].append(record)
    text, lines, gzipped, zstandardised, parquet = formats
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / "stories.txt").write_text("\n\n".join(record["text"] for record in text) + "\n", "utf-8")
    _write_lines(folder / "stories.jsonl", lines)
    (folder / "diaries.jsonl.gz").write_bytes(gzip.compress(_lines(gzipped), mtime=0))
    (folder / "town.jsonl.zst").write_bytes(zstandard.compress(_lines(zstandardised)))
    columns = {name: [record.get(name) for record in parquet] for name in ("id", "text", "split", "language")}
    pq.write_table(pa.table(columns, pa.schema([(name, pa.string()) for name in columns])), folder / "pages.parquet")


def _lines(records: Iterable[Record]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _counting(records: Iterable[Record], counted: Counter[str]) -> Iterator[Record]:
    for record in records:
        counted[f"{record['split']} {record['task']} {record['language']}"] += 1
        yield record


def _conversations(random: Random, count: int) -> Iterator[Record]:
    """Conversations of every task, no two alike; the languages take turns."""
    seen: set[str] = set()
    for number, split in enumerate(_sides(CONVERSATION_SPLITS, count)):
        talk = _new_talk(random, split, LANGUAGES[number % 2], seen)
        yield {
            "id": f"talk-{number:06d}",
            "messages": [{"role": role, "content": content} for role, content in talk.turns],
            "language": talk.language,
            "task": talk.task,
            "split": split,
        }


def _new_talk(random: Random, split: Split, language: str, seen: set[str]) -> Talk:
    """A conversation whose turns no other conversation has; a kind without new ones gives way to another."""
    table = TRAINING if split == "train" else HELD_OUT
    writers = [writer for writer, _ in table if split == "test" or writer is not wording]
    shares = [share for writer, share in table if writer in writers]
    while True:
        writer = random.choices(writers, shares)[0]
        for _ in range(MOST_DRAWS):
            talk = writer(random, split, language)
            text = "\n".join(content for _, content in talk.turns)
            if text not in seen:
                seen.add(text)
                return talk
