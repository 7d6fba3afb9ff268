"""Measure encoding and the learning of byte-pair vocabularies by each installed library; ids and merges are compared.

In: a folder of real text with `en/` and `zh/`, and the folder of a tokenizer. Out: `docs/results/tokenizers.json`;
`speed_page.py` tells it. Every measurement is a process of its own, and in each round the libraries take turns, each
round beginning with another; medians are told:

    pip install -r benchmarks/peers-tokenizers.txt  # two of them only to be measured: danlu does not use them
    python benchmarks/tokenizer_speed.py --text TEXT --tokenizer TOKENIZER

Encoding is that of the `shard` stage (`shards.encode` over `tokenizer.fast`), once cold and once more over the same
text, on one core and on all. Whatever the library, the hash of all ids must be the same. Learning: danlu's own trainer;
`tokenizers` and gigabpe with the split of GPT-2 (gigabpe knows no other for bytes), whose merges are compared; and
sentencepiece, which joins characters instead of bytes. The seconds of the processor stand beside those of the
clock: they hardly change where the machine does other work too. The file is not called `tokenizers.py`, because the
scripts beside it would find it in the library's place.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import speed_page
from machine import add_options, peak_mb, stamp
from rounds import in_turn, middle
from texts import LANGUAGES, files, texts
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from danlu.base import console
from danlu.base.records import Document
from danlu.shards.encode import Tally, encode_documents
from danlu.tokenizer import fast
from danlu.tokenizer.tokenizer import CONTROL_TOKENS, Tokenizer
from danlu.tokenizer.train import train

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "tokenizers.json"
ENCODERS = (fast.REFERENCE, *reversed(fast.MAKERS))
VOCABULARY = 8192
MIN_FREQUENCY, MAX_TOKEN_LENGTH = 2, 15


def documents(folder: Path, most: int) -> Iterator[str]:
    """The texts of both languages up to `most` bytes, half of them Chinese."""
    for language in LANGUAGES:
        left = most // 2
        for text in chain.from_iterable(map(texts, files(folder, language))):
            left -= len(text.encode())
            if left < 0:
                break
            yield text


def encoding(name: str, text: Path, tokenizer: Path, most: int) -> dict[str, Any]:
    """Encode all documents twice."""
    listed = [Document(str(number), one, "text") for number, one in enumerate(documents(text, most))]
    encoder = Tokenizer.load(tokenizer)
    if name in fast.MAKERS:
        encoder.bulk = fast.MAKERS[name](encoder)  # unchecked: the sample would warm what is to be measured cold
    found: dict[str, Any] = {}
    for turn in ("cold", "warm"):
        seen, tally = hashlib.sha256(), Tally()
        started, worked = time.perf_counter(), time.process_time()
        for part in encode_documents(encoder, listed, tally):
            seen.update(part.ids.astype("<u4").tobytes())
        found[turn] = {
            "mb_per_second": tally.bytes / 1e6 / (time.perf_counter() - started),
            "mb_per_processor_second": tally.bytes / 1e6 / (time.process_time() - worked),
        }
    return {**found, "tokens": tally.tokens, "bytes": tally.bytes, "ids": seen.hexdigest(), "peak_mb": peak_mb()}


def learning(name: str, text: Path, _: Path, most: int) -> dict[str, Any]:
    """Learn a vocabulary of VOCABULARY tokens."""
    listed = list(documents(text, most))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text("\n".join(one.replace("\r", "") for one in listed), encoding="utf-8", newline="")
        size = file.stat().st_size
        started, worked = time.perf_counter(), time.process_time()
        merges = LEARNERS[name](listed, file)
        seconds, work = time.perf_counter() - started, time.process_time() - worked
    found = {"mb_per_second": size / 1e6 / seconds, "mb_per_processor_second": size / 1e6 / work, "bytes": size}
    named = hashlib.sha256(json.dumps(merges).encode()).hexdigest() if merges else None
    return {**found, "merges": named, "peak_mb": peak_mb()}


def _ours(listed: list[str], _: Path) -> list[list[str]]:
    limits = {"min_frequency": MIN_FREQUENCY, "max_token_length": MAX_TOKEN_LENGTH}
    tokenizer = train(listed, vocabulary_size=VOCABULARY, **limits)
    return json.loads(tokenizer.backend.to_str())["model"]["merges"]


def _gpt2_split(_: list[str], file: Path) -> list[list[str]]:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=MIN_FREQUENCY,
        max_token_length=MAX_TOKEN_LENGTH,
        special_tokens=list(CONTROL_TOKENS),
        show_progress=False,
    )
    with file.open(encoding="utf-8", newline="") as lines:
        backend.train_from_iterator(lines, trainer)
    return json.loads(backend.to_str())["model"]["merges"]


def _gigabpe(_: list[str], file: Path) -> list[list[str]]:
    import gigabpe

    _, merges = gigabpe.train_bpe(
        [str(file)],
        VOCABULARY,
        special_tokens=list(CONTROL_TOKENS),
        min_frequency=MIN_FREQUENCY,
        max_token_length=MAX_TOKEN_LENGTH,
        pretokenizer="bytelevel",
    )
    return [list(pair) for pair in merges]


def _sentencepiece(_: list[str], file: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(file),
        model_prefix=str(file.with_name("learnt")),
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        max_sentence_length=1 << 20,
        minloglevel=2,
    )


LEARNERS: dict[str, Callable[[list[str], Path], Any]] = {
    "danlu": _ours,
    "tokenizers": _gpt2_split,
    "gigabpe": _gigabpe,
    "sentencepiece": _sentencepiece,
}
TASKS = {"encoding": encoding, "learning": learning}


def installed(names: Any) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is not None]


def measured(options: argparse.Namespace, task: str, name: str, cores: int | None, most: int) -> dict[str, Any]:
    """One measurement in a process of its own, which may use so many cores."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, __file__, "--text", str(options.text), "--tokenizer", str(options.tokenizer)]
        command += ["--side", task, name, str(most), str(answer)]
        allowed = set(sorted(os.sched_getaffinity(0))[:cores])
        subprocess.run(command, check=True, preexec_fn=lambda: os.sched_setaffinity(0, allowed))
        return json.loads(answer.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="a folder of real text with en/ and zh/")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the folder of a byte-level tokenizer")
    parser.add_argument("--megabytes", type=int, default=50, help="text that is encoded")
    parser.add_argument("--learning-megabytes", type=int, default=50, help="text that is learnt from")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    add_options(parser, RESULTS)
    options = parser.parse_args()
    if options.side:
        task, name, most, answer = options.side
        Path(answer).write_text(json.dumps(TASKS[task](name, options.text, options.tokenizer, int(most))))
        return
    stamped = stamp(options)
    ways = {"one core": 1, "all cores": None}
    rows: dict[str, dict[str, list[Any]]] = {way: {} for way in (*ways, "learning")}
    for number in range(options.rounds):
        for way, cores in ways.items():
            for name in in_turn(installed(ENCODERS), number):
                found = measured(options, "encoding", name, cores, options.megabytes * 1_000_000)
                rows[way].setdefault(name, []).append(found)
                console.say(f"{way}, {name}: {found['cold']['mb_per_second']:.1f} MB/s cold")
        for name in in_turn(installed(LEARNERS), number):
            found = measured(options, "learning", name, None, options.learning_megabytes * 1_000_000)
            rows["learning"].setdefault(name, []).append(found)
            console.say(f"learning, {name}: {found['mb_per_second']:.2f} MB/s")
    order = {**dict.fromkeys(ways, installed(ENCODERS)), "learning": installed(LEARNERS)}
    table = {way: {name: middle(sides[name]) for name in order[way]} for way, sides in rows.items()}
    hashes = {one["ids"] for way in ways for rounds in rows[way].values() for one in rounds}
    merges = {table["learning"][name]["merges"] for name in ("tokenizers", "gigabpe") if name in table["learning"]}
    record = {
        **stamped,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("danlu", *installed({**fast.MAKERS, **LEARNERS}))},
        "vocabulary": Tokenizer.load(options.tokenizer).size,
        "rounds": options.rounds,
        "learning_rounds": options.rounds,
        "ids_equal": len(hashes) == 1,
        "merges_equal": len(merges) == 1,
        **table,
    }
    options.result.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    speed_page.write_after(options.result)


if __name__ == "__main__":
    main()
