"""Keep what a finished demo reached, for the README and its test.

In: the folder of a finished run. Out: `docs/results/quickstart.json`: the recipe, its marks by language and task, the
loss foretold and reached, seconds by section, machine and versions. Run by hand after `make demo`:

    python benchmarks/quickstart.py runs/quickstart --minutes 4.5
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import yaml

from danlu.base import artifact, console

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "quickstart.yaml"
RESULT = ROOT / "docs" / "results" / "quickstart.json"
SECTIONS = ("prepare", "tokenizer", "shard", "pretrain", "finetune", "evaluate", "export", "serve")


def main() -> None:
    """Read the manifests and the evaluation, write the page of numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, required=True, help="what `make demo` said at its end")
    options = parser.parse_args()
    text = json.dumps(facts(options.run, options.minutes), indent=1, ensure_ascii=False) + "\n"
    artifact.write_atomically(RESULT, text)
    console.say(f"wrote {RESULT}")


def facts(run: Path, minutes: float) -> dict[str, Any]:
    """Everything that the README says of a demo, and from where it comes."""
    made = {name: artifact.open_artifact(run / name) for name in SECTIONS}
    evaluation = json.loads((run / "evaluate" / "evaluation.json").read_bytes())
    keys = ("language", "task", "n", "exact_match", "exact_match_error")
    return {
        "command": "make demo",
        "recipe": yaml.safe_load(RECIPE.read_bytes()),
        "minutes": minutes,
        "seconds": {name: round(one.manifest["seconds"], 1) for name, one in made.items()},
        "fingerprints": {name: one.fingerprint for name, one in made.items()},
        "forecast": made["pretrain"].manifest["forecast"],
        "marks": [{key: row[key] for key in keys} for row in evaluation["answers"]],
        "baselines": {
            name: max(row["baselines"][name]["exact_match"] for row in evaluation["answers"] if row["task"] == "core")
            for name in evaluation["baselines"]
        },
        "text_loss": evaluation["language_model"]["all"]["loss"],
        "machine": {"processor": platform.machine(), **made["pretrain"].manifest["machine"]},
        "versions": made["pretrain"].manifest["versions"],
        "made_at": made["serve"].manifest["finished_at"],
    }


if __name__ == "__main__":
    main()
