"""Every test session is watched (`tests/audit.py`), and fails where something did what nothing of danlu may do.

In: pytest's own start and end. Out: the watch in this process, in xdist's workers and in Pythons that tests start; at
the end, red with the list of violations, and what tests measured. Holds no fixtures of the rooms; those have conftests
of their own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import Phase, settings

from tests import audit

AUDITED = str(Path(__file__).parent / "audited")
REQUIRE_BROWSER = "DANLU_REQUIRE_BROWSER"
"""Where this is set, a skipped browser test is a failed one."""
MUTANTS = "DANLU_MUTANTS"
"""Set by `tests.proofs.mutants` for the proofs that it runs."""
# Two test processes with two threads each would wait for one another in every product; so would started Pythons.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("repeatable", derandomize=True)  # `--hypothesis-profile default` looks for new cases
# What a mutant breaks need not be made small: that took up to five minutes a proof.
settings.register_profile("mutants", derandomize=True, phases=(Phase.explicit, Phase.reuse, Phase.generate))
settings.load_profile("mutants" if MUTANTS in os.environ else "repeatable")


def pytest_configure(config):
    if audit.LOG not in os.environ:  # xdist's workers get it from their controller
        handle, path = tempfile.mkstemp(prefix="danlu-audit-", suffix=".log")
        os.close(handle)
        os.environ[audit.LOG] = path
        config.stash_audit_log = path
        found = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = AUDITED if found is None else os.pathsep.join((AUDITED, found))
    audit.install()


def pytest_runtest_logreport(report):
    if report.skipped and "browser" in report.keywords and os.environ.get(REQUIRE_BROWSER):
        report.outcome = "failed"
        report.longrepr = f"a browser test was skipped, and {REQUIRE_BROWSER} is set: {report.longrepr}"


def pytest_sessionfinish(session, exitstatus):
    path = getattr(session.config, "stash_audit_log", None)
    if path is not None and os.path.getsize(path) and exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter, config):
    _say_measured(terminalreporter)
    path = getattr(config, "stash_audit_log", None)
    if path is None:
        return
    found = sorted(set(Path(path).read_text(encoding="utf-8").splitlines()))
    Path(path).unlink()
    if found:
        terminalreporter.section("forbidden acts (RX1; see tests/audit.py)", red=True)
        for line in found:
            terminalreporter.line(line)


def _say_measured(terminalreporter):
    """What tests measured and nobody judges, by `record_property("measured", ...)`: nobody reads a captured print."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    measured = [
        f"{report.nodeid.rpartition('::')[2]}: {value}"
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "measured"
    ]
    if measured:
        terminalreporter.section("measured on this machine, judged by nobody")
        for line in measured:
            terminalreporter.line(line)
