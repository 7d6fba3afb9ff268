"""What a model knows of a vocabulary: rows for the tokens of an extended one, and vectors learnt elsewhere.

In: a loaded model and the tokenizer that it shall go on with; or a file of word vectors. Out: a model whose rows fit;
rows written, and how many. Called by the two training stages. Rows of the old tokens are kept bit for bit.
Sources: the text formats of GloVe (https://nlp.stanford.edu/projects/glove/) and word2vec, the latter with a header.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import zstandard

from danlu.base.artifact import BLOCK_BYTES
from danlu.base.errors import ArtifactError, ConfigError, DataError
from danlu.convert.reader import Loaded
from danlu.model.config import padded_rows
from danlu.model.transformer import Transformer
from danlu.model.vocabulary import with_more_rows
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.vocabularies import KINDS, kind_of


def fitted(loaded: Loaded, tokenizer: Tokenizer) -> Transformer:
    """The loaded model for `tokenizer`: as it is where it knows it, with new rows where that is an extension.

    A new token starts from the mean of the old tokens that spell it. ArtifactError where ids have another meaning.
    """
    old = loaded.tokenizer
    if old is None and tokenizer.size > loaded.config.vocabulary_size:
        raise ArtifactError(
            "the model has fewer rows than the tokenizer has tokens, and no tokenizer of its own",
            where=loaded.folder,
            found=f"{tokenizer.size} tokens, {loaded.config.vocabulary_size} rows",
            remedy="put the tokenizer that it was taught with into its folder",
        )
    if old is None or old.fingerprint == tokenizer.fingerprint:
        return loaded.model
    differing = next((id for id in range(old.size) if _meaning(old, id) != _meaning(tokenizer, id)), None)
    if differing is not None:
        found, now = (_meaning(one, differing)[0] for one in (old, tokenizer))
        raise ArtifactError(
            "the model was taught with another tokenizer, and this one is no extension of it",
            where=loaded.folder,
            found=f"token {differing} is {found!r} there and {now!r} here",
            remedy="use its own tokenizer, or one made from it with tokenizer.extend",
        )
    parts = {id: _spelt(old, tokenizer.bytes_of(id)) for id in range(old.size, tokenizer.size)}
    return with_more_rows(loaded.model, old.size, padded_rows(tokenizer.size), parts)


def _meaning(tokenizer: Tokenizer, id: int) -> tuple[str | None, bool]:
    return (tokenizer.backend.id_to_token(id) if id < tokenizer.size else None), id in tokenizer.special_ids


def _spelt(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """The old tokens of a new one; none where the old vocabulary cannot write it."""
    ids = tokenizer.encode_bytes(data)
    return [] if tokenizer.unknown_id in ids else ids


@dataclass(frozen=True)
class Coverage:
    """How many of a vocabulary's words a file of vectors has."""

    found: int
    words: int

    @property
    def share(self) -> float:
        return self.found / self.words if self.words else 0.0


@torch.no_grad()
def write_word_vectors(model: Transformer, tokenizer: Tokenizer, path: Path) -> Coverage:
    """Write the vectors of `path` into the embedding's rows of the same words; the other rows stay as they are.

    A word has one vector with and without the space before it; one that the file has in lower case only gets that.
    All are scaled by one factor, to the mean length of the seeded rows: vectors of GloVe are some fifteen times as
    long, and where the head is tied their logits would drown those of all other words.
    """
    kind = kind_of(json.loads(tokenizer.backend.to_str()))
    if kind != "words":
        raise ConfigError(
            "word vectors are for a vocabulary of words",
            where=path,
            found=f"a tokenizer of kind {kind}",
            remedy="say tokenizer.kind=words, or leave pretrain.embeddings out",
        )
    wanted: dict[str, list[int]] = {}
    for id in range(len(KINDS[kind].reserved), tokenizer.size):
        if word := tokenizer.token_text(id).strip():
            wanted.setdefault(word, []).append(id)
    exact, lowered = _read(path, wanted, model.config.width)
    vectors = {word: exact.get(word, lowered.get(word.lower())) for word in wanted}
    rows = [(id, vector) for word, vector in vectors.items() if vector is not None for id in wanted[word]]
    if rows:
        table = model.embedding.weight
        written = torch.stack([vector for _, vector in rows]).to(table)
        length = written.norm(dim=1).mean()
        seeded = table[: tokenizer.size].norm(dim=1).mean()
        table[[id for id, _ in rows]] = written * (seeded / length if length > 0 else 1.0)
    return Coverage(len(rows), sum(map(len, wanted.values())))


def _read(
    path: Path, wanted: Mapping[str, Sequence[int]], width: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Vectors of wanted words, and those of words in lower case that some wanted word becomes."""
    exact: dict[str, torch.Tensor] = {}
    lowered: dict[str, torch.Tensor] = {}
    lower = {word.lower() for word in wanted}
    is_first = True
    for number, line in enumerate(_lines(path), start=1):
        fields = line.rstrip().split(" ")
        if fields == [""]:
            continue
        if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
            _require_width(int(fields[1]), width, path)
            continue
        if is_first or len(fields) <= width:
            _require_width(len(fields) - 1, width, path)
            is_first = False
        word = " ".join(fields[:-width])  # some files have words with spaces in them
        if word in wanted or word in lower:
            vector = _vector(fields[-width:], path, number)
            if word in wanted:
                exact.setdefault(word, vector)
            if word in lower:
                lowered.setdefault(word, vector)
    return exact, lowered


def _require_width(found: int, width: int, path: Path) -> None:
    if found != width:
        raise ConfigError(
            "the word vectors do not fit the model",
            where=path,
            found=f"{found} numbers for a word, and the model's width is {width}",
            remedy=f"say pretrain.model.width={found} (and heads and head_width that fit), or take another file",
        )


def _vector(fields: Sequence[str], path: Path, number: int) -> torch.Tensor:
    try:
        vector = torch.tensor([float(field) for field in fields])
    except ValueError:
        vector = torch.tensor([float("nan")])
    if not vector.isfinite().all():
        raise DataError("a word vector must be finite numbers", where=f"{path}, line {number}")
    return vector


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, also of a packed one; bytes that are no UTF-8 become U+FFFD, a torn file is an error."""
    rest = b""
    try:
        for block in _blocks(path):
            *lines, rest = (rest + block).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DataError("the word vectors cannot be read", where=path, found=error) from None
    if rest.strip():
        yield rest.decode("utf-8", "replace")


def _blocks(path: Path) -> Iterator[bytes]:
    """A file's bytes, unpacked where its name ends in .gz or .zst."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    frame = zstandard.ZstdDecompressor().decompressobj() if path.suffix.lower() == ".zst" else None
    with opener(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            if frame is None:
                yield block
                continue
            while block:
                frame = zstandard.ZstdDecompressor().decompressobj() if frame.eof else frame
                yield frame.decompress(block)
                block = frame.unused_data
    if frame is not None and not frame.eof:  # the library does not notice a missing end
        raise EOFError("zstd: the file is cut off")
