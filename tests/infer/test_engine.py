"""The engine against `generate`, its reference; cancelling, pre-empting, streaming; the thread around it."""

from __future__ import annotations

import copy
import queue
import threading
from collections import Counter

import pytest
import torch

from danlu.base.errors import DataError, UserError
from danlu.base.world import World
from danlu.infer.engine import Engine, Event, Request
from danlu.infer.generate import generate
from danlu.infer.runner import Runner
from danlu.infer.sampling import Sampling
from danlu.parallel.place import place
from tests import tiny

WAIT_SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return tiny.model()


def engine(model, **changes) -> Engine:
    return Engine(
        model,
        **{"num_slots": 4, "length": 128, "vocabulary_limit": tiny.tokenizer().size, "step_tokens": 16, **changes},
    )


def prompts() -> list[tuple[int, ...]]:
    """Of 1 to 40 tokens, so that some come in pieces."""
    texts = tiny.LINES * 2
    return [tuple(tiny.tokenizer().encode(text)[: 1 + 4 * index]) for index, text in enumerate(texts)]


def reference(model, prompt, sampling, length=128) -> list[int]:
    return generate(model, prompt, sampling, vocabulary_limit=tiny.tokenizer().size, length=length)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, max_tokens=20),
        Sampling(temperature=1.2, top_p=0.9, seed=5, max_tokens=20),
        Sampling(temperature=0.8, top_k=20, min_p=0.02, seed=6, max_tokens=20),
        Sampling(temperature=0, repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.3, max_tokens=20),
        Sampling(temperature=1, seed=1, max_tokens=20, logit_bias=((40, 3.0), (41, -100.0))),
    ],
)
def test_many_together_equal_the_reference_alone(model, sampling):
    requests = [Request(prompt, sampling) for prompt in prompts()]
    answers = engine(model).run(requests)
    assert answers == [reference(model, prompt, sampling) for prompt in prompts()]
    assert len({tuple(answer) for answer in answers}) > 3  # the model does depend on its prompt


@pytest.mark.parametrize(
    "changes", [{"attention_bias": True}, {"qk_norm": True}, {"position": "learned"}, {"tied": True}]
)
def test_every_part_of_the_model_decodes_as_it_reads(changes):
    model = tiny.model(**changes)
    sampling = Sampling(temperature=0, max_tokens=8)
    answers = engine(model).run([Request(prompt, sampling) for prompt in prompts()[:5]])
    assert answers == [reference(model, prompt, sampling) for prompt in prompts()[:5]]


def test_preempted_sequences_go_on_with_the_same_tokens(model):
    sampling = Sampling(temperature=1, seed=3, max_tokens=20)
    tested = engine(model)
    ids = [tested.submit(Request(prompt, sampling)) for prompt in prompts()[4:8]]
    answers = {id: [] for id in ids}
    for step in range(1000):
        for event in tested.step():
            answers[event.id] += [event.token] if event.is_text else []
        if not tested.has_work:
            break
        if step % 3 == 0 and tested.scheduler.running:
            tested.preempt(tested.scheduler.running[step % len(tested.scheduler.running)].id)
    assert list(answers.values()) == [reference(model, prompt, sampling) for prompt in prompts()[4:8]]


def test_streams_may_be_read_in_any_order(model):
    sampling = Sampling(temperature=0, max_tokens=6)
    tested = engine(model)
    ids = [tested.submit(Request(prompt, sampling)) for prompt in prompts()[:3]]
    streams = [tested.stream(id) for id in ids]
    first_of_last = next(streams[2])
    for stream, prompt in zip(streams[:2], prompts()[:2], strict=True):
        assert [event.token for event in stream] == reference(model, prompt, sampling)
    assert [first_of_last.token, *(event.token for event in streams[2])] == reference(model, prompts()[2], sampling)


def test_ends_at_stop_ids_at_max_tokens_and_at_the_full_context(model):
    prompt = prompts()[3]
    free = reference(model, prompt, Sampling(temperature=0, max_tokens=12))
    stop = free[5]
    ended = list(engine(model).run([Request(prompt, Sampling(temperature=0, stop_ids=frozenset({stop})))])[0])
    assert (
        ended
        == free[: free.index(stop)]
        == reference(model, prompt, Sampling(temperature=0, stop_ids=frozenset({stop})))
    )

    small = engine(model, length=len(prompt) + 3)
    events = list(small.stream(small.submit(Request(prompt, Sampling(temperature=0, max_tokens=50)))))
    assert [event.token for event in events] == free[:3]
    assert events[-1].finish_reason == "length"
    assert reference(model, prompt, Sampling(temperature=0, max_tokens=50), length=len(prompt) + 3) == free[:3]
    assert engine(model).run([Request(prompt, Sampling(max_tokens=0))]) == [[]]


def test_the_stop_id_is_named_but_is_no_part_of_the_answer(model):
    prompt = prompts()[3]
    first = reference(model, prompt, Sampling(temperature=0, max_tokens=1))[0]
    tested = engine(model)
    (event,) = tested.stream(tested.submit(Request(prompt, Sampling(temperature=0, stop_ids=frozenset({first})))))
    assert event == Event(0, first, None, "stop")
    assert not event.is_text


def test_ids_beyond_the_tokenizer_are_never_chosen(model):
    limit = tiny.tokenizer().size
    with torch.no_grad():
        before = model.output.weight.clone()
        model.output.weight[limit:] = model.output.weight.abs().max() * 50
    try:
        answers = engine(model).run([Request((1,), Sampling(temperature=2.0, seed=0, max_tokens=60))])
    finally:
        with torch.no_grad():
            model.output.weight.copy_(before)
    assert max(answers[0]) < limit


@pytest.mark.parametrize(
    ("prompt", "words"),
    [((), "empty"), ((5,) * 128, "128 tokens; the context holds 128"), ((10_000,), "10000"), ((-1,), "-1")],
)
def test_impossible_prompts_are_refused(model, prompt, words):
    with pytest.raises(UserError, match=words):
        engine(model).submit(Request(prompt, Sampling()))


def test_a_cancelled_sequence_frees_its_slot_at_once(model):
    tested = engine(model, num_slots=1)
    first = tested.submit(Request(prompts()[2], Sampling(temperature=0, max_tokens=100)))
    second = tested.submit(Request(prompts()[3], Sampling(temperature=0, max_tokens=5)))
    tested.step()
    tested.cancel(first)
    tested.cancel(first)
    events = tested.step()
    assert Event(first, None, finish_reason="cancelled") in events
    assert [event.id for event in events if event.token is not None] == [second]


def test_random_cancels_leave_nothing_behind(model):
    draws = torch.Generator().manual_seed(0)
    tested, live = engine(model), []
    for _ in range(300):
        action = int(torch.randint(3, (1,), generator=draws))
        if action == 0 and len(live) < 12:
            live.append(tested.submit(Request(prompts()[len(live) % 10], Sampling(temperature=0, max_tokens=10))))
        elif action == 1 and live:
            tested.cancel(live.pop(int(torch.randint(len(live), (1,), generator=draws))))
        ended = {event.id for event in tested.step() if event.finish_reason is not None}
        live = [id for id in live if id not in ended]
    for id in live:
        tested.cancel(id)
    tested.step()
    assert not tested.has_work
    assert len(tested.scheduler._free_slots) == 4
    assert not tested._sequences
    assert not tested._mail


def test_the_log_says_how_many_were_decoded_together(model):
    tested = engine(model, num_slots=8, step_tokens=512)
    tested.run([Request(prompts()[index], Sampling(temperature=0, max_tokens=5)) for index in range(8)])
    assert max(entry.decoding for entry in tested.log) == 8
    assert sum(entry.tokens for entry in tested.log) == sum(len(prompt) for prompt in prompts()[:8]) + 8 * 4


def test_a_long_prompt_does_not_pad_the_short_ones_to_its_length(model, monkeypatch):
    tested, computed = engine(model, num_slots=16, step_tokens=512), []
    forward = tested.model.forward

    def counted(ids, **given):
        computed.append(ids.numel())
        return forward(ids, **given)

    monkeypatch.setattr(tested.model, "forward", counted)
    lengths = [2] * 7 + [100] + [3] * 7
    for length in lengths:
        tested.submit(Request(tuple(range(20, 20 + length)), Sampling(temperature=0, max_tokens=2)))
    tested.step()
    assert tested.log[0].tokens == sum(lengths)
    assert sum(computed) <= 2 * sum(lengths)


def test_decoding_leaves_the_compiler_to_training(model, monkeypatch):
    """Each length of the cache would be a graph, and after a few of them training's shape would stay eager."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *given, **kept: compile_(*given, backend=backend, **kept))
    placed = place(copy.deepcopy(model), World(dtype="bfloat16"), compile="on")
    sampling = Sampling(temperature=0, max_tokens=20)
    tested = engine(placed)
    tested.decoder = None
    assert len(tested.run([Request(prompt, sampling) for prompt in prompts()[:3]])[0]) == 20
    assert not graphs
    ids = torch.tensor([prompts()[4]])
    placed.train()(ids).float().sum().backward()
    assert len(graphs) == 1, "one for all blocks"


def test_a_row_that_is_not_finite_ends_alone(model, monkeypatch):
    sampling = Sampling(temperature=0, max_tokens=6)
    plain, head = [reference(model, prompt, sampling) for prompt in prompts()[:3]], model.head
    tested = engine(model)
    tested.scheduler.step_tokens = 64

    def spoiled(hidden):
        logits = head(hidden).clone()
        if len(logits) == 3:
            logits[1, 0] = float("nan")
        return logits

    monkeypatch.setattr(type(model), "head", property(lambda self: spoiled))
    ids = [tested.submit(Request((*prompt, *prompt), sampling)) for prompt in prompts()[1:4]]
    reasons = {id: [event.finish_reason for event in tested.stream(id)][-1] for id in ids}
    assert Counter(reasons.values()) == {"length": 2, "error": 1}
    with pytest.raises(DataError, match="could not be computed"):
        tested.run([Request((*prompt, *prompt), sampling) for prompt in prompts()[1:4]])
    monkeypatch.undo()
    assert tested.run([Request(prompt, sampling) for prompt in prompts()[:3]]) == plain


class Listening:
    """Collects one request's events from the engine's thread."""

    def __init__(self):
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def tokens(self) -> tuple[list[int], str]:
        tokens = []
        while True:
            event = self.events.get(timeout=WAIT_SECONDS)
            tokens += [event.token] if event.is_text else []
            if event.finish_reason is not None:
                return tokens, event.finish_reason


def test_the_runner_serves_many_threads(model):
    sampling = Sampling(temperature=0, max_tokens=10)
    runner, answers = Runner(engine(model)), {}

    def client(index: int) -> None:
        listening = Listening()
        runner.submit(Request(prompts()[index % 10], sampling), listening.events.put)
        answers[index] = listening.tokens()

    threads = [threading.Thread(target=client, args=(index,)) for index in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runner.close()
    expected = [reference(model, prompt, sampling) for prompt in prompts()]
    assert answers == {index: (expected[index % 10], "length") for index in range(20)}
    assert not runner.is_alive


def test_the_runner_outlives_a_failing_step(model, monkeypatch):
    tested = engine(model)
    forward, failures = type(tested)._forward, iter([True])
    monkeypatch.setattr(
        tested, "_forward", lambda group: forward(tested, group) if not next(failures, False) else 1 / 0
    )
    runner, first, second = Runner(tested), Listening(), Listening()
    runner.submit(Request(prompts()[2], Sampling(temperature=0, max_tokens=4)), first.events.put)
    assert first.tokens() == ([], "error")
    runner.submit(Request(prompts()[2], Sampling(temperature=0, max_tokens=4)), second.events.put)
    assert second.tokens() == (reference(model, prompts()[2], Sampling(temperature=0, max_tokens=4)), "length")
    assert runner.num_failures == 1
    runner.close()


def test_the_runner_refuses_by_event_and_closes_what_is_under_way(model):
    runner, refused, open_one = Runner(engine(model)), Listening(), Listening()
    runner.submit(Request((), Sampling()), refused.events.put)
    assert refused.tokens() == ([], "error")
    ticket = runner.submit(Request(prompts()[2], Sampling(temperature=0, max_tokens=100)), lambda event: None)
    runner.cancel(ticket)
    runner.submit(Request(prompts()[2], Sampling(temperature=0, max_tokens=120)), open_one.events.put)
    runner.close()
    assert open_one.tokens()[1] == "cancelled"
    assert runner.seconds_in_step == 0
