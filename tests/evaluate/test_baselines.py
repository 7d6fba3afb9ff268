"""Baselines: each does what its name says, and none of them solves the little world."""

from __future__ import annotations

import json

import pytest

from danlu.base.records import Conversation, Message, conversation_from_dict
from danlu.corpus import world
from danlu.evaluate.baselines import BASELINES, MostFrequentAnswer, NearestQuestion, NGram, fit, question, tokens
from danlu.evaluate.metrics import exact_match

CORE = ("who", "where", "when", "mood", "translate")
HIGHEST_POOLED = 0.30


def ask(*turns: str, task: str = "where", language: str = "en") -> Conversation:
    """A conversation of user and assistant in turns; a last user turn stands unanswered."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[index % 2], text) for index, text in enumerate(turns))  # type: ignore[arg-type]
    return Conversation("", messages, "", language, task)


TRAINING = [
    ask("Where is the hen?", "barn"),
    ask("Where is the cow?", "barn"),
    ask("Where is the ship now?", "sea"),
    ask("Bob has a red kite.\nWhere is the kite?", "hill"),
    ask("鱼在哪里？", "河", language="zh"),
    ask("When is tea?", "four", task="when"),
    ask("When is tea?", "four", task="when"),
    ask("When is lunch?", "noon", task="when"),
]


@pytest.mark.parametrize("name", BASELINES)
def test_task_and_language_are_kept_apart(name: str) -> None:
    baseline = BASELINES[name]().fit(TRAINING)
    assert baseline.answer(ask("When is tea?", task="when")) == "four"
    assert baseline.answer(ask("鱼在哪里？", language="zh")) == "河"
    assert baseline.answer(ask("鱼在哪里？", task="unknown", language="zh")) == "河"


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_learnt_or_nothing_asked_is_no_crash(name: str) -> None:
    assert BASELINES[name]().fit([]).answer(ask("Where?")) == ""
    assert BASELINES[name]().fit([ask("Where?")]).answer(ask("Where?")) == ""
    assert isinstance(BASELINES[name]().fit(TRAINING).answer(ask()), str)
    assert isinstance(BASELINES[name]().fit(TRAINING).answer(ask("", task="", language="")), str)


def test_most_frequent_answer_takes_the_first_of_equals() -> None:
    assert MostFrequentAnswer().fit(TRAINING).answer(ask("Where is the ship now?")) == "barn"
    assert MostFrequentAnswer().fit(TRAINING[2:4]).answer(ask("Where?")) == "sea"


def test_n_gram_prefers_the_longest_run_and_backs_off() -> None:
    fitted = NGram().fit(TRAINING)
    assert fitted.answer(ask("Where is the ship?")) == "sea"  # a run of four against runs of three elsewhere
    assert fitted.answer(ask("kite or cow, kite")) == "barn"  # single words: both seen once, barn was learnt first
    assert fitted.answer(ask("unknown words only")) == "barn"


def test_nearest_question_weighs_rare_words_and_reads_the_story() -> None:
    fitted = NearestQuestion().fit(TRAINING)
    assert fitted.answer(ask("Bob has a blue one.\nWhere is the cow?")) == "hill"
    assert fitted.answer(ask("Where is the ship?")) == "sea"


def test_the_last_question_and_the_last_answer_are_learnt() -> None:
    several = ask("A story.\nWhere is A?", "here", "Where is B?", "there")
    assert question(several) == "Where is B?"
    assert MostFrequentAnswer().fit([several]).answer(several) == "there"
    assert tokens("Who is 安娜?") == ["who", "is", "安", "娜"]


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> list[Conversation]:
    folder = tmp_path_factory.mktemp("world")
    world.write(folder, seed=0, stories=0, conversations=8000, dirty=False)
    lines = (folder / "conversations.jsonl").read_text("utf-8").splitlines()
    return [conversation_from_dict({**json.loads(line), "source": ""}) for line in lines]


def test_no_baseline_solves_the_little_world(conversations: list[Conversation]) -> None:
    fitted = fit([one for one in conversations if one.split == "train"])
    assert set(fitted) == set(BASELINES)
    held = [one for one in conversations if one.split != "train" and one.task in CORE]
    for language in ("zh", "en"):
        asked = [one for one in held if one.language == language]
        assert len(asked) > 100
        for name, baseline in fitted.items():
            right = sum(exact_match(baseline.answer(one), one.messages[-1].content) for one in asked)
            assert right / len(asked) <= HIGHEST_POOLED, (name, language)


def test_a_leak_would_be_seen(conversations: list[Conversation]) -> None:
    """Fitted on the questions themselves, the nearest question is right: the low numbers are the split's doing."""
    held = [one for one in conversations if one.split == "test" and one.task in CORE]
    fitted = NearestQuestion().fit(held)
    right = sum(fitted.answer(one) == one.messages[-1].content for one in held)
    assert right / len(held) > 0.95
