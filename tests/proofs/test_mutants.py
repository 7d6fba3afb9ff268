"""Every proof has a mutant, and every mutant still fits the source: the quick half of `make mutants`.

In: the texts of `tests/proofs/test_*.py` and of the source. Out: red where a proof has no mutant, or where a change of
the source has left a mutant behind. Whether each mutant is killed is run by `make mutants`; what
counts as killed is tested here.
"""

from __future__ import annotations

import sys

import pytest

from tests.proofs import mutants
from tests.proofs.mutant import Mutant


@pytest.mark.parametrize("entry", mutants.tables(), ids=lambda entry: entry.id)
def test_mutant_fits_the_source(entry):
    assert mutants.check(entry) is None


def test_every_proof_has_a_mutant_in_each_file_that_has_a_test_of_it(monkeypatch):
    assert mutants.without_mutant() == []
    entries = mutants.tables()
    elsewhere = [
        entry for entry in entries if len([path for path, ids in mutants.proofs().items() if entry.id in ids]) > 1
    ]
    gone = elsewhere[0]
    left = [entry for entry in entries if (entry.tests, entry.id) != (gone.tests, gone.id)]
    monkeypatch.setattr(mutants, "tables", lambda: left)
    assert mutants.without_mutant() == [f"{gone.id} in {gone.tests.name}"], "a mutant in another file is none here"


def test_tests_that_no_mutant_has_turned_red_are_named():
    entry = mutants.tables()[0]
    own = (
        {"test_a": "failed", "test_b": "passed", "test_c": "skipped", "test_d": "passed", "test_e": "timed out"},
        {"test_a": "passed", "test_b": "passed", "test_c": "skipped", "test_d": "failed", "test_e": "timed out"},
    )
    verdicts = [mutants.Verdict(entry, "killed", "", 0.0, words) for words in own]
    assert mutants.never_red(verdicts) == [f"{entry.tests.name}::test_b"]


def test_a_mutant_whose_tests_are_all_slow_is_left_out_and_named(monkeypatch, capsys):
    [slow] = [entry for entry in mutants.tables() if mutants.is_slow(entry)]
    monkeypatch.setattr(mutants, "tables", lambda: (slow,))
    assert mutants.main([slow.id]) == 1, "nothing was run"
    assert f"the tests are slow: {slow.id} in {slow.tests.name}" in capsys.readouterr().out


def test_a_mutant_left_behind_is_noticed():
    path = next(iter(mutants.proofs()))
    id = next(iter(mutants.proofs()[path]))
    gone = mutants.Entry(id, path, Mutant("src/danlu/base/errors.py", "text that nobody wrote", ""))
    assert "occurs 0 times" in (mutants.check(gone) or "")
    nameless = mutants.Entry("Z99", path, Mutant("src/danlu/base/errors.py", "class DataError", "class Data"))
    assert "no test_Z99_" in (mutants.check(nameless) or "")


CASES = """
import subprocess, sys, time
import pytest

@pytest.fixture
def torn():
    raise AssertionError("a fixture is no proof")

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip("not here")
def test_has_a_torn_fixture(torn): pass
@pytest.mark.timeout(0.2)
def test_hangs(): time.sleep(60)
def test_waits_for_what_hangs(): subprocess.run([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, timeout=0)
@pytest.mark.parametrize("word", ["passes", "fails", "skips"])
def test_of_several_cases(word): assert word != "fails"; word == "skips" and pytest.skip("not here")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pytest-timeout ends the whole process there")
def test_what_became_of_a_test_is_told_apart(tmp_path):
    (tmp_path / "test_cases.py").write_text(CASES)
    assert mutants.run_tests([str(tmp_path / "test_cases.py")], mutants.ROOT / "src", slow=False) == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_has_a_torn_fixture": "broken",
        "test_hangs": "timed out",
        "test_waits_for_what_hangs": "timed out",
        "test_of_several_cases": "failed",
    }


def test_a_module_that_cannot_be_imported_is_broken(tmp_path):
    (tmp_path / "test_torn.py").write_text("import danlu.not_there\n\ndef test_passes(): pass\n")
    assert mutants.run_tests([f"{tmp_path}/test_torn.py::test_passes"], mutants.ROOT / "src", slow=False) == {
        "": "broken"
    }


def test_a_run_that_comes_to_no_end_is_timed_out(monkeypatch):
    monkeypatch.setattr(mutants, "TIMEOUT_SECONDS", 0.01)
    assert mutants.run_tests([__file__], mutants.ROOT / "src", slow=False) == {"": "timed out"}


@pytest.mark.parametrize(
    ("own", "other", "word"),
    [
        ("failed", "passed", "killed"),
        ("failed", "broken", "too broad"),
        ("timed out", "passed", "timed out"),
        ("broken", "failed", "broken"),
        ("passed", "passed", "survived"),
        ("skipped", "passed", "not run"),
    ],
)
def test_only_a_proof_that_failed_itself_has_killed(monkeypatch, capsys, own, other, word):
    entry = mutants.tables()[0]
    name = mutants.proofs()[entry.tests][entry.id][0]
    answers = [{}, {name: own, "test_another": other}]
    monkeypatch.setattr(mutants, "tables", lambda: (entry,))
    monkeypatch.setattr(mutants, "run_tests", lambda *arguments: answers.pop(0))
    assert mutants.main([entry.id]) == (0 if word == "killed" else 1)
    assert f" {word} " in capsys.readouterr().out


@pytest.mark.parametrize("outcome", ["timed out", "broken"])
def test_all_proofs_together_may_come_to_no_end_or_not_begin(monkeypatch, outcome):
    monkeypatch.setattr(mutants, "run_tests", lambda *arguments: {"": outcome})
    assert mutants.judge(mutants.tables()[0], alone=True, slow=False).word == outcome
    assert mutants.main([mutants.tables()[0].id]) == 1, "nor does anything begin on such a source"
