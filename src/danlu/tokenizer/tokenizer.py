"""Text to ids and back: one class for our own tokenizers and for foreign ones.

In: a folder with `tokenizer.json` (or GPT-2's `vocab.json` and `merges.txt`). Out: ids, text, pieces of text while
tokens arrive, and the complete set of files that transformers reads. Called by every room that touches ids. Encoding
never yields a control token, whatever the text spells: control tokens are placed by `chat` and `shards`, by id.
Does not learn vocabularies (`train`) and knows no roles (`chat`).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from danlu.base.artifact import digest, write_atomically
from danlu.base.errors import ArtifactError, DataError
from danlu.tokenizer.bytetable import byte_table

PAD, BOS, EOS, END = "<|pad|>", "<|bos|>", "<|eos|>", "<|end|>"
ROLE_TOKENS = {
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
    "tool": "<|tool|>",
}
CONTROL_TOKENS = (PAD, BOS, EOS, *ROLE_TOKENS.values(), END)
"""Their place here is their id in every tokenizer of ours."""

FOREIGN_END_TOKENS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""What ends a turn in Qwen and MiniMind, Llama 3, Gemma."""
FOREIGN_DOCUMENT_END = "<|endoftext|>"
GPT2_SETTINGS = {"bos_token": FOREIGN_DOCUMENT_END, "eos_token": FOREIGN_DOCUMENT_END}
"""GPT-2's own two files do not name its one control token."""

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's split (https://huggingface.co/Qwen/Qwen2-7B): Llama 3's with single digits, known to every fast library."""
PRE_TOKENIZER_NAME = "qwen2"
"""What llama.cpp calls this split; written into GGUF files."""

ESCAPED_BYTE = re.compile("([\udc80-\udcff]+)")
LONGEST_SPACE = 65_536
"""Characters of white space that are split at once: at a million the splitting engines give up, which no caller can
catch as an error. Longer runs are encoded in parts of this length, by every path alike."""
LONG_SPACE = re.compile(rf"\s{{{LONGEST_SPACE}}}(?=\s)")


class Run(NamedTuple):
    """The ids of many texts, one after another."""

    ids: np.ndarray  # (sum of lengths,) of any integer type
    lengths: np.ndarray  # (texts,) int64


class Tokenizer:
    """Ids are 0 … size-1. `special` maps the control tokens' texts to ids; see the contract for the rest."""

    def __init__(self, backend: Backend, settings: Mapping[str, Any]):
        self.backend = backend
        backend.encode_special_tokens = True  # text that spells a control token stays text
        backend.no_truncation()  # foreign files may carry settings that would cut, fill up or vary texts in silence
        backend.no_padding()
        if getattr(backend.model, "dropout", None) is not None:
            backend.model.dropout = None
        self._rendered_backend: Backend | None = None
        self.bulk: Callable[[Sequence[str]], Run] | None = None
        """Encodes many texts in the backend's place, with the same ids: `fast.choose` sets it."""
        self.settings = dict(settings)
        added = backend.get_added_tokens_decoder()
        self.size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        self.special = {token.content: id for id, token in sorted(added.items()) if token.special}
        self.is_ours = all(token in self.special for token in CONTROL_TOKENS)
        if self.is_ours:
            backend.post_processor = None  # only other programs need it: see `save`
        self._bytes, self.drops_first_space = byte_table(backend, self.size)
        self.special_ids = frozenset(self.special.values())
        self.unknown_id = self._unknown()
        self.bos_id = self._named("bos_token")
        self.end_id, self.eos_id = self._ends()
        pad_id = self._named("pad_token")
        self.pad_id = pad_id if pad_id not in (self.eos_id, self.end_id) else None
        self.stop_ids = frozenset(id for id in (self.eos_id, self.end_id) if id is not None)

    def _named(self, key: str) -> int | None:
        """The id of `bos_token` and the like; transformers writes them as text or as `{"content": text}`."""
        value = self.settings.get(key)
        content = value["content"] if isinstance(value, Mapping) else value
        return self.backend.token_to_id(content) if content is not None else None

    def _unknown(self) -> int | None:
        """The id that stands for what the vocabulary cannot write; None where it can write everything."""
        name = getattr(self.backend.model, "unk_token", None)
        if name is None or getattr(self.backend.model, "byte_fallback", False):
            return None
        return self.backend.token_to_id(name)

    def _ends(self) -> tuple[int | None, int | None]:
        """(end of turn, end of document). Foreign chat models name their end of turn `eos_token`: tell them apart."""
        turn_ends = [self.special[token] for token in (END, *FOREIGN_END_TOKENS) if token in self.special]
        end_id = turn_ends[0] if turn_ends else None
        eos_id = self._named("eos_token")
        if eos_id is not None and eos_id == end_id:
            eos_id = self.special.get(FOREIGN_DOCUMENT_END, eos_id)
        return end_id, eos_id

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read a folder, or a `tokenizer.json` with its neighbours."""
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        folder = file.parent
        settings = _read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        template = folder / "chat_template.jinja"
        if template.is_file():
            settings["chat_template"] = template.read_text(encoding="utf-8")
        if file.is_file():
            return cls(_read_backend(file), settings)
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return cls(_gpt2_backend(folder), {**GPT2_SETTINGS, **settings})
        raise ArtifactError(
            "there is no tokenizer here", where=path, found="no tokenizer.json", remedy="run the tokenizer stage first"
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides ids: vocabulary, merges, splitting, control tokens and their names."""
        names = {key: self._named(f"{key}_token") for key in ("bos", "eos", "pad")}
        return digest({"tokenizer": json.loads(self.backend.to_str()), "names": names})

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without control tokens; DataError where the text is not valid Unicode."""
        try:
            return [id for part in _parts(text) for id in self.backend.encode(part, add_special_tokens=False).ids]
        except TypeError:
            raise _not_unicode(text) from None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts, on all cores."""
        if self.bulk is None:
            return self.reference_batch(texts)
        ids, lengths = self.encode_run(texts)
        listed, ends = ids.tolist(), np.cumsum(lengths).tolist()
        return [listed[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def encode_run(self, texts: Sequence[str]) -> Run:
        """`encode_batch` as arrays: no object for each token."""
        if self.bulk is None or any(_has_long_space(text) for text in texts):
            return run_of(self.reference_batch(texts))
        try:
            return self.bulk(texts)
        except (TypeError, UnicodeEncodeError):
            return run_of(self.reference_batch(texts))  # names the text that is at fault

    def reference_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_batch` by the backend, whatever `bulk` is."""
        if any(_has_long_space(text) for text in texts):
            return [self.encode(text) for text in texts]
        try:
            return [item.ids for item in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        except TypeError:
            return [self.encode(text) for text in texts]  # names the text that is at fault

    def encode_rendered(self, text: str) -> list[int]:
        """The ids of a text that a template made: control tokens spelled in it become control tokens.

        Never for text that a person or a file brought: that is `encode`.
        """
        if self._rendered_backend is None:
            self._rendered_backend = Backend.from_str(self.backend.to_str())
        encode = self._rendered_backend.encode
        return [id for part in _parts(text) for id in encode(part, add_special_tokens=False).ids]

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes: valid UTF-8 as `encode` has it, each invalid byte as its own token.

        Exact where nothing is unknown to the vocabulary: `decode_bytes` gives the bytes back.
        """
        ids: list[int] = []
        for part in ESCAPED_BYTE.split(data.decode("utf-8", "surrogateescape")):
            if ESCAPED_BYTE.fullmatch(part):
                invalid = [bytes([ord(character) - 0xDC00]) for character in part]
                single, unknown = self._single_bytes, self.unknown_id
                ids += [single[one] if unknown is None else single.get(one, unknown) for one in invalid]
            elif part:
                ids += self.encode(part)
        return ids

    @cached_property
    def _single_bytes(self) -> dict[bytes, int]:
        return {value: id for id, value in enumerate(self._bytes) if len(value) == 1 and id not in self.special_ids}

    def bytes_of(self, id: int) -> bytes:
        """The bytes of one token; ValueError for an id outside the vocabulary, which no sampler may emit."""
        if not 0 <= id < self.size:
            raise ValueError(f"id {id} is outside the vocabulary of {self.size} tokens")
        return self._bytes[id]

    def decode_bytes(self, ids: Sequence[int], *, keep_special: bool = False) -> bytes:
        """The bytes of a sequence, without its control tokens unless `keep_special`."""
        data = b"".join(self.bytes_of(id) for id in ids if keep_special or id not in self.special_ids)
        return data[1:] if self.drops_first_space and data.startswith(b" ") else data

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """The text of a sequence; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, keep_special=keep_special).decode("utf-8", "replace")

    def stream(self) -> DecodeStream:
        """A decoder for tokens that arrive one by one."""
        return DecodeStream(self)

    def token_text(self, id: int) -> str:
        """One token for a person to read; the bytes of a split character are written `\\xe4`."""
        return self.bytes_of(id).decode("utf-8", "backslashreplace")

    def save(self, folder: Path, *, context_length: int | None = None) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja`.

        With the `context_length` of the model beside them, they tell other programs what danlu does of itself: how a
        text begins, how long one may be, and the chat template also where it is looked for without a file of its own.
        """
        settings = dict(self.settings)
        template = settings.get("chat_template")
        if context_length is not None:
            settings["model_max_length"] = context_length
        elif isinstance(template, str):  # a file of its own; foreign tokenizers may hold a list of named ones
            del settings["chat_template"]
        named = {
            key: value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str | dict)
        }
        told = self.backend if context_length is None else self._for_others()
        write_atomically(folder / "tokenizer.json", told.to_str(pretty=True) + "\n")
        write_atomically(folder / "tokenizer_config.json", _json_text(settings))
        write_atomically(folder / "special_tokens_map.json", _json_text(named))
        if isinstance(template, str):
            write_atomically(folder / "chat_template.jinja", template)

    def _for_others(self) -> Backend:
        """The backend with which a text begins as in training; a foreign one goes out as it came in."""
        if not self.is_ours:
            return self.backend
        told = Backend.from_str(self.backend.to_str())
        told.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, self.special[BOS])]
        )
        return told


class DecodeStream:
    """Text as tokens arrive: never half a character, and the pieces put together are `decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = tokenizer.drops_first_space

    def push(self, id: int) -> str:
        """The text that this token completes; often empty inside a Chinese character or an emoji."""
        data = b"" if id in self._tokenizer.special_ids else self._tokenizer.bytes_of(id)
        if self._at_start and data:
            self._at_start = False
            data = data.removeprefix(b" ")
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left: U+FFFD where the text ends inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)


def run_of(rows: Sequence[Sequence[int]]) -> Run:
    """Lists of ids as one run."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    return Run(np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum())), lengths)


def new_settings(pad: str = PAD, context_length: int = 1_000_000) -> dict[str, Any]:
    """`tokenizer_config.json` of a tokenizer of ours. No token is added by itself: the template and `shards` do it."""
    named = (BOS, EOS, pad)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": pad,
        "additional_special_tokens": [token for token in CONTROL_TOKENS if token not in named],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "model_max_length": context_length,
    }


def new_backend() -> Backend:
    """An empty byte-level BPE with our split, no normaliser (every byte survives) and no tokens yet."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _gpt2_backend(folder: Path) -> Backend:
    """GPT-2's two files: ByteLevel does its own splitting, `<|endoftext|>` becomes a control token."""
    backend = Backend(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    if backend.token_to_id(FOREIGN_DOCUMENT_END) is not None:
        backend.add_special_tokens([AddedToken(FOREIGN_DOCUMENT_END, special=True, normalized=False)])
    return backend


def _read_backend(file: Path) -> Backend:
    try:
        return Backend.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for every kind of damage
        raise ArtifactError("the tokenizer cannot be read", where=file, found=error) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError("the file is not JSON", where=path, found=error) from None
    if not isinstance(value, dict):
        raise ArtifactError("the file must hold a JSON object", where=path, found=type(value).__name__)
    return value


def _json_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _has_long_space(text: str) -> bool:
    return len(text) > LONGEST_SPACE and LONG_SPACE.search(text) is not None


def _parts(text: str) -> list[str]:
    """The text, cut within runs of white space that are too long to be split at once."""
    if not _has_long_space(text):
        return [text]
    ends = [found.end() for found in LONG_SPACE.finditer(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _not_unicode(text: str) -> DataError:
    at = next((index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff"), 0)
    return DataError(
        "the text is not valid Unicode",
        found=f"a lone surrogate at character {at}",
        remedy="decode the source with its real encoding, or replace what cannot be decoded",
    )
