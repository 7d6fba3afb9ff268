"""Carrying a recipe out: keep, continue, refuse, again; from and until; one process at a time."""

import fcntl
import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml

from danlu import running
from danlu.base import artifact
from danlu.base.errors import ArtifactError, ConfigError, DataError
from danlu.commands import list as list_command
from danlu.commands import show
from danlu.recipe import Recipe, single_step
from danlu.stages import STAGES, finetune, prepare
from danlu.step import differences

FOX = """The quick brown fox jumps over the lazy dog, and the dog dreams of a fox that is neither quick nor brown.
In the morning both of them walk down to the river, where the water is cold and the stones are round.
狐狸跳过了懒狗，懒狗梦见了一只不快也不红的狐狸。早上它们一起走到河边，河水很凉，石头很圆。
"""


def small(tmp_path):
    (tmp_path / "text").mkdir(exist_ok=True)
    (tmp_path / "text" / "a.txt").write_text(FOX)
    page = {"name": "small", "prepare": {"sources": [str(tmp_path / "text")]}, "tokenizer": {"vocabulary_size": 300}}
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(page, sort_keys=False), encoding="utf-8")
    return path


def test_finished_sections_are_kept_and_changed_ones_refused_with_the_difference(tmp_path, capsys):
    page, runs = small(tmp_path), tmp_path / "runs"
    first = running.run(page, runs=runs)
    second = running.run(page, runs=runs)
    assert first["tokenizer"].manifest == second["tokenizer"].manifest, "nothing was made twice"
    assert "kept" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="vocabulary_size: 300 -> 280"):
        running.run(page, "tokenizer.vocabulary_size=280", runs=runs)
    again = running.run(page, "tokenizer.vocabulary_size=280", runs=runs, again=True)
    assert again["prepare"].manifest == first["prepare"].manifest, "only what was stale is made again"
    assert again["tokenizer"].config["vocabulary_size"] == 280


def test_changed_source_text_is_noticed(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    running.run(page, runs=runs)
    (tmp_path / "text" / "a.txt").write_text(FOX.replace("brown", "red"))
    with pytest.raises(ConfigError, match="raw source files have changed"):
        running.run(page, runs=runs)


def test_from_needs_what_comes_before_and_until_stops(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    with pytest.raises(ArtifactError, match="prepare is needed and is to do"):
        running.run(page, runs=runs, from_section="tokenizer")
    assert list(running.run(page, runs=runs, until="prepare")) == ["prepare"]
    assert list(running.run(page, runs=runs, from_section="tokenizer")) == ["prepare", "tokenizer"]
    with pytest.raises(ConfigError, match="did you mean 'tokenizer'"):
        running.run(page, runs=runs, until="tokeniser")


@pytest.mark.parametrize(
    ("conversations", "found", "remedy"),
    [
        ({}, "there is not one conversation to fine-tune on", "give conversations among prepare.sources"),
        ({"train": 3}, "no conversation is held out", "raise prepare.validation_share"),
        ({"train": 3, "validation": 1}, None, ""),
    ],
)
def test_a_finetune_without_conversations_is_refused_before_anything_is_trained(tmp_path, conversations, found, remedy):
    """Right after the corpus is made; and not where the run ends before the section, or leaves it out."""
    page, runs = small(tmp_path), tmp_path / "runs"
    page.write_text(page.read_text() + "shard: {}\npretrain: {}\nfinetune: {}\n")
    for side, count in conversations.items():
        turns = [
            [{"role": "user", "content": f"{side} {i}?"}, {"role": "assistant", "content": "yes"}] for i in range(count)
        ]
        lines = "".join(json.dumps({"messages": one}) + "\n" for one in turns)
        (tmp_path / "text" / f"{side}.jsonl").write_text(lines)
    for until in ("finetune", "shard") if found is not None else ("shard",):
        if until == "shard":
            assert list(running.run(page, runs=runs, until="shard")) == ["prepare", "tokenizer", "shard"]
            continue
        with pytest.raises(DataError, match=found) as refusal:
            running.run(page, runs=runs, until=until)
        assert remedy in str(refusal.value)
        assert not (runs / "small" / "tokenizer").exists()
    corpus = artifact.open_artifact(runs / "small" / "prepare")
    assert (finetune.objection(corpus) is None) == (found is None)


def test_damage_is_found_before_a_section_is_built_on_it(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)
    path = made["prepare"].folder / "train.jsonl"
    path.write_bytes(path.read_bytes().replace(b"fox", b"f0x"))
    with pytest.raises(ArtifactError, match="another SHA-256"):
        running.run(page, runs=runs)


def test_an_unfinished_folder_is_continued_and_one_of_another_config_refused(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)
    (made["tokenizer"].folder / artifact.MANIFEST).unlink()
    assert Recipe.load(page).plan(runs)[1].state == "interrupted"
    with pytest.raises(ConfigError, match="was made from something else"):
        running.run(page, "tokenizer.vocabulary_size=280", runs=runs)
    assert running.run(page, runs=runs)["tokenizer"].fingerprint == made["tokenizer"].fingerprint


HOLD = "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True)"


@contextmanager
def holding(lock):
    """Another process holds this lock; in the end it is killed with signal 9."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", f"{HOLD}; time.sleep(600)", lock], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"\n"
            yield
        finally:
            holder.kill()


def test_one_run_at_a_time(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    with holding(runs / "small" / ".lock"), pytest.raises(ArtifactError, match="running already"):
        running.run(page, runs=runs)
    assert running.run(page, runs=runs), "the lock of a process that is dead holds nobody up"


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path):
    page = small(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "locked" / "small" / ".lock").mkdir(parents=True)
    for runs in ("file", "locked"):
        with pytest.raises(ArtifactError, match="cannot be written to") as caught:
            running.run(page, runs=tmp_path / runs)
        assert "--runs" in caught.value.remedy


def test_a_folder_is_looked_at_again_once_it_is_ours(tmp_path, monkeypatch):
    """Between the look of the one and its lock, another process has made the artefact."""
    out = tmp_path / "alone"
    corpus = running.run(small(tmp_path), runs=tmp_path / "runs", until="prepare")["prepare"]
    early, other = (
        single_step(STAGES["tokenizer"], ["vocabulary_size=300"], {"corpus": corpus}, out) for _ in range(2)
    )
    assert early.state == "to do"
    made = running.run_step(other, {"corpus": corpus})
    monkeypatch.setattr("danlu.stages.tokenizer.run", None)
    assert running.run_step(early, {"corpus": corpus}).fingerprint == made.fingerprint, "kept, and not made twice"


def test_one_folder_is_made_by_one_process(tmp_path, monkeypatch):
    page, runs, out = small(tmp_path), tmp_path / "runs", tmp_path / "alone"
    corpus = running.run(page, runs=runs, until="prepare")["prepare"]

    def step():
        return single_step(STAGES["tokenizer"], ["vocabulary_size=300"], {"corpus": corpus}, out)

    with holding(tmp_path / ".alone.lock"), pytest.raises(ArtifactError, match="another process is making this"):
        running.run_step(step(), {"corpus": corpus})
    assert not out.exists(), "nothing was touched"
    assert not running.is_being_made(out), "its maker is dead"
    with monkeypatch.context() as patch:
        patch.setattr("danlu.stages.tokenizer.run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            running.run_step(step(), {"corpus": corpus})
    assert step().state == "interrupted"
    made = running.run_step(step(), {"corpus": corpus})
    again = running.run_step(step(), {"corpus": corpus}, again=True)
    assert again.fingerprint == made.fingerprint


def test_a_section_that_is_being_made_is_not_called_interrupted(tmp_path, capsys):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)
    (made["tokenizer"].folder / artifact.MANIFEST).unlink()

    def said():
        capsys.readouterr()
        list_command.run(runs)
        show.say_plan(Recipe.load(page), runs)
        lines = [line for line in capsys.readouterr().out.splitlines() if "tokenizer" in line]
        return [{"running", "interrupted"} & set(line.split()) for line in lines]

    assert said() == [{"interrupted"}] * 2
    with holding(runs / "small" / ".tokenizer.lock"):
        assert said() == [{"running"}] * 2
    assert said() == [{"interrupted"}] * 2


def test_a_look_at_the_lock_stops_nobody(tmp_path, monkeypatch):
    page, runs = small(tmp_path), tmp_path / "runs"
    running.run(page, runs=runs)
    looking = (runs / "small" / ".lock").open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(running.time, "sleep", lambda seconds: looking.close())
    assert running.run(page, runs=runs)


def interrupted(config, inputs, out):
    """A stage that is stopped by Ctrl-C while it holds its folder."""
    lock = out.with_name(f".{out.name}.lock").open("a")
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    raise KeyboardInterrupt


def test_the_manifest_walks_back_to_the_text(tmp_path):
    made = running.run(small(tmp_path), runs=tmp_path / "runs")
    manifest = json.loads((made["tokenizer"].folder / artifact.MANIFEST).read_text())
    parent = (made["tokenizer"].folder / manifest["parents"]["corpus"]["folder"]).resolve()
    assert artifact.read_manifest(parent)["fingerprint"] == manifest["parents"]["corpus"]["fingerprint"]
    assert artifact.read_manifest(parent)["sources"] is not None


@pytest.mark.parametrize("name", ["prepare", "tokenizer"])
def test_a_folder_with_somebodys_files_is_never_touched(tmp_path, name):
    page, runs = small(tmp_path), tmp_path / "runs"
    mine = runs / "small" / name / "train.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ArtifactError, match="not this stage's"):
        running.run(page, runs=runs)
    assert mine.read_text() == "mine"
    assert list(mine.parent.iterdir()) == [mine]


def test_what_killed_writes_left_is_swept_away_and_not_sealed(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)["tokenizer"]
    (made.folder / artifact.MANIFEST).unlink()
    for name in (".manifest.json.7-7.tmp", ".report.json.7-7.tmp", ".model.safetensors.tmp", ".tmpznjof7"):
        (made.folder / name).write_text("torn")
    again = running.run(page, runs=runs)["tokenizer"]
    assert again.content == made.content
    assert not list(again.folder.glob(".*"))


def test_a_section_that_was_killed_while_it_was_marked_begins_anew(tmp_path):
    page, folder = small(tmp_path), tmp_path / "runs" / "small" / "prepare"
    folder.mkdir(parents=True)
    torn = folder / ".started.json.7-7.tmp"
    torn.write_text('{"finger')
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not this stage's"):
        running.run(page, runs=tmp_path / "runs")
    assert torn.exists(), "nothing was touched"
    (folder / "mine.txt").unlink()
    assert running.run(page, runs=tmp_path / "runs", until="prepare")
    assert not torn.exists()


@pytest.mark.parametrize("again", [True, False])
def test_a_section_that_was_killed_while_it_was_removed_is_made_anew(tmp_path, monkeypatch, again):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)["tokenizer"]

    def killed(folder):
        for name in ("manifest.json", "started.json"):
            (folder / name).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            running.run(page, runs=runs, from_section="tokenizer", again=True)
    anew = running.run(page, runs=runs, from_section="tokenizer", again=again)["tokenizer"]
    assert anew.content == made.content
    assert sorted(path.name for path in made.folder.parent.glob(".*")) == [".lock", ".prepare.lock", ".tokenizer.lock"]


@pytest.mark.parametrize("damage", ["edited", "torn manifest"])
def test_again_mends_what_is_damaged(tmp_path, damage):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)
    path = made["tokenizer"].folder / ("tokenizer.json" if damage == "edited" else artifact.MANIFEST)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises((ArtifactError, ConfigError)):
        running.run(page, runs=runs)
    again = running.run(page, runs=runs, again=True)
    assert again["tokenizer"].fingerprint == made["tokenizer"].fingerprint
    assert again["prepare"].manifest == made["prepare"].manifest, "what was good is kept"
    artifact.open_artifact(again["tokenizer"].folder)


def made_anew(monkeypatch, page, runs, name, old, new):
    """`prepare` is made again, and one of its files comes out otherwise: the same fingerprint, other bytes."""
    honest = prepare.run

    def otherwise(config, inputs, out):
        manifest = dict(honest(config, inputs, out).manifest)
        path = out / name
        path.write_bytes(path.read_bytes().replace(old, new))
        manifest["files"] = artifact.hash_files(out, prepare.DIARY)
        artifact.write_manifest(out, manifest)
        return artifact.open_artifact(out)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "run", otherwise)
        return running.run(page, runs=runs, from_section="prepare", until="prepare", again=True)["prepare"]


def states(page, runs):
    return [step.state for step in Recipe.load(page).plan(runs)]


def test_what_was_made_from_files_that_are_gone_is_stale_and_made_again(tmp_path, monkeypatch):
    page, runs = small(tmp_path), tmp_path / "runs"
    first = running.run(page, runs=runs)
    corpus = made_anew(monkeypatch, page, runs, "train.jsonl", b"fox", b"cat")
    assert corpus.fingerprint == first["prepare"].fingerprint, "the page says the same"
    assert states(page, runs) == ["done", "stale"]
    with pytest.raises(ConfigError, match="input corpus was made anew, and its files are others now"):
        running.run(page, runs=runs)
    again = running.run(page, runs=runs, again=True)
    assert again["prepare"].manifest == corpus.manifest, "what was good is kept"
    assert again["tokenizer"].manifest["parents"]["corpus"]["content"] == corpus.content
    assert states(page, runs) == ["done", "done"]


def test_what_was_made_from_a_stale_section_is_stale_too(tmp_path, monkeypatch, capsys):
    page, runs = small(tmp_path), tmp_path / "runs"
    values = yaml.safe_load(page.read_text())
    page.write_text(yaml.safe_dump({**values, "shard": {"row_length": 16}}, sort_keys=False))
    running.run(page, runs=runs)
    made_anew(monkeypatch, page, runs, "train.jsonl", b"fox", b"cat")
    assert states(page, runs) == ["done", "stale", "stale"]
    assert any(
        "input tokenizer is itself to be made anew" in line for line in differences(Recipe.load(page).plan(runs)[2])
    )
    capsys.readouterr()
    show.say_plan(Recipe.load(page), runs)
    assert "stale (its input tokenizer is to be made anew)" in capsys.readouterr().out
    list_command.run(runs)
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "stale (its input corpus is another now)" in said["small/tokenizer"]
    assert "done" in said["small/prepare"]
    running.run(page, runs=runs, again=True)
    assert states(page, runs) == ["done", "done", "done"]


def test_what_was_begun_from_files_that_are_gone_is_not_continued(tmp_path, monkeypatch):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)
    (made["tokenizer"].folder / artifact.MANIFEST).unlink()
    assert states(page, runs) == ["done", "interrupted"]
    made_anew(monkeypatch, page, runs, "train.jsonl", b"fox", b"cat")
    assert states(page, runs) == ["done", "stale"]
    with pytest.raises(ConfigError, match="input corpus was made anew"):
        running.run(page, runs=runs)


def test_a_section_made_again_with_the_same_bytes_makes_nothing_stale(tmp_path, monkeypatch):
    page, runs = small(tmp_path), tmp_path / "runs"
    first = running.run(page, runs=runs)
    corpus = made_anew(monkeypatch, page, runs, "report.json", b": ", b":  ")
    assert corpus.manifest["files"] != first["prepare"].manifest["files"], "reports may say other times and speeds"
    assert states(page, runs) == ["done", "done"]
    assert running.run(page, runs=runs, again=True)["tokenizer"].manifest == first["tokenizer"].manifest


def test_a_result_made_from_a_folder_without_marks_is_stale_once_and_says_why(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    corpus = running.run(page, runs=runs)["prepare"]
    files = {name: {key: facts[key] for key in ("bytes", "sha256")} for name, facts in corpus.manifest["files"].items()}
    older = {**corpus.manifest, "files": files, "format_version": 1}
    del older["sha256"]
    artifact.write_atomically(corpus.folder / artifact.MANIFEST, json.dumps(older))
    with pytest.raises(ConfigError, match="sealed by an earlier danlu, which did not mark the files that count"):
        running.run(page, runs=runs)
    running.run(page, runs=runs, again=True)
    assert states(page, runs) == ["done", "done"]


def test_a_result_whose_origin_nobody_can_compare_is_stale(tmp_path):
    page, runs = small(tmp_path), tmp_path / "runs"
    made = running.run(page, runs=runs)
    manifest = dict(made["tokenizer"].manifest)
    older = {name: value for name, value in manifest["parents"]["corpus"].items() if name != "content"}
    artifact.write_manifest(made["tokenizer"].folder, {**manifest, "parents": {"corpus": older}})
    with pytest.raises(ConfigError, match="does not say which files it was made from"):
        running.run(page, runs=runs)
    artifact.write_manifest(made["tokenizer"].folder, manifest)
    assert states(page, runs) == ["done", "done"]
    (made["prepare"].folder / artifact.MANIFEST).unlink()
    assert states(page, runs) == ["interrupted", "stale"]
    assert "input corpus: the folder is not a finished artefact" in differences(Recipe.load(page).plan(runs)[1])[0]
