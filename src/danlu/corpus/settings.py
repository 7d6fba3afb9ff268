"""The settings of `prepare` beneath its own: sources, filters, text, private data, likeness, decontamination.

In: values from a recipe. Out: frozen settings. Called by `stages.prepare`. Reads nothing; the meaning of each value is
in the file that uses it: `sources`, `filters`, `normalise`, `privacy`, `neardup`, `decontaminate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from danlu.base.config import Bytes, Count, ReadPath, Settings
from danlu.base.errors import nearest
from danlu.corpus.markup import Html
from danlu.corpus.privacy import USUAL, Action, KindName


class Files(Settings):
    """A file or a folder of raw text, and how to read it."""

    path: ReadPath = Field(
        min_length=1,
        description="a file, or a folder that is read with all its folders; ~ is the home folder. What lies in a "
        "folder named train, validation or test, or in a file of such a name, goes to that side",
    )
    separator: str = Field(
        default="",
        description="what stands between two documents of a text file: nothing (one document a file), 'blank line', "
        "or a line of its own such as <|endoftext|>",
    )
    text_field: str = Field(default="text", description="the field that holds the text of a JSON or Parquet record")


class LittleWorld(Settings):
    """A bilingual small town, written from the seed."""

    generator: Literal["little-world"] = Field("little-world", description="its name")
    stories: Count = Field(5_000, ge=0, description="stories, diary entries and pages about the town")
    lists: Count = Field(24_000, ge=0, description="lists of its words, each read twice: they teach looking back")
    conversations: Count = Field(24_000, ge=0, description="questions, translations, summaries and talk about them")
    dirty: bool = Field(
        True, description="also write duplicates, broken files, private numbers: what cleaning must find"
    )


class PythonDocs(Settings):
    """Docstrings and help topics of the Python that runs this."""

    generator: Literal["python-docs"] = Field("python-docs", description="its name")
    max_bytes: Bytes = Field(1_000_000, ge=1, description="most bytes of text, e.g. 1MB")


GENERATED = tuple(source.model_fields["generator"].default for source in (LittleWorld, PythonDocs))
"""The names of the sources that are written instead of read."""


def _spelled_out(value: Any) -> Any:
    """`little-world`, `{little-world: {stories: 10}}` and a bare path in their full form."""
    if isinstance(value, str):
        return {"generator": value} if value in GENERATED else {"path": value}
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in GENERATED:
        name, options = next(iter(value.items()))
        return {"generator": name, **(options if isinstance(options, Mapping) else {})}
    return value


def _kind(value: Any) -> str:
    name = value.get("generator") if isinstance(value, Mapping) else getattr(value, "generator", None)
    return name if isinstance(name, str) else "path"


AnySource = Annotated[
    Annotated[Files, Tag("path")]
    | Annotated[LittleWorld, Tag("little-world")]
    | Annotated[PythonDocs, Tag("python-docs")],
    Discriminator(_kind),
    BeforeValidator(_spelled_out),
]


class Filters(Settings):
    """Where the rules that drop a text draw their lines; the defaults lose hardly any text that a person wrote."""

    min_characters: int = Field(default=8, ge=0, description="shorter documents are dropped (spaces not counted)")
    max_line_characters: Count = Field(default=150_000, ge=1, description="documents with a longer line are dropped")
    max_word_characters: Count = Field(
        default=2_000, ge=1, description="documents with more ASCII characters in a row are dropped"
    )
    max_symbol_share: float = Field(default=0.6, ge=0, le=1, description="most signs among visible characters")
    max_repeated_line_share: float = Field(
        default=0.5, ge=0, le=1, description="most characters in lines that came before in the same document"
    )
    max_broken_share: float = Field(default=0.002, ge=0, le=1, description="most replacement characters among all")
    quality: tuple[str, ...] = Field(
        default=(),
        description="rules for web pages, Chinese and English: gopher, c4, fineweb, or single ones such as c4_braces; "
        "c4 also leaves out lines that are no sentences",
    )

    @field_validator("quality", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("quality")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from danlu.corpus.quality import FAMILIES, NAMES

        for name in value:
            if name not in NAMES:
                raise ValueError(f"no rule {name!r}{nearest(name, NAMES)}; families: {', '.join(FAMILIES)}")
        return value


class Text(Settings):
    """How the text itself is changed beyond what every text needs, and how its language is named."""

    form: Literal["nfc", "nfkc"] = Field(
        default="nfc",
        description="Unicode form; nfkc makes ﬁ, ① and Ａ plain, and with them x² (x2), ½ (1⁄2), ㎡ (m2), … (...); "
        "full-width punctuation is for `width` to say",
    )
    width: Literal["keep", "letters", "half"] = Field(
        default="keep",
        description="keep leaves full-width signs, also under nfkc ，！？：（）; letters makes full-width letters and "
        "digits ASCII, half the punctuation too",
    )
    html: Html = Field(
        default="auto",
        description="tags, comments, scripts and entities: auto takes them out of documents that are pages of the web, "
        "remove out of every document, keep out of none; conversations and code in backticks keep theirs",
    )
    chinese: Literal["keep", "simplified", "traditional"] = Field(
        default="keep", description="one script for Chinese, by OpenCC (pip install 'danlu[chinese]')"
    )
    language: Literal["coarse", "rule", "model"] = Field(
        default="coarse",
        description="how languages are named: coarse (zh, en, other), rule (29 languages, zh-Hans and zh-Hant), model "
        "(176 languages, offline; pip install 'danlu[language]')",
    )
    words: Literal["keep", "rule", "forward", "backward", "ngram", "hmm", "subword"] = Field(
        default="keep",
        description="set words apart by spaces: Chinese by the longest words of a dictionary from either end (rule) or "
        "one (forward, backward), by its frequencies (ngram) or by them and a hidden Markov model (hmm; all of them: "
        "pip install 'danlu[words]'); subword takes the tokens of `tokenizer`",
    )
    tokenizer: ReadPath = Field(
        default="", description="folder of the tokenizer whose tokens `words: subword` sets apart"
    )
    stop_words: Literal["keep", "drop"] = Field(
        default="keep", description="drop leaves out function words (the, of, 的, 了)"
    )

    @model_validator(mode="after")
    def _subwords_need_a_tokenizer(self) -> Text:
        if (self.words == "subword") != bool(self.tokenizer):
            raise ValueError("words: subword and a tokenizer belong together")
        return self


class PrivateData(Settings):
    """What leads to a person or opens a door, and what becomes of it."""

    action: Action = Field(
        default="mask",
        description="mask writes [PHONE]; pseudonym [PHONE-4f1c09a2b7de], the same for the same number; drop leaves "
        "the record out",
    )
    kinds: tuple[KindName | Literal["all"], ...] = Field(
        default=USUAL,
        description="what is looked for: mainland identity numbers, social credit codes, bank cards, mainland mobile "
        "phones, other phones, e-mail and IP addresses, keys, postal addresses, names beside titles or labels; or all",
    )
    key_file: ReadPath = Field(
        default="", description="file of 16 bytes or more, the secret of the pseudonyms; it is never written"
    )

    @field_validator("kinds", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _pseudonyms_need_a_key(self) -> PrivateData:
        if (self.action == "pseudonym") != bool(self.key_file):
            raise ValueError("action: pseudonym and a key_file belong together")
        return self


class Similar(Settings):
    """Documents that share most of their runs of words, or of Chinese characters, with another one; by MinHash."""

    drop: bool = Field(
        default=False,
        description="leave out what shares most with a document that stays: the longest first, then the smallest id",
    )
    shingle: int = Field(default=5, ge=1, le=64, description="words, or characters of Chinese, in one run")
    bands: int = Field(default=14, ge=1, le=256, description="more bands find less similar documents")
    rows: int = Field(
        default=8,
        ge=1,
        le=64,
        description="hash functions in a band; more of them want more similar documents: those that have the share s "
        "of all their runs in common (Jaccard) meet with probability 1 - (1 - s^rows)^bands, by default half of them "
        "at s = 0.69",
    )


class Decontaminate(Settings):
    """Evaluation files of which no part may stand in the text that is learned from."""

    files: tuple[Files, ...] = Field(
        default=(), description="paths of files and folders, or {path: ..., separator: ..., text_field: ...}"
    )
    words: int = Field(default=13, ge=1, le=1_000, description="a run of so many words betrays an evaluation text")
    characters: int = Field(
        default=20, ge=1, le=1_000, description="or a run of so many characters, where it is Chinese"
    )

    @field_validator("files", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        """A path may stand for {path: ...}, and one for a list of one."""
        listed = [value] if isinstance(value, str | Mapping) else value
        return [{"path": one} if isinstance(one, str) else one for one in listed]
