"""Encodings are found on short samples, or refused with a reason; never guessed."""

import gzip
import json
import random
from pathlib import Path

import pytest

from danlu.corpus.encodings import as_utf8, decide

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "pretrain" / "zh"
SIMPLIFIED = "春天到了，孩子们在河边放风筝。老人坐在树下喝茶，说起从前的故事。他们都知道，明天还会是一个好天气。"
TRADITIONAL = "春天到了，孩子們在河邊放風箏。老人坐在樹下喝茶，說起從前的故事。他們都知道，明天還會是一個好天氣。"
JAPANESE = "春になると、子どもたちは川のそばで凧をあげます。おじいさんは木の下でお茶を飲みながら、昔の話をします。"
RUSSIAN = "Весной дети запускают змеев у реки, а старики сидят под деревом, пьют чай и рассказывают старые истории."
FRENCH = (
    "Au printemps, les élèves jouent près de la rivière ; le café est déjà fermé, et la forêt paraît très éloignée."
)


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"),
        ("plain ASCII", "ascii", "utf-8"),
        (SIMPLIFIED, "utf-8-sig", "utf-8-sig"),
        (SIMPLIFIED, "utf-16", "utf-16"),
        (SIMPLIFIED, "utf-32", "utf-32"),
        (FRENCH, "utf-16-le", "utf-16-le"),
        (FRENCH, "utf-16-be", "utf-16-be"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (SIMPLIFIED, "gb18030", "gb18030"),
        (TRADITIONAL, "gbk", "gb18030"),
        (TRADITIONAL, "big5", "big5hkscs"),
        (JAPANESE, "shift_jis", "shift_jis"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (FRENCH, "cp1252", "cp1252"),
    ],
)
def test_each_encoding_is_found_and_read(text, encoding, name):
    data = text.encode(encoding)
    found = decide(data)
    assert found.name == name, found.reason
    pieces = [data[start : start + 7] for start in range(0, len(data), 7)]  # cuts characters in two
    assert b"".join(as_utf8(pieces, found.name)).decode() == text


def test_russian_is_proposed_by_letter_profile_and_taken():
    found = decide((RUSSIAN * 3).encode("cp1251"))
    assert found.name is None or (RUSSIAN * 3).encode("cp1251").decode(found.name) == RUSSIAN * 3


def test_noise_is_refused_with_a_reason():
    noise = bytes(random.Random(0).randrange(128, 256) for _ in range(400))
    found = decide(noise)
    assert found.name is None
    assert found.reason


def test_utf8_with_some_damage_stays_utf8():
    data = (SIMPLIFIED + "\n").encode() * 5
    damaged = data[:100] + b"\xff" + data[100:]
    assert decide(damaged).name == "utf-8"


def test_a_character_cut_at_the_end_of_the_sample_is_no_damage():
    data = SIMPLIFIED.encode()
    assert {decide(data[: len(data) - cut]).reason for cut in range(6)} == {"valid UTF-8"}


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5hkscs"])
def test_99_of_100_real_samples_of_200_bytes_are_right(encoding):
    file = SHARED / ("gutenberg_trad.jsonl.gz" if encoding == "big5hkscs" else "laws.jsonl.gz")
    if not file.exists():
        pytest.skip("shared data are not here")
    draw = random.Random(1)
    right = wrong = 0
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        for line, _ in zip(opened, range(400), strict=False):
            text = json.loads(line)["text"]
            start = draw.randrange(max(1, len(text) - 200))
            sample = text[start : start + 200].encode(encoding, "ignore")[:200]
            found = decide(sample).name
            right += found == encoding
            wrong += found not in (encoding, None)
    assert right >= 0.99 * (right + wrong)
    assert right >= 396
