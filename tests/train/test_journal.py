import json

import pytest

from danlu.base.errors import ArtifactError
from danlu.train.journal import Journal


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resumed_run_tells_every_step_once(tmp_path):
    with Journal(tmp_path, 0) as journal:
        journal.sample(0, prompt="你", text="?")
        for step in range(1, 6):
            journal.metrics(step, {"train/loss": float(step)})
        journal.sample(5, prompt="你", text="好")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train/lo')  # killed while writing
    with Journal(tmp_path, 3) as journal:
        assert steps(tmp_path / "metrics.jsonl") == [1, 2, 3]
        journal.metrics(4, {"train/loss": 0.0})
    assert steps(tmp_path / "metrics.jsonl") == [1, 2, 3, 4]
    assert steps(tmp_path / "samples.jsonl") == [0]


def test_a_damaged_line_is_dropped_with_what_is_told_again_and_named_where_it_would_be_missed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"step": step}) for step in range(1, 8)]
    for damage in ('{"step": 5, "tr', "\0" * 9, '{"loss": 1}', "[5]", "\udcff"):
        path.write_bytes("\n".join([*whole[:4], damage, *whole[5:], ""]).encode("utf-8", "surrogateescape"))
        for step in (5, 6):
            with pytest.raises(ArtifactError, match=r"metrics\.jsonl, line 5"):
                Journal(tmp_path, step)
        Journal(tmp_path, 4).__exit__()
        assert steps(path) == [1, 2, 3, 4]
    path.write_text("?\n")
    Journal(tmp_path, -1).__exit__()
    assert steps(path) == [], "a run that begins again tells everything again"
    sample = '{"step": 4}\n'
    (tmp_path / "samples.jsonl").write_text(f"{sample}?\n{sample}")
    with pytest.raises(ArtifactError, match=r"samples\.jsonl, line 2"):
        Journal(tmp_path, 4)


def test_trackers_hear_every_metric(tmp_path):
    heard = []

    class Listener:
        def log(self, step, values):
            heard.append((step, dict(values)))

        def close(self):
            heard.append("closed")

    with Journal(tmp_path, 0, [Listener()]) as journal:
        journal.metrics(1, {"train/loss": 2.0})
    assert heard == [(1, {"train/loss": 2.0}), "closed"]
