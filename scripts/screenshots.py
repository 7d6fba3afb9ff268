"""Photograph the report and the chat page of a finished run: `python scripts/screenshots.py runs/quickstart`.

In: the folder of a run with `report.html`, `export/` and `evaluate/answers.jsonl`. Out: in `docs/images` the report
(`report.png`: its head, `curve.png`: pre-training) and the chat page (`chat.png` English, `chat.zh.png` Chinese).
Called by hand after `make demo`. The chat page is served by `danlu serve` and asked a question of the test set; what
the picture shows is what the model streamed. Needs playwright (`make test` installs it) and a Chromium. Writes nothing
into the run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
REPORT_SIZE, CHAT_SIZE = (1000, 740), (860, 560)
LARGEST_BYTES = 300_000
PATIENCE_MILLISECONDS = 120_000
CORE_TASKS = ("who", "where", "when", "mood")


def main() -> int:
    """Take the pictures; exit code 1 where one came out too large to be kept in a repository."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run, for example runs/quickstart")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made = [options.out / name for name in ("report.png", "curve.png", "chat.png", "chat.zh.png")]
    with sync_playwright() as playwright, serving(options.run / "export") as url:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        photograph_report(browser, options.run / "report.html", *made[:2])
        photograph_chat(browser, url, question(options.run, "en"), made[2], locale="en-US", theme="light")
        photograph_chat(browser, url, question(options.run, "zh"), made[3], locale="zh-CN", theme="dark")
        browser.close()
    for path in made:
        print(f"{path}  {path.stat().st_size / 1000:,.0f} kB")
    return int(any(path.stat().st_size > LARGEST_BYTES for path in made))


def chromium() -> str | None:
    """The system's Chromium; None lets playwright use its own."""
    return next((path for name in BROWSERS if (path := shutil.which(name)) is not None), None)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`danlu serve` on a free port while the block runs; gives its address."""
    command = [sys.executable, "-m", "danlu", "--json", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            events = (json.loads(line) for line in server.stdout if line.startswith("{"))
            yield next(event["url"] for event in events if event["event"] == "serving")
        finally:
            server.terminate()


def question(run: Path, language: str) -> str:
    """A question of the test set, asked from a story: the first that the model answered right, else the first."""
    lines = (run / "evaluate" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    asked: list[dict[str, Any]] = [
        line for line in map(json.loads, lines) if line["language"] == language and line["task"] in CORE_TASKS
    ]
    return min(asked, key=lambda line: -line["exact_match"])["question"]


def photograph_report(browser: Browser, report: Path, head: Path, curve: Path) -> None:
    """The head of the report with its figures, and the part that draws the loss of pre-training."""
    width, height = REPORT_SIZE
    page = browser.new_page(viewport={"width": width, "height": height}, locale="en-US", color_scheme="light")
    page.goto(report.resolve().as_uri())
    page.screenshot(path=head)
    page.locator("h2", has_text="Training").first.evaluate("e => e.scrollIntoView()")
    page.screenshot(path=curve)
    page.close()


def photograph_chat(browser: Browser, url: str, text: str, out: Path, *, locale: str, theme: Any) -> None:
    """One question, typed and sent; the picture is taken when the last token has arrived."""
    width, height = CHAT_SIZE
    page = browser.new_page(viewport={"width": width, "height": height}, locale=locale, color_scheme=theme)
    page.set_default_timeout(PATIENCE_MILLISECONDS)
    page.goto(url)
    page.wait_for_selector("#model:not(:empty)")
    page.locator("#temperature").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    page.fill("#input", text)
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn.assistant .note")
    page.screenshot(path=out)
    page.close()


if __name__ == "__main__":
    sys.exit(main())
