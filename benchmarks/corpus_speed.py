"""Measure the making of a corpus: quality rules and near-duplicates beside datatrove, each stage's speed, peak memory.

In: a folder of real text with `en/` and `zh/` (`--text`), a Python with datatrove, spacy and jieba (`--peer`). Out: one
part of `docs/results/corpus-speed.json` for each measurement that is asked for; the others stay; and the pages that
tell them (`corpus_page.py`). Every measurement is a process of its own on one thread, and of the chain each part of the
text goes through both sides in turn. The seconds of the processor are measured beside those of the clock: they hardly
change where the machine does other work too:

    python benchmarks/corpus_speed.py chain stages memory --text TEXT --peer PEER/bin/python

Documents are cut from the real ones, one of each file in turn, up to some 3 kB each like pages of the web; every tenth
comes again with two words put in. Beyond the size of the text its letters and characters are exchanged for others, so
that nothing else comes twice.

Of the chain both sides read JSON Lines, judge each document by the rules of C4, Gopher and FineWeb, find
near-duplicates by 14 bands of 8 MinHashes over runs of 5 words, and write what stays. `corpus_peer.py` says how
datatrove is set so that both do the same on the same documents; here Chinese runs have 9 characters, which are 5 of
jieba's words. danlu does more in the same time: it decides encodings, normalises, drops exact duplicates, divides into
sides and writes an account. The results count for both sides what stays after either half, name the rules that dropped
the rest, and say on how many documents the two agree. A page that stays is counted once, whichever of the page and its
copy either side keeps.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from danlu.base import console
from danlu.corpus.quality import FAMILIES

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "corpus-speed.json"
DOCUMENT_CHARACTERS = {"en": 3_000, "zh": 1_000}
COPY_EVERY = 10
CHAIN_PARTS = 3
CHAIN_BYTES = 30_000_000
STAGES_BYTES = 50_000_000
MEMORY_BYTES = 1_000_000_000
FIRST_HAN, LAST_HAN = 0x4E00, 0x9FA5
CHAIN = {
    "filters": {"quality": ["gopher", "c4", "fineweb"]},
    "private_data": "keep",
    "near_duplicates": False,
}
"""What datatrove's chain does, and no more: its normalising and exact duplicates are left out where that can be."""
SHINGLE = {"en": 5, "zh": 9}
COPY = "-copy"


def texts(path: Path) -> Iterator[str]:
    """The documents of one file."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from (json.loads(line)["text"] for line in file) if ".jsonl" in path.name else [file.read()]


def pieces(path: Path, turn: int, most: int) -> Iterator[str]:
    """Pieces of a file's documents that end with a line; a rest that is short by far is left out."""
    for text in texts(path):
        held: list[str] = []
        size = 0
        for line in (text.translate(exchanged(turn)) if turn else text).split("\n"):
            held.append(line)
            size += len(line)
            if size >= most:
                yield "\n".join(held)
                held, size = [], 0
        if size >= most // 4:
            yield "\n".join(held)


@cache
def exchanged(turn: int) -> dict[int, int]:
    """Every small letter and Chinese character -> the one that stands `turn` (times a prime) behind it."""
    letters = {97 + place: 97 + (place + turn) % 26 for place in range(26)}
    width = LAST_HAN - FIRST_HAN + 1
    return letters | {FIRST_HAN + place: FIRST_HAN + (place + 7919 * turn) % width for place in range(width)}


def documents(folder: Path, language: str) -> Iterator[tuple[str, str]]:
    """`(id, text)` without end: a piece of each file in turn, and copies of some with two words put in."""
    most = DOCUMENT_CHARACTERS[language]
    number = 0
    for turn in count():
        files = [pieces(path, turn, most) for path in sorted((folder / language).iterdir())]
        while files:
            for file in list(files):
                document = next(file, None)
                if document is None:
                    files.remove(file)
                    continue
                number += 1
                yield f"{language}-{number}", document
                if number % COPY_EVERY == 0:
                    middle = len(document) // 2
                    yield f"{language}-{number}{COPY}", f"{document[:middle]} 之一 {document[middle:]}"


def write_parts(folder: Path, language: str, paths: list[Path], part_bytes: int) -> None:
    """JSON Lines files of one language, each with so many bytes of text."""
    made = documents(folder, language)
    for path in paths:
        size = 0
        with path.open("w", encoding="utf-8") as file:
            while size < part_bytes:
                name, text = next(made)
                size += len(text.encode())
                file.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")


def measured(command: list[str]) -> dict[str, Any]:
    """The JSON that a process writes as its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{command}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(stage: str, config: dict[str, Any], out: Path, **inputs: Path) -> dict[str, Any]:
    """Run one stage in a process of its own."""
    words = json.dumps(
        {"config": config, "out": str(out), "inputs": {name: str(path) for name, path in inputs.items()}}
    )
    return measured([sys.executable, __file__, "side", "--stage", stage, "--words", words])


def side(stage: str, words: dict[str, Any]) -> None:
    """The process of `ours`: one stage from its inputs to its seal."""
    from importlib import import_module

    from danlu.base.artifact import open_artifact
    from danlu.base.config import read_settings

    module = import_module(f"danlu.stages.{stage}")
    inputs = {name: open_artifact(Path(path), name) for name, path in words["inputs"].items()}
    out = Path(words["out"])
    out.mkdir(parents=True)
    said = os.dup(1)
    os.dup2(2, 1)
    started_at, processor_at = time.perf_counter(), time.process_time()
    made = module.run(read_settings(module.Config, words["config"], "benchmark"), inputs, out)
    facts = {
        "seconds": round(time.perf_counter() - started_at, 3),
        "processor_seconds": round(time.process_time() - processor_at, 3),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "metrics": dict(made.metrics),
    }
    os.write(said, (json.dumps(facts) + "\n").encode())


def chain(text: Path, peer: str, folder: Path, size: int) -> dict[str, Any]:
    """Quality and near-duplicates of each part by datatrove and by danlu, in turn."""
    part_bytes = size // (2 * CHAIN_PARTS)
    result: dict[str, Any] = {"config": CHAIN, "parts": CHAIN_PARTS, "part_bytes": part_bytes}
    for language in ("en", "zh"):
        paths = [folder / f"{language}-{number}.jsonl" for number in range(CHAIN_PARTS)]
        write_parts(text, language, paths, part_bytes)
        config = {**CHAIN, "similar": {"drop": True, "shingle": SHINGLE[language]}}
        theirs, own = [], []
        accounts: dict[str, Counter[str]] = {"after_quality": Counter(), "pages_kept": Counter()}
        dropped: Counter[str] = Counter()
        for path in paths:
            script = str(Path(__file__).with_name("corpus_peer.py"))
            peer_out, own_out = folder / f"peer-{path.stem}", folder / f"own-{path.stem}"
            theirs.append(measured([peer, script, str(path), str(peer_out), language]))
            own.append(ours("prepare", {"sources": str(path), **config}, own_out))
            console.say(f"{path.stem}: datatrove {theirs[-1]['seconds']} s, danlu {own[-1]['seconds']} s")
            for name, found in compared(path, peer_out, own_out).items():
                accounts[name].update(found)
            reasons = json.loads((own_out / "report.json").read_text())["reasons"].items()
            dropped.update({name: one["documents"] for name, one in reasons if name.startswith(FAMILIES)})
        result[language] = {
            "documents": sum(one["metrics"]["in"] for one in own),
            **{
                name: {**found, "agreement": round(found["agree"] / found["of"], 4)} for name, found in accounts.items()
            },
            "near_duplicates": {
                "datatrove": sum(one["after_quality"] - one["kept"] for one in theirs),
                "danlu": accounts["after_quality"]["danlu"] - sum(one["metrics"]["written"] for one in own),
            },
            "kept": {
                "datatrove": sum(one["kept"] for one in theirs),
                "danlu": sum(one["metrics"]["written"] for one in own),
            },
            "dropped": {
                "datatrove": dict(sum((Counter(one["dropped"]) for one in theirs), Counter()).most_common()),
                "danlu": dict(dropped.most_common()),
            },
            **speeds(theirs, own, CHAIN_PARTS * part_bytes / 1e6),
        }
    return result


def speeds(theirs: list[dict[str, Any]], own: list[dict[str, Any]], megabytes: float) -> dict[str, Any]:
    """MB of text a second over all parts, their ratio, and what memory it took."""
    sides = {"datatrove": theirs, "danlu": own}
    seconds, processor = (
        {side: sum(one[kind] for one in runs) for side, runs in sides.items()}
        for kind in ("seconds", "processor_seconds")
    )
    ratios = [their["seconds"] / our["seconds"] for their, our in zip(theirs, own, strict=True)]
    return {
        "mb_per_second": {side: round(megabytes / taken, 3) for side, taken in seconds.items()},
        "mb_per_processor_second": {side: round(megabytes / taken, 3) for side, taken in processor.items()},
        "datatrove_halves_mb_per_second": {
            half: round(megabytes / sum(one[f"{half}_seconds"] for one in theirs), 3)
            for half in ("quality", "near_duplicates")
        },
        "ratio": round(seconds["datatrove"] / seconds["danlu"], 1),
        "least_ratio_of_a_part": round(min(ratios), 1),
        "ratio_of_processor_time": round(processor["datatrove"] / processor["danlu"], 1),
        "peak_mb": {side: round(max(one["peak_bytes"] for one in runs) / 1e6) for side, runs in sides.items()},
    }


def compared(path: Path, peer: Path, own: Path) -> dict[str, dict[str, int]]:
    """How many documents and pages stay on both sides, and on how many of all the two agree."""
    everything = ids([path])
    lost = {line["id"] for line in lines([own / "rejected.jsonl"]) if line["reason"].startswith(FAMILIES)}
    judged = (ids((peer / "filtered").iterdir()), everything - lost)
    kept = (ids((peer / "kept").iterdir()), ids(own / f"{side}.jsonl" for side in ("train", "validation", "test")))
    found = {}
    for name, whole, sides in (
        ("after_quality", everything, judged),
        ("pages_kept", pages(everything), tuple(map(pages, kept))),
    ):
        theirs, ours_ = sides
        found[name] = {
            "of": len(whole),
            "datatrove": len(theirs),
            "danlu": len(ours_),
            "agree": len(whole) - len(theirs ^ ours_),
        }
    return found


def lines(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The records of some JSON Lines files."""
    for path in paths:
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def ids(paths: Iterable[Path]) -> set[str]:
    """The documents in some JSON Lines files."""
    return {line["id"] for line in lines(paths)}


def pages(names: set[str]) -> set[str]:
    """A document and its copy are one page."""
    return {name.removesuffix(COPY) for name in names}


def stages(text: Path, peer: str, folder: Path, size: int) -> dict[str, Any]:
    """The three stages from raw text to rows, on half Chinese and half English text, with their default settings."""
    raw = folder / "stages"
    raw.mkdir()
    for language in ("en", "zh"):
        write_parts(text, language, [raw / f"{language}.jsonl"], size // 2)
    corpus, tokenizer = folder / "corpus", folder / "tokenizer"
    runs = {
        "prepare": ours("prepare", {"sources": str(raw)}, corpus),
        "prepare_similar": ours("prepare", {"sources": str(raw), "similar": True}, folder / "corpus-similar"),
        "tokenizer": ours("tokenizer", {"vocabulary_size": 8192}, tokenizer, corpus=corpus),
        "shard": ours("shard", {}, folder / "shards", corpus=corpus, tokenizer=tokenizer),
    }
    return {
        name: {
            "mb_per_second": round(size / 1e6 / one["seconds"], 2),
            "mb_per_processor_second": round(size / 1e6 / one["processor_seconds"], 2),
            "seconds": one["seconds"],
            "processor_seconds": one["processor_seconds"],
            "peak_mb": round(one["peak_bytes"] / 1e6),
        }
        for name, one in runs.items()
    }


def memory(text: Path, peer: str, folder: Path, size: int) -> dict[str, Any]:
    """Peak memory of `prepare` with near-duplicates, on a little and on ten times as much."""
    result: dict[str, Any] = {}
    for part in (size // 10, size):
        raw = folder / f"memory-{part}"
        raw.mkdir()
        for language in ("en", "zh"):
            write_parts(text, language, [raw / f"{language}.jsonl"], part // 2)
        one = ours("prepare", {"sources": str(raw), "similar": True}, folder / f"memory-{part}-corpus")
        result[f"{part // 1_000_000} MB"] = {
            "peak_mb": round(one["peak_bytes"] / 1e6),
            "documents": one["metrics"]["in"],
            "seconds": one["seconds"],
        }
    return result


MEASUREMENTS = {"chain": (chain, CHAIN_BYTES), "stages": (stages, STAGES_BYTES), "memory": (memory, MEMORY_BYTES)}
"""Each with the bytes of text that it is meant for."""


def machine() -> dict[str, Any]:
    """The class of machine and the versions that matter."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in facts if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "date": datetime.now(UTC).date().isoformat(),
    }


def peer_versions(peer: str) -> dict[str, str]:
    """Versions in the peer's environment."""
    names = ["datatrove", "spacy", "jieba", "numpy"]
    script = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    return measured([peer, "-c", script])


def main() -> None:
    """Measure what is asked for and store it beside what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=[*MEASUREMENTS, "side"])
    parser.add_argument("--text", type=Path)
    parser.add_argument("--peer", default="")
    parser.add_argument("--megabytes", type=int, default=0, help="of text in all, if not what is meant to be")
    parser.add_argument("--stage", default="", help=argparse.SUPPRESS)
    parser.add_argument("--words", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == ["side"]:
        side(options.stage, json.loads(options.words))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in options.what:
        with tempfile.TemporaryDirectory() as folder:
            measure, size = MEASUREMENTS[name]
            size = options.megabytes * 1_000_000 or size
            found = {"text_bytes": size, **measure(options.text, options.peer, Path(folder), size)}
        peers = {"peer": peer_versions(options.peer)} if name == "chain" else {}
        length = f" --megabytes {options.megabytes}" if options.megabytes else ""
        command = f"python benchmarks/corpus_speed.py {name}{length} --text TEXT" + (
            " --peer PEER/bin/python" if peers else ""
        )
        results[name] = {"command": command, "machine": machine() | peers, **found}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        console.say(json.dumps(results[name], indent=1, ensure_ascii=False))
    if set(results) == set(MEASUREMENTS):
        import corpus_page

        corpus_page.write()


if __name__ == "__main__":
    main()
