"""Stamps of raw files: hashed once, refused where somebody wrote to them, and only there."""

from __future__ import annotations

import errno
import os
import time

import pytest

from danlu.base.errors import DataError, SystemTrouble
from danlu.corpus import stamps
from danlu.corpus.sources import Source, source_files
from danlu.corpus.stamps import recorded, refuse_changed, stamped


def test_the_hash_of_sources_follows_their_content(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    before = recorded(stamped(source_files([Source(path=str(tmp_path))])))
    (tmp_path / "a.txt").write_text("two")
    after = recorded(stamped(source_files([Source(path=str(tmp_path))])))
    assert before != after
    assert list(before) == list(after)


def test_raw_text_at_rest_is_hashed_once_a_process(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "REST_SECONDS", -1.0)
    read = []
    monkeypatch.setattr(stamps, "_hash", lambda path, *_: read.append(path.name) or f"hash {len(read)}")
    (tmp_path / "a.txt").write_text("one")
    first, second = (recorded(stamped(source_files([Source(path=str(tmp_path))]))) for _ in range(2))
    assert first == second
    assert read == ["a.txt"]
    (tmp_path / "a.txt").write_text("other")
    assert recorded(stamped(source_files([Source(path=str(tmp_path))]))) != first


def write(path):
    path.write_text("other")


def shrink(path):
    path.write_bytes(b"")


def put_back_another(path):
    facts = path.stat()
    path.write_text("two")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def put_back_the_same(path):
    path.write_text("one")
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [write, shrink, put_back_another, put_back_the_same, os.unlink])
def test_a_file_that_somebody_wrote_to_is_named(tmp_path, change):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("one")
    files = stamped(source_files([Source(path=str(tmp_path))]))
    refuse_changed(files)
    time.sleep(0.02)  # the clocks of file systems are coarse
    change(tmp_path / "b.txt")
    with pytest.raises(DataError, match=r"b\.txt\n.*1 of 2 files"):
        refuse_changed(files)


def test_a_right_a_link_and_a_file_that_cannot_be_read_are_no_change(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    files = stamped(source_files([Source(path=str(tmp_path))]))
    time.sleep(0.02)
    (tmp_path / "a.txt").chmod(0o600)
    (tmp_path / "b.txt").hardlink_to(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").stat().st_ctime_ns != files[0].state[-1]
    refuse_changed(files)


def test_a_file_that_goes_before_it_is_hashed_is_one_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    files = source_files([Source(path=str(tmp_path))])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match="a raw file is gone"):
        stamped(files)


def test_names_that_are_no_utf8_are_each_a_name_of_their_own(tmp_path):
    names = [b"a\xff.txt", b"a\xfe.txt", "a\ufffd.txt".encode(), "a\ufffdff.txt".encode(), "中.txt".encode("gbk")]
    try:
        for name in names:
            (tmp_path / os.fsdecode(name)).write_text(repr(name))
    except OSError:
        pytest.skip("this file system wants UTF-8")
    before = recorded(stamped(source_files([Source(path=str(tmp_path))])))
    assert len(before) == len(names)
    for name in before:
        assert name.encode().decode() == name
    for name in names:
        (tmp_path / os.fsdecode(name)).write_text("another text")
        after = recorded(stamped(source_files([Source(path=str(tmp_path))])))
        assert sum(after[one] != before[one] for one in before) == 1, "each one's change is seen"
        before = after


def test_a_file_that_only_grew_is_what_it_was(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    (before,) = stamped(source_files([Source(path=str(tmp_path))]))
    with before.file.path.open("a") as file:
        file.write("two\n")
    refuse_changed([before])
    assert recorded(stamped([before.file], [before])) == recorded([before]), "read as it was"
    assert recorded(stamped([before.file])) != recorded([before]), "unless nobody knows what it was"
    before.file.path.write_text("One\ntwo\nthree\n")
    refuse_changed([before], sure=False)
    with pytest.raises(DataError, match="changed while they were read"):
        refuse_changed([before])
    assert recorded(stamped([before.file], [before])) != recorded([before])


def test_trouble_of_the_system_is_no_change_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    files = stamped(source_files([Source(path=str(tmp_path))]))
    monkeypatch.setattr(stamps, "REST_SECONDS", 10**9)
    os.utime(tmp_path / "a.txt", (1, 1))
    monkeypatch.setattr(type(tmp_path), "open", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "Too many")))
    for check in (refuse_changed, lambda files: stamped([one.file for one in files])):
        with pytest.raises(SystemTrouble, match="too many files are open"):
            check(files)
