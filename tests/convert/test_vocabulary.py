"""Models and vocabularies: rows of new tokens, old rows bit for bit, another tokenizer refused; word vectors."""

from __future__ import annotations

import gzip

import pytest
import torch
import zstandard

from danlu import convert
from danlu.base.errors import ArtifactError, ConfigError, DataError
from danlu.convert.vocabulary import fitted, write_word_vectors
from danlu.model.initialise import initialise
from danlu.model.transformer import Transformer
from danlu.tokenizer.extend import extend
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import train
from tests import tiny

NEW = ["苹果公司发布了新的手机，机器学习很有用。Transformer models learn embeddings. " * 3] * 3
TEXT = ["The cat sat. the cat ran 学习 学习 中文"] * 3


@pytest.mark.parametrize("tied", [False, True])
def test_old_rows_are_kept_bit_for_bit_and_new_ones_are_means(tmp_path, tied):
    loaded = convert.load(tiny.folder(tmp_path / "model", tied=tied))
    old = loaded.tokenizer
    longer = extend(old, NEW, vocabulary_size=old.size + 60)
    model = fitted(loaded, longer)
    assert model.config.vocabulary_size == 512 >= longer.size, "a multiple of 64"
    matrices = [(loaded.model.embedding.weight, model.embedding.weight)]
    matrices += [] if tied else [(loaded.model.output.weight, model.output.weight)]
    for before, after in matrices:
        assert torch.equal(after[: old.size], before[: old.size])
        for id in range(old.size, longer.size):
            parts = old.encode_bytes(longer.bytes_of(id))
            assert len(parts) > 1
            assert torch.allclose(after[id], before[parts].mean(dim=0), atol=1e-6)
        mean = before[: old.size].mean(dim=0)
        assert torch.allclose(after[longer.size :], mean.expand(512 - longer.size, -1), atol=1e-6)
    for name, weight in loaded.model.named_parameters():
        if name not in ("embedding.weight", "output.weight"):
            assert torch.equal(dict(model.named_parameters())[name], weight), name
    ids = torch.tensor([old.encode("the teacher")])
    with torch.no_grad():
        logits = [one.head(one(ids))[..., : old.size] for one in (loaded.model, model)]
    assert torch.equal(*logits), "to the old tokens the model says what it said"


def test_the_models_own_tokenizer_changes_nothing(tmp_path):
    loaded = convert.load(tiny.folder(tmp_path / "model"))
    assert fitted(loaded, Tokenizer.load(tmp_path / "model")) is loaded.model


def test_another_tokenizer_is_refused(tmp_path):
    loaded = convert.load(tiny.folder(tmp_path / "model"))
    with pytest.raises(ArtifactError, match="no extension of it"):
        fitted(loaded, train(NEW, vocabulary_size=400))
    shorter = train(tiny.LINES * 4, vocabulary_size=300)
    with pytest.raises(ArtifactError, match="token 300"):
        fitted(loaded, shorter)


def test_a_model_without_a_tokenizer_must_have_the_rows(tmp_path):
    tiny.folder(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    loaded = convert.load(tmp_path / "model")
    assert fitted(loaded, tiny.tokenizer()) is loaded.model
    with pytest.raises(ArtifactError, match="fewer rows"):
        fitted(loaded, extend(tiny.tokenizer(), NEW, vocabulary_size=460))


# ---- word vectors ----


@pytest.fixture
def words() -> Tokenizer:
    return train(TEXT, vocabulary_size=300, kind="words")


@pytest.fixture
def model() -> Transformer:
    made = Transformer(tiny.config(width=4, heads=1, kv_heads=1, head_width=4))
    initialise(made, 0)
    return made


VECTORS = "the 1 2 3 4\n. . . 9 9 9 9\ncat -0.5 0 1e-3 2\n学习 4 3 2 1\nabsent 0 0 0 0\n"


@pytest.mark.parametrize("header", ["", "5 4\n"])
@pytest.mark.parametrize("ending", [".txt", ".gz", ".zst"])
def test_vectors_are_written_and_the_others_stay_seeded(words, model, tmp_path, header, ending):
    data = (header + VECTORS).encode()
    packed = {".txt": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[ending]
    (tmp_path / f"vectors{ending}").write_bytes(packed)
    before = model.embedding.weight.clone()
    covered = write_word_vectors(model, words, tmp_path / f"vectors{ending}")
    ids = {words.token_text(id): id for id in range(words.size)}
    scale = model.embedding.weight[ids["The"], 0].item()
    scaled = (model.embedding.weight.detach() / scale).double()
    rows = {text: [round(value, 4) for value in scaled[id].tolist()] for text, id in ids.items()}
    assert rows["The"] == rows[" the"] == [1, 2, 3, 4], "with and without a space, and in lower case"
    assert rows[" cat"] == [-0.5, 0, 1e-3, 2]
    assert rows["学习"] == [4, 3, 2, 1]
    changed = (model.embedding.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert {words.token_text(id).strip().lower() for id in changed} == {"the", "cat", "学习"}
    assert covered.found == len(changed)
    assert covered.words == sum(bool(words.token_text(id).strip()) for id in range(10, words.size))
    assert 0 < covered.share < 1


def test_vectors_get_the_length_of_the_seeded_rows(words, model, tmp_path):
    """At first the model says of no word more than of another, also where the head is tied."""
    (tmp_path / "vectors.txt").write_text("the 10 20 30 40\ncat -50 0 0 20\n学习 40 30 20 10\n")
    before = model.embedding.weight.clone()
    write_word_vectors(model, words, tmp_path / "vectors.txt")
    changed = (model.embedding.weight != before).any(dim=1)
    lengths, seeded = model.embedding.weight[changed].detach().norm(dim=1), before[: words.size].detach().norm(dim=1)
    assert lengths.mean().item() == pytest.approx(seeded.mean().item(), rel=1e-5)
    assert lengths.max() / lengths.min() == pytest.approx(54.772 / 53.852, rel=1e-3), "one factor for all"


@pytest.mark.parametrize(
    "content", [VECTORS + "\n", VECTORS + "\n\n", "\n" + VECTORS, VECTORS.replace("\n", "\r\n") + "\r\n"]
)
def test_empty_lines_are_no_words(words, model, tmp_path, content):
    (tmp_path / "vectors.txt").write_bytes(content.encode())
    assert write_word_vectors(model, words, tmp_path / "vectors.txt").found > 0


def test_vectors_of_nothing_but_zeros_stay_zeros(words, model, tmp_path):
    (tmp_path / "vectors.txt").write_text("the 0 0 0 0\n")
    write_word_vectors(model, words, tmp_path / "vectors.txt")
    assert model.embedding.weight.isfinite().all()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("the 1 2 3\ncat 1 2 3\n", ConfigError, "3 numbers for a word, and the model's width is 4"),
        ("7 300\nthe 1 2\n", ConfigError, "300 numbers"),
        ("x 1 2 3 4\nthe 1 2 x 4\n", DataError, "line 2"),
        ("x 1 2 3 4\nthe 1 2 nan 4\n", DataError, "line 2"),
        ("x 1 2 3 4\ny 1 2 3 4\nthe 1 2\n", ConfigError, "2 numbers"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(words, model, tmp_path, content, error, message):
    (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(error, match=message):
        write_word_vectors(model, words, tmp_path / "vectors.txt")


def test_a_torn_file_and_another_kind_are_named(words, model, tmp_path):
    for name, pack in (("vectors.gz", gzip.compress), ("vectors.zst", zstandard.compress)):
        (tmp_path / name).write_bytes(pack(VECTORS.encode() * 500)[:-4])
        with pytest.raises(DataError, match="cannot be read"):
            write_word_vectors(model, words, tmp_path / name)
    with pytest.raises(ConfigError, match="vocabulary of words"):
        write_word_vectors(model, tiny.tokenizer(), tmp_path / "vectors.gz")
