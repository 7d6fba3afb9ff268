"""Bits per byte of general compressors: what a model has to beat, for `docs/stages/evaluate.md`.

In: an English and a Chinese text file; a JSON Lines file stands for its `text` fields. Out:
`docs/results/compressors.json`. Compressors learn while they read and need no training: each file is compressed whole,
at the highest level, so the length of the text matters and is stored. Run from the root of the repository:
python benchmarks/compressors.py ENGLISH CHINESE
"""

from __future__ import annotations

import bz2
import datetime
import hashlib
import json
import lzma
import platform
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from danlu.base import console

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "compressors.json"
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda text: zlib.compress(text, 9),
    "bzip2": lambda text: bz2.compress(text, 9),
    "xz": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
}


def text_of(file: Path) -> bytes:
    """The file's text in UTF-8."""
    if file.suffix != ".jsonl":
        return file.read_bytes()
    lines = file.read_text(encoding="utf-8").splitlines()
    return "\n".join(json.loads(line)["text"] for line in lines).encode()


def measure(file: Path) -> dict[str, object]:
    """What each compressor makes of the file's text."""
    text = text_of(file)
    bits = {name: round(8 * len(compress(text)) / len(text), 4) for name, compress in COMPRESSORS.items()}
    return {"file": file.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest(), "bits_per_byte": bits}


def main() -> None:
    english, chinese = map(Path, sys.argv[1:])
    found = {
        "command": f"python benchmarks/compressors.py {english.name} {chinese.name}",
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION},
        "en": measure(english),
        "zh": measure(chinese),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.say(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
