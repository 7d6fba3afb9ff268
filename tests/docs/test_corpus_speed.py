"""What `benchmarks/corpus_speed.py` measured: both chains did the same work, and the stages' pages tell what is stored.

That `speed.md` tells it is held by `test_speed.py`.
"""

import json

import pytest

from tests.docs.pages import ROOT, benchmark

CORPUS = json.loads((ROOT / "docs/results/corpus-speed.json").read_text())
SIDES = ("datatrove", "danlu")
MOST_GROWTH = 1.5
"""Of the memory, where there is ten times as much text."""


def test_both_chains_did_the_same_and_ours_five_times_as_fast():
    """The ratio means nothing where one side drops what the other carries through the costly half."""
    for language in ("en", "zh"):
        found = CORPUS["chain"][language]
        assert min(found["after_quality"][side] for side in SIDES) > 0.6 * found["documents"]
        assert found["after_quality"]["agreement"] > 0.94
        assert found["pages_kept"]["agreement"] > 0.94
        theirs, ours = (found["near_duplicates"][side] for side in SIDES)
        assert abs(theirs - ours) <= 0.1 * theirs
        assert min(found["ratio"], found["least_ratio_of_a_part"], found["ratio_of_processor_time"]) >= 5


def test_ten_times_as_much_text_takes_little_more_memory():
    """Of every stage that was measured: what a document costs is little beside what the stage holds anyway."""
    page = benchmark("corpus_page")
    (few, small), (many, large) = page.sizes(CORPUS["memory"])
    assert int(many.split()[0]) == 10 * int(few.split()[0])
    before, after = page.peaks(small), page.peaks(large)
    assert before.keys() == after.keys() >= {"prepare"}
    growth = {stage: after[stage] / before[stage] for stage in before}
    assert {stage: times for stage, times in growth.items() if times > MOST_GROWTH} == {}


def test_memory_is_measured_of_each_stage_and_told_where_it_was(tmp_path, monkeypatch):
    corpus_speed, page = benchmark("corpus_speed"), benchmark("corpus_page")
    asked = []

    def ours(stage, config, out, **inputs):
        asked.append((stage, config.get("sample_bytes"), sorted(inputs)))
        metrics = {"in": 7, "encoder": {"name": "gigatoken"}}
        return {"peak_mb": 100 + len(asked), "seconds": 1.0, "processor_seconds": 1.0, "metrics": metrics}

    monkeypatch.setattr(corpus_speed, "ours", ours)
    monkeypatch.setattr(corpus_speed, "write_parts", lambda *given: 0)
    found = {"measured_at": "2026-11-22", **corpus_speed.memory(tmp_path, "", tmp_path, 20_000_000)}
    once = [
        ("prepare", None, []),
        ("tokenizer", 50_000_000, ["corpus"]),
        ("shard", None, ["corpus", "tokenizer"]),
    ]
    assert asked == 2 * once
    for chinese in (False, True):
        told = "\n".join(page.held(found, page.Words(chinese)))
        assert "| 2 MB | 7 | 101 | 102 | 103 |\n| 20 MB | 7 | 104 | 105 | 106 |" in told
        assert "`tokenizer`" in told
        told = "\n".join(page.rows({**CORPUS, "memory": found}, "shard", chinese))
        assert "| 103 | [corpus-speed.json](../results/corpus-speed.json) `memory.2 MB.shard.peak_mb` |" in told
        assert "| 106 |" in told
    only_prepare = {size: {"peak_mb": 1, "documents": 2} for size in ("2 MB", "20 MB")} | {"measured_at": "2026"}
    assert "`tokenizer`" not in "\n".join(page.held(only_prepare, page.Words(False)))


def test_a_stage_runs_in_a_process_of_its_own(tmp_path):
    """And the sample that the tokenizer learns from is counted as the stage draws it."""
    texts = [f"The furnace stood at the edge of the village, and number {number} was cold." for number in range(50)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = {"sources": str(tmp_path / "raw.jsonl"), "validation_share": 0.1, "near_duplicates": False}
    found = benchmark("corpus_side").ours("prepare", settings, tmp_path / "corpus")
    assert found["metrics"]["in"] == found["metrics"]["written"] == len(texts)
    assert found["peak_mb"] > 10
    kept = [json.loads(line)["text"] for line in (tmp_path / "corpus" / "train.jsonl").read_text().splitlines()]
    learnt = benchmark("corpus_speed").learnt_bytes(tmp_path / "corpus", {"sample_bytes": 1_000_000})
    assert learnt == sum(len(text.encode()) for text in kept)


@pytest.mark.parametrize("stage", ["prepare", "tokenizer", "shard"])
@pytest.mark.parametrize(("end", "chinese"), [(".md", False), (".zh.md", True)])
def test_the_speed_of_a_stage_is_on_its_page(stage, end, chinese):
    page = (ROOT / "docs/stages" / f"{stage}{end}").read_text(encoding="utf-8")
    assert "\n".join(benchmark("corpus_page").rows(CORPUS, stage, chinese)) in page
