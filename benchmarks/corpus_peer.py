"""datatrove's side of `corpus_speed.py`: its quality filters, then its MinHash chain, on one file, in this process.

In: a JSON Lines file, a working folder, a language; run by the Python of an environment that has datatrove, spacy and
jieba. Out: one line of JSON: seconds, peak memory, documents kept. Everything has datatrove's defaults, but that the C4
filter wants no terminal punctuation of every line, and that Chinese has its own stop words and words of one character.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import deque
from pathlib import Path

from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from loguru import logger

LANGUAGES = {"en": "eng", "zh": "cmn"}
CHINESE_STOP_WORDS = ["的", "是", "在", "不", "有", "了", "和", "人"]


def main(path: Path, folder: Path, language: str) -> None:
    """Filter, sign, bucket, cluster, and write what stays."""
    logger.remove()
    code = LANGUAGES[language]
    words = CHINESE_STOP_WORDS if language == "zh" else None
    config = MinhashConfig()
    stages = [
        [
            JsonlReader(str(path.parent), glob_pattern=path.name),
            GopherRepetitionFilter(language=code),
            GopherQualityFilter(language=code, stop_words=words, min_avg_word_length=1 if language == "zh" else 3),
            C4QualityFilter(filter_no_terminal_punct=False, language=code),
            FineWebQualityFilter(language=code),
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
    started_at = time.perf_counter()
    seconds = []
    for number, pipeline in enumerate(stages):
        tasks = config.num_buckets if number == 2 else 1
        for rank in range(tasks):
            data = None
            for step in pipeline:
                data = step(data, rank, tasks)
            deque(data if data is not None else (), maxlen=0)
        seconds.append(round(time.perf_counter() - started_at - sum(seconds), 3))
    counts = [sum(1 for _ in path.open("rb")) for name in ("filtered", "kept") for path in (folder / name).glob("*")]
    facts = {
        "seconds": round(time.perf_counter() - started_at, 3),
        "quality_seconds": seconds[0],
        "near_duplicates_seconds": round(sum(seconds[1:]), 3),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "after_quality": counts[0],
        "kept": counts[-1],
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
