"""Every proof has a mutant, and every mutant still fits the source: the quick half of `make mutants`.

In: the texts of `tests/proofs/test_*.py` and of the source. Out: red where a proof has no mutant, or where a change of
the source has left a mutant behind. Whether each mutant is killed is run by `make mutants`, and for one here.
"""

from __future__ import annotations

import pytest

from tests.proofs import mutants
from tests.proofs.mutant import Mutant


@pytest.mark.parametrize("entry", mutants.tables(), ids=lambda entry: entry.id)
def test_mutant_fits_the_source(entry):
    assert mutants.check(entry) is None


def test_every_proof_has_a_mutant():
    with_mutant = {entry.id for entry in mutants.tables()}
    without = sorted({id for table in mutants.proofs().values() for id in table} - with_mutant)
    assert not without, f"proofs without a mutant: {', '.join(without)}"


def test_a_mutant_left_behind_is_noticed():
    path = next(iter(mutants.proofs()))
    id = next(iter(mutants.proofs()[path]))
    gone = mutants.Entry(id, path, Mutant("src/danlu/base/errors.py", "text that nobody wrote", ""))
    assert "occurs 0 times" in (mutants.check(gone) or "")
    nameless = mutants.Entry("Z99", path, Mutant("src/danlu/base/errors.py", "class DataError", "class Data"))
    assert "no test_Z99_" in (mutants.check(nameless) or "")
