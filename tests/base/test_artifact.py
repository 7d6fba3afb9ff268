"""Artefacts: sealed last, verified on opening, written atomically, fingerprints that notice every change."""

import errno
import json
import os

import pytest

from danlu.base import artifact
from danlu.base.errors import ArtifactError


def make(folder, text="hello", parents=None, **changes):
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text(text)
    (folder / "sub").mkdir()
    (folder / "sub" / "b.bin").write_bytes(b"\0\1")
    facts = {
        "kind": "corpus",
        "stage": "prepare",
        "version": 1,
        "config": {"x": 1},
        "metrics": {"n": 2},
        "seconds": 1.0,
    }
    return artifact.seal(folder, parents=parents if parents is not None else {}, **{**facts, **changes})


def test_working_space_that_is_spent_goes_when_all_is_hashed(tmp_path, monkeypatch):
    scratch, real = tmp_path / "one" / "scratch", artifact.hash_files

    def hash_files(*given):
        scratch.mkdir()  # it is there until then
        (scratch / "note.json").write_text("{}")
        return real(*given)

    monkeypatch.setattr(artifact, "hash_files", hash_files)
    sealed = make(tmp_path / "one", spent=("scratch", "never there"))
    assert not scratch.exists()
    assert set(sealed.manifest["files"]) == {"a.txt", "sub/b.bin"}


def test_a_sealed_folder_opens_with_its_facts(tmp_path):
    sealed = make(tmp_path / "one")
    opened = artifact.open_artifact(tmp_path / "one", "corpus")
    assert opened.fingerprint == sealed.fingerprint
    assert opened.config == {"x": 1}
    assert opened.metrics == {"n": 2}
    assert set(opened.manifest["files"]) == {"a.txt", "sub/b.bin"}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "a.txt").unlink(), "missing"),
        (lambda f: (f / "a.txt").write_text("hell"), "4 bytes"),
        (lambda f: (f / "a.txt").write_text("hellp"), "another SHA-256"),
        (lambda f: (f / "manifest.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{}"), "not one of danlu's"),
    ],
)
def test_damage_is_named(tmp_path, damage, said):
    make(tmp_path / "one")
    damage(tmp_path / "one")
    with pytest.raises(ArtifactError, match=said):
        artifact.open_artifact(tmp_path / "one")


@pytest.mark.parametrize("value", ["NaN", "1e999", "-Infinity", '"\\ud800"', "9" * 5000, "[" * 100_000])
@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "of an earlier danlu"])
def test_a_manifest_with_a_value_that_was_never_written_is_refused(tmp_path, value, hashed):
    make(tmp_path / "one")
    path = tmp_path / "one" / "manifest.json"
    said = json.loads(path.read_text())
    if not hashed:
        del said["sha256"]
        said["format_version"] = 2
    text = json.dumps(said)
    for place in ('"n": 2', '"x": 1'):
        path.write_text(text.replace(place, place[:-1] + value))
        if hashed or value[0] in "9[":
            with pytest.raises(ArtifactError, match=r"the manifest (was changed|cannot be read)"):
                artifact.open_artifact(tmp_path / "one")
        else:
            assert artifact.open_artifact(tmp_path / "one").content, "nothing in it says that it was changed"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", []),
        ("files", {"a.txt": 3}),
        ("files", {"a.txt": {"bytes": "5", "sha256": "x"}}),
        ("files", {"a.txt": {"bytes": 5}}),
        ("files", {"../a.txt": {"bytes": 5, "sha256": "x"}}),
        ("files", {"/etc/passwd": {"bytes": 5, "sha256": "x"}}),
        ("parents", {"corpus": "abc"}),
        ("config", None),
        ("metrics", 3),
        ("kind", {}),
        ("fingerprint", None),
        ("seconds", "long"),
        ("format_version", "2"),
    ],
)
def test_an_earlier_manifest_of_another_shape_is_refused(tmp_path, key, value):
    make(tmp_path / "one")
    path = tmp_path / "one" / "manifest.json"
    said = json.loads(path.read_text())
    del said["sha256"]
    path.write_text(json.dumps({**said, "format_version": 2, key: value}))
    with pytest.raises(ArtifactError, match="the manifest was changed") as caught:
        artifact.open_artifact(tmp_path / "one")
    assert key in str(caught.value) or key == "format_version"


def test_a_file_that_was_added_is_named_where_a_reader_could_take_it_for_a_part(tmp_path):
    made = make(tmp_path / "one")
    for harmless in ("notes.md", "picture.png", ".hidden.json", "checkpoints/a.json", "scratch/b.jsonl"):
        artifact.write_atomically(tmp_path / "one" / harmless, "{}")
    assert artifact.open_artifact(tmp_path / "one").fingerprint == made.fingerprint
    for name in ("model-00002.safetensors", "more.jsonl", "sub/model.safetensors.index.json", "chat_template.jinja"):
        artifact.write_atomically(tmp_path / "one" / name, "{}")
        with pytest.raises(ArtifactError, match=f"{name} is there and the manifest does not know it"):
            artifact.open_artifact(tmp_path / "one", verify=False)
        (tmp_path / "one" / name).unlink()
    artifact.open_artifact(tmp_path / "one")


def test_a_file_on_a_broken_place_of_the_disk_is_damaged_and_other_refusals_are_raised(tmp_path, monkeypatch):
    made = make(tmp_path / "one")

    def refuses(number):
        def hash_file(path, advance):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(artifact, "hash_file", hash_file)

    refuses(errno.EIO)
    assert [line.split(":")[0] for line in artifact.check_files(made.folder, made.manifest)] == [
        "a.txt cannot be read",
        "sub/b.bin cannot be read",
    ]
    refuses(errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        artifact.check_files(made.folder, made.manifest)


def test_another_kind_and_a_newer_format_are_refused(tmp_path):
    make(tmp_path / "one")
    with pytest.raises(ArtifactError, match="a model artefact is needed"):
        artifact.open_artifact(tmp_path / "one", "model")
    path = tmp_path / "one" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(ArtifactError, match="newer danlu"):
        artifact.open_artifact(tmp_path / "one")


def test_the_fingerprint_covers_config_version_parents_and_sources(tmp_path):
    parent = make(tmp_path / "parent")
    names = {
        make(tmp_path / "1").fingerprint,
        make(tmp_path / "2", config={"x": 2}).fingerprint,
        make(tmp_path / "3", version=2).fingerprint,
        make(tmp_path / "4", parents={"corpus": parent}).fingerprint,
        make(tmp_path / "5", sources="abc").fingerprint,
        make(tmp_path / "6", stage="shard").fingerprint,
    }
    assert len(names) == 6
    assert make(tmp_path / "7").fingerprint in names, "equal facts give equal names"


def test_the_content_is_that_of_the_files_that_later_stages_read(tmp_path):
    one, same, other = make(tmp_path / "1"), make(tmp_path / "2", seconds=9.0), make(tmp_path / "3", text="other")
    names = ("report.json", "sources/manifest.json")
    assert one.content == same.content
    assert one.fingerprint == other.fingerprint
    assert one.content != other.content
    for name in (*names, artifact.STARTED):
        artifact.write_atomically(tmp_path / "1" / name, "2 tokens per second")
    assert artifact.content({"files": artifact.hash_files(tmp_path / "1")}) != one.content, "a stage must say so"
    diary = {"files": artifact.hash_files(tmp_path / "1", names)}
    assert diary["files"] != one.manifest["files"], "a diary is hashed like any other file"
    assert artifact.content(diary) == one.content
    (tmp_path / "2" / "a.txt").rename(tmp_path / "2" / "b.txt")
    assert artifact.content({"files": artifact.hash_files(tmp_path / "2")}) != one.content, "a name is content too"
    assert make(tmp_path / "4", parents={"corpus": other}).manifest["parents"]["corpus"]["content"] == other.content


def test_an_atomic_write_leaves_the_old_content_where_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "f"
    artifact.write_atomically(path, "old")

    def broken(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="No space"):
        artifact.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"], "no temporary file stays behind"


def test_a_folder_in_place_appears_whole_or_not_at_all(tmp_path):
    with artifact.folder_in_place(tmp_path / "done") as working:
        (working / "x").write_text("1")
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done" / "x").read_text() == "1"
    with pytest.raises(RuntimeError), artifact.folder_in_place(tmp_path / "failed") as working:
        raise RuntimeError
    with pytest.raises(ArtifactError, match="exists already"), artifact.folder_in_place(tmp_path / "done") as working:
        (working / "x").write_text("2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["done"]
    assert (tmp_path / "done" / "x").read_text() == "1"


def test_written_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("x")
    artifact.write_atomically(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode
