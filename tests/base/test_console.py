"""What is said while work goes on: nothing for a short one, plain lines with rate and time left for a long one."""

import json

import pytest

from danlu.base import artifact, console


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves on: `clock[0]` seconds."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_short_work_is_silent_and_long_work_says_rate_and_time_left(clock, capsys):
    with console.progress("counting", 10, "sheep") as shown:
        for sheep in shown.each(range(10)):
            clock[0] += 0.19
            assert sheep < 9 or shown.done == 9, "counted when the next is asked for"
    assert capsys.readouterr().out == "", "over after two seconds"
    with console.progress("counting", 10, "sheep") as shown:
        for _ in shown.each(range(10)):
            clock[0] += 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["counting", "20", "%", "2", "sheep", "1/s", "8", "s", "left"]
    assert second.split()[1:3] == ["70", "%"], "and then every five seconds where there is no terminal"


def test_scripts_get_progress_as_objects_and_other_ranks_say_nothing(clock, capsys):
    for options in ({"json_lines": True}, {"quiet": True}):
        console.set_mode(**options)
        with console.progress("counting", 3, "sheep") as shown:
            clock[0] += 3
            shown.advance(3)
        console.set_mode()
    assert [json.loads(line)["seconds_left"] for line in capsys.readouterr().out.splitlines()] == [0.0]


def test_hashing_one_long_file_shows_its_bytes(tmp_path, clock, capsys, monkeypatch):
    (tmp_path / "weights").write_bytes(b"x" * 10)
    monkeypatch.setattr(artifact, "BLOCK_BYTES", 5)
    read = artifact.hashlib.sha256

    class Slow:
        def __init__(self):
            self.state = read()

        def update(self, block):
            clock[0] += 3
            self.state.update(block)

        def hexdigest(self):
            return self.state.hexdigest()

    monkeypatch.setattr(artifact.hashlib, "sha256", Slow)
    files = artifact.hash_files(tmp_path)
    assert f"sealing {tmp_path.name}  50 %   5 bytes" in capsys.readouterr().out
    assert artifact.check_files(tmp_path, {"files": files}) == []
    assert f"verifying {tmp_path.name}  50 %   5 bytes" in capsys.readouterr().out


def test_what_was_done_before_counts_as_share_and_not_as_speed(monkeypatch, capsys):
    now = iter([0.0, 10.0, 10.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now, 10.0))
    console.set_mode(quiet=False)
    with console.progress("training", 100, "rows", done=50) as shown:
        shown.advance(20)
    assert "training  70 %   70 rows  2/s  15 s left" in capsys.readouterr().out


def test_scripts_get_numbers_with_their_units_where_people_get_words(capsys):
    columns = ("what", "size", "time", "share", "records", "seed", "")
    row = (
        "text",
        console.in_bytes(12_345_678),
        console.in_seconds(95.4),
        console.in_percent(0.1234, "12.3 ±0.5", error=0.5),
        1234,
        console.plainly(None),
        float("nan"),
    )
    console.table(columns, [row])
    assert capsys.readouterr().out.splitlines()[1].split() == (
        ["text", "12.3", "MB", "1", "min", "35", "s", "12.3", "±0.5", "1,234", "not", "given", "nan"]
    )
    console.set_mode(json_lines=True)
    console.table(columns, [row])
    console.set_mode()
    (cells,) = json.loads(capsys.readouterr().out)["rows"]
    assert cells == [
        "text",
        {"value": 12_345_678, "unit": "bytes"},
        {"value": 95.4, "unit": "seconds"},
        {"value": 12.34, "unit": "percent", "error": 0.5},
        1234,
        None,
        None,
    ]
