"""Errors name what was meant."""

import errno
import os
import shutil

import pytest

from danlu.base.artifact import read_manifest
from danlu.base.errors import TROUBLES, ArtifactError, SystemTrouble, no_such_folder, one_sentence, trouble


def test_a_folder_that_is_not_there_is_answered_with_the_nearest_that_is(tmp_path):
    (tmp_path / "runs" / "quickstart" / "finetune").mkdir(parents=True)
    said = [str(no_such_folder(tmp_path / path)) for path in ("runs/quickstart/fintune", "run/quickstart", "runs/x/y")]
    assert "did you mean 'finetune'?" in said[0]
    assert "did you mean 'runs'?" in said[1], "where the path goes astray"
    assert "did you mean" not in said[2]
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is a file" in str(no_such_folder(tmp_path / "file"))
    with pytest.raises(ArtifactError, match="no such folder"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("number", TROUBLES, ids=errno.errorcode.get)
def test_whatever_the_system_refuses_is_one_sentence_with_a_place_and_a_remedy(tmp_path, number):
    with pytest.raises(SystemTrouble) as caught, one_sentence(tmp_path):
        raise OSError(number, os.strerror(number))
    assert all(f"\n  {part}: " in str(caught.value) for part in ("where", "found", "to do"))
    assert str(tmp_path) in str(caught.value)
    named = trouble(OSError(number, os.strerror(number), "/some/file"), tmp_path)
    assert named.where == "/some/file"


def test_memory_is_missed_in_three_tongues(tmp_path):
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"),
    ):
        found = trouble(error, tmp_path)
        assert "not enough memory" in str(found)
        assert found.found, "never an empty line"


def test_what_is_no_refusal_of_the_system_keeps_its_traceback(tmp_path):
    for error in (RuntimeError("a defect"), FileNotFoundError(errno.ENOENT, "no such file"), OSError("no number")):
        with pytest.raises(type(error)) as caught, one_sentence(tmp_path):
            raise error
        assert caught.value is error


def test_a_disk_that_cannot_even_say_what_is_free(tmp_path, monkeypatch):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    said = str(trouble(OSError(errno.ENOSPC, "No space left on device"), tmp_path / ("x" * 300), 100))
    assert "100 bytes are needed, how much is free cannot be found out" in said
