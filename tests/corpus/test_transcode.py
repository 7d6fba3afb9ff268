"""Any file comes out as UTF-8, line by line; what nothing explains stays what it is, and costs no neighbour."""

import codecs
import json
import random
from collections import Counter

import pytest

from danlu.corpus import transcode
from danlu.corpus.streams import StreamDamaged
from danlu.corpus.transcode import AsUtf8
from tests.corpus.test_encodings import FRENCH, JAPANESE, RUSSIAN, SIMPLIFIED, TRADITIONAL
from tests.corpus.written import samples

WORDS = {"utf-8": SIMPLIFIED, "gb18030": SIMPLIFIED, "big5": TRADITIONAL, "shift_jis": JAPANESE, "cp1252": FRENCH}


def read(data, step=1 << 16):
    """`(text, the reader)`; the bytes arrive in steps."""
    reader = AsUtf8(data[start : start + step] for start in range(0, len(data), step))
    return b"".join(reader).decode("utf-8", "replace"), reader


def lines_of(name, count, first=0):
    encoded = (f"{number} {WORDS[name]}\n" for number in range(first, first + count))
    return [line.encode(name) for line in encoded]


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8"),
        ("plain ASCII", "ascii", "utf-8"),
        ("", "ascii", "utf-8"),
        (SIMPLIFIED, "utf-16", "utf-16-le"),
        (SIMPLIFIED, "utf-32", "utf-32-le"),
        (FRENCH, "utf-16-le", "utf-16-le"),
        (FRENCH, "utf-16-be", "utf-16-be"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (TRADITIONAL, "big5", "big5hkscs"),
        (JAPANESE, "shift_jis", "shift_jis"),
        (FRENCH, "cp1252", "cp1252"),
        (RUSSIAN * 3, "cp1251", "cp1251"),
    ],
)
def test_a_file_in_one_encoding_is_read(text, encoding, name, step):
    found, reader = read(text.encode(encoding), step)
    assert found == text
    assert reader.encoding == name
    assert reader.refused_bytes == 0


@pytest.mark.parametrize("bad", [b'{"text":"\xff\xfe\xfd bad"}', b"one \x81 of them", b"don\xe2\x80t", b"\xc3("])
def test_one_bad_line_among_ascii_is_marked_and_nothing_else(bad):
    good = [b'{"text":"The furnace stood at the edge of the village. %d"}\n' % number for number in range(1000)]
    found, reader = read(b"".join([*good[:500], bad + b"\n", *good[500:]]))
    lines = found.splitlines(keepends=True)
    assert "\ufffd" in lines.pop(500)
    assert "".join(lines).encode() == b"".join(good)
    assert reader.refused_bytes == 0


def test_a_line_of_utf8_in_a_file_of_gbk_is_no_mojibake():
    inserts = ["The word 你好 means hello in Chinese.", "He likes the café.", "只有 UTF-8 的一行，也不短。"]
    data = lines_of("gb18030", 9) + [f"{one}\n".encode() for one in inserts] + lines_of("gb18030", 9)
    found, reader = read(b"".join(data))
    assert found.splitlines()[9:12] == inserts
    assert reader.encoding == "gb18030, utf-8"


@pytest.mark.parametrize("split", [str.splitlines, str.split])
def test_lines_of_an_alphabet_tell_together(split):
    text = "".join(f"{piece}\n" for number in range(3000) for piece in split(f"{number} {RUSSIAN}"))
    assert len(text) > transcode.WINDOW_BYTES
    found, reader = read(text.encode("cp1251"))
    assert found == text
    assert reader.encoding == "cp1251"


def test_words_of_utf8_within_a_line_of_gbk():
    line = "老人坐在树下喝茶，说起 ".encode("gbk") + "你好".encode() + " 这个词，孩子们都笑了。".encode("gbk")
    assert read(line)[0] == "老人坐在树下喝茶，说起 你好 这个词，孩子们都笑了。"


def test_words_of_utf8_right_in_the_middle_of_gbk_are_marked():
    line = "老人坐在树下喝茶，说起".encode("gbk") + "你好朋友".encode() + "这个词，孩子们都笑了。".encode("gbk")
    assert read(line)[1].refused_bytes == len(line)
    found = read(b"".join([*lines_of("gb18030", 3), line + b"\n", *lines_of("gb18030", 3)]))[0].splitlines()
    assert ["\ufffd" in one for one in found] == [False] * 3 + [True] + [False] * 3


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_an_encoding_that_changes_far_behind_the_beginning(step):
    data = b"".join(line for name in ("gb18030", "utf-8", "big5", "gb18030") for line in lines_of(name, 3000))
    assert len(data) > 4 * transcode.WINDOW_BYTES
    found, reader = read(data, step)
    expected = "".join(f"{n} {WORDS[e]}\n" for e in ("gb18030", "utf-8", "big5", "gb18030") for n in range(3000))
    assert found == expected
    assert reader.encoding == "gb18030, utf-8, big5hkscs"


def test_memory_holds_a_window(monkeypatch):
    monkeypatch.setattr(transcode, "WINDOW_BYTES", 1 << 12)
    held = []

    def stream():
        for line in lines_of("gb18030", 2000):
            held.append(len(reader._held))
            yield line

    reader = AsUtf8(stream())
    assert len(b"".join(reader).splitlines()) == 2000
    assert max(held) < 1 << 13


@pytest.mark.parametrize("name", WORDS)
def test_a_line_longer_than_a_window_without_any_ascii(monkeypatch, name):
    monkeypatch.setattr(transcode, "WINDOW_BYTES", 1 << 10)
    text = WORDS[name] * 100
    if name != "cp1252":
        text = "".join(character for character in text if not character.isascii())
    assert read(text.encode(name))[0] == text


@pytest.mark.parametrize("names", [("utf-8", "gb18030"), ("utf-8", "gb18030", "big5", "shift_jis")])
def test_strings_of_one_line_may_be_in_several_encodings(names):
    rows = [{"text": f"{number} {WORDS[name]}"} for number, name in enumerate(names * 10)]
    encoded = [json.dumps(row, ensure_ascii=False).encode(name) for row, name in zip(rows, names * 10, strict=True)]
    assert json.loads(read(b"[" + b", ".join(encoded) + b"]")[0]) == rows


@pytest.mark.parametrize("size_bytes", [60, 200])
def test_lines_of_seven_kinds_are_read_right_or_marked(size_bytes):
    kinds = [
        *(("simplified", "utf-8"), ("simplified", "gb18030"), ("traditional", "big5"), ("japanese", "shift_jis")),
        *(("with Chinese words", "gb18030"), ("with Chinese words", "utf-8"), ("english", "utf-8")),
    ]
    pool = [(text, encoding) for name, encoding in kinds for text in samples(name, encoding, 100, size_bytes)]
    random.Random(0).shuffle(pool)
    found = read(b"\n".join(text.encode(encoding) for text, encoding in pool))[0].split("\n")
    counts = Counter(
        "right" if line == text else "marked" if "\ufffd" in line else "wrong"
        for (text, _), line in zip(pool, found, strict=True)
    )
    assert counts["right"] >= 0.99 * len(pool), counts
    assert counts["wrong"] <= 0.01 * len(pool), counts


def test_a_mark_that_the_text_denies_is_bad_bytes():
    text = b"The furnace stood at the edge of the village.\n"
    found, reader = read(codecs.BOM_UTF16_LE + text * 3)
    assert found == "\ufffd\ufffd" + text.decode() * 3
    assert reader.encoding == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_what_another_hand_added_to_utf16_is_read_for_itself(encoding, end):
    wide, added = f"{SIMPLIFIED}\n{FRENCH}{end}", "A line of another program, which wrote ASCII.\n" * 20
    assert read(wide.encode(encoding) + added.encode())[0] == wide + added
    long = f"{SIMPLIFIED}\n" * 5000
    assert read(long.encode(encoding) + added.encode())[0] == long + added


def test_noise_is_kept_back_and_counted_and_what_follows_is_read():
    draw = random.Random(1)
    noise = bytes(draw.randrange(128, 256) for _ in range(3 * transcode.WINDOW_BYTES))
    found, reader = read(noise)
    assert (found, reader.encoding, reader.refused_bytes) == ("", "", len(noise))
    assert noise.startswith(reader.refused)
    text = "".join(f"{number} {SIMPLIFIED}\n" for number in range(20_000))
    found, reader = read(noise + b"\n" + text.encode())
    assert found.endswith(text[-(1 << 20) :])
    assert reader.refused_bytes >= 2 * transcode.WINDOW_BYTES


@pytest.mark.parametrize("before", [b"", SIMPLIFIED.encode("gbk"), SIMPLIFIED.encode("utf-16")])
def test_damage_comes_behind_what_stood_before_it(before):
    def stream():
        yield before
        raise StreamDamaged("damaged_file", "cut off")

    reader, found = AsUtf8(stream()), []
    with pytest.raises(StreamDamaged):
        found.extend(reader)
    assert b"".join(found).decode() == (SIMPLIFIED if before else "")
