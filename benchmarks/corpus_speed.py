"""Measure the making of a corpus: quality rules and near-duplicates beside datatrove, each stage's speed, peak memory.

In: a folder of real text with `en/` and `zh/` (`--text`), a Python with datatrove, spacy and jieba (`--peer`). Out: one
part of `docs/results/corpus-speed.json` for each measurement that is asked for; the others stay; and the pages that
tell them (`speed_page.py`). Every measurement is a process of its own that keeps to one core. Of the chain each part of
the text goes through both sides in turn; the stages are run three times, and medians told. The seconds of the processor
are measured beside those of the clock: they hardly change where the machine does other work too:

    python benchmarks/corpus_speed.py chain stages memory --text TEXT --peer PEER/bin/python

The documents are those of `corpus_text.py`: pages cut from real text, every tenth of which comes again with two words
put in.

Of the chain both sides read JSON Lines, judge each document by the rules of C4, Gopher and FineWeb, find
near-duplicates by 14 bands of 8 MinHashes over runs of 5 words, and write what stays. `corpus_peer.py` says how
datatrove is set so that both do the same on the same documents; here Chinese runs have 9 characters, which are 5 of
jieba's words. danlu does more in the same time: it decides encodings, normalises, drops exact duplicates, divides into
sides and writes an account. The results count for both sides what stays after either half, name the rules that dropped
the rest, and say on how many documents the two agree. A page that stays is counted once, whichever of the page and its
copy either side keeps. datatrove does one half after the other; danlu does both at once, so its second half is told as
what it takes longer than a run of the first half alone.

A stage is measured by the text that it reads: `prepare` by the raw text, `tokenizer` by the sample that it learns from,
`shard` by the text of the corpus that it encodes, once with the encoder that is chosen by itself and once with the
reference, because the fast ones are optional.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import speed_page
from corpus_side import on_one_core, ours
from corpus_text import COPY, write_parts
from machine import add_options, peer_versions, stamp
from rounds import in_turn, middle
from texts import LANGUAGES

from danlu.base import artifact, console
from danlu.base.config import read_settings
from danlu.corpus.prune import REASON
from danlu.corpus.quality import FAMILIES
from danlu.stages.tokenizer import Books, Config, sample

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "corpus-speed.json"
CHAIN_PARTS = 3
STAGE_ROUNDS = 3
CHAIN_BYTES = 30_000_000
STAGES_BYTES = 50_000_000
MEMORY_BYTES = 1_000_000_000
MEMORY_SAMPLE_BYTES = 50_000_000
VOCABULARY = {"vocabulary_size": 8192}
CHAIN = {
    "filters": {"quality": ["gopher", "c4", "fineweb"]},
    "private_data": "keep",
    "near_duplicates": False,
}
"""What datatrove's chain does, and no more: its normalising and exact duplicates are left out where that can be."""
SHINGLE = {"en": 5, "zh": 9}
HALVES = ("quality", "near_duplicates")
ROW_SETS = ("pretrain-train", "pretrain-validation", "chat-train", "chat-validation")


def chain(text: Path, peer: str, folder: Path, size: int) -> dict[str, Any]:
    """Quality and near-duplicates of each part by datatrove, by danlu, and danlu's first half alone, in turn."""
    script = str(Path(__file__).with_name("corpus_peer.py"))
    part_bytes = size // (2 * CHAIN_PARTS)
    result: dict[str, Any] = {"config": CHAIN, "parts": CHAIN_PARTS, "part_bytes": part_bytes}
    for language in LANGUAGES:
        paths = [folder / f"{language}-{number}.jsonl" for number in range(CHAIN_PARTS)]
        written = write_parts(text, language, paths, part_bytes)
        config = {**CHAIN, "similar": {"drop": True, "shingle": SHINGLE[language]}}
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("datatrove", "danlu", "danlu_quality")}
        accounts: dict[str, Counter[str]] = {"after_quality": Counter(), "pages_kept": Counter()}
        dropped: Counter[str] = Counter()
        for number, path in enumerate(paths):
            outs = {name: folder / f"{name}-{path.stem}" for name in runs}
            for name in in_turn(runs, number):
                if name == "datatrove":
                    one = on_one_core([peer, script, str(path), str(outs[name]), language])
                else:
                    settings = config if name == "danlu" else CHAIN
                    one = ours("prepare", {"sources": str(path), **settings}, outs[name])
                runs[name].append(one)
                console.say(f"{path.stem}, {name}: {one['seconds']} seconds")
            for name, found in compared(path, outs["datatrove"], outs["danlu"]).items():
                accounts[name].update(found)
            reasons = json.loads((outs["danlu"] / "report.json").read_text())["reasons"].items()
            dropped.update({name: one["documents"] for name, one in reasons if name.startswith((*FAMILIES, REASON))})
        theirs, own = runs["datatrove"], runs["danlu"]
        result[language] = {
            "documents": sum(one["metrics"]["in"] for one in own),
            **{
                name: {**found, "agreement": round(found["agree"] / found["of"], 4)} for name, found in accounts.items()
            },
            "near_duplicates": {
                # Between the two counts datatrove has one filter, which drops for this reason only.
                "datatrove": sum(one["after_quality"] - one["kept"] for one in theirs),
                "danlu": dropped[REASON],
            },
            "kept": {
                "datatrove": sum(one["kept"] for one in theirs),
                "danlu": sum(one["metrics"]["written"] for one in own),
            },
            "dropped": {
                "datatrove": dict(sum((Counter(one["dropped"]) for one in theirs), Counter()).most_common()),
                "danlu": dict(dropped.most_common()),
            },
            **speeds(runs, written / 1e6),
        }
    return result


def speeds(runs: dict[str, list[dict[str, Any]]], megabytes: float) -> dict[str, Any]:
    """MB of text a second over all parts, the ratios of the whole and of both halves, and what memory it took."""
    sides = {side: runs[side] for side in ("datatrove", "danlu")}
    clock, processor = (halves(runs, kind) for kind in ("seconds", "processor_seconds"))
    ratios = [their["seconds"]["both"] / our["seconds"] for their, our in zip(*sides.values(), strict=True)]
    return {
        "mb_per_second": {side: rate(megabytes, clock[side]["both"]) for side in sides},
        "mb_per_processor_second": {side: rate(megabytes, processor[side]["both"]) for side in sides},
        "halves": {
            half: {
                "mb_per_processor_second": {side: rate(megabytes, processor[side][half]) for side in sides},
                "ratio_of_processor_time": rate(processor["datatrove"][half], processor["danlu"][half]),
            }
            for half in HALVES
        },
        "ratio": round(clock["datatrove"]["both"] / clock["danlu"]["both"], 1),
        "least_ratio_of_a_part": round(min(ratios), 1),
        "ratio_of_processor_time": round(processor["datatrove"]["both"] / processor["danlu"]["both"], 1),
        "peak_mb": {side: max(one["peak_mb"] for one in found) for side, found in sides.items()},
    }


def halves(runs: dict[str, list[dict[str, Any]]], kind: str) -> dict[str, dict[str, float]]:
    """Seconds of either side over all parts: of each half and of both. danlu's second half is what it adds."""
    theirs = {half: sum(one[kind][half] for one in runs["datatrove"]) for half in (*HALVES, "both")}
    both, quality = (sum(one[kind] for one in runs[name]) for name in ("danlu", "danlu_quality"))
    return {
        "datatrove": theirs,
        "danlu": dict(zip((*HALVES, "both"), (quality, both - quality, both), strict=True)),
    }


def rate(amount: float, seconds: float) -> float | None:
    """How much in a second; None where a difference of two runs came out as no time at all."""
    return round(amount / seconds, 3) if seconds > 0 else None


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
    written = sum(write_parts(text, language, [raw / f"{language}.jsonl"], size // 2) for language in LANGUAGES)
    rounds = []
    for number in range(STAGE_ROUNDS):
        rounds.append(stages_once(raw, folder / f"round-{number}", written))
        console.say(
            f"round {number + 1}: " + ", ".join(f"{name} {one['seconds']} s" for name, one in rounds[-1].items())
        )
    medians = middle(rounds)
    for name, one in medians.items():
        one["seconds_of_rounds"] = [each[name]["seconds"] for each in rounds]
    return {"rounds": STAGE_ROUNDS, **medians}


def stages_once(raw: Path, folder: Path, raw_bytes: int) -> dict[str, Any]:
    """One round: each stage with the text that it reads, what it took, and of `shard` the encoder."""
    corpus, tokenizer, shards = folder / "corpus", folder / "tokenizer", folder / "shards"
    given = {"corpus": corpus, "tokenizer": tokenizer}
    runs = {
        "prepare": ours("prepare", {"sources": str(raw)}, corpus),
        "prepare_similar": ours("prepare", {"sources": str(raw), "similar": True}, folder / "corpus-similar"),
        "tokenizer": ours("tokenizer", VOCABULARY, tokenizer, corpus=corpus),
        "shard": ours("shard", {}, shards, **given),
        "shard_reference": ours("shard", {"encoder": "tokenizers"}, folder / "shards-reference", **given),
    }
    encoded = json.loads((shards / "report.json").read_text())
    text = {
        **dict.fromkeys(("prepare", "prepare_similar"), raw_bytes),
        "tokenizer": learnt_bytes(corpus, VOCABULARY),
        **dict.fromkeys(("shard", "shard_reference"), sum(encoded[name]["bytes"] for name in ROW_SETS)),
    }
    return {
        name: {
            "text_bytes": text[name],
            "mb_per_second": round(text[name] / 1e6 / one["seconds"], 2),
            "mb_per_processor_second": round(text[name] / 1e6 / one["processor_seconds"], 2),
            "seconds": one["seconds"],
            "processor_seconds": one["processor_seconds"],
            "peak_mb": one["peak_mb"],
            **({"encoder": one["metrics"]["encoder"]} if name.startswith("shard") else {}),
        }
        for name, one in runs.items()
    }


def learnt_bytes(corpus: Path, config: dict[str, Any]) -> int:
    """The text that the tokenizer's stage learns from: its own draw, counted once more."""
    settings = read_settings(Config, config, "benchmark")
    return sum(len(text.encode()) for text in sample(artifact.open_artifact(corpus, "corpus"), settings, Books()))


def memory(text: Path, peer: str, folder: Path, size: int) -> dict[str, Any]:
    """Peak memory of the stages on a little and on ten times as much: of `prepare` with near-duplicates, and of the two
    behind it. The vocabulary is learnt from as much of both, or the sample would tell and not the corpus."""
    result: dict[str, Any] = {}
    for part in (size // 10, size):
        raw, corpus, tokenizer, shards = (
            folder / f"memory-{part}-{name}" for name in ("raw", "corpus", "tokenizer", "shards")
        )
        raw.mkdir()
        for language in LANGUAGES:
            write_parts(text, language, [raw / f"{language}.jsonl"], part // 2)
        cleaned = ours("prepare", {"sources": str(raw), "similar": True}, corpus)
        learnt = ours("tokenizer", {**VOCABULARY, "sample_bytes": MEMORY_SAMPLE_BYTES}, tokenizer, corpus=corpus)
        cut = ours("shard", {}, shards, corpus=corpus, tokenizer=tokenizer)
        result[f"{part // 1_000_000} MB"] = {
            **peak(cleaned),
            "documents": cleaned["metrics"]["in"],
            "tokenizer": {**peak(learnt), "sample_bytes": MEMORY_SAMPLE_BYTES},
            "shard": {**peak(cut), "encoder": cut["metrics"]["encoder"]},
        }
    return result


def peak(run: dict[str, Any]) -> dict[str, Any]:
    """The most memory that a run held, and how long it took."""
    return {name: run[name] for name in ("peak_mb", "seconds")}


MEASUREMENTS = {"chain": (chain, CHAIN_BYTES), "stages": (stages, STAGES_BYTES), "memory": (memory, MEMORY_BYTES)}
"""Each with the bytes of text that it is meant for."""


def main() -> None:
    """Measure what is asked for and store it beside what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=MEASUREMENTS)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--peer", default="")
    parser.add_argument("--megabytes", type=int, help="of text in all, if not what is meant to be")
    add_options(parser, RESULTS)
    options = parser.parse_args()
    stamped = stamp(options, positional=("what",))
    results = json.loads(options.result.read_text()) if options.result.is_file() else {}
    for name in options.what:
        with tempfile.TemporaryDirectory() as folder:
            measure, size = MEASUREMENTS[name]
            size = size if options.megabytes is None else options.megabytes * 1_000_000
            found = {"text_bytes": size, **measure(options.text, options.peer, Path(folder), size)}
        peers = peer_versions(options.peer, ("datatrove", "spacy", "jieba", "numpy")) if name == "chain" else {}
        results[name] = {**stamped, "versions": artifact.versions() | peers, **found}
        options.result.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        console.say(json.dumps(results[name], indent=1, ensure_ascii=False))
    if set(results) == set(MEASUREMENTS):
        speed_page.write_after(options.result)


if __name__ == "__main__":
    main()
