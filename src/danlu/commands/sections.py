"""The sections of a run's report: for each kind of artefact, what the page shows of it.

In: a page and a finished artefact (a model may also be unfinished). Out: headings, tables, curves and samples on the
page. Called by `commands.report`, through `SECTIONS`. Reads the artefact's own files and computes nothing new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base import console
from danlu.base.artifact import Artifact
from danlu.base.errors import ArtifactError
from danlu.base.page import Page
from danlu.base.records import SPLITS

GOAL = 0.8
"""The exact match over core questions that the project asks of its demo, drawn as a line."""
SAMPLE_STEPS = 6
THROUGH_TRAINING = 2
"""So many prompts are shown through the whole training, the others at its end only."""
CLOSER_STEPS = 20
LONGEST_CELL = 160


def read_object(path: Path) -> dict[str, Any]:
    """The file's object, or an empty one where the stage wrote none."""
    return _read(path) if path.is_file() else {}


def _read(path: Path) -> Any:
    """What a whole file of JSON holds: the page reads files that nobody has verified."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            "a file of an artefact cannot be read",
            where=path,
            found=error,
            remedy="restore it, or make the artefact again with --again",
        ) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON Lines file; the last line may be torn while a stage is writing, and is then left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def language_name(code: str) -> str:
    from danlu.evaluate.report import LANGUAGE_NAMES

    return LANGUAGE_NAMES.get(code, code)


def speed(metrics: Mapping[str, Any]) -> str:
    """How fast a model was trained; empty where the run that finished it had no step left to measure."""
    if metrics["tokens_per_second"] is None:
        return ""
    return f"{metrics['tokens_per_second']:,.0f} a second, {100 * metrics['mfu']:.0f} % of the matrix peak"


def forecast(part: Artifact) -> tuple[float, float] | None:
    """The band of the final loss that was predicted before training, if one was."""
    forecast = read_object(part.folder / "plan.json").get("forecast")
    return (forecast["low"], forecast["high"]) if forecast else None


def _title(title: str, name: str, usual: str) -> str:
    """`Data`, or `Data: name` where the section has a name of its own."""
    return title if name == usual else f"{title}: {name}"


def _corpus(page: Page, name: str, part: Artifact) -> None:
    report = read_object(part.folder / "report.json")
    page.heading(_title("Data", name, "prepare"), "数据")
    page.paragraph(
        "Every record that came in is either kept or left out for a reason; the two sides add up.",
        "每条记录要么保留，要么带着原因被剔除，两边数目相符。",
    )
    documents, sizes = report["documents"], report["bytes"]
    total = max(documents["in"], 1)
    rows = [("read", documents["in"], "100 %", console.size(sizes["in"]))]
    rows += [
        (f"kept: {kind}, {side}", count, f"{count / total:.1%}", "")
        for kind, sides in report["sides"].items()
        for side in SPLITS
        if (count := sides.get(side))
    ]
    rows += [
        (
            f"left out: {reason.replace('_', ' ')}",
            row["documents"],
            f"{row['documents'] / total:.1%}",
            _size(row["bytes"]),
        )
        for reason, row in report["reasons"].items()
    ]
    page.table(["", "records", "share", "size"], rows, strong=[0])
    languages = [
        (language_name(code), row.get("documents", 0), row.get("conversations", 0), console.size(row["bytes"]))
        for code, row in report["languages"].items()
    ]
    page.table(["language", "documents", "conversations", "text"], languages)
    if report.get("masked"):
        masked = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in report["masked"].items())
        page.paragraph(f"Private data masked: {masked}.")
    if report.get("left_out"):
        cut = ", ".join(f"{count:,} {what}" for what, count in report["left_out"].items())
        page.paragraph(f"Left out of texts that stay: {cut}.")


def _size(count: int) -> str:
    return console.size(count) if count else ""


def _tokenizer(page: Page, name: str, part: Artifact) -> None:
    report = read_object(part.folder / "report.json")
    page.heading(_title("Tokenizer", name, "tokenizer"), "分词器")
    rows = [
        (language_name(code), row["texts"], console.size(row["bytes"]), row["tokens"], row["bytes_per_token"])
        for code, row in report["languages"].items()
    ]
    columns = ["language", "texts", "held-out text", "tokens", "bytes per token"]
    page.table(columns, rows, caption=f"{report['vocabulary_size']:,} tokens in the vocabulary")
    page.samples(
        (f"{language_name(code)}: a sentence as the model sees it, one token between two marks", "", "·".join(tokens))
        for code, tokens in report["examples"].items()
    )


def _shards(page: Page, name: str, part: Artifact) -> None:
    report = read_object(part.folder / "report.json")
    page.heading(_title("Rows", name, "shard"), "打包")
    columns = ["row set", "documents", "conversations", "tokens in", "tokens out", "targets", "rows", "filled"]
    rows = [
        (
            label,
            row["documents"],
            row["conversations"],
            row["tokens_in"],
            row["tokens_out"],
            row["targets"],
            row["rows"],
            f"{row['filled']:.1%}",
        )
        for label, row in report.items()
    ]
    page.table(columns, rows)


def _model(page: Page, name: str, part: Artifact) -> None:
    """Curves, samples and figures of one training."""
    steps = list(read_lines(part.folder / "metrics.jsonl"))
    if not steps:
        return
    page.heading(f"Training: {name}", "训练")
    if "finished_at" not in part.manifest:
        page.paragraph(f"Not finished: step {steps[-1]['step']:,} so far.", "训练尚未结束。")
    metrics, plan = part.metrics, read_object(part.folder / "plan.json")
    _curves(page, steps, forecast(part))
    facts = {
        "Steps": f"{steps[-1]['step']:,} of {plan['steps']:,}" if "steps" in plan else f"{steps[-1]['step']:,}",
        "Tokens": f"{metrics['tokens']:,}" if metrics else None,
        "Speed": speed(metrics) if metrics else None,
        "Memory": console.size(metrics["peak_memory_bytes"]) if metrics else None,
        "Validation": _validation(metrics) if metrics else None,
        "Machine": _machine(part.manifest.get("machine", {})),
        "Sample order": part.manifest.get("order_hash"),
    }
    page.facts({label: value for label, value in facts.items() if value})
    _samples(page, list(read_lines(part.folder / "samples.jsonl")))


def _validation(metrics: Mapping[str, Any]) -> str:
    return (
        f"loss {metrics['validation_loss']:.4f}, {metrics['bits_per_byte']:.3f} bits per byte; "
        f"weights of step {metrics['used_step']:,}" + (", stopped early" if metrics["stopped_early"] else "")
    )


def _machine(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" if isinstance(value, int) else str(value) for name, value in machine.items())


def _series(steps: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(step["step"], step[name]) for step in steps if step.get(name) is not None]


def _curves(page: Page, steps: Sequence[Mapping[str, Any]], band: tuple[float, float] | None) -> None:
    """Loss over all steps and over the second half, where a band can be read; then learning rate and gradient."""
    loss = {"training": _series(steps, "train/loss"), "validation": _series(steps, "val/loss")}
    page.curve("Loss", loss, "step", "nats per token", band=band, band_label="predicted before training")
    if len(steps) >= CLOSER_STEPS:
        half = steps[len(steps) // 2]["step"]
        late = {name: [point for point in points if point[0] >= half] for name, points in loss.items()}
        page.curve(
            "Loss, second half", late, "step", "nats per token", band=band, band_label="predicted before training"
        )
    page.curve("Learning rate", {"rate": _series(steps, "train/lr")}, "step", "rate", half=True)
    page.curve("Gradient norm", {"norm": _series(steps, "train/grad_norm")}, "step", "before clipping", half=True)


def _samples(page: Page, samples: Sequence[Mapping[str, Any]]) -> None:
    """One prompt through training, then all prompts at the end."""
    if not samples:
        return
    page.heading("What it writes while it learns", "训练途中的样例", level=3)
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_prompt.setdefault(str(sample["prompt"]), []).append(sample)
    for index, (prompt, told) in enumerate(by_prompt.items()):
        is_question = bool(told[0].get("wanted"))
        wanted, gap = (f" · wanted: {told[0]['wanted']}", "\n") if is_question else ("", "")
        chosen = _spread(told, SAMPLE_STEPS) if index < THROUGH_TRAINING else told[-1:]
        page.samples((f"step {one['step']:,}{wanted}", prompt + gap, str(one["text"])) for one in chosen)


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[index * (len(items) - 1) // (most - 1)] for index in range(most)]


def _evaluation(page: Page, name: str, part: Artifact) -> None:
    from danlu.evaluate.report import LEAKED, POOLED, answer_columns, answer_rows, leaks, undefined_bits

    result = read_object(part.folder / "evaluation.json")
    rows, baselines = result["answers"], result["baselines"]
    page.heading(_title("Evaluation", name, "evaluate"), "评测")
    page.paragraph(
        "Questions and texts that were kept from training. Exact match ignores case, punctuation and articles; ± is "
        "one standard error. “In training text” counts those of which 13 words in a row, or 20 characters of Chinese, "
        "stand in it all the same: there a model can answer from memory.",
        "题目与文本未用于训练。完全匹配不计大小写、标点与冠词；± 为一个标准误。“In training text” 为其中有连续 13 个词"
        "（中文 20 个字）也出现在训练文本中的数目：这些可能是记住的。",
    )
    for row in rows:
        if row["task"] == POOLED:
            bars = [("this model", row["exact_match"], row["exact_match_error"], 0)]
            for label in baselines:
                other = row["baselines"][label]
                bars.append((label, other["exact_match"], other["exact_match_error"], 1))
            title = f"{language_name(row['language'])}: {', '.join(result['core_tasks'])}"
            page.bars(title, bars, goal=GOAL, note=f"exact match, {row['n']} questions; dashed: {GOAL:.0%}")
    if rows:
        pooled = [index for index, row in enumerate(rows) if row["task"] == POOLED]
        page.table(answer_columns(baselines), answer_rows(rows, baselines), strong=pooled)
    texts = [
        (
            language_name(code),
            row["documents"],
            leaks(row),
            row["tokens"],
            row["loss"],
            row["perplexity"],
            row["bits_per_byte"],
        )
        for code, row in result["language_model"].items()
    ]
    if texts:
        page.table(
            ["language", "documents", LEAKED, "tokens", "loss", "perplexity", "bits per byte"],
            texts,
            caption="Test text",
        )
        for sentence in undefined_bits(result["language_model"]):
            page.paragraph(f"{sentence}.")
    _some_answers(page, part)


def _some_answers(page: Page, part: Artifact) -> None:
    """The first answers of each task, right or wrong, as they came."""
    shown: dict[tuple[str, str], dict[str, Any]] = {}
    for one in read_lines(part.folder / "answers.jsonl"):
        shown.setdefault((one["language"], one["task"]), one)
    if shown:
        page.heading("The first answer of each task, as it came", "每项任务的第一个回答", level=3)
        page.table(
            ["language", "task", "question", "wanted", "answer", ""],
            [
                (
                    language_name(language),
                    task,
                    _shortened(one["question"]),
                    one["reference"],
                    one["answer"][:LONGEST_CELL],
                    bool(one["exact_match"]),
                )
                for (language, task), one in shown.items()
            ],
        )


def _shortened(text: str) -> str:
    """The end of a text: a question stands below its story."""
    return text if len(text) <= LONGEST_CELL else "… " + text[-LONGEST_CELL:]


def _export(page: Page, name: str, part: Artifact) -> None:
    page.heading(_title("Export", name, "export"), "导出")
    page.facts({label.replace("_", " "): value for label, value in part.metrics.items()})


def _service(page: Page, name: str, part: Artifact) -> None:
    page.heading(_title("Served", name, "serve"), "服务")
    page.samples(
        (
            f"{reply['path']}{', streamed' if reply['request'].get('stream') else ''}",
            f"{_asked(reply['request'])}\n",
            reply["text"],
        )
        for reply in _read(part.folder / "replies.json")
    )


def _asked(request: Mapping[str, Any]) -> str:
    """The last message of a chat request, or the prompt of a completion."""
    return request["messages"][-1]["content"] if "messages" in request else str(request["prompt"])


SECTIONS: dict[str, Callable[[Page, str, Artifact], None]] = {
    "corpus": _corpus,
    "tokenizer": _tokenizer,
    "shards": _shards,
    "model": _model,
    "evaluation": _evaluation,
    "export": _export,
    "service": _service,
}
"""Kind of artefact -> what the page shows of it."""
