"""The environments of those that are measured beside: which packages each has, and the commands that make it.

In: `peers*.txt`, which pin every package. Out: versions; a block of commands. Called by the pages, which tell how
to remake what they show, and by a test that holds the stored versions to the pinned ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
ENVIRONMENTS = {"PEERS": "peers.txt", "TRAINER": "peers-trainer.txt", "PEER": "peers-text.txt"}
"""As a stored command names the folder of an environment -> its packages."""
PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)


def pinned(name: str) -> dict[str, str]:
    """Package -> version, of a file beside this one."""
    return dict(PIN.findall((FOLDER / name).read_text(encoding="utf-8")))


def block(commands: Iterable[str], *before: str) -> str:
    """The commands, each once, behind those that make the environments they name, as a block of Markdown."""
    listed = list(dict.fromkeys(commands))
    made = [
        f"python -m venv {folder} && {folder}/bin/pip install -r benchmarks/{packages}"
        for folder, packages in ENVIRONMENTS.items()
        if any(f" {folder}/bin/python" in command for command in listed)
    ]
    return "\n".join(["```bash", *before, *made, *listed, "```"])
