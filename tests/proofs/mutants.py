"""`make mutants`: put each proof's own bug into a copy of the source and see that proof, and only it, go red.

In: the `MUTANTS` tables of `tests/proofs/test_*.py`, or the ids to restrict them to. Out: a table (killed, survived,
too broad, timed out, broken, not run), the score, the tests that no mutant of their id has turned red, exit code 1
unless every mutant is killed and leaves the other proofs of its letter green, but for those that it names as containing
its property. A mutant whose tests are all marked slow is left out without `--slow`, and that is said. First the
unchanged source must be green, or a red proof would prove nothing. The project's own tree is never touched: each mutant
has a scratch copy that comes first on `PYTHONPATH`. The default tests use `tables`, `check` and `without_mutant`.

Killed means that the proof itself failed, in its own call: a run that hung, a module that could not be imported and a
fixture that failed say nothing of the property. The fixtures that carry a whole campaign are no exception: they report
what went wrong, and the proofs judge it.

A proof that draws its cases is not asked for a small one when it fails: `tests/conftest.py` has a profile for that.

Usage: python -m tests.proofs.mutants [ID ...] [--alone] [--slow] [--jobs N]
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import audit
from tests.proofs.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
PROOFS = Path(__file__).parent
TEST_NAME = re.compile(r"test_([A-Z]+[0-9]+[a-z]?)_")
TIMEOUT_SECONDS = 1800
RED = ("failed", "timed out", "broken")
WORST_FIRST = (*RED, "passed", "skipped")
"""Outcomes of a test; `broken`: it was not collected, or its fixtures failed. Of several cases the first counts."""
NOTHING_CHOSEN = 5
"""pytest's exit code where all tests are left out by their markers."""
TIMED_OUT = re.compile(r"\bTimeout \(>|\bsubprocess\.TimeoutExpired\b")
"""What pytest-timeout and `subprocess` say."""


@dataclass(frozen=True)
class Entry:
    """One mutant with the id of its proof and the test file beside whose proofs it stands."""

    id: str
    tests: Path
    mutant: Mutant

    @property
    def letter(self) -> str:
        return self.id.rstrip("0123456789abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class Verdict:
    """`killed`, `survived`, `too broad` (others of the letter went red too), `timed out`, `broken` or `not run`.

    `own`: what became of each test of its proof.
    """

    entry: Entry
    word: str
    detail: str
    seconds: float
    own: Mapping[str, str]


@cache
def proofs() -> dict[Path, dict[str, list[str]]]:
    """Test file -> proof id -> names of its test functions, from the text of the files."""
    found: dict[Path, dict[str, list[str]]] = {}
    for path in sorted(PROOFS.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match = TEST_NAME.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if match is not None:
                found.setdefault(path, {}).setdefault(match[1], []).append(node.name)
    return found


@cache
def slow_tests() -> frozenset[tuple[Path, str]]:
    """(test file, name) of the proofs' tests that are marked slow."""
    return frozenset(
        (path, node.name)
        for path in proofs()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(decorator) == "pytest.mark.slow" for decorator in node.decorator_list)
    )


def is_slow(entry: Entry) -> bool:
    """True where all tests of the entry's proof are marked slow."""
    return all((entry.tests, name) in slow_tests() for name in proofs()[entry.tests][entry.id])


def without_mutant() -> list[str]:
    """Proofs of which some test file has no mutant: the tests in it may be green whatever happens."""
    with_mutant = {(entry.tests, entry.id) for entry in tables()}
    return sorted(
        f"{id} in {path.name}" for path, ids in proofs().items() for id in ids if (path, id) not in with_mutant
    )


def never_red(verdicts: Iterable[Verdict]) -> list[str]:
    """The tests that ran against mutants of their id, and that none of these has turned red."""
    words: dict[tuple[str, str], set[str]] = {}
    for verdict in verdicts:
        for name, word in verdict.own.items():
            words.setdefault((verdict.entry.tests.name, name), set()).add(word)
    return [
        f"{file}::{name}"
        for (file, name), found in sorted(words.items())
        if "failed" not in found and "passed" in found
    ]


@cache
def tables() -> tuple[Entry, ...]:
    """Every entry of every `MUTANTS` table; read as text, so that a table needs no import and holds literals only."""
    entries = []
    for path in sorted(PROOFS.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(target, ast.Name) and target.id == "MUTANTS" and isinstance(node.value, ast.Dict):
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    calls = value.elts if isinstance(value, ast.Tuple) else [value]
                    entries += [Entry(ast.literal_eval(key), path, _mutant(call)) for call in calls]
    return tuple(entries)


def _mutant(call: ast.expr) -> Mutant:
    if not isinstance(call, ast.Call):
        raise ValueError(f"line {call.lineno}: a MUTANTS table holds Mutant(file, old, new) only")
    named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return Mutant(*(ast.literal_eval(value) for value in call.args), **named)


def check(entry: Entry) -> str | None:
    """Why a mutant cannot be applied to the source as it stands, or None."""
    path = ROOT / entry.mutant.file
    if not path.is_file():
        return f"{entry.id}: there is no {entry.mutant.file}"
    count = path.read_text(encoding="utf-8").count(entry.mutant.old)
    if count != 1:
        return f"{entry.id}: the old text occurs {count} times in {entry.mutant.file}, it must occur once"
    if entry.mutant.old == entry.mutant.new:
        return f"{entry.id}: the mutant changes nothing"
    if entry.id not in proofs().get(entry.tests, {}):
        return f"{entry.id}: no test_{entry.id}_… in {entry.tests.name}"
    return None


def nodes(entry: Entry, alone: bool) -> tuple[list[str], list[str]]:
    """Test nodes of the entry's own proof, and of the other proofs of its letter (none with `alone`)."""
    own, others = [], []
    for path, table in proofs().items():
        for id, names in table.items():
            listed = [f"{path.relative_to(ROOT)}::{name}" for name in names]
            if id == entry.id:
                own += listed if path == entry.tests else []
            elif not alone and Entry(id, path, entry.mutant).letter == entry.letter:
                others += listed
    return own, others


def run_tests(names: list[str], source: Path, slow: bool) -> dict[str, str]:
    """Test name -> outcome, run against the `danlu` that lies in `source`; the name "" stands for all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
        command += [
            "-o",
            "addopts=--strict-markers",
            "-m",
            "not gpu and not network" + ("" if slow else " and not slow"),
            f"--junitxml={report}",
            *names,
        ]
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "DANLU_MUTANTS": "1"}
        environment.pop(audit.LOG, None)  # what a mutant does is no deed of the session that asks
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return {"": "timed out"}
        outcomes = _outcomes(report) if report.is_file() else {}
        if not outcomes and done.returncode != NOTHING_CHOSEN:
            raise RuntimeError(f"pytest reported nothing:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return outcomes


def _outcomes(report: Path) -> dict[str, str]:
    """Outcome by function name; of several parametrised cases the worst counts."""
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        uncollected = any(child.get("message") == "collection failure" for child in case)
        name = "" if uncollected else str(case.get("name")).split("[")[0]
        word = min(map(_outcome, case), key=WORST_FIRST.index, default="passed")
        outcomes[name] = min(word, outcomes.get(name, word), key=WORST_FIRST.index)
    return outcomes


def _outcome(child: ElementTree.Element) -> str:
    """What one entry of a test case in the report says: pytest writes `failure` for the call and `error` around it."""
    if child.tag in ("failure", "error") and TIMED_OUT.search(str(child.get("message"))):
        return "timed out"
    return {"failure": "failed", "error": "broken", "skipped": "skipped"}.get(child.tag, "passed")


def judge(entry: Entry, *, alone: bool, slow: bool) -> Verdict:
    """Apply one mutant to a scratch copy of the source and run its proof and the others of its letter."""
    started_at = time.monotonic()
    own, others = nodes(entry, alone)
    with tempfile.TemporaryDirectory(prefix="danlu-mutant-") as scratch:
        source = Path(scratch) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        path = source.parent / entry.mutant.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(entry.mutant.old, entry.mutant.new), encoding="utf-8")
        outcomes = run_tests(own + others, source, slow)
    names = {node.split("::")[1] for node in own}
    mine = {name: word for name, word in outcomes.items() if name in names or not name}
    entailed = tuple(f"test_{id}_" for id in entry.mutant.entails)
    allowed = {name for name in outcomes if name in names or name.startswith(entailed)} if entailed else names
    red = sorted(name for name, word in outcomes.items() if word in RED and name and name not in allowed)
    word, detail = _judgement(min(mine.values(), key=WORST_FIRST.index, default="skipped"), red)
    return Verdict(entry, word, detail, time.monotonic() - started_at, mine)


def _judgement(mine: str, red: list[str]) -> tuple[str, str]:
    """The verdict and its reason, from the outcome of the mutant's own proof and the other proofs that went red."""
    if mine == "failed":
        return ("too broad" if red else "killed"), ", ".join(red)
    return {
        "timed out": ("timed out", "the proof came to no end"),
        "broken": ("broken", "the proof was not reached: an import or a fixture failed"),
        "passed": ("survived", "the proof stayed green"),
        "skipped": ("not run", "skipped here"),
    }[mine]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="put each proof's own bug into the code and see the proof go red")
    parser.add_argument("ids", nargs="*", metavar="ID", help="proof ids, such as D1 RT4; all by default")
    parser.add_argument("--alone", action="store_true", help="do not run the other proofs of the letter")
    parser.add_argument("--slow", action="store_true", help="run the tests marked slow too")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="mutants at one time")
    options = parser.parse_args(arguments)
    started_at = time.monotonic()
    chosen = [entry for entry in tables() if not options.ids or entry.id in options.ids]
    problems = [problem for entry in chosen if (problem := check(entry)) is not None]
    if problems or not chosen:
        print("\n".join(problems) or "no such mutant")
        return 1
    left_out = [] if options.slow else [entry for entry in chosen if is_slow(entry)]
    chosen = [entry for entry in chosen if entry not in left_out]
    if left_out:
        named = ", ".join(f"{entry.id} in {entry.tests.name}" for entry in left_out)
        print(f"left out, because the tests are slow: {named}; --slow runs them")
    if not chosen:
        return 1
    everything = sorted({node for entry in chosen for part in nodes(entry, options.alone) for node in part})
    print(f"{len(chosen)} mutants; first {len(everything)} proofs on the unchanged source …", flush=True)
    plain = run_tests(everything, ROOT / "src", options.slow)
    red = [f"{name if name else 'the run'} ({word})" for name, word in plain.items() if word in RED]
    if red:
        print("red without any mutant: " + ", ".join(red))
        return 1
    verdicts = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict in pool.map(lambda entry: judge(entry, alone=options.alone, slow=options.slow), chosen):
            verdicts.append(verdict)
            where = f"{verdict.entry.mutant.file.removeprefix('src/danlu/')}"
            print(
                f"{verdict.entry.id:5} {verdict.word:10} {verdict.seconds:6.1f} s  {where}  {verdict.detail}",
                flush=True,
            )
    killed = sum(verdict.word in ("killed", "too broad") for verdict in verdicts)
    precise = sum(verdict.word == "killed" for verdict in verdicts)
    alone = "by their own proof; the others were not asked" if options.alone else "by their own proof alone"
    listed = never_red(verdicts)
    print(f"tests that no mutant of their id has turned red: {', '.join(listed) if listed else 'none'}")
    naming = sum(bool(entry.mutant.entails) for entry in chosen)
    print(f"{naming} of {len(verdicts)} mutants name other proofs of their letter that contain their property")
    print(f"score: {killed} of {len(verdicts)} mutants killed, {precise} of them {alone}")
    print(f"{time.monotonic() - started_at:.0f} s, {options.jobs} at one time")
    return 0 if precise == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
