"""Records to ids: control tokens around documents, masks of conversations, counts by reason; rows for the eye."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.base.records import Conversation, Document, Message
from danlu.shards import encode
from danlu.shards.encode import (
    NOT_CHOSEN,
    NOTHING_TO_LEARN,
    OVER_LONG,
    Tally,
    chosen,
    encode_conversations,
    encode_documents,
)
from danlu.shards.files import RowSet, RowSetWriter
from danlu.shards.look import describe_rows
from danlu.tokenizer.chat import ChatTemplate
from danlu.tokenizer.tokenizer import Tokenizer
from tests.small import random_conversations, random_documents, small_tokenizer


def test_documents_stand_between_their_control_tokens(monkeypatch):
    documents, tokenizer = random_documents(25), small_tokenizer()
    expected = [[1, *tokenizer.encode(document.text), 2] for document in documents]
    for records, characters in ((1024, 10**6), (7, 10**6), (1024, 500)):
        monkeypatch.setattr(encode, "BATCH_RECORDS", records)
        monkeypatch.setattr(encode, "BATCH_CHARACTERS", characters)
        tally = Tally()
        parts = list(encode_documents(tokenizer, documents, tally))
        assert np.concatenate([part.ids for part in parts]).tolist() == [id for one in expected for id in one]
        assert np.concatenate([part.lengths for part in parts]).tolist() == [len(one) for one in expected]
        assert [name for part in parts for name in part.records] == [document.id for document in documents]
        assert all(part.mask is None for part in parts)
        assert tally.tokens == sum(map(len, expected))
        assert tally.bytes == sum(len(document.text.encode()) for document in documents)


def test_a_foreign_tokenizer_without_control_tokens_goes_without():
    ours = small_tokenizer()
    bare = Tokenizer(ours.backend, {"eos_token": "<|eos|>"})
    [part] = encode_documents(bare, [Document("a", "hi", "test")], Tally())
    assert part.ids.tolist() == [*ours.encode("hi"), 2]


def test_conversations_are_masked_counted_and_left_out_by_reason():
    template = ChatTemplate(small_tokenizer())
    good = random_conversations(5)
    silent = Conversation("silent", (Message("user", "hi"),), "test")
    shown = Conversation("shown", (Message("user", "a"), Message("assistant", "b", trainable=False)), "test")
    long = Conversation("long", (Message("user", "word " * 500), Message("assistant", "b")), "test")
    tally = Tally()
    [part] = encode_conversations(template, [silent, *good, shown, long], tally, longest=600)
    assert part.records == [conversation.id for conversation in good]
    rendered = [template.render(conversation.messages) for conversation in good]
    assert part.ids.tolist() == [id for one in rendered for id in one.ids]
    assert part.mask is not None
    assert part.mask.tolist() == [learnt for one in rendered for learnt in one.mask]
    assert tally.rejected == {NOTHING_TO_LEARN: 2, OVER_LONG: 1}
    assert tally.conversations == 5
    everything = Tally()
    [part] = encode_conversations(template, [silent, long], everything, learn_all=True)
    assert part.records == ["silent", "long"]
    assert part.mask is None
    assert not everything.rejected


@pytest.mark.parametrize("masked", [True, False])
def test_a_row_as_a_person_reads_it(tmp_path, masked):
    template = ChatTemplate(small_tokenizer())
    turns = (Message("user", "hi"), Message("assistant", "你好"))
    conversations = [Conversation("a", turns, "test"), Conversation("b", turns, "test")]
    with RowSetWriter(tmp_path / "set", template.tokenizer, row_length=64, masked=masked) as writer:
        for part in encode_conversations(template, conversations, Tally(), learn_all=not masked):
            writer.add(part)
    [row] = describe_rows(RowSet.open(tmp_path / "set"), template.tokenizer, [0])
    assert [token.document for token in row] == [0] * (len(row) // 2) + [1] * (len(row) // 2)
    first = row[: len(row) // 2]
    text = "".join(token.text for token in first if token.is_target)
    if masked:
        assert text == "你好<|end|>"
    else:
        assert text == "<|user|>hi<|end|><|assistant|>你好<|end|>"
    assert not first[0].is_target


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_chosen_share_is_counted_and_prefers_no_kind(share):
    """Kinds take turns in many files: every tenth record would be of one language."""
    tally = Tally()
    talks = [
        Conversation(str(number), (Message("user", "您"), Message("assistant", "b")), "a") for number in range(20_000)
    ]
    kept = [int(one.id) for one in chosen(talks, share, tally)]
    assert len(kept) + tally.rejected[NOT_CHOSEN] == 20_000
    assert tally.rejected_bytes == 4 * tally.rejected[NOT_CHOSEN]
    assert kept == sorted(kept) == [int(one.id) for one in chosen(talks, share, Tally())]
    for turns in (2, 5, 10):
        for turn in range(turns):
            expected = 20_000 * share / turns
            assert abs(sum(number % turns == turn for number in kept) - expected) <= 5 * (expected * (1 - share)) ** 0.5
