"""`danlu prove [MODEL]`: the proofs that make sense here, on this machine and on a given model folder.

In: nothing, or a model folder (ours or a Hugging Face one). Out: a table of what was proved, with what each proof does
not prove, and the exit code: 0 where nothing failed, 1 otherwise. Called by `cli`. The proofs are in `danlu.proofs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from danlu.base import console

if TYPE_CHECKING:
    from danlu.proofs.table import Result


def run(model: Path | None = None) -> int:
    """Run and print the proofs; return the exit code."""
    from danlu import convert
    from danlu.parallel.device import say_left_idle
    from danlu.proofs import table

    say_left_idle("danlu prove", "what it proves of equal bits holds for a CPU")
    subject = convert.load(model) if model is not None else None
    console.heading(
        f"proofs on {model}" if model is not None else "proofs on this machine (give a model folder for more)"
    )
    results = []
    for result in table.run(subject):
        results.append(result)
        style = {"FAILED": "bold red", "proved": ""}.get(result.word, "dim")
        line = f"{result.id:5} {result.word:14} {result.seconds:5.1f} s  {result.proof.title}: {result.finding}"
        console.say(line, style=style)
        if result.word == "proved":
            console.say(f"{'':30}not shown: {result.proof.does_not}", style="dim")
    failed = [one.id for one in results if one.word == "FAILED"]
    proved = sum(one.word == "proved" for one in results)
    console.say(f"{proved} proved, {len(failed)} failed, {len(results) - proved - len(failed)} do not apply")
    console.emit("proofs", failed=failed, results=[_plain(one) for one in results])
    return 1 if failed else 0


def _plain(result: Result) -> dict[str, object]:
    """A result for `--json`."""
    proof = result.proof
    return {
        "id": result.id,
        "result": result.word,
        "finding": result.finding,
        "seconds": round(result.seconds, 3),
        "proves": proof.proves,
        "does_not_prove": proof.does_not,
    }
