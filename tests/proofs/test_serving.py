"""Proofs of serving: X7-X10, X12, RS10, the page's part of RX3 and the server's of T2, over real HTTP.

In: a random model and a scripted one, behind a real server; a sampled reference from `generate`. Out: red where
concurrency, streaming, parameters, long prompts, addresses or the page do not hold. Does not measure speed.
"""

from __future__ import annotations

import inspect
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import torch

from danlu.base.artifact import seal
from danlu.base.errors import UserError
from danlu.base.records import Conversation, Message, message_from_dict
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling, adjusted, distribution, draw
from danlu.serve.auth import KeyRing
from danlu.serve.server import listen
from danlu.shards.files import RowSet
from danlu.stages import shard as shard_stage
from danlu.tokenizer.chat import ChatTemplate
from tests import tiny
from tests.proofs.mutant import Mutant
from tests.proofs.test_conservation import record_ids
from tests.serving import NAME, Running, serving, transport
from tests.small import random_documents, write_corpus
from tests.tokenizer.golden_conversations import golden_cases

MUTANTS = {
    "T2": (
        Mutant(  # the server tidies what training left as it was
            "src/danlu/serve/protocol.py",
            "return Message(role, self.content, self.reasoning_content, calls)",
            "return Message(role, self.content.strip(), self.reasoning_content, calls)",
        ),
        Mutant(  # training never shows the tools that the server offers
            "src/danlu/tokenizer/chat.py",
            "list(turns(conversation.messages, conversation.tools))",
            "list(turns(conversation.messages))",
        ),
    ),
    "X7": Mutant("src/danlu/infer/scheduler.py", "heappop(self._free_slots)", "self._free_slots[0]"),
    "X8": Mutant(
        "src/danlu/serve/stream.py", "        keep = held_back(self._held, self.stop)\n", "        keep = 0\n"
    ),
    "X9": (
        Mutant(
            "src/danlu/infer/engine.py",
            "seed = fresh_seed() if sampling.seed is None else sampling.seed",
            "seed = fresh_seed()",
        ),
        # What sampler and reference share is wrong in both: only figures worked out by hand can tell.
        Mutant("src/danlu/infer/sampling.py", "/ sampling.temperature", "* sampling.temperature"),
        Mutant(  # penalties reward
            "src/danlu/infer/sampling.py",
            "result -= sampling.frequency_penalty",
            "result += sampling.frequency_penalty",
        ),
        Mutant(  # the stop token is counted as text
            "src/danlu/serve/answering.py",
            "        passed = self._stop.push(text)\n",
            '        self.num_tokens += event.finish_reason == "stop"\n        passed = self._stop.push(text)\n',
        ),
        Mutant(  # the token that crosses top_p is left out
            "src/danlu/infer/sampling.py", "[before[1:] >= sampling.top_p]", "[(before + ranked)[1:] > sampling.top_p]"
        ),
    ),
    "X10": Mutant(
        "src/danlu/serve/endpoints.py",
        'self._begin(asked, [prompt], "messages"',
        'self._begin(asked, [prompt[-self.served.length // 2 :]], "messages"',
    ),
    "X12": Mutant("src/danlu/commands/serve.py", 'host: str = "127.0.0.1"', 'host: str = "0.0.0.0"'),
    "RS10": Mutant(
        "src/danlu/serve/auth.py", "if not keys and not is_loopback(host):", 'if not keys and host == "0.0.0.0":'
    ),
    "RX3": Mutant("src/danlu/serve/endpoints.py", "connect-src 'self'", "connect-src *"),
}
CHROMIUM = Path("/usr/bin/chromium")
KEY = "danlu-test-key-0123456789"
CLIENTS = 64
REPLIES = [
    "老师在河边的旧图书馆里。今天天气很好。",
    "👩‍🚀 says 你好 🙂🙂 — naïve café, 一二三四五",
    "STOP is near: STO, ST, S, then nothing",
    "aaaaaaaaaaaabaaaaaaab",
]
STOPS = [[], ["STOP"], ["图书馆"], ["🙂🙂"], ["aab"], ["书", "天气"], ["\u200d"], ["zzz", "ab"], ["。今", "馆里。"]]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def chat(server: Running, text: str, **changes):
    arguments = {"model": NAME, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 16}
    return server.client().chat.completions.create(**{**arguments, **changes})


def said(answer) -> str:
    return answer.choices[0].message.content


def prompt_ids(text: str) -> list[int]:
    return ChatTemplate(tiny.tokenizer()).prompt([Message("user", text)])


def reference(text: str, **sampling) -> str:
    """What `generate`, which knows neither batch nor cache, answers."""
    tokenizer = tiny.tokenizer()
    settings = Sampling(**{"temperature": 0, "max_tokens": 16, "stop_ids": tokenizer.stop_ids, **sampling})
    return tokenizer.decode(generate(tiny.model(), prompt_ids(text), settings, vocabulary_limit=tokenizer.size))


def stored_ids(folder: Path, conversations: list[Conversation]) -> dict[str, list[int]]:
    """What the shard stage wrote for training, by the conversation's id."""
    corpus = write_corpus(folder / "corpus", {"train": random_documents(3)}, {"train": conversations})
    (folder / "tokenizer").mkdir()
    tiny.tokenizer().save(folder / "tokenizer")
    made = {"kind": "tokenizer", "stage": "tokenizer", "version": 1, "config": {}, "parents": {}, "metrics": {}}
    tokenizer = seal(folder / "tokenizer", seconds=0.0, **made)
    (folder / "shards").mkdir()
    config = shard_stage.Config(row_length=1024, max_rejected_share=1)
    shards = shard_stage.run(config, {"corpus": corpus, "tokenizer": tokenizer}, folder / "shards")
    return dict(record_ids(RowSet.open(shards.folder / "chat-train")))


def test_T2_the_server_feeds_the_model_the_ids_that_the_shard_stage_stored(tmp_path):
    """Each answer of the fifty conversations is asked for over HTTP; the prompt is what training saw before it."""
    conversations = [
        Conversation(str(number), tuple(map(message_from_dict, case["messages"])), "golden", tools=tuple(case["tools"]))
        for number, case in enumerate(golden_cases())
    ]
    stored = stored_ids(tmp_path, conversations)
    assistant = tiny.tokenizer().special["<|assistant|>"]
    asked, kinds = 0, Counter[str]()
    with serving(tiny.model(context_length=1024), length=1024) as server:
        fed: list[tuple[int, ...]] = []
        submit = server.engine.submit
        server.engine.submit = lambda request: (fed.append(request.prompt), submit(request))[1]
        for one in conversations:
            ids = stored.get(one.id, [])
            starts = [place for place, id in enumerate(ids) if id == assistant]
            answers = [place for place, message in enumerate(one.messages) if message.role == "assistant"]
            for place, start in zip(answers, starts, strict=bool(ids)):
                if place == 0:
                    continue  # nobody asked
                body = {"model": NAME, "max_tokens": 1, "messages": [turn.to_dict() for turn in one.messages[:place]]}
                body |= {"tools": list(one.tools)} if one.tools else {}
                answer = transport().post(f"{server.url}/v1/chat/completions", json=body)
                assert answer.status_code == 200, answer.text
                assert list(fed.pop()) == ids[: start + 1]
                asked += 1
                kinds.update({turn.role for turn in one.messages[:place]} | ({"offered tools"} if one.tools else set()))
    assert asked > 50
    assert min(kinds[kind] for kind in ("system", "user", "assistant", "tool", "offered tools")) > 3


def test_X7_parallel_requests_equal_their_serial_outputs():
    texts = [f"{tiny.LINES[index % 5][: 3 + index]} {index}" for index in range(CLIENTS)]
    with serving(slots=8) as server:
        serial = [said(chat(server, text)) for text in texts]
        server.engine.log.clear()
        gate = threading.Barrier(CLIENTS)

        def ask(text: str) -> str:
            gate.wait()
            return said(chat(server, text))

        with ThreadPoolExecutor(CLIENTS) as pool:
            parallel = list(pool.map(ask, texts))
        assert parallel == serial
        assert serial[:8] == [reference(text) for text in texts[:8]]
        assert len(set(serial)) > CLIENTS // 2  # the answers depend on the questions, so a mix-up would show
        together = [entry.decoding for entry in server.engine.log]
        assert max(together) == 8, "the log must show eight sequences in one step"


@pytest.mark.parametrize("reply", REPLIES)
def test_X8_streamed_text_equals_the_whole_and_stop_strings_never_leak(reply):
    with serving(tiny.Scripted(reply), length=1024) as server:
        for stop in STOPS:
            arguments = {"stop": stop, "max_tokens": 200}
            whole = chat(server, "?", **arguments)
            chunks = list(chat(server, "?", stream=True, **arguments))
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            found = [at for word in stop if (at := reply.find(word)) >= 0]
            assert streamed == said(whole)
            assert not any(word in streamed for word in stop)
            assert reply.startswith(streamed)
            assert "\ufffd" not in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
            if len(found) <= 1:
                assert streamed == reply[: min(found, default=len(reply))]


def test_X9_sampling_parameters_mean_what_openai_says(server):
    text = "Where is the teacher? 老师在哪里？"
    greedy = reference(text)
    assert said(chat(server, text)) == greedy
    assert said(chat(server, text, temperature=2, top_p=0, seed=1)) == greedy
    assert said(chat(server, text, temperature=2, seed=1, extra_body={"top_k": 1})) == greedy

    hot = [said(chat(server, text, temperature=1.2, seed=seed)) for seed in (1, 1, 2, 3)]
    assert hot[0] == hot[1] == reference(text, temperature=1.2, seed=1)
    assert len(set(hot)) == 3
    nucleus = said(chat(server, text, temperature=1.2, top_p=0.5, seed=2))
    assert nucleus == reference(text, temperature=1.2, top_p=0.5, seed=2)

    for count in (1, 5):
        short = chat(server, text, max_tokens=count)
        assert short.choices[0].finish_reason == "length"
        assert short.usage.completion_tokens == count
        assert short.usage.prompt_tokens == len(prompt_ids(text))
        assert short.usage.total_tokens == count + len(prompt_ids(text))
        assert greedy.startswith(said(short).rstrip("\ufffd"))
    assert chat(server, text, max_tokens=None, max_completion_tokens=7).usage.completion_tokens == 7

    token = tiny.tokenizer().encode("x")[0]
    assert said(chat(server, text, logit_bias={str(token): 100}, max_tokens=4)) == "xxxx"
    assert said(chat(server, text, presence_penalty=2, frequency_penalty=2)) == reference(
        text, presence_penalty=2.0, frequency_penalty=2.0
    )


def test_X9_sampling_parameters_give_the_probabilities_worked_out_by_hand():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    roots = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).sqrt()

    def shares(**changes: float) -> list[float]:
        return distribution(logits, Sampling(**changes)).tolist()

    assert shares() == pytest.approx([0.5, 0.3, 0.2])
    assert shares(temperature=2.0) == pytest.approx((roots / roots.sum()).tolist())
    assert shares(temperature=0.5) == pytest.approx([25 / 38, 9 / 38, 4 / 38])
    assert shares(top_p=0.6) == pytest.approx([5 / 8, 3 / 8, 0])
    assert shares(top_p=0.4) == pytest.approx([1, 0, 0])
    assert shares(top_k=2) == pytest.approx([5 / 8, 3 / 8, 0])
    assert [draw(torch.tensor(shares()), number) for number in (0.0, 0.49, 0.51, 0.79, 0.81, 0.99)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]

    # Of the answer so far token 0 was said twice and token 2 once; what the question says is not counted.
    penalties = Sampling(presence_penalty=1.0, frequency_penalty=0.5, logit_bias=((1, 3.0),))
    changed = adjusted(logits, penalties, prompt=[1, 1], generated=[0, 2, 0])
    assert (changed - logits).tolist() == pytest.approx([-2.0, 3.0, -1.5], abs=1e-6)


def test_X9_the_end_of_the_answer_is_a_stop_and_is_not_counted():
    with serving(tiny.Scripted("你好")) as server:
        answer = chat(server, "?")
        assert (said(answer), answer.choices[0].finish_reason) == ("你好", "stop")
        assert answer.usage.completion_tokens == len(tiny.tokenizer().encode("你好"))


def test_X10_an_over_long_prompt_is_refused_with_both_numbers(server):
    text = "字" * 200
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(server, text, stream=stream)
        assert caught.value.code == "context_length_exceeded"
        assert str(len(prompt_ids(text))) in caught.value.message
        assert "256" in caught.value.message
    with pytest.raises(openai.BadRequestError, match="256"):
        server.client().completions.create(model=NAME, prompt=text)
    # The longest that fits is taken whole, and answered with one token (greedy: a drawn one may be a stop).
    ids = [10 + index % 50 for index in range(255)]
    filled = server.client().completions.create(model=NAME, prompt=ids, max_tokens=50, temperature=0)
    assert (filled.usage.prompt_tokens, filled.usage.completion_tokens) == (255, 1)
    assert filled.choices[0].finish_reason == "length"


def test_X12_the_default_address_is_loopback_and_a_public_one_without_a_key_is_refused(tmp_path, monkeypatch):
    from danlu import cli
    from danlu.commands import serve

    bound = []
    monkeypatch.setattr("danlu.serve.server.run", lambda app, listening: bound.append(listening.getsockname()[0]))
    folder = tiny.folder(tmp_path / "tiny")
    serve.run(folder, port=0)
    assert bound == ["127.0.0.1"]
    assert inspect.signature(cli.serve).parameters["host"].default == "127.0.0.1"
    with pytest.raises(UserError, match="needs an API key"):
        serve.run(folder, host="0.0.0.0", port=0)
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="utf-8")
    serve.run(folder, host="0.0.0.0", port=0, key_file=keys)
    assert bound == ["127.0.0.1", "0.0.0.0"]


def test_RS10_no_key_no_public_bind():
    for host in ("0.0.0.0", "::", "", "192.0.2.1", "example.org", "localhost.example.org"):
        with pytest.raises(UserError, match="needs an API key"):
            listen(host, 0, KeyRing([]))
    listen("127.0.0.1", 0, KeyRing([])).close()
    listen("localhost", 0, KeyRing([])).close()
    listen("0.0.0.0", 0, KeyRing([KEY])).close()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}")
def test_RX3_the_chat_page_connects_to_nobody_but_its_server():
    """A stranger listens on the next port; the page, even when told to, must not reach it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    reached: list[str] = []
    with (
        serving(tiny.Scripted("你好"), length=1024) as server,
        socket.create_server(("127.0.0.1", 0)) as stranger,
        sync_api.sync_playwright() as playwright,
    ):
        elsewhere = f"http://127.0.0.1:{stranger.getsockname()[1]}/"
        threading.Thread(target=_accept, args=(stranger, reached), daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        page.fill("#input", "hello")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.assistant .note", timeout=60_000)
        assert {url.removeprefix(server.url).split("/")[0] for url in asked if not url.startswith("data:")} == {""}
        for attempt in (
            "url => fetch(url, {mode: 'no-cors'}).then(() => 'reached', () => 'refused')",
            "url => new Promise(done => { const i = new Image(); i.onload = i.onerror = () => done(); i.src = url; })",
            "url => navigator.sendBeacon(url, 'x') ? 'reached' : 'refused'",
        ):
            page.evaluate(attempt, elsewhere)
        page.wait_for_timeout(300)
        browser.close()
        assert reached == []


def _accept(listening: socket.socket, reached: list[str]) -> None:
    while True:
        try:
            connection, address = listening.accept()
        except OSError:  # closed: the proof is over
            return
        reached.append(str(address))
        connection.close()
