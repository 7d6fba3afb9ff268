"""`report.html`: a recipe's run on one offline page, from what its artefacts say of themselves.

In: a run folder (`runs/NAME`) with whatever stages are finished by now, also an interrupted one. Out: the path of its
`report.html`. Called by `commands.run` after each stage and by `demo`. Measures nothing: every number stands in a
manifest, in `report.json`, `metrics.jsonl`, `samples.jsonl` or `evaluation.json`; what is not there is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from danlu import __version__
from danlu.base import artifact, console
from danlu.base.artifact import Artifact
from danlu.base.page import Page
from danlu.commands.sections import SECTIONS, forecast, language_name, read_object, speed

REPORT = "report.html"
POOLED_TASK = "core"
"""The row of `evaluation.json` that pools the questions answered from the prompt."""
SHOWN_HASH = 16
PRINCIPAL_FILES = (".safetensors", "tokenizer.json", "train.jsonl", "ids.bin", "evaluation.json")


def build(run_folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path."""
    parts = _parts(run_folder)
    seconds = sum(part.manifest["seconds"] for part in parts.values())
    last = max((part.manifest["finished_at"] for part in parts.values() if "finished_at" in part.manifest), default="")
    shown = [f"丹炉 danlu {__version__}", last.replace("T", " ").replace("+00:00", " UTC"), console.duration(seconds)]
    page = Page(
        f"From text to a model: {run_folder.name}", "en", subtitle=" · ".join(piece for piece in shown if piece)
    )
    _headline(page, parts, seconds)
    for name, part in parts.items():
        section = SECTIONS.get(part.kind)
        if section is not None:
            section(page, name, part)
    _costs(page, parts, seconds)
    _provenance(page, parts)
    page.footer(
        "This page is complete in itself: it loads nothing and runs no script. 本页自成一体，不加载任何外部内容。"
    )
    path = run_folder / REPORT
    artifact.write_atomically(path, page.html())
    return path


def _parts(run_folder: Path) -> dict[str, Artifact]:
    """The run's artefacts by section name, in the order in which they were made.

    A model in the making has no manifest yet; it is shown from its metrics, under an unfinished manifest.
    """
    parts, made_at = {}, {}
    for folder in run_folder.iterdir():
        made_at[folder.name] = float("inf")
        if artifact.is_finished(folder):
            made_at[folder.name] = (folder / artifact.MANIFEST).stat().st_mtime
            parts[folder.name] = Artifact(folder, artifact.read_manifest(folder))
        elif (folder / "metrics.jsonl").is_file():
            unfinished = {"kind": "model", "stage": folder.name, "metrics": {}, "seconds": 0.0}
            parts[folder.name] = Artifact(folder, unfinished)
    return {name: parts[name] for name in sorted(parts, key=lambda name: made_at[name])}


def _headline(page: Page, parts: Mapping[str, Artifact], seconds: float) -> None:
    """The few numbers that a reader wants first."""
    figures: list[tuple[str, object, str]] = []
    for part in parts.values():
        if part.kind == "evaluation":
            for row in read_object(part.folder / "evaluation.json").get("answers", ()):
                if row["task"] == POOLED_TASK:
                    value = f"{100 * row['exact_match']:.1f} %"
                    error = f"± {100 * row['exact_match_error']:.1f}, " if row["exact_match_error"] is not None else ""
                    figures.append(
                        (f"Exact match, {language_name(row['language'])}", value, f"{error}{row['n']} questions")
                    )
    models = [part for part in parts.values() if part.kind == "model" and part.metrics]
    if models:
        metrics = models[0].metrics
        figures.append(("Validation loss", f"{metrics['validation_loss']:.3f}", _forecast_note(models[0])))
        figures.append(("Tokens trained", console.size(metrics["tokens"], ""), speed(metrics)))
    figures.append(("Time", console.duration(seconds), "working time of all stages"))
    figures.append(("Cost", None, "no price given: danlu does not know what this machine costs"))
    page.figures(figures)


def _forecast_note(part: Artifact) -> str:
    band = forecast(part)
    if band is None:
        return "nats per token, held-out text"
    reached = part.metrics.get("validation_loss")
    hit = " – reached" if reached is not None and band[0] <= reached <= band[1] else ""
    return f"predicted {band[0]:.3f} to {band[1]:.3f}{hit}"


def _costs(page: Page, parts: Mapping[str, Artifact], seconds: float) -> None:
    page.heading("Time and cost", "时间与费用")
    rows = [
        (name, console.duration(part.manifest["seconds"]), f"{part.manifest['seconds'] / max(seconds, 1e-9):.0%}")
        for name, part in parts.items()
    ]
    rows.append(("all", console.duration(seconds), "100 %"))
    page.table(["section", "working time", "share"], rows, strong=[len(rows) - 1])
    page.paragraph("No price of this machine was given, so no cost is stated.", "没有给出机器的价格，所以不写费用。")


def _provenance(page: Page, parts: Mapping[str, Artifact]) -> None:
    """Hashes by which any answer can be walked back to the raw text, and the versions that made it."""
    page.heading("Where it comes from", "来历")
    rows = [
        (
            name,
            part.kind,
            part.manifest.get("fingerprint", "not finished")[:SHOWN_HASH],
            ", ".join(f"{key} {value['fingerprint'][:8]}" for key, value in part.manifest.get("parents", {}).items()),
            part.manifest.get("seed"),
        )
        for name, part in parts.items()
    ]
    page.table(["section", "kind", "fingerprint", "made from", "seed"], rows)
    files = [
        (f"{name}/{file}", console.size(facts["bytes"]), facts["sha256"][:SHOWN_HASH])
        for name, part in parts.items()
        for file, facts in part.manifest.get("files", {}).items()
        if file.endswith(PRINCIPAL_FILES)
    ]
    page.table(["file", "size", "SHA-256"], files, caption="Principal files; each manifest.json has all of them")
    newest = max(parts.values(), key=lambda part: part.manifest.get("finished_at", ""), default=None)
    if newest is not None:
        page.facts(newest.manifest.get("versions", {}))
