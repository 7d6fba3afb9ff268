"""Measure the making of a corpus: quality rules and near-duplicates beside datatrove, each stage's speed, peak memory.

In: a folder of real text with `en/` and `zh/` (`--text`), a Python with datatrove, spacy and jieba (`--peer`). Out: one
part of `docs/results/corpus-speed.json` for each measurement that is asked for; the others stay. Every measurement is a
process of its own on one thread, and of the chain each part of the text goes through both sides in turn:

    python benchmarks/corpus_speed.py chain stages memory --text TEXT --peer PEER/bin/python

Documents are cut from the real ones, some 3 kB each like pages of the web; every tenth comes again with a word changed.
Beyond the size of the text its letters and characters are exchanged for others, so that nothing comes twice.
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
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from danlu.base import console

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "corpus-speed.json"
DOCUMENT_CHARACTERS = {"en": 3_000, "zh": 1_000}
COPY_EVERY = 10
CHAIN_PARTS = 3
CHAIN_BYTES = 50_000_000
STAGES_BYTES = 50_000_000
MEMORY_BYTES = 1_000_000_000
FIRST_HAN, LAST_HAN = 0x4E00, 0x9FA5
CHAIN = {
    "filters": {"quality": ["gopher", "c4", "fineweb"]},
    "similar": True,
    "private_data": "keep",
    "near_duplicates": False,
}
"""What datatrove's chain does, and no more: its normalising and exact duplicates are left out where that can be."""


def texts(folder: Path, language: str) -> Iterator[str]:
    """The real documents of a language, from the last file's name to the first, again and again in other letters."""
    turn = 0
    while True:
        for path in sorted((folder / language).iterdir(), reverse=True):
            with (
                gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file
            ):
                if ".jsonl" in path.name:
                    found: Iterator[str] = (json.loads(line)["text"] for line in file)
                else:
                    found = iter([file.read()])
                yield from (text.translate(exchanged(turn)) if turn else text for text in found)
        turn += 1


def exchanged(turn: int) -> dict[int, int]:
    """Every small letter and Chinese character -> the one that stands `turn` (times a prime) behind it."""
    letters = {97 + place: 97 + (place + turn) % 26 for place in range(26)}
    width = LAST_HAN - FIRST_HAN + 1
    return letters | {FIRST_HAN + place: FIRST_HAN + (place + 7919 * turn) % width for place in range(width)}


def documents(folder: Path, language: str) -> Iterator[str]:
    """Pieces of the real documents that end with a line, and copies of some with a word changed."""
    most = DOCUMENT_CHARACTERS[language]
    number = 0
    for text in texts(folder, language):
        held: list[str] = []
        size = 0
        for line in [*text.split("\n"), ""]:
            held.append(line)
            size += len(line)
            if size >= most:
                document = "\n".join(held)
                yield document
                number += 1
                if number % COPY_EVERY == 0:
                    yield document[: most // 2] + " 之一 " + document[most // 2 :]
                held, size = [], 0


def write_parts(folder: Path, language: str, paths: list[Path], part_bytes: int) -> None:
    """JSON Lines files of one language, each with so many bytes of text."""
    made = documents(folder, language)
    number = 0
    for path in paths:
        size = 0
        with path.open("w", encoding="utf-8") as file:
            while size < part_bytes:
                text = next(made)
                size += len(text.encode())
                number += 1
                file.write(json.dumps({"id": f"{language}-{number}", "text": text}, ensure_ascii=False) + "\n")


def measured(command: list[str]) -> dict[str, Any]:
    """The JSON that a process writes as its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
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
    started_at = time.perf_counter()
    made = module.run(read_settings(module.Config, words["config"], "benchmark"), inputs, out)
    seconds = time.perf_counter() - started_at
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = {"seconds": round(seconds, 3), "peak_bytes": peak, "metrics": dict(made.metrics)}
    os.write(said, (json.dumps(facts) + "\n").encode())


def chain(text: Path, peer: str, folder: Path, size: int) -> dict[str, Any]:
    """Quality and near-duplicates of each part by datatrove and by danlu, in turn."""
    part_bytes = size // (2 * CHAIN_PARTS)
    result: dict[str, Any] = {"config": CHAIN, "parts": CHAIN_PARTS, "part_bytes": part_bytes}
    for language in ("en", "zh"):
        paths = [folder / f"{language}-{number}.jsonl" for number in range(CHAIN_PARTS)]
        write_parts(text, language, paths, part_bytes)
        theirs, own = [], []
        for path in paths:
            script = str(Path(__file__).with_name("corpus_peer.py"))
            theirs.append(measured([peer, script, str(path), str(folder / f"peer-{path.stem}"), language]))
            own.append(ours("prepare", {"sources": str(path), **CHAIN}, folder / f"own-{path.stem}"))
            console.say(f"{path.stem}: datatrove {theirs[-1]['seconds']} s, danlu {own[-1]['seconds']} s")
        megabytes = CHAIN_PARTS * part_bytes / 1e6
        speeds = {name: megabytes / sum(one["seconds"] for one in runs) for name, runs in (("d", theirs), ("o", own))}
        result[language] = {
            "datatrove_mb_per_second": round(speeds["d"], 3),
            "datatrove_quality_mb_per_second": round(megabytes / sum(one["quality_seconds"] for one in theirs), 3),
            "danlu_mb_per_second": round(speeds["o"], 3),
            "ratio": round(speeds["o"] / speeds["d"], 1),
            "least_ratio_of_a_part": round(
                min(a["seconds"] / b["seconds"] for a, b in zip(theirs, own, strict=True)), 1
            ),
            "datatrove_peak_mb": round(max(one["peak_bytes"] for one in theirs) / 1e6),
            "danlu_peak_mb": round(max(one["peak_bytes"] for one in own) / 1e6),
            "documents": sum(one["metrics"]["in"] for one in own),
            "datatrove_kept": sum(one["kept"] for one in theirs),
            "datatrove_near_duplicates": sum(one["after_quality"] - one["kept"] for one in theirs),
            "danlu_kept": sum(one["metrics"]["written"] for one in own),
            "danlu_near_duplicates": sum(one["metrics"]["duplicates"] for one in own),
        }
    return result


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
            "seconds": one["seconds"],
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


if __name__ == "__main__":
    main()
