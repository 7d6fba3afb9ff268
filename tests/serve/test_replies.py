"""What clients read of single tokens: their text, their bytes, and where in the answer they stand."""

from __future__ import annotations

import pytest

from danlu.infer.engine import Event
from danlu.serve.answering import Choice, Finished
from danlu.serve.replies import ChatReplies, CompletionReplies, Usage
from danlu.tokenizer.tokenizer import Tokenizer
from tests.small import sentence_pieces, small_tokenizer


def answered(tokenizer: Tokenizer, last: int, ids: list[int]) -> Finished:
    """One whole answer of these ids behind a prompt that ends with `last`."""
    choice, finished = Choice(0, tokenizer, last, (), reads_chat=False, tools=False), Finished(0)
    events = [Event(0, id, -1.0, top=((id, -1.0),)) for id in ids] + [Event(0, None, finish_reason="length")]
    for piece in map(choice.push, events):
        finished.text.add(piece.deltas)
        finished.probabilities += piece.probabilities
    return finished


def test_a_token_that_begins_with_a_space_shows_it():
    """Decoding drops the first space of a text with such tokenizers; a token alone is no text."""
    tokenizer = sentence_pieces()
    hello, world = tokenizer.encode("hello world")
    found = answered(tokenizer, hello, [world, world])
    replies = ChatReplies("m", "f", tokenizer)
    replies.wants_logprobs = True
    [choice] = replies.whole([found], Usage(1))["choices"]
    assert choice["message"]["content"] == " world world"
    for entry in choice["logprobs"]["content"]:
        for token in (entry, entry["top_logprobs"][0]):
            assert (token["token"], bytes(token["bytes"])) == (" world", b" world")


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        (small_tokenizer(), "a龘b 🙂 小明 c"),
        (sentence_pieces(), "hello 龘 world 老师 🙂 world"),
    ],
    ids=["bytes", "pieces"],
)
def test_offsets_are_the_characters_before_a_token(tokenizer, text):
    """Counted here over the bytes of all tokens before it; a split character's tokens share its place."""
    ids = tokenizer.encode(text)
    found = answered(tokenizer, ids[0], ids[1:])
    replies = CompletionReplies("m", "f", tokenizer, "cmpl")
    replies.wants_logprobs = True
    [choice] = replies.whole([found], Usage(1))["choices"]
    logprobs = choice["logprobs"]
    before = [b"".join(map(tokenizer.bytes_of, ids[1:end])) for end in range(1, len(ids))]
    assert logprobs["text_offset"] == [len(data.decode("utf-8", "ignore")) for data in before]
    assert len(set(logprobs["text_offset"])) < len(ids) - 1, "some characters are split"
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        if "\\x" not in token:
            assert choice["text"][offset:].startswith(token)
