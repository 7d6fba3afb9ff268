"""RD4 where a corpus becomes rows: killed and run again they are the same, and no finished row set is made again.

In: a small corpus; a process that makes its rows and kills itself, in every row set and while all of them are sealed.
Out: red where a byte differs, where something stray lies about, or where a row set is written that was finished.
`test_workers` holds RD4 of the corpus.
"""

from __future__ import annotations

import signal
import subprocess
import sys

from danlu.base.artifact import open_artifact, seal
from danlu.stages import shard
from tests.proofs.mutant import Mutant
from tests.small import random_conversations, random_documents, small_tokenizer, write_corpus

MUTANTS = {
    "RD4": Mutant("src/danlu/stages/shard.py", "    finished = notes.read(folder)\n", "    finished = None\n"),
}

ROWS = """
import os, signal, sys
from pathlib import Path
from danlu.base import artifact
from danlu.base.artifact import open_artifact
from danlu.stages import shard

top, moment = Path(sys.argv[1]), sys.argv[2]
out, log, write, check = top / "out", top / "written", shard._write, shard._check


def fall(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def written(folder, *rest):
    with log.open("a") as file:
        print(folder.name, file=file)
    return write(folder, *rest)


def checked(name, *rest):
    if name == moment:
        fall()
    check(name, *rest)


shard._write, shard._check = written, checked
if moment == "seal":
    artifact.hash_files = fall
out.mkdir(exist_ok=True)
inputs = {name: open_artifact(top / name) for name in ("corpus", "tokenizer")}
shard.run(shard.Config(row_length=256, encoder="tokenizers"), inputs, out)
"""


def test_RD4_killed_rows_are_the_same_and_no_row_set_that_was_finished_is_made_again(tmp_path):
    """Killed at the end of each row set, before it is noted as finished, and while all of them are sealed."""
    texts, talks = random_documents(60), random_conversations(60)
    write_corpus(
        tmp_path / "corpus",
        {"train": texts[:50], "validation": texts[50:]},
        {"train": talks[:50], "validation": talks[50:]},
    )
    small_tokenizer().save(tmp_path / "tokenizer")
    facts = {"version": 1, "config": {}, "parents": {}, "metrics": {}, "seconds": 0.0}
    seal(tmp_path / "tokenizer", kind="tokenizer", stage="tokenizer", **facts)

    def run(moment: str) -> int:
        return subprocess.run([sys.executable, "-c", ROWS, str(tmp_path), moment], timeout=300).returncode

    assert run("never") == 0
    calm = open_artifact((tmp_path / "out").rename(tmp_path / "calm"))
    (tmp_path / "written").unlink()
    for moment in (*shard.ROW_SETS, "seal"):
        assert run(moment) == -signal.SIGKILL
    assert run("never") == 0
    assert (tmp_path / "written").read_text().split() == [name for name in shard.ROW_SETS for _ in range(2)]
    again = open_artifact(tmp_path / "out")
    assert (again.content, again.fingerprint) == (calm.content, calm.fingerprint)
    paths = [sorted(path.relative_to(one.folder) for path in one.folder.rglob("*")) for one in (calm, again)]
    assert paths[0] == paths[1], "nothing stray lies about"
