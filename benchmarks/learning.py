"""Measure how much is learnt: the same text, the same wall-clock, the same class of parameters, beside two peers.

In: files or folders of text, a Python that has the peers. Out: `docs/results/learning.jsonl`, one line a run. The text
is the first 40 MB that fit, half Chinese and half English, the same on every machine; one tokenizer and one cut into
ids serve all sides; bits per byte are those of the same held-out documents. Each run has so many minutes from the start
of its process to the end of its last step, and is told its length by measuring itself. Whatever is chosen (the peers'
rates, the dial's rule) is chosen on the first half of the held-out rows, and what is told is of the second half. A run
that is in the file already is not repeated, so that the command may be stopped and called again:

    python benchmarks/learning.py text SOURCE [SOURCE ...]
    python benchmarks/learning.py tune --peers PEERS/bin/python --minutes 3 --rates 1e-3 2e-3 4e-3
    python benchmarks/learning.py compare --peers PEERS/bin/python --minutes 15 --seeds 1 2 3
    python benchmarks/learning.py ablate --minutes 10
    python benchmarks/learning.py page

The page is `docs/results/learning.md`, in both languages; it holds the dial's rule as `dial.py` fitted it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training import machine, peer_versions

from danlu import running
from danlu.base import artifact, console
from danlu.corpus.language import by_rule
from danlu.recipe import Recipe
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.train.samples import token_bytes

RESULT = Path("docs/results/learning.jsonl")
SIDE = Path(__file__).with_name("learning_side.py")
FOLDER = Path("runs/learning")
TEXT_BYTES = 40_000_000
PIECE_CHARACTERS = 10_000
PEERS = ("litgpt", "trainer")
VARIANTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "AdamW instead of Muon": ("--set", "pretrain.optimizer.name=adamw"),
    "AdamW instead of Muon, rate halved": ("--set", "pretrain.optimizer.name=adamw", "--scale-rate", "0.5"),
    "cosine instead of warm-up, stable, decay": ("--set", "pretrain.optimizer.schedule=cosine"),
    "rows in the order of the files": ("--without", "order"),
    "documents of a row see each other": ("--without", "masks"),
    "every weight begins as in GPT-2": ("--without", "initialisation"),
    "batches four times as large": ("--scale-batch", "4"),
    "batches half as large": ("--scale-batch", "0.5"),
    "rate doubled": ("--scale-rate", "2"),
    "rate halved": ("--scale-rate", "0.5"),
    "deeper and narrower": (
        "--set",
        "pretrain.model={width: 256, layers: 12, heads: 4, kv_heads: 2, mlp_width: 704}",
    ),
    "shallower and wider": (
        "--set",
        "pretrain.model={width: 448, layers: 4, heads: 7, kv_heads: 7, mlp_width: 1216}",
    ),
    "the peers' shape": (
        "--set",
        "pretrain.model={width: 288, layers: 6, heads: 6, kv_heads: 6, head_width: 48, mlp_width: 768}",
    ),
    "fp32": ("--set", "pretrain.parallel.dtype=float32"),
}
"""What each run of the ablation changes of ours; each is one decision taken back or pushed further."""


def main() -> None:
    """Make the text, run what is not in the file yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("text").add_argument("sources", nargs="+", type=Path)
    for verb in ("tune", "compare", "ablate"):
        added = verbs.add_parser(verb)
        added.add_argument("--minutes", type=float, required=True)
        added.add_argument("--seeds", nargs="+", type=int, default=[1])
        added.add_argument("--peers", default=sys.executable)
        added.add_argument("--only", nargs="+", help="these sides or variants only")
        if verb == "tune":
            added.add_argument("--rates", nargs="+", type=float, required=True)
    verbs.add_parser("page")
    options = parser.parse_args()
    if options.verb == "text":
        make_text(options.sources)
    elif options.verb == "page":
        import learning_page

        learning_page.write(results())
    else:
        for seed in options.seeds:
            for side, variant, rate in plans(options):
                if options.only is None or side in options.only or variant in options.only:
                    once(side, variant, rate, seed, options.minutes, options.peers)


def plans(options: argparse.Namespace) -> Iterator[tuple[str, str, float | None]]:
    """Side, variant and the peer's learning rate of each run that is asked for; our rate is the dial's."""
    if options.verb == "tune":
        yield from ((side, f"rate {rate:g}", rate) for side in PEERS for rate in options.rates)
    elif options.verb == "compare":
        yield "danlu", "all", None
        yield from ((side, "all", best_rate(side)) for side in PEERS)
    else:
        yield from (("danlu", variant, None) for variant in VARIANTS)


def best_rate(side: str) -> float:
    """The peer's learning rate that learnt most in the trials of `tune`."""
    trials = [line for line in results() if line["side"] == side and line["variant"].startswith("rate ")]
    if not trials:
        raise SystemExit(f"no trial of {side}'s learning rate is in the file; run `learning.py tune` first")
    return float(min(trials, key=lambda line: line["bits_per_byte_to_choose_by"])["learning_rate"])


def make_text(sources: list[Path]) -> None:
    """The fixed text: pieces of documents in the order of their digests, each language up to its half; then its ids.

    Without the cut the held-out side would be a few whole books of one language.
    """
    pages = json.dumps([str(path) for path in sources])
    made = running.run(recipe(f"prepare.sources={pages}", "name=learning-source"), runs=FOLDER, until="prepare")
    documents: dict[str, list[str]] = {"zh": [], "en": []}
    for line in (made["prepare"].folder / "train.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        pieces = [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]
        documents["zh" if by_rule(text).startswith("zh") else "en"] += pieces
    with (FOLDER / "text.jsonl").open("w", encoding="utf-8") as out:
        for language in ("zh", "en"):
            room = TEXT_BYTES // 2
            for text in sorted(documents[language], key=artifact.digest):
                part = text.encode()[:room].decode(errors="ignore")
                out.write(json.dumps({"text": part}, ensure_ascii=False) + "\n")
                room -= len(part.encode())
                if room < 4:
                    break
    shards = running.run(recipe(), runs=FOLDER, until="shard", again=True)
    tokenizer = Tokenizer.load(shards["tokenizer"].folder)
    spelt = token_bytes(tokenizer.decode_bytes, tokenizer.size)
    artifact.write_atomically(FOLDER / "learning" / "bytes.json", json.dumps({"token_bytes": spelt}))
    console.say(f"written: {FOLDER / 'text.jsonl'}, {(FOLDER / 'text.jsonl').stat().st_size:,} bytes")


def recipe(*overrides: str) -> Recipe:
    """Ours, for this text: the dial's own values but for what `overrides` says."""
    page = {
        "name": "learning",
        "seed": 7,
        "prepare": {"sources": [str(FOLDER / "text.jsonl")], "validation_share": 0.04, "test_share": 0.0},
        "tokenizer": {"vocabulary_size": 8192},
        "shard": {"row_length": 256},
        "pretrain": {"size": "small", "checkpoints": {"finish": "last"}},
    }
    return Recipe.from_dict(page, overrides)


def once(side: str, variant: str, rate: float | None, seed: int, minutes: float, peers: str) -> None:
    """One run in a process of its own, unless it is in the file."""
    key = {"side": side, "variant": variant, "seed": seed, "minutes": minutes}
    if any(all(line[name] == value for name, value in key.items()) for line in results()):
        console.say(f"{side}, {variant}, seed {seed}: in the file")
        return
    python = sys.executable if side == "danlu" else peers
    run = FOLDER / "learning"
    command = [python, str(SIDE), side, "--run", str(run), "--seed", str(seed), "--minutes", str(minutes)]
    command += VARIANTS.get(variant, ())
    command += ["--learning-rate", str(rate)] if rate is not None else []
    command += ["--began-at", str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-4000:])
    found = json.loads(done.stdout.splitlines()[-1])
    line = {
        **key,
        **found,
        "load": round(os.getloadavg()[2], 2),
        "machine": machine(),
        "versions": artifact.versions() | (peer_versions(peers) if side != "danlu" else {}),
        "measured_at": datetime.now(UTC).date().isoformat(),
    }
    with RESULT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    console.say(
        f"{side}, {variant}, seed {seed}: {found['bits_per_byte']:.4f} bits per byte after {found['tokens']:,} tokens"
    )


def results() -> list[dict[str, Any]]:
    """All runs that the file holds."""
    return [json.loads(line) for line in RESULT.read_text().splitlines()] if RESULT.is_file() else []


if __name__ == "__main__":
    main()
