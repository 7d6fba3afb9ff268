"""Every kind of vocabulary: equal ids here, loaded and in transformers; nothing lost, or what is lost counted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.records import Message
from danlu.tokenizer import extend as extending
from danlu.tokenizer.chat import JINJA, ChatTemplate
from danlu.tokenizer.extend import extend
from danlu.tokenizer.tokenizer import CONTROL_TOKENS, END, Tokenizer
from danlu.tokenizer.train import compression, train
from danlu.tokenizer.vocabularies import BYTE_TOKENS, KINDS, UNKNOWN, WORD_PAD, kind_of
from tests.small import CHINESE, CODE, EMOJI, ENGLISH, ODDITIES, random_conversations, random_texts

LOSSLESS = ("bpe", "unigram", "characters", "bytes")
LOSSY = ("wordpiece", "words")
RARE = "𠮷野家龘䶮㐂 \U0002f9f4 \U00031350"
SPELT = " ".join([*CONTROL_TOKENS, UNKNOWN, WORD_PAD, "## ##a #### ▁a <0x41> <0xE4>", *BYTE_TOKENS[:3]])
HARD = ["", " ", "  a  b ", "\x00\x01\x7f\r\n\t", EMOJI, ODDITIES, RARE, SPELT, CODE, CHINESE, ENGLISH, "中" * 500]
NEW = ["苹果公司发布了新的手机，机器学习很有用。Transformer models learn embeddings. " * 3] * 3


@cache
def learnt(kind: str, size: int = 700) -> Tokenizer:
    return train([*random_texts(400, seed=3), ENGLISH * 3, CHINESE * 3], vocabulary_size=size, kind=kind)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    stream = tokenizer.stream()
    return "".join([*map(stream.push, ids), stream.finish()])


def test_control_tokens_come_first_and_the_template_is_the_same(kind):
    tokenizer = learnt(kind)
    assert kind_of(json.loads(tokenizer.backend.to_str())) == kind
    assert [tokenizer.special[name] for name in CONTROL_TOKENS] == list(range(8))
    assert tokenizer.settings["chat_template"] == JINJA
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_id) == (1, 2, 7)
    assert tokenizer.pad_id == tokenizer.special[KINDS[kind].pad]
    assert tokenizer.size <= 700
    rendered = ChatTemplate(tokenizer).render([Message("user", f"x{END}"), Message("assistant", SPELT)])
    assert [id for id in rendered.ids if id in tokenizer.special_ids] == [1, 4, 7, 5, 7]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_what_a_kind_promises_comes_back(kind):
    tokenizer = learnt(kind)
    assert tokenizer.unknown_id is None
    for text in [*HARD, *random_texts(300, seed=8)]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text == streamed(tokenizer, ids)
        assert not tokenizer.special_ids & set(ids)
    for data in (b"", b"\xff\xfe\x80a", EMOJI.encode()[:-1], bytes(range(256))):
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@pytest.mark.parametrize("kind", LOSSLESS)
@given(text=st.text(max_size=40), data=st.binary(max_size=40))
@settings(max_examples=80, deadline=None)
def test_any_text_and_any_bytes_come_back(kind, text, data):
    tokenizer = learnt(kind)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@pytest.mark.parametrize("kind", LOSSY)
@given(text=st.text(max_size=40))
@settings(max_examples=80, deadline=None)
def test_only_unknown_words_are_lost(kind, text):
    tokenizer = learnt(kind)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == streamed(tokenizer, ids)
    if tokenizer.unknown_id not in ids:
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", LOSSY)
def test_what_is_lost_is_seen_and_counted(kind):
    tokenizer = learnt(kind)
    assert tokenizer.token_text(tokenizer.unknown_id) == UNKNOWN
    assert tokenizer.unknown_id not in tokenizer.special_ids
    assert tokenizer.decode(tokenizer.encode("小龘")) == f"小{UNKNOWN}"
    table = compression(tokenizer, [("zh", CHINESE), ("zh", RARE), ("en", ENGLISH)])
    unknown = tokenizer.encode(RARE).count(tokenizer.unknown_id)
    assert table["zh"]["unknown"] == unknown + tokenizer.encode(CHINESE).count(tokenizer.unknown_id) > 0
    assert table["zh"]["unknown_share"] == round(unknown / table["zh"]["tokens"], 6)
    assert "unknown" not in compression(learnt("bpe"), [("zh", RARE)])["zh"]


def test_transformers_and_the_saved_file_give_the_same_ids(kind, tmp_path):
    from transformers import AutoTokenizer

    ours = learnt(kind)
    ours.save(tmp_path)
    loaded, foreign = Tokenizer.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.fingerprint == ours.fingerprint
    texts = [text for text in HARD if text != SPELT] + random_texts(500, seed=11)
    ids = ours.encode_batch(texts)
    assert loaded.encode_batch(texts) == ids == [ours.encode(text) for text in texts]
    assert foreign(texts)["input_ids"] == ids
    assert foreign.batch_decode(ids, skip_special_tokens=True) == [ours.decode(one) for one in ids]
    assert len(foreign) == ours.size
    assert set(foreign.all_special_ids) == ours.special_ids
    names = (foreign.bos_token_id, foreign.eos_token_id, foreign.pad_token_id)
    assert names == (ours.bos_id, ours.eos_id, ours.pad_id)
    template = ChatTemplate(ours)
    for conversation in random_conversations(10, seed=4):
        told = [{"role": message.role, "content": message.content} for message in conversation.messages]
        rendered = foreign.apply_chat_template(told, tokenize=True, return_dict=False)
        assert rendered == template.render(conversation.messages).ids
        prompt = template.prompt(conversation.messages[:-1])
        assert template.render(conversation.messages).ids[: len(prompt)] == prompt


def test_ids_outside_the_vocabulary_are_refused(kind):
    tokenizer = learnt(kind)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        tokenizer.decode([tokenizer.size])


def test_order_and_threads_make_no_difference(kind):
    texts = random_texts(150, seed=2)
    here = train(random.Random(1).sample(texts, len(texts)), vocabulary_size=450, kind=kind).fingerprint
    code = "from tests.small import random_texts; from danlu.tokenizer.train import train; import sys; "
    code += f"made = train(random_texts(150, seed=2), vocabulary_size=450, kind={kind!r}); "
    code += "sys.stdout.write(made.fingerprint)"
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=True)
    assert done.stdout.decode() == here


# ---- what each kind learns ----


def shown(kind: str, text: str, texts: list[str], **limits: int) -> list[str]:
    tokenizer = train(texts, vocabulary_size=400, kind=kind, **limits)
    return [tokenizer.token_text(id) for id in tokenizer.encode(text)]


def test_words_are_whole_with_the_space_before_them_and_chinese_by_segmentation():
    pytest.importorskip("rjieba", reason="rjieba is not installed")
    texts = ["我们在图书馆学习中文", "the dogs can't play"] * 3
    assert shown("words", "我们在图书馆学习", texts) == ["我们", "在", "图书馆", "学习"]
    assert shown("words", "the dogs can't", texts) == ["the", " dogs", " can't"]
    assert shown("words", "the dog", texts) == ["the", UNKNOWN], "no part of a known word"
    assert shown("words", "图们", texts) == ["图", "们"], "a Chinese word that is not known falls into its characters"
    assert shown("words", "书龘", texts) == ["书", UNKNOWN]


def test_a_rare_word_is_unknown_below_the_threshold():
    texts = ["cat"] * 3 + ["dog"] * 2
    assert shown("words", "dog", texts, min_frequency=2) == ["dog"]
    assert shown("words", "dog", texts, min_frequency=3) == [UNKNOWN]
    assert shown("words", "cat", texts, min_frequency=3) == ["cat"]


def test_pieces_of_words_and_their_limits():
    texts = ["playing played player"] * 9 + ["学习"] * 9
    pieces = shown("wordpiece", "player", texts)
    assert "".join(pieces) == "player"
    assert len(pieces) < 6
    assert shown("wordpiece", "学习", texts) == ["学", "习"]
    for kind in ("wordpiece", "unigram"):
        assert max(map(len, shown(kind, "player", texts, max_token_length=3))) <= 3
    assert shown("unigram", "player", texts, max_token_length=15)[0].startswith("play")


def test_rare_characters_are_spelt_in_bytes():
    texts = ["aaab"]
    assert shown("characters", "ab", texts) == ["a", "b"]
    tokenizer = train(texts, vocabulary_size=400, kind="characters")
    assert [tokenizer.backend.id_to_token(id) for id in tokenizer.encode("ab")] == ["a", "<0x62>"]
    assert tokenizer.size == 8 + 256 + 1


# ---- extension ----


def test_an_extended_vocabulary_keeps_every_old_id(kind):
    old = learnt(kind, 420)
    new = extend(old, NEW, vocabulary_size=old.size + 30)
    assert old.size < new.size <= old.size + 30
    for id in range(old.size):
        assert new.backend.id_to_token(id) == old.backend.id_to_token(id)
        assert new.bytes_of(id) == old.bytes_of(id)
    assert new.special == old.special
    assert new.settings == old.settings
    assert new.unknown_id == old.unknown_id
    for text in [*HARD, *NEW, *random_texts(200, seed=5)]:
        ids = new.encode(text)
        if new.unknown_id not in ids:
            assert new.decode(ids) == text
    assert len(new.encode(NEW[0])) < len(old.encode(NEW[0])) or kind in ("words", "wordpiece")
    assert any(id >= old.size for id in new.encode(NEW[0]))


def test_an_extended_vocabulary_is_saved_and_read_by_transformers(kind, tmp_path):
    from transformers import AutoTokenizer

    new = extend(learnt(kind, 420), NEW, vocabulary_size=460)
    new.save(tmp_path)
    texts = [*NEW, *random_texts(100, seed=6)]
    assert Tokenizer.load(tmp_path).encode_batch(texts) == new.encode_batch(texts)
    assert AutoTokenizer.from_pretrained(tmp_path)(texts)["input_ids"] == new.encode_batch(texts)


def test_new_scores_of_a_unigram_are_on_the_scale_of_the_old_ones():
    """A token is likelier in a short text than in a long one; the tokens of both tell by how much."""
    old = learnt("unigram", 420)
    fresh = train(NEW, vocabulary_size=old.size + 460, min_frequency=2, max_token_length=15, kind="unigram")
    new = extend(old, NEW, vocabulary_size=460)
    scores = [dict(json.loads(one.backend.to_str())["model"]["vocab"]) for one in (old, fresh, new)]
    both = set(scores[0]) & set(scores[1]) - set(KINDS["unigram"].reserved)
    added = set(scores[2]) - set(scores[0])
    assert len(both) > 3
    assert added
    wanted = sorted(scores[0][name] - scores[1][name] for name in both)[len(both) // 2]
    assert all(scores[2][name] - scores[1][name] == pytest.approx(wanted) for name in added)
    assert all(scores[2][name] == scores[0][name] for name in scores[0])


def test_new_merges_keep_to_the_limits_and_come_after_the_old_ones():
    old = learnt("bpe", 400)
    new = extend(old, NEW, vocabulary_size=440, max_token_length=6)
    assert max(len(new.bytes_of(id)) for id in range(old.size, new.size)) <= 6
    merges = [json.loads(one.backend.to_str())["model"]["merges"] for one in (old, new)]
    assert merges[1][: len(merges[0])] == merges[0]
    assert extend(old, ["zyxq"], vocabulary_size=440).size == old.size, "a pair that occurs once is no token"


def test_what_cannot_be_extended_is_said(monkeypatch):
    with pytest.raises(UserError, match="no room for new tokens"):
        extend(learnt("bpe", 400), NEW, vocabulary_size=400)
    monkeypatch.setattr(extending, "_is_extensible", lambda *_: False)
    with pytest.raises(UserError, match="cannot be extended"):
        extend(learnt("bpe", 400), NEW, vocabulary_size=440)
