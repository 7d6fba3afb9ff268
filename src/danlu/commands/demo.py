"""`danlu demo`: the quickstart before a person's eyes, with the plug pulled at half-way.

In: a recipe. Out: on the screen, the machine, the plan, each stage as it works, the kill and the return, predicted
against reached, the next commands. Called by `cli` (`make demo`). Every stage is the ordinary one, run by the
ordinary `running.run`; only pre-training is a child process, because it is going to be killed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu import running
from danlu.base import artifact, console
from danlu.base.errors import UserError
from danlu.commands import doctor, report, show
from danlu.commands.invocation import called
from danlu.recipe import Recipe
from danlu.step import Step

SENTENCES = ("星期一安娜在东门买了12个苹果。", "On Monday Anna visited Eastgate and bought 12 apples.")
LOOK_SECONDS = 0.2
STEPS_TO_REPEAT = 5
"""Steps beyond the newest checkpoint at the kill: what both processes make, so that their orders can be compared."""


def run(
    recipe: Path,
    values: Sequence[str],
    *,
    runs: Path = Path("runs"),
    kill: bool = True,
    again: bool = False,
    sentences: Sequence[str] = (),
) -> None:
    """Run the recipe to the end; a second call repeats no finished stage, unless `again`: then all are made anew.

    `sentences` are shown as the new tokenizer cuts them; without any, two of ours are.
    """
    started_at = time.monotonic()
    read = Recipe.load(recipe, values)
    folder = runs / read.name
    console.heading("the machine")
    doctor.say_machine()
    console.heading("the plan")
    show.say_plan(read, runs)
    training = next((step for step in read.plan(runs) if step.section.stage.name == "pretrain"), None)
    if training is None:
        raise UserError("the demo needs a recipe with a pretrain section", where=recipe)
    names = [section.name for section in read.sections]
    before, later = names[: names.index(training.name)], names[names.index(training.name) + 1 :]
    if before:
        running.run(read, runs=runs, from_section=before[0], until=before[-1], again=again)
    _say_tokens(read, runs, sentences)
    if again or training.state != "done":
        _train(recipe, values, runs, training, kill=kill, again=again)
    made = running.run(
        read,
        runs=runs,
        from_section=later[0] if later else None,
        again=again,
        after=lambda step, done: report.build(folder),
    )
    report.build(folder)
    _say_end(made, folder, time.monotonic() - started_at)


def _say_tokens(read: Recipe, runs: Path, sentences: Sequence[str]) -> None:
    """How the new tokenizer cuts sentences."""
    from danlu.tokenizer.tokenizer import Tokenizer

    step = next((step for step in read.plan(runs) if step.section.stage.name == "tokenizer"), None)
    if step is None:
        return
    tokenizer = Tokenizer.load(step.folder)
    console.heading("sentences as tokens")
    for sentence in sentences if sentences else SENTENCES:
        console.say("  " + " | ".join(tokenizer.token_text(token) for token in tokenizer.encode(sentence)))
    if not sentences:
        console.say("  your own: danlu demo --sentence TEXT", style="dim")


def _train(recipe: Path, values: Sequence[str], runs: Path, training: Step, *, kill: bool, again: bool) -> None:
    """Pre-train in a child; kill it with signal 9 at half-way and start it again: nothing may be lost.

    With `again` the first child begins from nothing; the second goes on from what the first one saved.
    """
    words = [sys.executable, "-m", "danlu", *(["--json"] if console.is_json() else []), "run", str(recipe), *values]
    words += ["--runs", str(runs), "--until", training.name]
    child = subprocess.Popen([*words, *(["--from", training.name, "--again"] if again else [])])
    try:
        if kill and _wait_for_half(child, training.folder):
            step = _last_line(training.folder / "metrics.jsonl")["step"]
            child.kill()
            child.wait()
            console.heading(f"signal 9: the training process was killed at step {step}, in the middle of its work")
            console.say("  it had no chance to say goodbye; the same command goes on from the newest valid checkpoint")
            before = _orders_after_checkpoint(training.folder)
            child = subprocess.Popen(words)
            code = child.wait()
            if code == 0:
                _say_same_order(before, _orders(training.folder))
        else:
            code = child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise
    if code == -signal.SIGINT or code == 130:
        raise KeyboardInterrupt
    if code != 0:
        raise UserError("pre-training did not finish; its own message stands above", found=f"exit code {code}")


def _wait_for_half(child: subprocess.Popen[bytes], folder: Path) -> bool:
    """True when half of the steps are done, some of them beyond a checkpoint; False where the child ended before."""
    seen: int | None = None
    while child.poll() is None:
        time.sleep(LOOK_SECONDS)
        plan = _json(folder / "plan.json")
        line = _last_line(folder / "metrics.jsonl")
        if plan and line and seen is None:
            seen = line["step"]
        if not plan or not line or line["step"] == seen:
            continue  # nothing yet, or what an earlier process left
        beyond = line["step"] - _newest_checkpoint(folder)
        if 2 * line["step"] >= plan["steps"] and _newest_checkpoint(folder) > 0 and beyond >= STEPS_TO_REPEAT:
            return True
    return False


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a JSON Lines file that another process is writing."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        return json.loads(lines[-1]) if lines else {}
    except (FileNotFoundError, ValueError):
        return {}


def _newest_checkpoint(folder: Path) -> int:
    """The step that the killed process will come back to; 0 before the first checkpoint."""
    return max((int(path.name.split("-")[1]) for path in (folder / "checkpoints").glob("step-*")), default=0)


def _orders_after_checkpoint(folder: Path) -> dict[int, str]:
    """The steps that the process which comes back has to make again: the only ones that prove anything."""
    newest = _newest_checkpoint(folder)
    return {step: order for step, order in _orders(folder).items() if step > newest}


def _orders(folder: Path) -> dict[int, str]:
    """Step -> hash of all sample numbers up to it, from the diary."""
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    return {line["step"]: line["order"] for line in map(json.loads, lines)}


def _say_same_order(before: dict[int, str], after: dict[int, str]) -> None:
    """Compare the order of samples of the killed process with that of the one that came back."""
    common = sorted(before.keys() & after.keys())
    if not common or any(before[step] != after[step] for step in common):
        raise UserError("the order of samples changed over the kill; this is a defect of danlu, please report it")
    console.say(
        f"  it came back: the order of samples is the same in all {len(common)} steps that both processes made "
        f"(hash at step {common[-1]}: {after[common[-1]]})",
        style="bold",
    )


def _say_end(made: dict[str, artifact.Artifact], folder: Path, seconds: float) -> None:
    """Predicted against reached, where everything lies, and the next three commands."""
    console.heading(f"done in {console.duration(seconds)}")
    forecast = next((one.manifest.get("forecast") for one in made.values() if one.manifest.get("forecast")), None)
    if forecast is not None:
        inside = forecast["low"] <= forecast["reached"] <= forecast["high"]
        console.say(
            f"  loss predicted {forecast['low']:.3f} to {forecast['high']:.3f}, reached {forecast['reached']:.3f}: "
            + ("inside the band" if inside else "OUTSIDE the band")
        )
    model = next(made[name].folder for name in reversed(made) if made[name].kind in ("export", "model"))
    console.say(f"  report: {folder / 'report.html'}")
    console.say("  next:")
    for command in (f"chat {model}", f"serve {model}", f"look {folder}/evaluate"):
        console.say(f"    {called()} {command}")
    question = made["serve"].config.get("prompt") if "serve" in made else None
    if question:
        console.say("  ask it, for example (\\ joins the lines of one message):")
        console.say("    " + "\\\n    ".join(question.splitlines()), style="dim")
