"""The routes over HTTP: shapes, errors, keys, choices, tools, usage, clients that go away, a busy house."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import openai
import pytest

from danlu.infer.engine import Engine
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling
from danlu.serve.auth import KeyRing
from danlu.tokenizer.chat import ChatTemplate
from tests import tiny
from tests.serving import NAME, Running, serving, transport

KEY = "danlu-test-key-0123456789"
HELLO = [{"role": "user", "content": "你好, where is the teacher?"}]
PATIENCE_SECONDS = 30
THREADS = 40
"""So many an event loop lends at most to slow work."""
CALL = '<tool_call>\n{"name": "f", "arguments": {"place": "河边"}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def ask(server: Running, **changes):
    arguments = {"model": NAME, "messages": HELLO, "temperature": 0, "max_tokens": 12, **changes}
    return server.client().chat.completions.create(**arguments)


def expected_text(messages=None, max_tokens=12) -> str:
    tokenizer = tiny.tokenizer()
    from danlu.base.records import message_from_dict

    prompt = ChatTemplate(tokenizer).prompt([message_from_dict(item) for item in (messages or HELLO)])
    sampling = Sampling(temperature=0, max_tokens=max_tokens, stop_ids=tokenizer.stop_ids)
    return tokenizer.decode(generate(tiny.model(), prompt, sampling, vocabulary_limit=tokenizer.size))


def wait_until(condition) -> bool:
    """True as soon as the condition holds; False when patience ends."""
    for _ in range(PATIENCE_SECONDS * 100):
        if condition():
            return True
        time.sleep(0.01)
    return False


def counted(server: Running, name: str) -> int:
    """A counter without labels, as /metrics has it now."""
    lines = transport().get(server.url + "/metrics").text.splitlines()
    return int(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_a_chat_answer_is_the_references_text(server):
    answer = ask(server)
    assert answer.choices[0].message.content == expected_text()
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer._request_id == answer.id
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_chunks_share_id_and_time_begin_with_the_role_and_end_with_the_reason(server):
    chunks = list(ask(server, stream=True, stream_options={"include_usage": True}, n=2))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", "assistant"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 24
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == index]
        assert [choice.finish_reason for choice in mine].count("length") == 1
        assert mine[-1].finish_reason == "length"
    assert all(chunk.usage is None for chunk in ask(server, stream=True))


def test_logprobs_are_one_entry_a_token_and_the_same_streamed(server):
    whole = ask(server, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert len(whole) == 12
    for entry in whole:
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs)  # greedy
        assert len(entry.top_logprobs) == 3
    streamed = [
        entry
        for chunk in ask(server, logprobs=True, top_logprobs=3, stream=True)
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    # Neighbours in a batch may change the last bits of a logit.
    assert [entry.token for entry in streamed] == [entry.token for entry in whole]
    assert [entry.logprob for entry in streamed] == pytest.approx([entry.logprob for entry in whole], abs=1e-5)


def test_choices_of_a_seeded_request_differ_and_the_first_is_the_single_one(server):
    single = ask(server, temperature=1, seed=4)
    several = ask(server, temperature=1, seed=4, n=4)
    texts = [choice.message.content for choice in several.choices]
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert texts[0] == single.choices[0].message.content
    assert len(set(texts)) == 4
    assert several.usage.completion_tokens == 48
    assert several.usage.prompt_tokens == single.usage.prompt_tokens


def test_completions_of_texts_ids_echo_and_best_of(server):
    complete, tokenizer = server.client().completions.create, tiny.tokenizer()
    texts = ["Mei bought", "老师在"]
    shared = {"model": NAME, "temperature": 0, "max_tokens": 6}
    both = complete(prompt=texts, **shared)
    alone = [complete(prompt=text, **shared).choices[0].text for text in texts]
    as_ids = complete(prompt=[[tokenizer.bos_id, *tokenizer.encode(text)] for text in texts], **shared)
    assert [choice.text for choice in both.choices] == alone == [choice.text for choice in as_ids.choices]
    echoed = complete(prompt=texts, echo=True, **shared)
    assert [choice.text for choice in echoed.choices] == [text + new for text, new in zip(texts, alone, strict=True)]
    streamed = "".join(chunk.choices[0].text for chunk in complete(prompt=texts[0], echo=True, stream=True, **shared))
    assert streamed == texts[0] + alone[0]
    assert complete(prompt="hi", model=NAME, max_tokens=0, echo=True).choices[0].text == "hi"
    assert complete(prompt="hi", model=NAME, temperature=0).usage.completion_tokens == 16  # OpenAI's default


def test_best_of_returns_the_likeliest(server):
    complete = server.client().completions.create
    shared = {"model": NAME, "prompt": "Mei", "temperature": 1.5, "seed": 1, "max_tokens": 5}
    every = complete(n=8, logprobs=0, **shared).choices
    likeliest = sorted(every, key=lambda choice: -sum(choice.logprobs.token_logprobs))[:2]
    best = complete(n=2, best_of=8, **shared)
    assert [choice.text for choice in best.choices] == [choice.text for choice in likeliest]
    assert best.choices[0].logprobs is None
    assert best.usage.completion_tokens == 40


def test_completion_logprobs_have_the_older_shape(server):
    found = server.client().completions.create(model=NAME, prompt="Mei", max_tokens=4, temperature=0, logprobs=2)
    logprobs = found.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 4
    assert [max(top.values()) for top in logprobs.top_logprobs] == logprobs.token_logprobs


def test_offsets_of_a_completions_tokens_count_its_characters_whole_and_streamed():
    reply, tokenizer = "龘 says 你好 🙂 ok", tiny.tokenizer()
    asked = {"model": NAME, "prompt": [[tokenizer.special["<|assistant|>"]]], "max_tokens": 60, "logprobs": 1}
    with serving(tiny.Scripted(reply), length=1024) as server:
        complete = server.client().completions.create
        whole = complete(temperature=0, **asked).choices[0]
        chunks = [chunk.choices[0] for chunk in complete(temperature=0, stream=True, **asked)]
    ids = tokenizer.encode(reply)
    before = [tokenizer.decode_bytes(ids[:count]).decode("utf-8", "ignore") for count in range(len(ids))]
    assert whole.text == reply == "".join(chunk.text for chunk in chunks)
    assert whole.logprobs.text_offset == [len(text) for text in before]
    assert [at for chunk in chunks for at in chunk.logprobs.text_offset] == whole.logprobs.text_offset
    assert sum(bool(chunk.logprobs.text_offset) for chunk in chunks) > 3, "in several pieces"


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_and_tool_calls_are_separate(stream):
    reply = f"<think>\n河边…\n</think>\n\n好的\n{CALL}\n{CALL}"
    with serving(tiny.Scripted(reply), length=1024) as server:
        if stream:
            chunks = list(ask(server, tools=[TOOL], max_tokens=200, stream=True))
            deltas = [chunk.choices[0].delta for chunk in chunks]
            reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
            content = "".join(delta.content or "" for delta in deltas)
            calls = [call for delta in deltas for call in delta.tool_calls or []]
            assert [call.index for call in calls] == [0, 1]
            reason = chunks[-1].choices[0].finish_reason
        else:
            choice = ask(server, tools=[TOOL], max_tokens=200).choices[0]
            reasoning, content = choice.message.reasoning_content, choice.message.content
            calls, reason = choice.message.tool_calls, choice.finish_reason
        assert (reasoning, content, reason) == ("河边…", "好的", "tool_calls")
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("f", {"place": "河边"})
        ] * 2
        assert len({call.id for call in calls}) == 2


def test_one_call_at_most_where_the_client_says_so_and_none_without_tools():
    with serving(tiny.Scripted(f"{CALL}\n{CALL}"), length=1024) as server:
        answer = ask(server, tools=[TOOL], parallel_tool_calls=False, max_tokens=200)
        assert len(answer.choices[0].message.tool_calls) == 1
        assert answer.choices[0].message.content is None
        again = [
            *HELLO,
            answer.choices[0].message,
            {"role": "tool", "tool_call_id": answer.choices[0].message.tool_calls[0].id, "content": "3"},
        ]
        plain = ask(server, messages=again, max_tokens=200)
        assert plain.choices[0].message.tool_calls is None
        assert plain.choices[0].message.content == f"{CALL}\n{CALL}"
        assert plain.choices[0].finish_reason == "stop"
        streamed = ask(server, tools=[TOOL], parallel_tool_calls=False, max_tokens=200, stream=True)
        assert sum(len(chunk.choices[0].delta.tool_calls or []) for chunk in streamed) == 1


def test_models(server):
    client = server.client()
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).context_length == 256
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("../../etc/passwd")


def test_errors_have_openais_shape_and_an_id(server):
    def post(content=b"{}", path="/v1/chat/completions", kind="application/json"):
        return transport().post(server.url + path, content=content, headers={"Content-Type": kind})

    for response, status in [
        (post(), 400),
        (post(b"\xff"), 400),
        (post(kind="text/plain"), 415),
        (post(json.dumps({"model": "x", "messages": HELLO}).encode()), 404),
        (post(b"x" * 8_000_001), 413),
        (post(path="/v1/nothing"), 404),
        (post(path="/health"), 405),
        (transport().get(server.url + "/v1/completions"), 405),
    ]:
        error = response.json()["error"]
        assert response.status_code == status
        assert error.keys() == {"message", "type", "param", "code", "id"}
        assert response.headers["x-request-id"] == error["id"]
        assert response.headers["content-type"] == "application/json"


def test_a_defect_shows_no_text_of_the_exception(monkeypatch, server, caplog):
    monkeypatch.setattr(type(server.service), "_begin", lambda *_, **__: 1 / 0)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(server)
    assert caught.value.body["code"] == "internal_error"
    assert "division" not in json.dumps(caught.value.body)
    assert caught.value.body["id"] in caplog.text  # the log has the cause under the same id


def test_a_failing_engine_is_a_500_or_an_event_and_the_next_request_works(server, monkeypatch):
    names = ("danlu_failed_total", "danlu_cancelled_total")
    failed, cancelled = (counted(server, name) for name in names)
    monkeypatch.setattr(Engine, "_forward", lambda self, group: 1 / 0)
    with pytest.raises(openai.InternalServerError):
        ask(server)
    with pytest.raises(openai.APIError, match="could not be completed"):
        list(ask(server, stream=True))
    monkeypatch.undo()
    assert ask(server).choices[0].message.content == expected_text()
    # Who reads the error of a stream may be here before the server has closed it.
    assert wait_until(lambda: counted(server, names[0]) == failed + 2)
    assert counted(server, names[1]) == cancelled, "no client went away"


def test_a_client_that_goes_away_frees_its_slot():
    with serving(tiny.Scripted("好" * 200, seconds=0.02), slots=1) as server:
        address = urlsplit(server.url)
        for stream in (True, False):
            connection = http.client.HTTPConnection(address.hostname, address.port)
            body = json.dumps({"model": NAME, "messages": HELLO, "max_tokens": 200, "stream": stream})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            if stream:
                connection.getresponse().read(10)
            assert wait_until(lambda: server.engine.has_work)
            connection.sock.close() if connection.sock else connection.close()
            connection.close()
            assert wait_until(lambda: not server.engine.has_work and server.service.gate.active == 0)
        assert (counted(server, "danlu_cancelled_total"), counted(server, "danlu_failed_total")) == (2, 0)
        assert len(server.engine.scheduler._free_slots) == 1
        assert sum(entry.tokens for entry in server.engine.log) < 300


def test_a_full_house_says_when_to_come_back():
    with serving(tiny.Scripted("好" * 200, seconds=0.02), slots=1, max_waiting=1) as server:
        done = []
        threads = [threading.Thread(target=lambda: done.append(ask(server, max_tokens=60))) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: server.service.gate.active == 2)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(server)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        for thread in threads:
            thread.join()
        assert len(done) == 2


def test_neither_a_wrong_key_nor_a_full_house_costs_any_tokenising(monkeypatch):
    tokenised, real = [], ChatTemplate.prompt
    monkeypatch.setattr(ChatTemplate, "prompt", lambda *given: (tokenised.append(1), real(*given))[1])
    with serving(keys=(KEY,), slots=1, max_waiting=0) as server:
        gate = server.service.gate

        def refused(kind: type[openai.APIError], key: str, text: str = "?") -> None:
            with pytest.raises(kind):
                server.client(key).chat.completions.create(model=NAME, messages=[{"role": "user", "content": text}])

        refused(openai.AuthenticationError, "x" * 30)
        gate.enter(1)
        refused(openai.RateLimitError, KEY)
        gate.leave(1, seconds=1.0)
        assert tokenised == []
        refused(openai.BadRequestError, KEY, "字" * 300)
        assert (tokenised, gate.active) == ([1], 0), "what is refused later has left its place"


def test_slow_checks_of_keys_hold_up_no_public_endpoint(monkeypatch):
    """As many checks as there are threads wait for an event that is set only after /health has answered."""
    under_way, go = threading.Semaphore(0), threading.Event()

    def slow(ring: KeyRing, key: str) -> bool:
        under_way.release()
        return go.wait(PATIENCE_SECONDS)

    with serving(keys=(KEY,)) as server, ThreadPoolExecutor(THREADS + 4) as pool:
        monkeypatch.setattr(KeyRing, "accepts", slow)
        url, headers = f"{server.url}/v1/models", {"Authorization": f"Bearer {KEY}"}
        waiting = [pool.submit(transport().get, url, headers=headers) for _ in range(THREADS + 4)]
        try:
            assert all(under_way.acquire(timeout=PATIENCE_SECONDS) for _ in range(THREADS))
            assert transport().get(server.url + "/health").json() == {"status": "ok"}
            assert not any(one.done() for one in waiting)
        finally:
            go.set()
        assert {one.result().status_code for one in waiting} == {200}


def test_without_a_template_chat_is_refused_and_completions_work():
    with serving(chats=False) as server:
        with pytest.raises(openai.BadRequestError, match="no chat template"):
            ask(server)
        assert server.client().completions.create(model=NAME, prompt="a").choices[0].text


ROUTES = [
    ("GET", "/v1/models"),
    ("GET", f"/v1/models/{NAME}"),
    ("GET", "/metrics"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
]


def test_every_route_needs_the_key_but_for_the_short_public_list():
    with serving(keys=(KEY,)) as server:
        registered = {route.path for route in server.app.routes}
        assert registered == {"/", "/health", "/metrics", "/v1/models", "/v1/models/{name:path}"} | {
            "/v1/chat/completions",
            "/v1/completions",
        }
        wrong = [{}, {"Authorization": f"Bearer {KEY[:-1]}"}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}]
        wrong += [{"X-Forwarded-For": "127.0.0.1"}, {"Host": "localhost"}, {"X-HTTP-Method-Override": "GET"}]
        for method, path in ROUTES:
            for headers in wrong:
                response = transport().request(method, server.url + path, headers=headers)
                assert response.status_code == 401, (method, path, headers)
                assert KEY not in response.text
            assert (
                transport().request(method, server.url + path, headers={"Authorization": f"Bearer {KEY}"}).status_code
                != 401
            )
        for path in (
            "//v1/models",
            "/v1/%6dodels",
            "/health/../v1/models",
            "/v1/models/",
            "/V1/models",
            "/v1/models;/health",
        ):
            assert transport().get(server.url + path).status_code in (401, 404), path
        assert transport().get(server.url + "/health").status_code == 200
        assert transport().get(server.url + "/").status_code == 200
        assert server.client(KEY).models.list().data
        with pytest.raises(openai.AuthenticationError):
            server.client("x" * 30).models.list()


def test_pages_of_other_sites_are_not_answered(server):
    def status(**headers):
        body = {"model": NAME, "messages": HELLO, "max_tokens": 1}
        return transport().post(server.url + "/v1/chat/completions", json=body, headers=headers).status_code

    host = urlsplit(server.url).netloc
    assert status(Origin=f"http://{host}") == 200
    assert status(Origin="http://example.org") == status(Origin="null") == status(Origin="http://[") == 403
    assert status(Host="127.0.0.2") == status() != 403
    assert status(Host="example.org") == status(Host="example.org", Origin="http://example.org") == 403
    assert transport().get(server.url + "/v1/models", headers={"Host": "127.0.0.1.example.org"}).status_code == 403
    response = transport().get(server.url + "/v1/models", headers={"Origin": "http://example.org"})
    assert "access-control-allow-origin" not in response.headers


def test_metrics_and_health(server):
    ask(server)
    text = transport().get(server.url + "/metrics").text
    assert 'danlu_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert "danlu_generated_tokens_total 0\n" not in text
    assert "danlu_answers_active 0\n" in text
    assert HELLO[0]["content"] not in text
    assert transport().get(server.url + "/health").json() == {"status": "ok"}


def test_health_is_red_when_the_engine_is_stuck_or_gone(server, monkeypatch):
    monkeypatch.setattr(type(server.service.served.runner), "seconds_in_step", 61.0)
    assert transport().get(server.url + "/health").status_code == 503
    monkeypatch.setattr(type(server.service.served.runner), "is_alive", False)
    assert transport().get(server.url + "/health").json() == {"status": "stopped"}


def test_prompts_are_not_logged(server, caplog, capfd):
    secret = "a very private sentence 私密"
    with caplog.at_level("DEBUG", logger="danlu"):
        ask(server, messages=[{"role": "user", "content": secret}])
        with pytest.raises(openai.BadRequestError):
            ask(server, messages=[{"role": "user", "content": secret * 40}])
    assert secret not in caplog.text
    assert secret not in "".join(capfd.readouterr())
