"""Asking a model: the engine's answers are those of the reference, the marks go to the right question."""

from __future__ import annotations

import pytest

from danlu.base.records import Conversation, Message
from danlu.evaluate.answers import answer_all, mark, question_and_reference
from danlu.infer.generate import generate
from danlu.infer.sampling import Sampling
from danlu.tokenizer.chat import ChatTemplate
from tests import tiny


def conversation(number: int, *turns: tuple[str, str]) -> Conversation:
    messages = tuple(Message(role, text) for role, text in turns)
    return Conversation(f"c{number}", messages, "test", language="en", task="who")


def test_the_last_assistant_turn_is_the_reference():
    asked = question_and_reference(
        conversation(0, ("system", "s"), ("user", "u1"), ("assistant", "a1"), ("user", "u2"), ("assistant", "a2"))
    )
    assert asked is not None
    assert [message.content for message in asked[0]] == ["s", "u1", "a1", "u2"]
    assert asked[1] == "a2"
    assert question_and_reference(conversation(1, ("user", "u"))) is None
    assert question_and_reference(conversation(2, ("assistant", "a"))) is None
    assert question_and_reference(conversation(3, ("user", "u"), ("assistant", ""))) is None
    trailing = question_and_reference(conversation(4, ("user", "u"), ("assistant", "a"), ("user", "v")))
    assert trailing is not None
    assert trailing[1] == "a"


def test_answers_are_those_of_plain_generation_and_in_order():
    tokenizer, model = tiny.tokenizer(), tiny.model()
    template = ChatTemplate(tokenizer)
    many = [
        conversation(index, ("user", "Where is the teacher? " * (1 + index % 3)), ("assistant", str(index)))
        for index in range(9)
    ]
    done = []
    marked = answer_all(model, tokenizer, template, many, max_tokens=7, num_slots=1, advance=done.append)
    assert [one.id for one in marked] == [one.id for one in many]
    assert [one.reference for one in marked] == [str(index) for index in range(9)]
    assert sum(done) == 9
    for one, asked in zip(marked, many, strict=True):
        prompt = template.prompt(asked.messages[:-1])
        sampling = Sampling(temperature=0.0, max_tokens=7, stop_ids=tokenizer.stop_ids)
        ids = generate(model, prompt, sampling, vocabulary_limit=tokenizer.size)
        assert one.answer == template.parse(tokenizer.decode(ids)).content.strip()
        assert one.finish == ("length" if len(ids) == 7 else "stop")


def test_a_prompt_that_does_not_fit_is_wrong_and_says_so():
    tokenizer, model = tiny.tokenizer(), tiny.model(context_length=32)
    template = ChatTemplate(tokenizer)
    many = [
        conversation(0, ("user", "hello"), ("assistant", "x")),
        conversation(1, ("user", "hello " * 200), ("assistant", "x")),
        conversation(2, ("user", "hello"), ("assistant", "x")),
    ]
    marked = answer_all(model, tokenizer, template, many, max_tokens=4)
    assert marked[1].finish == "too long"
    assert (marked[1].answer, marked[1].exact_match, marked[1].f1) == ("", 0.0, 0.0)
    assert marked[0].answer == marked[2].answer


def test_a_perfect_and_a_wrong_answer_have_known_marks():
    asked = conversation(0, ("user", "Who?"), ("assistant", "Anna."))
    assert (mark(asked, "anna").exact_match, mark(asked, "anna").f1) == (1.0, 1.0)
    assert (mark(asked, "Tom").exact_match, mark(asked, "Tom").f1) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no reference"):
        mark(conversation(1, ("user", "Who?")), "Anna")
