"""Errors name what was meant."""

import pytest

from danlu.base.artifact import read_manifest
from danlu.base.errors import ArtifactError, no_such_folder


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
