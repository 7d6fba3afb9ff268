"""The kinds of vocabulary: what each is called, how it cuts text, and how its tokens become a backend.

In: tokens in the order of their ids. Out: a `tokenizers` backend whose first ids are the control tokens, and whose
decoder says exactly what `bytetable` reads. Called by `train` and `extend`; learns nothing itself.

| kind | a token is | what no token stands for |
|---|---|---|
| `bpe` | bytes, merged by frequency (https://arxiv.org/abs/1508.07909) | nothing: every byte is a token |
| `bytes` | one byte | nothing |
| `characters` | one character | is spelt in bytes |
| `unigram` | a piece of the likeliest cut (https://arxiv.org/abs/1804.10959) | is spelt in bytes |
| `wordpiece` | the longest piece, or a Chinese character (https://arxiv.org/abs/1810.04805) | its word is `<UNK>` |
| `words` | a word; of Chinese ones the longest, from left to right | is `<UNK>` |

The first four lose nothing. Of the last two, `train.compression` measures the share of `<UNK>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from danlu.tokenizer.bytetable import CONTINUING
from danlu.tokenizer.tokenizer import CONTROL_TOKENS, PAD, SPLIT_PATTERN
from danlu.tokenizer.words import HAN_RUN

UNKNOWN, WORD_PAD = "<UNK>", "<PAD>"
"""The textbooks' names. `<UNK>` is no control token: decoding writes its name, so that a loss is seen."""
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
WORD_PATTERN = (
    r"\p{Han}| ?[[\p{L}\p{M}]&&[^\p{Han}]]+(?:['’][[\p{L}\p{M}]&&[^\p{Han}]]+)*"
    r"| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]|\s"
)
"""A Chinese character; a word, a digit or a mark with the space before it; white space: no character is left out."""


@dataclass(frozen=True)
class Kind:
    """`reserved`: the tokens before those that are learnt. `limits`: the settings of learning that it knows."""

    reserved: tuple[str, ...]
    limits: tuple[str, ...] = ("min_frequency", "max_token_length")
    pad: str = PAD


KINDS = {
    "bpe": Kind(CONTROL_TOKENS),
    "wordpiece": Kind((*CONTROL_TOKENS, UNKNOWN)),
    "unigram": Kind((*CONTROL_TOKENS, *BYTE_TOKENS)),
    "characters": Kind((*CONTROL_TOKENS, *BYTE_TOKENS), ("min_frequency",)),
    "bytes": Kind(CONTROL_TOKENS, ()),
    "words": Kind((*CONTROL_TOKENS, UNKNOWN, WORD_PAD), ("min_frequency",), WORD_PAD),
}


def kind_of(description: Mapping[str, Any]) -> str:
    """The kind of a tokenizer by its `tokenizer.json`."""
    model = description["model"]
    if model["type"] != "BPE":
        return {"Unigram": "unigram", "WordPiece": "wordpiece", "WordLevel": "words"}[model["type"]]
    if model["merges"]:
        return "bpe"
    return "characters" if model["byte_fallback"] else "bytes"


def build(kind: str, tokens: Sequence[str], scores: Sequence[float] = ()) -> Backend:
    """A backend of the reserved tokens and `tokens`; `scores` are the log-probabilities of a `unigram`'s."""
    names = [*KINDS[kind].reserved, *tokens]
    backend = _empty(kind, names, scores)
    backend.add_special_tokens([special(name) for name in dict.fromkeys((*CONTROL_TOKENS, KINDS[kind].pad))])
    if kind == "words":
        backend.add_tokens([whole(token) for token in tokens if is_chinese_word(token)])
    return backend


def _empty(kind: str, names: Sequence[str], scores: Sequence[float]) -> Backend:
    """Model, split and decoder of a kind; no token is a control token yet."""
    ids = {token: id for id, token in enumerate(names)}
    match kind:
        case "characters":
            backend = Backend(models.BPE(ids, [], byte_fallback=True))
            backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        case "unigram":
            # No text can spell a reserved token: the split divides it. So its score says nothing, and no text is
            # unknown where every byte is a token: the library wants an id for that, and never gives it out.
            every = [min(scores, default=0.0)] * (len(names) - len(scores)) + list(scores)
            model = models.Unigram(list(zip(names, every, strict=True)), ids[BYTE_TOKENS[0]], True)
            backend = Backend(model)
            backend.pre_tokenizer = subword_split()
            backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        case "wordpiece":
            backend = Backend(models.WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUING))
            backend.pre_tokenizer = word_split()
            backend.decoder = decoders.Sequence([decoders.Replace(Regex(f"^{CONTINUING}"), ""), decoders.Fuse()])
        case "words":
            backend = Backend(models.WordLevel(ids, unk_token=UNKNOWN))
            backend.pre_tokenizer = word_split()
            backend.decoder = decoders.Fuse()
        case _:
            raise AssertionError(f"a vocabulary of {kind} is built by its trainer")
    return backend


def subword_split() -> Any:
    return pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated")


def word_split() -> Any:
    return pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")


def special(name: str) -> AddedToken:
    return AddedToken(name, special=True, normalized=False)


def whole(word: str) -> AddedToken:
    """A Chinese word of several characters: looked for in the text before it is split, the longest one first."""
    return AddedToken(word, special=False, normalized=False)


def is_chinese_word(token: str) -> bool:
    return len(token) > 1 and HAN_RUN.fullmatch(token) is not None
