"""Scores of texts: which bytes are scored, which are given, which nobody can count. The proofs of E1 hold the sums."""

from __future__ import annotations

from danlu.evaluate.score import Score, score_texts
from danlu.tokenizer.tokenizer import Tokenizer
from tests import tiny
from tests.small import small_tokenizer


def test_without_a_start_mark_the_first_token_is_given_with_its_own_bytes():
    """Half a character has a byte or two, and not the three of the mark that decoding puts in its place."""
    bare = Tokenizer(small_tokenizer().backend, {})
    assert (bare.bos_id, bare.eos_id) == (None, None)
    text = "龘 and more"
    first, *others = bare.encode(text)
    length = len(bare.bytes_of(first))
    assert length < 3
    found = score_texts(tiny.model(vocabulary_size=bare.size), bare, [text, "", "a"])
    assert [(one.tokens, one.bytes, one.given) for one in found] == [
        (len(others), len(text.encode()) - length, length),
        (0, 0, 0),
        (0, 0, 1),
    ]


def test_with_a_start_mark_all_bytes_are_scored():
    tokenizer = tiny.tokenizer()
    [found] = score_texts(tiny.model(), tokenizer, ["老师 is here"])
    assert (found.tokens, found.bytes, found.given, found.unknown) == (
        len(tokenizer.encode("老师 is here")),
        len("老师 is here".encode()),
        0,
        0,
    )
    assert Score().bits_per_byte is None, "of nothing"
