"""The page of a run of `recipes/your-text.yaml`: collected from its folder, asked of the served model, and written.

In: the folder of a finished run, then the address of `danlu serve` on its export. Out: `your-text.json`,
`your-text.svg` and the page in both languages, in `docs/results/`. Run by hand after the recipe:

    python benchmarks/your_text.py collect runs/your-text
    python benchmarks/your_text.py ask http://127.0.0.1:8000/v1        # pip install openai
    python benchmarks/your_text.py page

No number of the page is written by hand; a test holds that it is what the stored numbers give.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import your_text_page

from danlu.base import artifact, chart, console

RESULTS = Path(__file__).parent.parent / "docs" / "results"
TABLE, DRAWING = RESULTS / "your-text.json", RESULTS / "your-text.svg"
CURVE_POINTS = 60
QUESTIONS = (
    "给出三个保持健康的建议。",
    "你知道张国荣吗？",
    "Give three tips for staying healthy.",
    "I am looking for a restaurant.",
)
BEGINNINGS = ("话说", "第一条", "It was a dark night, and")
STYLE = """<style>svg{background:#fff;font-family:system-ui,sans-serif}text{fill:#6d675d;font-size:12px}
.grid{stroke:#e5e0d5}path{fill:none;stroke:currentColor;stroke-width:1.6}circle{fill:currentColor}
.s0{color:#b8402a;stroke-opacity:.45}.s1{color:#24618f}</style>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("collect").add_argument("run", type=Path)
    verbs.add_parser("ask").add_argument("url")
    verbs.add_parser("page")
    options = parser.parse_args()
    if options.verb == "page":
        write_pages(json.loads(TABLE.read_bytes()))
        return
    if options.verb == "collect":
        table = collect(options.run)
        DRAWING.write_text(draw(options.run), encoding="utf-8")
    else:
        table = {**json.loads(TABLE.read_bytes()), "client": ask(options.url)}
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.say(f"written: {TABLE}")


def collect(run: Path) -> dict[str, Any]:
    """What the stages wrote about themselves, without the weights and the text."""
    stages = {path.parent.name: artifact.read_manifest(path.parent) for path in run.glob("*/manifest.json")}
    order = sorted(stages, key=lambda name: stages[name]["finished_at"])
    pretrain = stages["pretrain"]
    return {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "memory_bytes": memory_bytes()},
        "device": pretrain["machine"],
        "versions": pretrain["versions"],
        "stages": {
            name: {key: stages[name][key] for key in ("seconds", "finished_at", "fingerprint", "metrics")}
            for name in order
        },
        "plan": {name: read(run / name / "plan.json") for name in ("pretrain", "finetune")},
        "corpus": read(run / "prepare" / "report.json"),
        "tokenizer": read(run / "tokenizer" / "report.json")["languages"],
        "shards": read(run / "shard" / "report.json"),
        "curves": {name: points(run / name / "metrics.jsonl") for name in ("pretrain", "finetune")},
        "samples": [json.loads(line) for line in (run / "pretrain" / "samples.jsonl").read_text().splitlines()],
        "before_and_after": [
            json.loads(line) for line in (run / "finetune" / "samples.jsonl").read_text().splitlines()
        ],
        "evaluation": read(run / "evaluate" / "evaluation.json"),
    }


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def processor() -> str:
    """The processor's name as Linux has it, else as Python does."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", facts.read_text()) if facts.is_file() else None
    return found[1] if found is not None else platform.processor()


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def points(diary: Path) -> dict[str, list[tuple[float, float]]]:
    """Training loss over tokens, thinned to means of neighbours, and every validation."""
    lines = [json.loads(line) for line in diary.read_text().splitlines()]
    curves: dict[str, list[tuple[float, float]]] = {"training": [], "validation": [], "bits_per_byte": []}
    tokens = 0
    for line in lines:
        tokens += line["train/tokens"]
        for name, key in (("training", "train/loss"), ("validation", "val/loss"), ("bits_per_byte", "val/bpb")):
            if key in line:
                curves[name].append((tokens, line[key]))
    return {
        name: [(round(x), round(y, 4)) for x, y in chart.thin(found, CURVE_POINTS)] for name, found in curves.items()
    }


def draw(run: Path) -> str:
    """The pre-training's curves as one SVG file that needs no style sheet."""
    curves = points(run / "pretrain" / "metrics.jsonl")
    series = {"training loss": curves["training"], "validation loss": curves["validation"]}
    drawing = chart.curve(series, "tokens", "nats per token")
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", ">" + STYLE, 1) + "\n"


def ask(url: str) -> list[dict[str, Any]]:
    """Questions and beginnings through the official client: each whole and as a stream, greedy, verbatim."""
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="none")
    model = client.models.list().data[0].id
    asked = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        whole = client.chat.completions.create(model=model, messages=messages, max_tokens=96, temperature=0)  # type: ignore[arg-type]
        stream = client.chat.completions.create(  # type: ignore[call-overload]
            model=model, messages=messages, max_tokens=96, temperature=0, stream=True
        )
        pieces = [
            chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content
        ]
        asked.append(record("chat", question, whole.choices[0].message.content, whole, pieces))
    for beginning in BEGINNINGS:
        whole = client.completions.create(model=model, prompt=beginning, max_tokens=64, temperature=0)
        stream = client.completions.create(model=model, prompt=beginning, max_tokens=64, temperature=0, stream=True)
        pieces = [chunk.choices[0].text for chunk in stream if chunk.choices and chunk.choices[0].text]
        asked.append(record("completion", beginning, whole.choices[0].text, whole, pieces))
    return asked


def record(kind: str, prompt: str, answer: str, whole: Any, pieces: list[str]) -> dict[str, Any]:
    """One answer, why it ended, and whether its stream said the same."""
    console.say(f"{prompt}\n  {answer}")
    return {
        "kind": kind,
        "prompt": prompt,
        "answer": answer,
        "finish_reason": whole.choices[0].finish_reason,
        "tokens": whole.usage.completion_tokens,
        "streamed_pieces": len(pieces),
        "stream_is_equal": "".join(pieces) == answer,
    }


def write_pages(table: dict[str, Any]) -> None:
    """The page in both languages."""
    for chinese, name in ((False, "your-text.md"), (True, "your-text.zh.md")):
        (RESULTS / name).write_text(your_text_page.page(table, chinese), encoding="utf-8")
        console.say(f"written: {RESULTS / name}")


if __name__ == "__main__":
    main()
