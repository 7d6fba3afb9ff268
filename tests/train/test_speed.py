"""Measured speeds: what a busy machine takes from them is said, once."""

import pytest

from danlu.base import console
from danlu.train import speed


@pytest.mark.parametrize(("load", "times"), [(3.1, 1), (1.9, 0), (None, 0)])
def test_a_busy_machine_is_said_once_with_its_figures(monkeypatch, capsys, load, times):
    monkeypatch.setattr(console, "_said", set())
    monkeypatch.setattr(speed.os, "cpu_count", lambda: 2)
    loads = iter([load, 2.7])
    if load is None:
        monkeypatch.delattr(speed.os, "getloadavg", raising=False)
    else:
        monkeypatch.setattr(speed.os, "getloadavg", lambda: (next(loads), 0.0, 0.0))
    ticks = iter(range(100))
    for _ in range(1 if load == 1.9 else 2):
        speed.measure(lambda: 1, 2.0, lambda: float(next(ticks)))
    assert capsys.readouterr().err.count("the machine is busy (load 3.1 on 2 cores)") == times
