"""The demo: the plug is pulled at half-way and the order of samples is the same; a second call repeats nothing."""

import json
import re
from types import SimpleNamespace

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.commands import demo, doctor, show
from danlu.parallel.device import discover
from danlu.recipe import Recipe
from tests import tiny

PAGE = """
name: tiny-demo
seed: 3
prepare:
  sources:
    - {generator: little-world, stories: 120, lists: 60, conversations: 300, dirty: false}
tokenizer: {vocabulary_size: 900}
shard: {row_length: 256, max_rejected_share: 0.5}
pretrain:
  tokens: 120k
  batch_rows: 1
  model: {width: 32, layers: 1, heads: 2, kv_heads: 2, head_width: 16, mlp_width: 64, context_length: 256}
  checkpoints: {save_every: 100}
  watch: {validation_rows: 4, evaluate_every: 200}
finetune: {tokens: 8k, questions: 1}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "recipe.yaml"
    path.write_text(PAGE)
    return path


def test_the_demo_survives_signal_9_and_repeats_nothing(page, capfd):
    runs = page.parent / "runs"
    demo.run(page, [], runs=runs)
    said = capfd.readouterr().out
    assert re.search(r"signal 9: the training process was killed at step \d+", said), said
    assert "going on after step" in said
    assert re.search(r"the order of samples is the same in all [1-9]\d* steps", said), said
    assert "next:" in said
    folder = runs / "tiny-demo"
    assert (folder / "report.html").is_file()
    steps = [json.loads(line)["step"] for line in (folder / "pretrain" / "metrics.jsonl").open()]
    assert steps == list(range(1, len(steps) + 1)), "every step is told once"
    before = artifact.read_manifest(folder / "finetune")
    demo.run(page, [], runs=runs)
    said = capfd.readouterr().out
    assert "signal 9" not in said
    assert said.count("kept") >= 5, said
    assert artifact.read_manifest(folder / "finetune") == before


def test_sentences_of_ones_own_are_shown_as_tokens(tmp_path, monkeypatch, capfd):
    read = Recipe.from_dict({"name": "said", "prepare": {"sources": ["text"]}, "tokenizer": {}})
    monkeypatch.setattr(Recipe, "plan", lambda self, runs: [SimpleNamespace(section=read.sections[1], folder=tmp_path)])
    tiny.tokenizer().save(tmp_path)
    demo._say_tokens(read, tmp_path, ["abc", "def"])
    said = capfd.readouterr().out
    assert "sentences as tokens" in said
    assert [line.replace(" | ", "").strip() for line in said.splitlines()[-2:]] == ["abc", "def"]
    assert "--sentence" not in said
    demo._say_tokens(read, tmp_path, [])
    assert "your own: danlu demo --sentence TEXT" in capfd.readouterr().out


def test_again_makes_every_section_anew_and_alike(page, capfd):
    """Few steps, nothing killed: what is removed and what is made is the same as in the long way."""
    runs, values = page.parent / "again", ["pretrain.tokens=3k"]
    folder = runs / "tiny-demo"
    demo.run(page, values, runs=runs, kill=False)
    first = {path.parent.name: artifact.read_manifest(path.parent) for path in folder.glob("*/manifest.json")}
    for name in first:
        (folder / name / "earlier").mkdir()  # a folder without files is no damage: it stays where a section is kept
    capfd.readouterr()
    demo.run(page, values, runs=runs, kill=False, again=True)
    said = capfd.readouterr().out
    assert len(first) == 5
    for name, before in first.items():
        assert f"{name}: the earlier result is removed" in said, said
        assert not (folder / name / "earlier").exists()
        after = artifact.read_manifest(folder / name)
        assert after["fingerprint"] == before["fingerprint"]
        assert after["files"].get("model.safetensors") == before["files"].get("model.safetensors")


@pytest.mark.parametrize("again", [False, True])
def test_the_process_that_comes_back_never_begins_anew(page, monkeypatch, again):
    started = []

    class Child:
        def __init__(self, words):
            started.append(words)

        def kill(self):
            pass

        def wait(self):
            return 0

    monkeypatch.setattr(demo.subprocess, "Popen", Child)
    monkeypatch.setattr(demo, "_wait_for_half", lambda child, folder: True)
    monkeypatch.setattr(demo, "_last_line", lambda path: {"step": 7})
    monkeypatch.setattr(demo, "_newest_checkpoint", lambda folder: 5)
    monkeypatch.setattr(demo, "_orders", lambda folder: {6: "a", 7: "b"})
    training = Recipe.load(page).plan(page.parent)[3]
    demo._train(page, [], page.parent, training, kill=True, again=again)
    first, second = started
    assert ("--again" in first) == again
    assert "--again" not in second
    assert first[: len(second)] == second


def test_a_changed_order_would_be_said():
    with pytest.raises(UserError, match="order of samples changed"):
        demo._say_same_order({1: "a", 2: "b"}, {1: "a", 2: "c"})
    with pytest.raises(UserError, match="order of samples changed"):
        demo._say_same_order({1: "a"}, {2: "a"})


def test_show_gives_the_exact_numbers(page, capfd):
    runs = page.parent / "nothing-done"
    show.run(page, ["pretrain.minutes=null"], runs)
    said = capfd.readouterr().out
    counted = Recipe.load(page).plan(runs)[3].section.stage.module()
    config = counted.architecture(Recipe.load(page).plan(runs)[3].config, 900, 256)
    assert f"{config.parameters().total:,}" in said
    assert "120 k" in said
    assert said.count("to do") == 5
    assert "pretrain" in said
    assert "peak learning rate" in said


def test_the_doctor_says_what_it_measured(capfd):
    doctor.run(0.1)
    said = capfd.readouterr().out
    for piece in (
        "processor",
        "memory",
        "free disk",
        "versions",
        discover().dtype,
        "tiny",
        "5 minutes",
        "an hour",
        "a night",
    ):
        assert piece in said, piece


def test_the_doctor_offers_more_to_a_faster_machine():
    slow = [doctor.Speed("tiny", 1e3, 1e10), doctor.Speed("small", 1e2, 1e10)]
    fast = [doctor.Speed("tiny", 1e8, 1e15), doctor.Speed("small", 1e7, 1e15)]
    parameters = [[row[2] for row in doctor._offers(speeds, None)] for speeds in (slow, fast)]
    assert len(parameters[0]) == len(parameters[1]) == 3
    assert parameters[0] == sorted(parameters[0])
    assert parameters[1][-1] > parameters[0][-1]
    assert list(doctor._offers(fast, 2**31))[-1][2] < parameters[1][-1], "what does not fit the memory is not offered"


def test_the_end_says_what_to_ask(tmp_path, capsys):
    def sealed(kind: str, **config: object) -> artifact.Artifact:
        manifest = {"kind": kind, "config": config, "forecast": None}
        return artifact.Artifact(tmp_path / kind, manifest)

    demo._say_end(
        {"export": sealed("export"), "serve": sealed("service", prompt="Tom sang.\nWho sang?")}, tmp_path, 1.0
    )
    said = capsys.readouterr().out
    assert "ask it, for example" in said
    assert "Tom sang.\\\n" in said
    assert "Who sang?" in said
