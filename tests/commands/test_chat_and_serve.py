"""`danlu chat` with a pipe for a keyboard, `danlu serve` up to the point where it listens."""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from danlu.base import console
from danlu.base.errors import ArtifactError, SystemTrouble, UserError
from danlu.base.world import World
from danlu.cli import app
from danlu.commands import chat, prove, serve
from danlu.parallel import device
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("models") / "tiny")


def talk(monkeypatch, capsys, folder, lines: str | bytes, **options) -> str:
    keyboard = io.StringIO(lines) if isinstance(lines, str) else io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", keyboard)
    chat.run(folder, max_tokens=8, **options)
    return capsys.readouterr().out


def test_a_piped_conversation_is_answered_line_by_line(monkeypatch, capsys, folder):
    first = talk(monkeypatch, capsys, folder, "你好\n")
    assert first.strip()
    both = talk(monkeypatch, capsys, folder, "你好\n\nand you?\n")
    assert both.startswith(first)
    assert len(both) > len(first)


def test_reset_forgets_and_quit_ends(monkeypatch, capsys, folder):
    once = talk(monkeypatch, capsys, folder, "你好\n")
    out = talk(monkeypatch, capsys, folder, "你好\n/reset\n你好\n/what\n/quit\nnever read\n")
    assert out == f"{once}forgotten\n{once}{chat.HELP}\n"


def test_the_system_message_and_the_history_change_the_answer(monkeypatch, capsys, folder):
    plain = talk(monkeypatch, capsys, folder, "hello\n")
    assert talk(monkeypatch, capsys, folder, "hello\n", system="Be kind to everybody.") != plain
    assert talk(monkeypatch, capsys, folder, "hello\nhello\n") != plain + plain


def test_a_conversation_that_outgrows_the_context_loses_its_oldest_turns_and_says_so(monkeypatch, capsys, folder):
    out = talk(monkeypatch, capsys, folder, ("the teacher is in the old library " * 3 + "\n") * 9)
    assert "oldest turns no longer fit" in out


PASSED_OVER = {
    "larger than the context": (("字" * 300).encode(), "longer than the model's context"),
    "GBK": ("你好".encode("gbk"), "not valid utf-8"),
    "GBK before a backslash": ("你好\\".encode("gbk"), "not valid utf-8"),
}


@pytest.mark.parametrize(("message", "reason"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_message_that_cannot_be_asked_is_one_line_and_the_conversation_stays(
    monkeypatch, capsys, folder, message, reason
):
    both = talk(monkeypatch, capsys, folder, "hello\nhello\n")
    out = talk(monkeypatch, capsys, folder, b"hello\n" + message + b"\nhello\n")
    [said] = [line for line in out.splitlines(keepends=True) if reason in line]
    assert "is passed over" in said
    assert out.replace(said, "") == both, "the second answer still knows of the first"
    console.set_mode(json_lines=True)
    try:
        events = talk(monkeypatch, capsys, folder, b"hello\n" + message + b"\nhello\n").splitlines()
    finally:
        console.set_mode()
    assert [json.loads(line)["event"] for line in events] == ["reply", "no_reply", "reply"]


def test_a_seed_draws_the_same_answers_again(monkeypatch, capsys, folder):
    drawn = [talk(monkeypatch, capsys, folder, "hello\n", temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_json_lines_for_scripts(monkeypatch, capsys, folder):
    console.set_mode(json_lines=True)
    try:
        out = talk(monkeypatch, capsys, folder, "hello\n")
    finally:
        console.set_mode()
    assert out.startswith('{"event": "reply", "text": ')


def test_a_model_without_a_tokenizer_cannot_chat(tmp_path):
    bare = tiny.folder(tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="cannot chat"):
        chat.run(bare)


@pytest.mark.parametrize("command", [chat.run, serve.run, prove.run])
def test_a_folder_that_is_not_there_is_called_that(tmp_path, command):
    (tmp_path / "finetune").mkdir()
    with pytest.raises(ArtifactError, match=r"no such folder \(did you mean 'finetune'"):
        command(tmp_path / "fintune", **({"port": 0} if command is serve.run else {}))


def test_a_backslash_at_the_end_of_a_line_goes_on_in_the_next(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\\\ntwo\\\n\nthree\nlast\\"))
    assert list(chat._lines("")) == ["one\ntwo", "three", "last\\"]


@pytest.mark.parametrize("start", [chat.run, partial(serve.run, port=0)], ids=["chat", "serve"])
def test_models_answer_where_the_machine_does_it_best(monkeypatch, tmp_path, start):
    import danlu.convert

    class Loading(Exception):
        pass

    def load(folder: object, **options: str) -> None:
        raise Loading(options)

    monkeypatch.setattr(danlu.convert, "load", load)
    monkeypatch.setattr(device, "discover", lambda: World(device="cuda:0", dtype="bfloat16"))
    with pytest.raises(Loading) as caught:
        start(tmp_path)
    assert caught.value.args == ({"device": "cuda:0", "dtype": "bfloat16"},)


@pytest.mark.parametrize("verb", ["chat", "serve", "prove"])
def test_an_accelerator_that_stays_idle_is_named_once(monkeypatch, capsys, folder, verb):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr("danlu.serve.server.run", lambda app, listening: None)
    monkeypatch.setattr("danlu.proofs.table.run", lambda subject: [])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(console, "_said", set())
    start = {"chat": chat.run, "serve": partial(serve.run, port=0, length=100), "prove": lambda _: prove.run()}[verb]
    for name in ("a Test GPU", None):
        monkeypatch.setattr(device, "accelerator", lambda name=name: name)
        start(folder)
        said = capsys.readouterr().err
        assert said.count("this machine has a Test GPU") == (name is not None)
        assert f"danlu {verb} computes on the CPU: " in said or name is None


def test_serve_says_where_it_is(monkeypatch, capsys, folder):
    listened = []

    def stop(app, listening):
        listened.append(listening.getsockname())
        raise KeyboardInterrupt

    monkeypatch.setattr("danlu.serve.server.run", stop)
    serve.run(folder, port=0, length=100)
    out = capsys.readouterr().out
    assert f"http://127.0.0.1:{listened[0][1]}/v1" in out
    assert "100 tokens of the model's 256" in out
    assert out.endswith("stopped\n")


def test_serve_refuses_more_than_the_models_context(folder):
    with pytest.raises(UserError, match="context is shorter") as caught:
        serve.run(folder, port=0, length=257)
    assert "--length 256 or less" in str(caught.value)


@pytest.mark.parametrize(
    ("command", "words", "wanted"),
    [
        (chat, ["chat", "--temperature", "0.5", "--seed", "7"], {"temperature": 0.5, "seed": 7}),
        (chat, ["chat"], {"seed": None}),
        (serve, ["serve", "--length", "64"], {"length": 64}),
        (serve, ["serve"], {"length": None}),
    ],
)
def test_options_of_the_command_line_arrive(monkeypatch, tmp_path, command, words, wanted):
    given = {}
    monkeypatch.setattr(command, "run", lambda folder, **options: given.update(options))
    result = CliRunner().invoke(app, [*words, str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert given.items() >= wanted.items()


def test_key_files(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# mine\n\nabcdefghijklmnop1\n  abcdefghijklmnop2  \n", encoding="utf-8")
    assert serve.read_keys(path) == ["abcdefghijklmnop1", "abcdefghijklmnop2"]
    path.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no key"):
        serve.read_keys(path)
    with pytest.raises(UserError, match="cannot be read"):
        serve.read_keys(tmp_path / "absent")


NO_MEMORY = {
    "python": MemoryError(),
    "torch": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    "an accelerator": RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
}


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
@pytest.mark.parametrize("at", ["load", "engine"])
@pytest.mark.parametrize("verb", ["serve", "chat"])
def test_a_machine_without_enough_memory_is_one_sentence_about_the_model(tmp_path, monkeypatch, verb, at, error):
    import danlu.convert
    import danlu.infer.engine

    def refuses(*_: object, **__: object) -> None:
        raise error

    config = SimpleNamespace(context_length=64)
    loaded = SimpleNamespace(config=config, tokenizer=SimpleNamespace(size=9), template=1, model=None)
    monkeypatch.setattr(danlu.convert, "load", refuses if at == "load" else lambda *_, **__: loaded)
    monkeypatch.setattr(danlu.infer.engine, "Engine", refuses)
    start = partial(serve.run, port=0, slots=4) if verb == "serve" else chat.run
    with pytest.raises(SystemTrouble, match="there is not enough memory") as caught:
        start(tmp_path)
    said = str(caught.value)
    assert all(f"\n  {part}: " in said for part in ("where", "found", "to do"))
    assert str(tmp_path) in said
    assert verb != "serve" or at != "engine" or "--slots 4, --length 64" in said
