"""Cleaning in shards holds one shard, not the room that writing it took."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from pathlib import Path
from danlu.corpus import engine
from danlu.corpus.clean import Cleaner
from danlu.corpus.raw import given_files
from danlu.corpus.settings import Files

engine._clean = lambda unit, cleaner: unit
part = tuple(given_files([Files(path=sys.argv[1])], "sources"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sizes = [path.stat().st_size for path in engine._make(engine.Job(part, Path(sys.argv[2]) / "0"), Cleaner())]
print(len(sizes), max(sizes), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_shard_takes_little_more_memory_than_its_bytes(tmp_path):
    (tmp_path / "text").mkdir()
    line = json.dumps({"text": "The furnace stood at the edge of the village. " * 70}) + "\n"
    (tmp_path / "text" / "a.jsonl").write_text(line * 11_000)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "text"), str(tmp_path / "shards")]
    shards, largest, grown = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert shards == 3
    assert grown < 4 * largest
