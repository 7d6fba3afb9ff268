"""Encodings are told on short pieces, or not at all; never guessed."""

import codecs
import random

import pytest

from danlu.corpus.encodings import (
    certain_encoding,
    common_encoding,
    encoding_of_neighbours,
    fits_wide,
    utf8_runs,
    whole_characters,
    wide_encoding,
)

SIMPLIFIED = "春天到了，孩子们在河边放风筝。老人坐在树下喝茶，说起从前的故事。他们都知道，明天还会是一个好天气。"
TRADITIONAL = "春天到了，孩子們在河邊放風箏。老人坐在樹下喝茶，說起從前的故事。他們都知道，明天還會是一個好天氣。"
JAPANESE = "春になると、子どもたちは川のそばで凧をあげます。おじいさんは木の下でお茶を飲みながら、昔の話をします。"
KOREAN = "봄이 오면 아이들은 강가에서 연을 날립니다. 할아버지는 나무 아래에 앉아 차를 마시며 옛날이야기를 합니다."
RUSSIAN = "Весной дети запускают змеев у реки, а старики сидят под деревом, пьют чай и рассказывают старые истории."
FRENCH = (
    "Au printemps, les élèves jouent près de la rivière ; le café est déjà fermé, et la forêt paraît très éloignée."
)


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        ("plain ASCII", "ascii", "utf-8"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (TRADITIONAL, "gbk", "gb18030"),
        (TRADITIONAL, "big5", "big5hkscs"),
        (JAPANESE, "shift_jis", "shift_jis"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (KOREAN, "euc_kr", "euc_kr"),
        (FRENCH, "cp1252", "cp1252"),
    ],
)
def test_a_line_tells_its_encoding(text, encoding, name):
    assert certain_encoding(text.encode(encoding)) == name


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [SIMPLIFIED, TRADITIONAL, JAPANESE, KOREAN, RUSSIAN, FRENCH, "水" * 20 + "。\n", ""])
def test_a_mark_is_believed_where_the_text_agrees(encoding, text):
    mark = "\ufeff".encode(encoding)
    assert wide_encoding(mark + text.encode(encoding)) == (encoding, len(mark))


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE])
@pytest.mark.parametrize(
    "data",
    [b"The furnace stood at the edge of the village.", SIMPLIFIED.encode(), SIMPLIFIED.encode("gbk"), b'{"text":"ab"}'],
)
def test_a_mark_before_other_text_is_none(mark, data):
    assert wide_encoding(mark + data) is None


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [SIMPLIFIED, JAPANESE, FRENCH, f'{{"text": "{KOREAN}"}}\n'])
def test_without_a_mark_utf16_is_told_by_zeros_or_by_its_characters(encoding, text):
    assert wide_encoding(text.encode(encoding)) == (encoding, 0)


@pytest.mark.parametrize("text", [SIMPLIFIED, TRADITIONAL, JAPANESE, KOREAN, FRENCH, ""])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_other_text_is_no_utf16(text, encoding):
    assert wide_encoding(text.encode(encoding)) is None


def test_noise_is_nothing():
    noise = bytes(random.Random(0).randrange(128, 256) for _ in range(400))
    assert wide_encoding(noise) is certain_encoding(noise) is common_encoding([noise]) is None
    assert not fits_wide(noise, "utf-16-le")


def test_russian_is_proposed_by_letter_profile_and_taken():
    name = common_encoding([(RUSSIAN * 3).encode("cp1251")])
    assert name is not None
    assert (RUSSIAN * 3).encode("cp1251").decode(name) == RUSSIAN * 3


def test_utf8_with_some_damage_is_utf8():
    data = (SIMPLIFIED + "\n").encode() * 5
    assert certain_encoding(data[:100] + b"\xff" + data[100:]) == "utf-8"
    assert certain_encoding(data[:100] + b"\xff" + data[100:], likely="gb18030") == "utf-8"


@pytest.mark.parametrize("cut", [b"don\xe2\x80t", b"don\xe2\x80", b"caf\xc3\xa9 and don\xe2\x80t"])
def test_a_character_of_utf8_that_was_cut_is_no_western_text(cut):
    line = b"We said that the furnace was cold and that nobody " + cut + b" care about the wood in the yard.\n"
    assert certain_encoding(line) in (None, "utf-8")
    assert encoding_of_neighbours(line, {"cp1252"}) is None
    assert encoding_of_neighbours(line, {"gb18030"}) is None


def test_utf8_among_lines_in_gbk_stays_utf8():
    for text in ('{"text":"The word 你好 means hello in Chinese."}', "他说：你好", "the café", "日本の"):
        assert certain_encoding(text.encode(), likely="gb18030") == "utf-8", text


def test_chinese_in_gbk_that_happens_to_be_utf8_is_read_as_its_neighbours_are():
    for text in ("什么", '{"text": "没"}'):
        data = text.encode("gbk")
        assert data.decode()  # ʲô
        assert certain_encoding(data, likely="gb18030") is None
        assert encoding_of_neighbours(data, {"gb18030"}) == "gb18030"


def test_few_characters_are_read_in_the_one_encoding_around_that_gives_text():
    assert certain_encoding("分词".encode("gbk")) is None
    assert encoding_of_neighbours("分词".encode("gbk"), {"gb18030", "big5hkscs"}) == "gb18030"
    assert encoding_of_neighbours("，".encode("gbk"), {"gb18030", "big5hkscs"}) == "gb18030"
    assert encoding_of_neighbours("山田太郎".encode("shift_jis"), {"shift_jis"}) == "shift_jis"
    assert encoding_of_neighbours(b"\x81\xff", {"gb18030"}) is None
    assert encoding_of_neighbours(b"abc \xff", ()) is None


def test_many_short_pieces_tell_together():
    pieces = [
        word.encode("gbk") for word in SIMPLIFIED.split("，")[0:1] * 3 + ["河边", "放风", "树下", "茶", "的", "在"]
    ]
    assert common_encoding(pieces) == "gb18030"


def test_words_of_utf8_are_found_among_other_bytes():
    data = "老人在".encode("gbk") + b" say " + "你好".encode() + b" and " + "河边".encode("gbk")
    assert [data[start:end].decode() for start, end in utf8_runs(data)] == ["你好"]
    assert utf8_runs(SIMPLIFIED.encode("gbk")) == []


def test_a_character_that_is_cut_is_left_for_later():
    data = SIMPLIFIED.encode("gb18030")
    assert [whole_characters(data[:size], "gb18030") for size in (4, 5, 6)] == [4, 4, 6]
