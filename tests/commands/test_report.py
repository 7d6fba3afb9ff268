"""`report.html` from the files of a run: complete, interrupted, and with nothing in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.base.artifact import seal
from danlu.base.errors import ArtifactError
from danlu.commands.report import build


def lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def part(run: Path, name: str, kind: str, files: dict[str, object], metrics: dict, parents: dict | None = None):
    """One finished artefact with these files; lists become JSON Lines."""
    folder = run / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        if file.endswith(".jsonl"):
            lines(folder / file, content)
        else:
            (folder / file).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    given = parents if parents is not None else {}
    return seal(
        folder, kind=kind, stage=name, version=1, config={}, parents=given, metrics=metrics, seconds=61.0, seed=7
    )


CORPUS_REPORT = {
    "documents": {"in": 100, "written": 90, "rejected": 6, "duplicates": 4},
    "bytes": {"in": 5000, "written": 4500, "rejected": 300, "duplicates": 200},
    "sides": {"documents": {"test": 5, "train": 80, "validation": 5}, "conversations": {}},
    "reasons": {"long_line": {"documents": 6, "bytes": 300}, "duplicate": {"documents": 4, "bytes": 200}},
    "languages": {"zh": {"documents": 40, "bytes": 2000}, "en": {"documents": 50, "bytes": 2500}},
    "masked": {"phone": 3},
}
TRAINED = {
    "validation_loss": 1.512,
    "bits_per_byte": 0.9,
    "steps": 40,
    "tokens": 123456,
    "used_step": 40,
    "best_step": 40,
    "best_loss": 1.512,
    "stopped_early": False,
    "tokens_per_second": 15000.0,
    "mfu": 0.21,
    "peak_memory_bytes": 10**9,
}


def training(steps: int) -> dict[str, object]:
    metrics = [
        {"step": i, "train/loss": 5.0 / i + 1.4, "train/lr": 1e-3, "train/grad_norm": 0.5, "train/tokens": 4096}
        | ({"val/loss": 5.0 / i + 1.5} if i % 10 == 0 else {})
        for i in range(1, steps + 1)
    ]
    samples = [{"step": step, "prompt": "Once ", "text": f"text at <{step}>"} for step in range(0, steps + 1, 10)]
    plan = {"steps": 40, "forecast": {"low": 1.48, "high": 1.55}}
    return {"metrics.jsonl": metrics, "samples.jsonl": samples, "plan.json": plan}


def evaluation() -> dict[str, object]:
    one = {"n": 50, "exact_match": 0.84, "exact_match_error": 0.05, "f1": 0.9, "f1_error": 0.03}
    row = {"language": "zh", "task": "core", **one, "baselines": {"n-gram": {**one, "exact_match": 0.11}}}
    answer = {
        "language": "zh",
        "task": "who",
        "question": "谁在河边？",
        "reference": "安娜",
        "answer": "安娜",
        "exact_match": 1.0,
    }
    text = {"documents": 3, "tokens": 90, "bytes": 300, "loss": 1.6, "perplexity": 4.95, "bits_per_byte": 0.8}
    result = {
        "answers": [row],
        "baselines": ["n-gram"],
        "core_tasks": ["who"],
        "language_model": {"zh": text, "en": {**text, "unknown": 2, "bits_per_byte": None}},
        "cut": 0,
        "too_long": 0,
    }
    return {"evaluation.json": result, "answers.jsonl": [answer]}


def test_report_shows_every_finished_stage(tmp_path):
    run = tmp_path / "quick"
    corpus = part(run, "prepare", "corpus", {"report.json": CORPUS_REPORT}, {})
    model = part(run, "pretrain", "model", training(40), TRAINED, {"corpus": corpus})
    part(run, "evaluate", "evaluation", evaluation(), {}, {"model": model, "corpus": corpus})
    page = build(run).read_text(encoding="utf-8")
    for expected in (
        "From text to a model: quick",
        "left out: long line",
        "kept: documents, train",
        "3 phone",
        "84.0 %",
        "n-gram",
        "1.512",
        "predicted 1.480 to 1.550 – reached",
        "text at &lt;40&gt;",
        "安娜",
        corpus.fingerprint[:16],
        corpus.fingerprint[:8],
        "3 min 03 s",
        "English: bits per byte are not defined where 2 of 90 tokens are unknown",
        "no price given",
        'class="band"',
    ):
        assert expected in page, expected
    assert ">0.00<" not in page, "a cost that nobody can know"
    assert "<script" not in page
    assert page.index("Data") < page.index("Training: pretrain") < page.index("Evaluation")


def test_report_of_an_interrupted_training(tmp_path):
    run = tmp_path / "torn"
    folder = run / "pretrain"
    folder.mkdir(parents=True)
    for name, content in training(12).items():
        if name.endswith(".jsonl"):
            lines(folder / name, content)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "train/lo')
    page = build(run).read_text(encoding="utf-8")
    assert "Not finished: step 12 so far" in page
    assert "text at &lt;10&gt;" in page


def test_report_names_a_file_that_is_torn(tmp_path):
    folder = part(tmp_path / "run", "prepare", "corpus", {"report.json": CORPUS_REPORT}, {}).folder
    whole = (folder / "report.json").read_bytes()
    (folder / "report.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=r"prepare/report\.json"):
        build(tmp_path / "run")


def test_report_of_an_empty_run(tmp_path):
    run = tmp_path / "nothing"
    run.mkdir()
    assert "Time and cost" in build(run).read_text(encoding="utf-8")
    assert build(run) == run / "report.html"
