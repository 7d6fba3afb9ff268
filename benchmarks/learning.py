"""Measure how much is learnt: the same text, the same wall-clock, the same class of parameters, beside two peers.

In: files or folders of text, a Python that has the peers. Out: `docs/results/learning.jsonl`, one line a run. The text
is the first 40 MB that fit, half Chinese and half English, cut into pieces that are put in the order of their digests;
one tokenizer and one cut into ids serve all sides; bits per byte are those of the same held-out pieces, read the same
way. Each run is a process with empty caches; it has so many minutes from its start to the end of its last step, and is
told its length by measuring itself. Whatever is chosen (the peers' rates and batches, the dial's rule) is chosen by
every other held-out piece, and what is told is of those between. A run that is in the file already is not repeated, so
that the command may be stopped and called again:

    python benchmarks/learning.py text SOURCE [SOURCE ...]
    python benchmarks/learning.py tune --peers PEERS/bin/python --minutes 5 --rates 1e-3 2e-3 4e-3 8e-3 --rows 16 8 32
    python benchmarks/learning.py compare --peers PEERS/bin/python --minutes 15 --seeds 1 2 3
    python benchmarks/learning.py ablate --minutes 10 --seeds 1
    python benchmarks/learning.py page

The page is `docs/results/learning.md`, in both languages; it holds the dial's rule as `dial.py` fitted it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from learning_side import HELD_OUT, LENGTH, TOLD
from machine import commit, machine, peer_versions

from danlu import running
from danlu.base import artifact, console
from danlu.corpus.language import by_rule
from danlu.recipe import Recipe
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.train.samples import token_bytes

RESULT, TEXT = Path("docs/results/learning.jsonl"), Path("docs/results/learning-text.json")
SIDE = Path(__file__).with_name("learning_side.py")
FOLDER = Path("runs/learning")
TEXT_BYTES = 40_000_000
PIECE_CHARACTERS, JUDGED_IDS = 4_000, 3 * LENGTH + 1
PEERS = ("litgpt", "trainer")
VARIANTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "AdamW instead of Muon": ("--set", "pretrain.optimizer.name=adamw"),
    "AdamW instead of Muon, rate halved": ("--set", "pretrain.optimizer.name=adamw", "--scale-rate", "0.5"),
    "cosine instead of warm-up, stable, decay": ("--set", "pretrain.optimizer.schedule=cosine"),
    "rows in the order of the files": ("--without", "order"),
    "documents of a row see each other": ("--without", "masks"),
    "every matrix begins with deviation 0.02": ("--without", "initialisation"),
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
        "pretrain.model={width: 288, layers: 6, heads: 6, kv_heads: 6, head_width: 48, mlp_width: 768, tied: false}",
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
            added.add_argument("--rows", nargs="+", type=int, default=[16], help="rows a step: all rates for the first")
    verbs.add_parser("page")
    options = parser.parse_args()
    if options.verb == "text":
        make_text(options.sources)
    elif options.verb == "page":
        import learning_page

        learning_page.write(results())
    else:
        for seed in options.seeds:
            for side, variant, asked in plans(options):
                if options.only is None or side in options.only or variant in options.only:
                    once(side, variant, asked, seed, options.minutes, options.peers)


Asked = dict[str, float]
"""What a peer is told: its learning rate, and its rows a step. Ours are the dial's."""


def plans(options: argparse.Namespace) -> Iterator[tuple[str, str, Asked]]:
    """Side, variant and settings of each run that is asked for; later ones may depend on what earlier ones found."""
    peers = [side for side in PEERS if options.only is None or side in options.only]
    match options.verb:
        case "tune":
            for side in peers:
                rows, *others = options.rows
                for rate in options.rates:
                    yield side, TRIAL, {"learning_rate": rate, "batch_rows": rows}
                for rows in others:
                    yield side, TRIAL, {**best(side), "batch_rows": rows}
        case "compare":
            yield "danlu", "all", {}
            for side in peers:
                yield side, "all", inner_best(side)
        case _:
            yield from (("danlu", variant, {}) for variant in VARIANTS)


TRIAL = "trial"


def trials(side: str) -> list[dict[str, Any]]:
    """The peer's trials on this text."""
    return [line for line in results() if (line["side"], line["variant"], line["text"]) == (side, TRIAL, text_digest())]


def best(side: str) -> Asked:
    """The learning rate and the rows with which the peer learnt most in the trials of `tune`."""
    if not trials(side):
        raise SystemExit(f"no trial of {side} is in the file; run `learning.py tune` first")
    found = min(trials(side), key=lambda line: line["bits_per_byte_to_choose_by"])
    return {"learning_rate": found["learning_rate"], "batch_rows": found["batch_rows"]}


def inner_best(side: str) -> Asked:
    """`best`, where a higher and a lower rate were tried as well, and more and fewer rows with that rate."""
    found = best(side)
    alike = [line for line in trials(side) if line["learning_rate"] == found["learning_rate"]]
    for name, lines in (("learning_rate", trials(side)), ("batch_rows", alike)):
        tried = sorted({line[name] for line in lines})
        if not tried[0] < found[name] < tried[-1]:
            raise SystemExit(f"{side} learnt most with {name} {found[name]:g}, the end of {tried}: try beyond it")
    return found


def make_text(sources: list[Path]) -> None:
    """The fixed text: pieces of documents in the order of their digests, each language up to its half; then its ids.

    Without the cut the held-out side would be a few whole books of one language.
    """
    pages = json.dumps([str(path) for path in sources])
    made = running.run(recipe(f"prepare.sources={pages}", "name=learning-source"), runs=FOLDER, until="prepare")
    pieces: dict[str, str] = {}
    for line in (made["prepare"].folder / "train.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        language = "zh" if by_rule(text).startswith("zh") else "en"
        pieces |= {text[at : at + PIECE_CHARACTERS]: language for at in range(0, len(text), PIECE_CHARACTERS)}
    room = {"zh": TEXT_BYTES // 2, "en": TEXT_BYTES // 2}
    with (FOLDER / "text.jsonl").open("w", encoding="utf-8") as out:
        for text in sorted(pieces, key=artifact.digest):
            part = text.encode()[: room[pieces[text]]].decode(errors="ignore")
            room[pieces[text]] -= len(part.encode())
            if part:
                out.write(json.dumps({"text": part}, ensure_ascii=False) + "\n")
    shards = running.run(recipe(), runs=FOLDER, until="shard", again=True)
    told = hold_out(Tokenizer.load(shards["tokenizer"].folder), shards["prepare"].folder / "validation.jsonl")
    facts = {"text": shards["shard"].fingerprint[:16], "bytes": TEXT_BYTES - sum(room.values()), "told": told}
    artifact.write_atomically(TEXT, json.dumps({**facts, "sources": [path.name for path in sources]}) + "\n")
    console.say(f"written: {FOLDER / 'text.jsonl'}, {facts['bytes']:,} bytes of text, {len(told):,} pieces to tell of")


def hold_out(tokenizer: Tokenizer, texts: Path) -> list[dict[str, Any]]:
    """Write the first ids of every held-out piece where all sides find them; language and bytes of those told of."""
    held = [json.loads(line)["text"] for line in texts.read_text(encoding="utf-8").splitlines()]
    ids = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id][:JUDGED_IDS] for text in held]
    spelt = token_bytes(tokenizer.decode_bytes, tokenizer.size)
    artifact.write_atomically(FOLDER / "learning" / HELD_OUT, json.dumps({"token_bytes": spelt, "pieces": ids}))
    return [
        {"language": "zh" if by_rule(text).startswith("zh") else "en", "bytes": sum(spelt[id] for id in piece[1:])}
        for text, piece in zip(held[TOLD], ids[TOLD], strict=True)
    ]


def text_digest() -> str:
    """Which text the runs are of: results of another one are not mixed in."""
    return str(json.loads(TEXT.read_bytes())["text"])


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


def once(side: str, variant: str, asked: Asked, seed: int, minutes: float, peers: str) -> None:
    """One run in a process of its own, unless it is in the file."""
    key = {"side": side, "variant": variant, "seed": seed, "minutes": minutes, "text": text_digest(), **asked}
    said = ", ".join(str(value) for name, value in key.items() if name != "text")
    if any(all(line[name] == value for name, value in key.items()) for line in results()):
        console.say(f"{said}: in the file")
        return
    python = sys.executable if side == "danlu" else peers
    command = [python, str(SIDE), side, "--run", str(FOLDER / "learning"), "--seed", str(seed)]
    command += ["--minutes", str(minutes), *VARIANTS.get(variant, ())]
    command += [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as empty:  # caches are cold: what is compiled is compiled within the minutes
        environment = {**os.environ, "HOME": empty, "TORCHINDUCTOR_CACHE_DIR": empty, "TMPDIR": empty}
        busy = Busy()
        command += ["--began-at", str(time.time())]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-4000:])
    line = {
        **key,
        **json.loads(done.stdout.splitlines()[-1]),
        "others_used_cores": busy.others(),
        "commit": commit(),
        "machine": machine(),
        "versions": artifact.versions() | (peer_versions(peers) if side != "danlu" else {}),
        "measured_at": datetime.now(UTC).date().isoformat(),
    }
    with RESULT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    console.say(f"{said}: {line['bits_per_byte']:.4f} bits per byte after {line['tokens']:,} tokens")


class Busy:
    """How many cores others used while a run ran: all that the system worked, without what our children did."""

    def __init__(self) -> None:
        self.began_at, self.system, self.ours = time.monotonic(), self._system(), self._ours()

    def others(self) -> float:
        """On average since this object was made."""
        seconds = time.monotonic() - self.began_at
        return round(max(0.0, self._system() - self.system - self._ours() + self.ours) / seconds, 2)

    def _system(self) -> float:
        """Seconds that all cores have worked, those taken by other guests of the host included."""
        user, nice, system, _, _, interrupts, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
        return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")

    def _ours(self) -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime


def results() -> list[dict[str, Any]]:
    """All runs that the file holds."""
    return [json.loads(line) for line in RESULT.read_text().splitlines()] if RESULT.is_file() else []


if __name__ == "__main__":
    main()
