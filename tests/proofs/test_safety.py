"""Proofs of safety: RX1, nothing runs code out of data; RX3, without a network everything works.

In: a small recipe from raw text to a served reply, run under the watch of `tests/audit.py`. Out: red where a stage
unpickles, evaluates, starts a process or reaches for the network. The watch itself is tried on each kind of act.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from danlu import running
from danlu.base.artifact import open_artifact
from danlu.base.errors import ConfigError
from danlu.commands import report
from danlu.recipe import Recipe
from tests import audit
from tests.proofs.mutant import Mutant

MUTANTS = {
    "RX1": Mutant(
        "src/danlu/recipe.py",
        "yaml.load(text, Loader=_StrictLoader)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
    ),
    "RX3": Mutant(
        "src/danlu/base/artifact.py",
        "    for package in REPORTED_PACKAGES:\n        try:\n            found[package] = metadata.version(package)",
        "    import socket\n    for package in REPORTED_PACKAGES:\n        try:\n"
        '            socket.create_connection(("192.0.2.1", 80), 0.2).close()\n'
        "            found[package] = metadata.version(package)",
    ),
}
OUTSIDE = ("192.0.2.1", 80)
"""An address that is reserved for documentation: nobody is there (RFC 5737)."""
SMALL = {
    "name": "offline",
    "prepare": {"sources": [{"little-world": {"stories": 40, "lists": 20, "conversations": 160}}]},
    "tokenizer": {"vocabulary_size": 768},
    "shard": {"row_length": 512},
    "pretrain": {
        "tokens": 8000,
        "model": {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64},
    },
    "finetune": {"tokens": 4000, "questions": 2},
    "evaluate": {"questions": 1, "documents": 2, "max_tokens": 4},
    "export": {},
    "serve": {},
}


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """What the watch has found since the test began; it is forgotten afterwards, because the test meant it."""
    monkeypatch.setenv(audit.LOG, str(tmp_path / "audit.log"))
    audit.install()
    before = len(audit.violations)
    yield lambda: audit.violations[before:]
    del audit.violations[before:]


def frame_of(name: str, path: str):
    """A stack frame as code of the module `name` in the file `path` would have it."""
    namespace = {"__name__": name, "sys": sys}
    eval(compile("def here():\n    return sys._getframe()\n", path, "exec"), namespace)  # noqa: S307
    return namespace["here"]()


def test_RX1_the_watch_sees_each_kind_of_act(watched):
    """Unpickling a class, running text as code, starting a process: each by danlu, a library, a test."""
    danlu = frame_of("danlu.convert.reader", str(audit.ROOT) + "/src/danlu/convert/reader.py")
    library = frame_of("somelib.core", "/x/site-packages/somelib/core.py")
    code = compile("1", "<string>", "eval")
    for frame, who in ((danlu, "danlu.convert.reader"), (library, "somelib")):
        assert audit.judge("pickle.find_class", ("os", "system"), frame) == f"{who} unpickles os.system"
        assert audit.judge("exec", (code,), frame) == f"{who} runs code from <string>"
        assert audit.judge("socket.connect", (None, OUTSIDE), frame) == f"{who} connects to 192.0.2.1"
        assert audit.judge("os.system", (b"ls",), frame) == f"{who} starts b'ls'"
        assert audit.judge("subprocess.Popen", ("ls", ["ls"], None, None), frame) == f"{who} starts 'ls'"
        assert audit.judge("socket.connect", (None, ("127.0.0.1", 80)), frame) is None
        assert audit.judge("exec", (compile("1", __file__, "eval"),), frame) is None
    pool = frame_of("multiprocessing.queues", f"{audit.STANDARD_LIBRARY}/multiprocessing/queues.py")
    assert audit.judge("pickle.find_class", ("a", "B"), pool) is None
    assert watched() == []


def test_RX1_the_watch_is_on(watched):
    """In this process: a pickle that names a class is recorded, and danlu's own `eval` is stopped."""
    pickle.loads(pickle.dumps(Path("x")))  # noqa: S301
    assert watched()
    assert all(found.startswith("tests unpickles pathlib.") for found in watched())
    name = str(audit.ROOT) + "/src/danlu/convert/reader.py"
    namespace = {"__name__": "danlu.convert.reader"}
    eval(compile("def read(text):\n    return eval(text)\n", name, "exec"), namespace)  # noqa: S307
    with pytest.raises(audit.Forbidden, match=r"danlu\.convert\.reader runs code from <string>"):
        namespace["read"]("1 + 1")


def test_RX1_the_watch_is_on_in_processes_that_tests_start(watched, tmp_path):
    log = tmp_path / "child.log"
    environment = {**os.environ, audit.LOG: str(log)}
    program = "import pickle, collections; pickle.loads(pickle.dumps(collections.Counter()))"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert "unpickles collections.Counter" in log.read_text()


@pytest.mark.parametrize(
    "text",
    [
        '!!python/object/apply:eval ["open({canary!r}, chr(119)).close()"]',
        '!!python/object/apply:os.system ["touch {canary}"]',
        "!!python/name:os.system",
        "!!python/object/new:pathlib.PosixPath [x]",
    ],
)
def test_RX1_a_recipe_is_values_only(text, tmp_path, watched):
    """A page that spells code is refused as a page, and nothing of it runs."""
    canary = tmp_path / "canary"
    page = tmp_path / "hostile.yaml"
    page.write_text(f"name: {text.format(canary=str(canary))}\nprepare: {{sources: [x]}}\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        Recipe.load(page)
    assert not canary.exists()
    assert watched() == []


def test_RX3_the_network_is_cut_in_this_session(watched):
    with pytest.raises(audit.Forbidden, match=r"connects to 192\.0\.2\.1"), socket.socket() as outside:
        outside.connect(OUTSIDE)
    with pytest.raises(audit.Forbidden, match="asks for the address of"):
        socket.getaddrinfo("example.org", 443)
    with socket.create_server(("127.0.0.1", 0)) as inside:
        socket.create_connection(inside.getsockname(), 5).close()


def test_RX3_from_raw_text_to_a_served_reply_without_a_network(tmp_path, watched):
    """Every stage, the export checked by transformers, the server, the report: nothing reaches for the network."""
    made = running.run(Recipe.from_dict(SMALL), runs=tmp_path)
    assert list(made) == [name for name in SMALL if name != "name"]
    assert len(json.loads(made["serve"].path("replies.json").read_text())) >= 3
    assert all(open_artifact(part.folder).kind == part.kind for part in made.values())
    assert "Evaluation" in report.build(tmp_path / "offline").read_text(encoding="utf-8")
    assert watched() == []
