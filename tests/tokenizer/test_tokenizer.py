"""The tokenizer: exact round trips, foreign vocabularies with their golden ids, files that transformers reads."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import ArtifactError, DataError, UserError
from danlu.tokenizer.bytetable import byte_alphabet
from danlu.tokenizer.tokenizer import CONTROL_TOKENS, LONGEST_SPACE, PRE_TOKENIZER_NAME, SPLIT_PATTERN, Tokenizer
from tests.small import EMOJI, ODDITIES, random_texts, small_tokenizer

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "models"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside the repository")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def test_control_tokens_have_the_first_ids(tokenizer):
    assert [tokenizer.special[token] for token in CONTROL_TOKENS] == list(range(8))
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_id) == (0, 1, 2, 7)
    assert tokenizer.stop_ids == {2, 7}
    assert tokenizer.pad_id not in tokenizer.stop_ids


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "\r\n\r\n", "é", "e\u0301", "\x00", "　", EMOJI, ODDITIES, "中" * 5000]
)
def test_round_trip_of_empty_odd_and_long_texts(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_round_trip_of_any_text(text):
    tokenizer = small_tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(id >= len(CONTROL_TOKENS) for id in ids)


def test_batch_equals_single(tokenizer):
    texts = random_texts(200)
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize("space", [" ", "\n", "\u3000"])
def test_a_million_blanks_are_encoded(tokenizer, space):
    """The library's splitting panics on them, which is no exception that a server could answer."""
    text = f"a{space * 1_000_000}b"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text, "c"]) == [ids, tokenizer.encode("c")]
    assert tokenizer.encode_run([text]).ids.tolist() == ids
    assert tokenizer.encode_rendered(text) == ids
    just = f"a{space * LONGEST_SPACE}b"
    assert tokenizer.encode(just) == tokenizer.backend.encode(just, add_special_tokens=False).ids, "no cut before it"


def test_digits_are_single_tokens_and_names_split_as_in_qwen2(tokenizer):
    assert [tokenizer.token_text(id) for id in tokenizer.encode("2024")] == ["2", "0", "2", "4"]
    assert PRE_TOKENIZER_NAME == "qwen2"
    assert r"\p{N}|" in SPLIT_PATTERN


def test_a_lone_surrogate_is_named(tokenizer):
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch(["good", text])):
        with pytest.raises(DataError, match="lone surrogate at character 2"):
            encode("ab\ud800")


def test_control_tokens_are_left_out_of_text_unless_asked_for(tokenizer):
    ids = [1, *tokenizer.encode("hi"), 7]
    assert tokenizer.decode(ids) == "hi"
    assert tokenizer.decode(ids, keep_special=True) == "<|bos|>hi<|end|>"


def test_a_part_of_a_character_is_shown_as_its_bytes(tokenizer):
    first = tokenizer.encode_bytes("龘".encode()[:1])
    assert tokenizer.token_text(first[0]) == "\\xe9"
    assert tokenizer.token_text(7) == "<|end|>"


def test_fingerprint_follows_the_vocabulary(tokenizer):
    assert small_tokenizer.__wrapped__().fingerprint == tokenizer.fingerprint  # trained a second time
    assert small_tokenizer(400).fingerprint != tokenizer.fingerprint


def test_save_and_load_give_the_same_tokenizer(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.settings == tokenizer.settings
        assert loaded.encode("hello <|end|>") == tokenizer.encode("hello <|end|>")
    names = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_truncation_and_padding_of_a_foreign_file_are_switched_off(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer.json").read_text())
    settings["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    settings["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|pad|>",
    }
    settings["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    text = "the quick brown fox jumps over the lazy dog"
    assert Tokenizer.load(tmp_path).encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no tokenizer here"), ("{", "cannot be read"), ('{"version": "1.0"}', "cannot be read")],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{"])
def test_a_damaged_config_is_named(tokenizer, tmp_path, content):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ArtifactError, match="JSON"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_without_bytes_is_refused(tmp_path):
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models

    backend = Backend(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="not supported"):
        Tokenizer.load(tmp_path)


def test_byte_alphabet_is_the_librarys():
    from tokenizers import pre_tokenizers

    alphabet = byte_alphabet()
    assert sorted(alphabet) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))


# ---- streaming ----


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = tokenizer.stream()
    return [*(stream.push(id) for id in ids), stream.finish()]


def test_stream_equals_decode_and_never_cuts_a_character(tokenizer):
    for text in [EMOJI, *random_texts(300)]:
        pieces = streamed(tokenizer, tokenizer.encode(text))
        assert "".join(pieces) == text
        assert not any("�" in piece for piece in pieces)


@given(st.lists(st.integers(0, 511), max_size=40))
@settings(max_examples=150, deadline=None)
def test_stream_equals_decode_on_ids_that_are_no_text(ids):
    tokenizer = small_tokenizer()
    ids = [id for id in ids if id < tokenizer.size]
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)
    assert tokenizer.decode(ids) == tokenizer.backend.decode(ids, skip_special_tokens=True)


def test_stream_gives_a_character_with_its_last_byte(tokenizer):
    ids = tokenizer.encode_bytes("龘".encode())
    assert streamed(tokenizer, ids) == [*[""] * (len(ids) - 1), "龘", ""]
    assert "".join(streamed(tokenizer, ids[:-1])) == "�"


# ---- foreign tokenizers ----


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Load one of the shared tokenizers by name; the compressed one is unpacked first."""

    def load(name: str) -> tuple[Tokenizer, list[dict]]:
        source = SHARED / "tokenizers" / name
        folder = tmp_path_factory.mktemp(name)
        for path in source.iterdir():
            if path.suffix == ".gz":
                (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
            else:
                shutil.copyfile(path, folder / path.name)
        return Tokenizer.load(folder), json.loads((source / "golden.json").read_text("utf-8"))["cases"]

    return load


@needs_shared
@pytest.mark.parametrize(
    ("name", "size", "eos", "end"),
    [
        ("gpt2", 50257, "<|endoftext|>", None),
        ("minimind", 6400, "<|endoftext|>", "<|im_end|>"),
        ("qwen3", 151669, "<|endoftext|>", "<|im_end|>"),
    ],
)
def test_foreign_tokenizers_give_their_golden_ids(foreign, name, size, eos, end):
    tokenizer, cases = foreign(name)
    assert len(cases) == 16
    for case in cases:
        ids = tokenizer.encode_rendered(case["text"]) if name != "gpt2" else tokenizer.encode(case["text"])
        assert ids == case["ids"], case["text"]
        assert tokenizer.decode(ids, keep_special=True) == case["text"]
        assert "".join(streamed(tokenizer, tokenizer.encode(case["text"]))) == case["text"]
    assert tokenizer.size == size
    assert tokenizer.eos_id == tokenizer.special[eos]
    assert tokenizer.end_id == (tokenizer.special[end] if end else None)
    assert tokenizer.pad_id not in tokenizer.stop_ids
    spelled = tokenizer.encode(" ".join(tokenizer.special))
    assert not set(spelled) & set(tokenizer.special.values())


@needs_shared
def test_a_saved_foreign_tokenizer_keeps_ids_and_template(foreign, tmp_path):
    tokenizer, cases = foreign("minimind")
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.settings["chat_template"] == tokenizer.settings["chat_template"]
    assert [again.encode_rendered(case["text"]) for case in cases] == [case["ids"] for case in cases]
    plain = (tmp_path / "tokenizer.json").read_text("utf-8")
    tokenizer.save(tmp_path, context_length=64)
    assert (tmp_path / "tokenizer.json").read_text("utf-8") == plain, "how its texts begin is for its makers to say"


@needs_shared
def test_sentence_piece_tokenizer_of_a_real_model():
    tokenizer = Tokenizer.load(SHARED / "stories260k")
    cases = json.loads((SHARED / "stories260k" / "golden.json").read_text("utf-8"))["tokenise"]
    for case in cases:
        assert [tokenizer.bos_id, *tokenizer.encode(case["text"])] == case["ids"]
        assert tokenizer.decode(case["ids"]) == case["text"]
        assert "".join(streamed(tokenizer, case["ids"])) == case["text"]
    assert (tokenizer.size, tokenizer.eos_id, tokenizer.end_id, tokenizer.pad_id) == (512, 2, None, None)
    for text in ["Émile saw 中国 😀", " two  spaces", ""]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert "".join(streamed(tokenizer, tokenizer.encode(text))) == text
