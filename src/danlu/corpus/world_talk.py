"""Conversations about the little world: questions over a story in the prompt, translation, sums, town facts, chat.

In: a seeded `random.Random`, a side and a language. Out: a `Talk`. Called by `world`. Writes no files.

A conversation for training may hold several turns over one story, so that one prompt teaches several answers; for
validation and test it asks once. Whom and what a question is about is drawn evenly among the story's events before
its wording is, so that neither the position nor the person says anything about the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from danlu.base.records import Split
from danlu.corpus.world_text import (
    FACTS,
    LISTED,
    Event,
    events,
    fact,
    listing,
    say,
    side,
    story,
    weather,
)
from danlu.corpus.world_words import (
    ANSWERS,
    CHAT_QUESTIONS,
    EXTRACT,
    EXTRACTED,
    GREETINGS,
    PEOPLE,
    PERSONAS,
    QUESTIONS,
    REPEAT,
    REPEATED,
    REPLY,
    SUMMARISE,
    SUMMARY,
    SUMS,
    TOWN_QUESTIONS,
    TRANSLATE,
    UNSEEN_QUESTIONS,
    Word,
)

CORE_TASKS = ("who", "where", "when", "mood", "translate")
PROMPT_TASKS = CORE_TASKS[:4]
LARGEST_SUM = 99
STORY_EVENTS = (2, 3)
"""A question is always asked over at least two events, so that guessing one of them is right at most half the time."""


class Talk(NamedTuple):
    """Turns as (role, content); the task and the language of the last answer, which is the one that is scored."""

    turns: list[tuple[str, str]]
    task: str
    language: str


def _asked(pairs: list[tuple[str, str]], task: str, language: str) -> Talk:
    """Questions and their answers, in turns."""
    turns = [(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    return Talk(turns, task, language)


def ask(random: Random, split: Split, language: str, event: Event, task: str) -> tuple[str, str] | None:
    """A question on one event and its answer; None where the event has no answer or this side no wording for it."""
    if task == "mood" and event.mood is None:
        return None
    for form in random.sample(QUESTIONS[task], len(QUESTIONS[task])):
        question = say(form, language, p=event.person, l=event.place, d=event.day)
        if side(question) == split:
            return question, event.name(ANSWERS[task], language)
    return None


def one_question(random: Random, split: Split, language: str) -> Talk:
    """A story and one question on one of its events."""
    task = random.choice(PROMPT_TASKS)
    while True:
        told = events(random, split, random.randint(*STORY_EVENTS))
        pair = ask(random, split, language, random.choice(told), task)
        if pair is not None:
            return _asked([(story(random, split, language, told) + "\n" + pair[0], pair[1])], task, language)


def many_questions(random: Random, split: Split, language: str) -> Talk:
    """A story and up to eight questions on it, each about another thing; the shortest teach what an answer is."""
    told = events(random, split, random.randint(1, STORY_EVENTS[1]))
    wanted = random.randint(5, 8)
    subjects = random.sample([(event, task) for event in told for task in PROMPT_TASKS], 4 * len(told))
    pairs: list[tuple[str, str]] = []
    last = ""
    for event, task in subjects:
        pair = ask(random, split, language, event, task)
        if pair is not None and len(pairs) < wanted:
            pairs.append(pair)
            last = task
    pairs[0] = (story(random, split, language, told) + "\n" + pairs[0][0], pairs[0][1])
    return _asked(pairs, last, language)


def wording(random: Random, split: Split, language: str) -> Talk:
    """As `one_question`, in words that no other task uses."""
    task = random.choice(PROMPT_TASKS)
    told = events(random, split, random.randint(*STORY_EVENTS), mood_share=1.0)
    event = random.choice(told)
    question = say(random.choice(UNSEEN_QUESTIONS[task]), language, p=event.person, l=event.place, d=event.day)
    prompt = story(random, split, language, told) + "\n" + question
    return _asked([(prompt, event.name(ANSWERS[task], language))], "wording", language)


def translate(random: Random, split: Split, language: str, count: int = 1) -> Talk:
    """Sentences to be put into `language`."""
    other = "en" if language == "zh" else "zh"
    pairs = []
    for event in events(random, split, count):
        pairs.append((say(TRANSLATE, other, s=event.text(other)), event.text(language)))
    return _asked(pairs, "translate", language)


def many_translations(random: Random, split: Split, language: str) -> Talk:
    """Three to five sentences to be translated, one after the other."""
    return translate(random, split, language, random.randint(3, 5))


def _pair(random: Random, split: Split) -> tuple[int, int]:
    """Two numbers with a sum of at most 99; both orders of a pair are on one side."""
    while True:
        first = random.randint(1, LARGEST_SUM - 1)
        second = random.randint(1, LARGEST_SUM - first)
        if side(f"{min(first, second)}+{max(first, second)}") == split:
            return first, second


def sums(random: Random, split: Split, language: str) -> Talk:
    """Small sums: four for training, else one."""
    pairs = []
    for _ in range(4 if split == "train" else 1):
        first, second = _pair(random, split)
        pairs.append((say(random.choice(SUMS), language, a=first, b=second), str(first + second)))
    return _asked(pairs, "sum", language)


def town(random: Random, split: Split, language: str) -> Talk:
    """What people are, where they live, what they keep: nothing in the prompt says it, the documents do."""
    pairs = []
    for _ in range(random.randint(3, 5) if split == "train" else 1):
        while True:
            person, kind = random.choice(PEOPLE), random.choice(list(TOWN_QUESTIONS))
            question = say(random.choice(TOWN_QUESTIONS[kind]), language, p=person)
            if side(question) == split:
                break
        pairs.append((question, getattr(FACTS[person.en][kind], language)))
    return _asked(pairs, "town", language)


def summary(random: Random, split: Split, language: str) -> Talk:
    """A story around one event, to be told in one sentence of a fixed form."""
    event = events(random, split, 1, mood_share=1.0)[0]
    sentences = [event.text(language)]
    for extra in (weather(random, split, language), fact(random, split, language)):
        sentences.insert(random.randint(0, len(sentences)), extra)
    answer = event.name(SUMMARY, language)
    return _asked([(say(SUMMARISE, language, s="\n".join(sentences)), answer)], "summary", language)


def extract(random: Random, split: Split, language: str) -> Talk:
    """Person, place and day of single sentences: three for training, else one."""
    pairs = []
    for event in events(random, split, 3 if split == "train" else 1):
        answer = say(EXTRACTED, language, p=event.person, l=event.place, d=event.day)
        pairs.append((say(EXTRACT, language, s=event.text(language)), answer))
    return _asked(pairs, "extract", language)


def repeat(random: Random, split: Split, language: str) -> Talk:
    """Lists to be read out again: two for training, else one. What `read_twice` teaches, as an answer."""
    pairs = []
    for _ in range(2 if split == "train" else 1):
        while True:
            words = listing(random, language, random.choice(LISTED))
            question, answer = say(REPEAT, language, w=words), say(REPEATED, language, w=words)
            if side(question) == side(answer) == split:
                break
        pairs.append((question, answer))
    return _asked(pairs, "repeat", language)


def _greeting(random: Random, split: Split, language: str, person: Word) -> tuple[str, str] | None:
    """A visitor's greeting and the reply, both of this side; None where a drawn visitor has none."""
    visitor = random.choice(PEOPLE)
    greeting = say(random.choice(GREETINGS), language, q=visitor)
    reply = say(REPLY, language, p=person, q=visitor)
    if visitor is person or side(greeting) != split or side(reply) != split:
        return None
    return greeting, reply


def chat(random: Random, split: Split, language: str) -> Talk:
    """A system prompt gives a part to play; a visitor greets and asks up to three things (one, if held out)."""
    while True:
        event = events(random, split, 1)[0]
        trade = FACTS[event.person.en]["trade"]
        answers = {"trade": trade, "where": event.place, "when": event.day}
        slots = {"p": event.person, "t": trade, "l": event.place, "d": event.day}
        greetings = [pair for _ in range(20) if (pair := _greeting(random, split, language, event.person)) is not None]
        asked = []
        for kind in random.sample(list(answers), len(answers)):
            question = say(random.choice(CHAT_QUESTIONS[kind]), language, **slots)
            if side(question) == split:
                asked.append((question, getattr(answers[kind], language)))
        if greetings and asked:
            wanted = asked if split == "train" else asked[:1]
            talk = _asked([greetings[0], *wanted], "chat", language)
            persona = say(random.choice(PERSONAS), language, **slots)
            return Talk([("system", persona), *talk.turns], "chat", language)


Writer = Callable[[Random, Split, str], Talk]
TRAINING: tuple[tuple[Writer, float], ...] = (
    (one_question, 0.24),
    (many_questions, 0.28),
    (repeat, 0.1),
    (translate, 0.02),
    (many_translations, 0.16),
    (sums, 0.04),
    (town, 0.05),
    (summary, 0.04),
    (chat, 0.04),
    (extract, 0.03),
)
"""Writers of conversations for training and their shares."""
HELD_OUT: tuple[tuple[Writer, float], ...] = (
    (one_question, 0.48),
    (translate, 0.12),
    (sums, 0.08),
    (town, 0.08),
    (wording, 0.08),
    (summary, 0.05),
    (chat, 0.04),
    (extract, 0.04),
    (repeat, 0.03),
)
"""The same for validation and test; `wording` is for test only. Four tasks share `one_question`."""
