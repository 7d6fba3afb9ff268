"""datatrove's side of `corpus_speed.py`: its quality filters, then its MinHash chain, on one file, in this process.

In: a JSON Lines file, a working folder, a language; run by the Python of the environment of `peers-text.txt`, which has
datatrove, spacy and jieba. Out: one line of JSON: seconds by half, peak memory, counts, what was dropped why; the kept
texts lie in the folder.

Its filters have their defaults, but where they and danlu's rules would read the same paper differently. There both are
given one reading, so that both do the same work on the same documents:

* C4's lines go before anything is measured, as danlu does it. (Behind the others it would make datatrove slower: the
  filters share one splitting into words only while the text stays the same.) Lines have 5 words and documents 3
  sentences, as in C4's own code; datatrove has it the other way round. A quotation mark may end a line.
* Gopher's words stand between spaces, and 0.8 of them have a letter. datatrove counts punctuation marks among the
  words: some 14 % of them in English and 22 % in Chinese. By its default 0.8 two thirds of good Chinese pages and a
  quarter of English novels go; 0.8 of the words without the marks is what both sides want here.
* A document may have a tenth of its characters in repeated lines, as the FineWeb paper and FineWeb-2 have it.
* Chinese: its own stop words and ends of lines; no rule on words a line, letters a word, or the longest word, because
  all of them look for spaces; lines of 10 characters are short; the other limits are those of FineWeb-2's
  configuration for Mandarin, which danlu's table has too.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from loguru import logger
from machine import peak_mb

LANGUAGES = {"en": "eng", "zh": "cmn"}
WARM_UP = "The furnace has been lit and it is warm. 炉子已经点着了，很热。"
ENDS = (".", "!", "?", '"', "'", "”", "’", "。", "．", "！", "？", "；", "」", "』", "…")
LETTERED_WORDS = {"en": 0.69, "zh": 0.57}
"""0.8 (Chinese: 0.735) of the share of spacy's and jieba's words that are no punctuation marks."""


def filters(language: str) -> list[BaseFilter]:
    """The quality filters, in their order."""
    c4_filters.END_PUNCTUATION = ENDS
    repetition, gopher, c4, fineweb = (
        {},
        {"max_non_alpha_words_ratio": LETTERED_WORDS[language]},
        {"min_num_sentences": 3, "min_words_per_line": 5},
        {"char_duplicates_ratio": 0.1, "stop_chars": ENDS},
    )
    if language == "zh":
        repetition |= {
            "dup_line_frac": 0.287,
            "top_n_grams": ((2, 0.256), (3, 0.201), (4, 0.171)),
            "dup_n_grams": ((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127)),
        }
        gopher |= {"stop_words": list("的了是在和有不这這也就为為爲与與之以"), "min_avg_word_length": None}
        c4 |= {"min_words_per_line": -1, "max_word_length": -1}
        fineweb |= {"short_line_length": 10, "line_punct_thr": 0.106, "new_line_ratio": 0.178}
    code = LANGUAGES[language]
    return [
        C4QualityFilter(language=code, **c4),
        GopherRepetitionFilter(language=code, **repetition),
        GopherQualityFilter(language=code, **gopher),
        FineWebQualityFilter(language=code, **fineweb),
    ]


def reasons(step: BaseFilter) -> dict[str, int]:
    """How many documents a filter dropped, by its own names."""
    return {
        key.removeprefix("dropped_"): int(stat.total) for key, stat in step.stats.stats.items() if "dropped_" in key
    }


def main(path: Path, folder: Path, language: str) -> None:
    """Filter, sign, bucket, cluster, and write what stays."""
    logger.remove()
    code = LANGUAGES[language]
    quality = filters(language)
    config = MinhashConfig()
    stages = [
        [
            JsonlReader(str(path.parent), glob_pattern=path.name),
            *quality,
            JsonlWriter(str(folder / "filtered"), compression=None),
        ],
        [
            JsonlReader(str(folder / "filtered")),
            MinhashDedupSignature(str(folder / "signatures"), config=config, language=code),
        ],
        [MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)],
        [MinhashDedupCluster(str(folder / "buckets"), str(folder / "gone"), config=config)],
        [
            JsonlReader(str(folder / "filtered")),
            MinhashDedupFilter(str(folder / "gone")),
            JsonlWriter(str(folder / "kept"), compression=None),
        ],
    ]
    for step in quality:  # jieba and spaCy read their dictionaries when first asked
        step.filter(Document(text=WARM_UP, id="warm-up"))
    clocks = (time.perf_counter, time.process_time)
    passed = [[clock() for clock in clocks]]
    for number, pipeline in enumerate(stages):
        tasks = config.num_buckets if number == 2 else 1
        for rank in range(tasks):
            data = None
            for step in pipeline:
                data = step(data, rank, tasks)
            deque(data if data is not None else (), maxlen=0)
        passed.append([clock() for clock in clocks])
    seconds, processor_seconds = (
        {
            "quality": round(at[1] - at[0], 3),
            "near_duplicates": round(at[-1] - at[1], 3),
            "both": round(at[-1] - at[0], 3),
        }
        for at in zip(*passed, strict=True)
    )
    counts = [sum(1 for _ in path.open("rb")) for name in ("filtered", "kept") for path in (folder / name).glob("*")]
    facts = {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "peak_mb": peak_mb(),
        "after_quality": counts[0],
        "kept": counts[-1],
        "dropped": {reason: count for step in quality for reason, count in reasons(step).items()},
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
