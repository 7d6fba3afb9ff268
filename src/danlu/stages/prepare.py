"""Clean raw text into a corpus: read, normalise, filter, mask, deduplicate, split.

Takes: nothing but raw files (txt, JSON Lines, JSON, Parquet, each also as .gz or .zst, in folders) and generators.
Makes: `{train,validation,test}.jsonl`, `conversations-*.jsonl`, `rejected.jsonl` with each reason, `report.json`.
Cost: one pass over the text, a few megabytes a second and process, and the space of the cleaned text once more while it
runs: killed, it goes on behind the last shard of 16 MB that was cleaned. Memory grows by some 200 bytes a record.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from danlu.base import console
from danlu.base.artifact import Artifact, digest, fingerprint, open_artifact, seal, write_atomically
from danlu.base.config import Bytes, Count, Settings
from danlu.base.errors import ArtifactError, DataError, nearest
from danlu.base.records import SPLITS
from danlu.corpus.privacy import USUAL, Action, KindName

if TYPE_CHECKING:
    from danlu.corpus.clean import Cleaner
    from danlu.corpus.decontaminate import Decontaminator
    from danlu.corpus.ledger import Ledger
    from danlu.corpus.neardup import NearDuplicates
    from danlu.corpus.pipeline import Pipeline
    from danlu.corpus.privacy import Privacy
    from danlu.corpus.sources import SourceFile
    from danlu.tokenizer.cutting import Cutter

VERSION = 1
REPORT = "report.json"
DIARY = (REPORT, "sources/manifest.json")
"""Files about the making, for people: no later stage reads them."""
MIN_KEY_BYTES = 16
SCRATCH = "scratch"


class Files(Settings):
    """A file or a folder of raw text, and how to read it."""

    path: str = Field(
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


def _write_little_world(options: Any, folder: Path, seed: int) -> None:
    from danlu.corpus import world

    world.write(
        folder,
        seed=seed,
        stories=options.stories,
        lists=options.lists,
        conversations=options.conversations,
        dirty=options.dirty,
    )


def _write_python_docs(options: Any, folder: Path, seed: int) -> None:
    from danlu.corpus import python_docs

    python_docs.write(folder, max_bytes=options.max_bytes)


GENERATORS: dict[str, Callable[[Any, Path, int], None]] = {
    "little-world": _write_little_world,
    "python-docs": _write_python_docs,
}
"""Name of a source that is written instead of read -> its writer (options, folder, seed)."""


def _spelled_out(value: Any) -> Any:
    """`little-world`, `{little-world: {stories: 10}}` and a bare path in their full form."""
    if isinstance(value, str):
        return {"generator": value} if value in GENERATORS else {"path": value}
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in GENERATORS:
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

    form: Literal["nfc", "nfkc"] = Field(default="nfc", description="Unicode form; nfkc also makes ﬁ, ① and Ａ plain")
    width: Literal["keep", "letters", "half"] = Field(
        default="keep", description="letters makes full-width letters and digits ASCII, half the punctuation too"
    )
    chinese: Literal["keep", "simplified", "traditional"] = Field(
        default="keep", description="one script for Chinese, by OpenCC (pip install 'danlu[chinese]')"
    )
    language: Literal["coarse", "rule", "model"] = Field(
        default="coarse",
        description="how languages are named: coarse (zh, en, other), rule (19 languages, zh-Hans and zh-Hant), model "
        "(176 languages; pip install 'danlu[language]', else rule)",
    )
    words: Literal["keep", "rule", "ngram", "hmm", "subword"] = Field(
        default="keep",
        description="set words apart by spaces: Chinese by rule, by a dictionary (ngram) or by it and a hidden Markov "
        "model (hmm); subword takes the tokens of `tokenizer`",
    )
    tokenizer: str = Field(default="", description="folder of the tokenizer whose tokens `words: subword` sets apart")
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
        "phones, other phones, addresses, keys, names beside a title; or all",
    )
    key_file: str = Field(
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
    """Documents of which most stands in another one: found by MinHash over runs of words or Chinese characters."""

    drop: bool = Field(
        default=False, description="keep one of each group: the longest, of equally long ones that with the smallest id"
    )
    shingle: int = Field(default=5, ge=1, le=64, description="words, or characters of Chinese, in one run")
    bands: int = Field(default=14, ge=1, le=256, description="more bands find less similar documents")
    rows: int = Field(
        default=8,
        ge=1,
        le=64,
        description="hash functions in a band; more of them want more similar documents: those that share the share s "
        "of their runs are found with probability 1 - (1 - s^rows)^bands, by default half of them at s = 0.69",
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


class Config(Settings):
    """Where the raw text is, what is kept of it, and how it is divided."""

    sources: tuple[AnySource, ...] = Field(
        min_length=1,
        description="paths of files and folders, or {path: ..., separator: ..., text_field: ...}, or little-world, "
        "or python-docs, or {little-world: {stories: ...}}",
    )
    validation_share: float = Field(0.02, ge=0, lt=1, description="share of records that steer the training")
    test_share: float = Field(0.02, ge=0, lt=1, description="share of records that are kept for the evaluation")
    languages: tuple[str, ...] = Field((), description="keep only these, such as zh, en, other; empty keeps all")
    filters: Filters = Field(Filters(), description="limits of the rules that drop a text")
    text: Text = Field(Text(), description="Unicode form, width, script, words, and how languages are named")
    private_data: Annotated[
        PrivateData, BeforeValidator(lambda value: {"action": value} if isinstance(value, str) else value)
    ] = Field(PrivateData(), description="mask, drop, keep, or {action: ..., kinds: ...}: numbers of persons, and keys")
    near_duplicates: bool = Field(
        True, description="also drop documents that differ only in spacing, case, width and punctuation"
    )
    similar: Annotated[
        Similar, BeforeValidator(lambda value: {"drop": value} if isinstance(value, bool) else value)
    ] = Field(Similar(), description="true also drops documents of which most stands in another one")
    decontaminate: Annotated[
        Decontaminate,
        BeforeValidator(lambda value: {"files": value} if isinstance(value, str | list | tuple) else value),
    ] = Field(
        Decontaminate(),
        description="paths of evaluation files; records for training in which a part of one stands are dropped",
    )
    workers: Count = Field(
        1,
        ge=1,
        le=256,
        exclude=True,  # any number makes the same bytes, so it is no part of what was made
        description="processes that read and clean; the result is the same for any number",
    )
    seed: int = Field(0, description="key of the split, and the seed of what is generated")

    @field_validator("sources", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        """`sources: text/` is a list of one."""
        return [value] if isinstance(value, str | Mapping) else value

    @model_validator(mode="after")
    def _leaves_training_text(self) -> Config:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on")
        return self


def source_fingerprint(config: Config) -> str:
    """The name of the raw text: contents and names of all files, options and versions of all generators."""
    return fingerprint("sources", VERSION, _listing(config, _given(config)), {})


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Read every source to its end, write what is kept and what is not, check that nothing vanished, report."""
    started_at = time.monotonic()
    given = _given(config)
    listing = _listing(config, given)
    made_from = digest({"version": VERSION, "config": config.model_dump(mode="json"), "listing": listing})
    if not _is_written(out, made_from):
        _make(config, out, given, made_from)
        _refuse_changes(listing, _listing(config, given), out)
        _seal_sources(out, listing, made_from)
    _clear_shards(out)
    report, sources = json.loads((out / REPORT).read_bytes()), open_artifact(out / "sources")
    return seal(
        out,
        kind="corpus",
        stage="prepare",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents={**inputs, "sources": sources},
        diary=DIARY,
        metrics={**report["documents"], **report["sides"], "bytes": report["bytes"]},
        seconds=time.monotonic() - started_at,
        seed=config.seed,
        extra={"sources": sources.fingerprint},
    )


def _make(config: Config, out: Path, given: list[SourceFile], made_from: str) -> None:
    """Write the corpus and its report, check that nothing vanished, refuse a corpus that teaches nothing."""
    from danlu.corpus.engine import Work
    from danlu.corpus.ledger import Ledger
    from danlu.corpus.writer import CorpusWriter, lines_on_disk

    shards = out / SCRATCH / f"shards-{made_from[:16]}"
    _sweep(out, keep=shards)
    ledger = Ledger()
    pipeline = _pipeline(config, ledger, out)
    work = Work([*_generated(config, out), *given], partial(_cleaner, config), shards)
    with (
        CorpusWriter(out) as writer,
        pipeline.similar if pipeline.similar is not None else nullcontext(),
        console.progress("cleaning", unit="records") as shown,
    ):
        for outcome in shown.each(pipeline.settled(work.pieces(pipeline.cleaner, config.workers))):
            writer.write(outcome)
    if pipeline.similar is not None:
        _prune(out, pipeline.similar, ledger)
    ledger.check(lines_on_disk(out))
    cleaner = pipeline.cleaner
    report = {**ledger.report(), "masked": dict(sorted(cleaner.masked.items())), "left_out": dict(cleaner.left_out)}
    if pipeline.decontaminator is not None:
        report["decontaminated"] = pipeline.decontaminator.report()
    write_atomically(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    _say(report)
    _refuse_nothing(report)


def _is_written(out: Path, made_from: str) -> bool:
    """True where a run was killed between its last file and its seal: the corpus is whole and lies on the disk."""
    try:
        return open_artifact(out / "sources").manifest.get("made_from") == made_from
    except ArtifactError:
        return False


def _refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """DataError where the raw text is another one than at the beginning: half of each would be read.

    The shards go: they bear the name of the text as it was, and hold what it became.
    """
    if now == before:
        return
    _clear_shards(out)
    changed = [name for name, facts in before["files"].items() if now["files"].get(name) != facts]
    raise DataError(
        "raw files changed while they were read",
        where=", ".join(changed[:5]),
        found=f"{len(changed):,} of {len(before['files']):,} files are others now than they were at the beginning",
        remedy="run the stage again when they are at rest",
    )


def _cleaner(config: Config) -> Cleaner:
    """The rules for one record; every process that cleans makes them anew."""
    from danlu.corpus.clean import Cleaner
    from danlu.corpus.filters import Limits
    from danlu.corpus.language import IDENTIFIERS
    from danlu.corpus.normalise import normaliser
    from danlu.corpus.quality import Judge

    text, quality = config.text, config.filters.quality
    return Cleaner(
        Limits(**config.filters.model_dump(exclude={"quality"})),
        config.languages,
        _privacy(config.private_data),
        normaliser(text.form, text.width, text.chinese),
        IDENTIFIERS[text.language],
        Judge(quality) if quality else None,
        _cutter(text),
    )


def _privacy(options: PrivateData) -> Privacy:
    """What is looked for and what becomes of it; DataError where the key of the pseudonyms is no secret."""
    from danlu.corpus.privacy import MARKS, Privacy

    kinds = tuple(MARKS) if "all" in options.kinds else options.kinds
    key = _content(options.key_file, "private_data.key_file") if options.key_file else b""
    if options.action == "pseudonym" and len(key.strip()) < MIN_KEY_BYTES:
        raise DataError(
            "the key of the pseudonyms is too short to be a secret",
            where=options.key_file,
            found=f"{len(key.strip())} bytes",
            remedy=f"write {MIN_KEY_BYTES} random bytes or more: head -c 32 /dev/urandom > {options.key_file}",
        )
    return Privacy(kinds, options.action, key.strip())  # type: ignore[arg-type]


def _cutter(options: Text) -> Cutter | None:
    if options.words == "keep" and options.stop_words == "keep":
        return None
    from danlu.tokenizer.cutting import Cutter, pieces_of

    pieces = pieces_of(Path(options.tokenizer).expanduser()) if options.words == "subword" else None
    return Cutter(options.words, options.stop_words == "drop", pieces)


def _content(path: str, setting: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DataError(
            f"prepare.{setting} cannot be read", where=path, found=error.strerror, remedy="correct it"
        ) from error


def _pipeline(config: Config, ledger: Ledger, out: Path) -> Pipeline:
    from danlu.corpus.dedup import Seen
    from danlu.corpus.pipeline import Pipeline
    from danlu.corpus.split import Splitter

    cleaner = _cleaner(config)
    return Pipeline(
        cleaner,
        Seen(near=config.near_duplicates),
        Splitter(config.validation_share, config.test_share, config.seed),
        ledger,
        _similar(config.similar, out),
        _decontaminator(config.decontaminate, cleaner),
    )


def _similar(options: Similar, out: Path) -> NearDuplicates | None:
    from danlu.corpus.minhash import Bands
    from danlu.corpus.neardup import NearDuplicates

    if not options.drop:
        return None
    return NearDuplicates(out / SCRATCH / "similar", Bands(options.shingle, options.bands, options.rows))


def _decontaminator(options: Decontaminate, cleaner: Cleaner) -> Decontaminator | None:
    from danlu.corpus.decontaminate import Decontaminator, Lengths

    if not options.files:
        return None
    files = _files(options.files, "prepare.decontaminate")
    return Decontaminator.of(files, Lengths(options.words, options.characters), cleaner.change)


def _prune(out: Path, similar: NearDuplicates, ledger: Ledger) -> None:
    """Take similar documents out again, now that all are known."""
    from danlu.corpus.prune import prune

    prune(out, similar, ledger)
    shutil.rmtree(similar.folder)


def _given(config: Config) -> list[SourceFile]:
    """All files of the sources that are paths."""
    return _files([source for source in config.sources if isinstance(source, Files)], "prepare.sources")


def _files(given: Sequence[Files], setting: str) -> list[SourceFile]:
    from danlu.corpus.sources import Source, source_files

    return source_files([Source(**source.model_dump()) for source in given], setting)


def _listing(config: Config, files: list[SourceFile]) -> dict[str, Any]:
    """What the raw text is made of, in a form that changes when and only when the text can change."""
    from danlu.corpus.sources import hash_sources

    generated = [
        {**source.model_dump(mode="json"), "seed": config.seed, "version": _version(source.generator)}
        for source in config.sources
        if not isinstance(source, Files)
    ]
    evaluation = _files(config.decontaminate.files, "prepare.decontaminate")
    named = {"evaluation": hash_sources(evaluation)} if evaluation else {}
    return {
        "generated": generated,
        "files": hash_sources(files),
        **named,
        **_listed_options(config),
        **_listed_tools(config),
    }


def _listed_options(config: Config) -> dict[str, dict[str, str]]:
    """Hashes of the files that options name; of the key it says nothing, for it has too many values to try."""
    contents = {}
    if config.text.tokenizer:
        place = Path(config.text.tokenizer) / "tokenizer.json"
        contents["tokenizer"] = sha256(_content(str(place), "text.tokenizer")).hexdigest()
    if config.private_data.key_file:
        key = _content(config.private_data.key_file, "private_data.key_file")
        contents["key"] = sha256(b"danlu pseudonyms\0" + key.strip()).hexdigest()
    return {"options": contents} if contents else {}


def _listed_tools(config: Config) -> dict[str, dict[str, str]]:
    """What cuts, names and converts text here, where the recipe asks for it: with another one the text is another."""
    text, tools = config.text, {}
    if text.stop_words == "drop" if text.words == "keep" else text.words != "rule":
        from danlu.tokenizer.words import segmenter

        tools["words"] = segmenter()
    if text.language == "model":
        from danlu.corpus.language import identifier

        tools["language"] = identifier()
    if text.chinese != "keep":
        from danlu.corpus.normalise import converter

        tools["chinese"] = converter()
    return {"tools": tools} if tools else {}


def _version(generator: str) -> str:
    """The version of a generator's output; docstrings are those of one Python."""
    if generator == "python-docs":
        from danlu.corpus import python_docs

        return f"{python_docs.VERSION} of Python {platform.python_version()}"
    from danlu.corpus import world

    return str(world.VERSION)


def _generated(config: Config, out: Path) -> list[SourceFile]:
    """Let the generators write into scratch, and list their files like those of any folder."""
    from danlu.corpus.sources import BLANK_LINE, Source, source_files

    made: list[Source] = []
    for source in config.sources:
        if not isinstance(source, Files):
            folder = out / SCRATCH / (f"{source.generator}-{len(made) + 1}" if made else source.generator)
            console.say(f"writing {source.generator}")
            GENERATORS[source.generator](source, folder, config.seed)
            made.append(Source(str(folder), BLANK_LINE))
    return source_files(made)


def _sweep(out: Path, keep: Path) -> None:
    """Remove what an interrupted run left, but for the shards that it cleaned from the same text by the same rules."""
    shutil.rmtree(out / "sources", ignore_errors=True)
    for path in (out / SCRATCH).glob("*"):
        if path != keep:
            _remove(path)


def _clear_shards(out: Path) -> None:
    """Remove the cleaned shards, which the corpus holds by now; what was generated stays for people to look at."""
    for path in (out / SCRATCH).glob("shards-*"):
        _remove(path)
    with suppress(OSError):  # something else lies there, or nothing does
        (out / SCRATCH).rmdir()


def _remove(path: Path) -> None:
    """A folder with all that is in it, or a file such as .DS_Store, or a link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _seal_sources(out: Path, listing: Mapping[str, Any], made_from: str) -> Artifact:
    """The raw text as a parent of its own: names and hashes of all files, in `sources/manifest.json`."""
    folder = out / "sources"
    folder.mkdir()
    counts = {name: len(parts) for name, parts in listing.items()}
    return seal(
        folder,
        kind="sources",
        stage="sources",
        version=VERSION,
        config=listing,
        parents={},
        metrics=counts,
        seconds=0.0,
        extra={"made_from": made_from},
    )


def _say(report: Mapping[str, Any]) -> None:
    from danlu.corpus.units import REASONS

    documents, total = report["documents"], max(report["documents"]["in"], 1)
    rows = [("read", documents["in"], "100%", console.size(report["bytes"]["in"]), "")]
    for kind, sides in report["sides"].items():
        rows += [(f"{kind}, {side}", count, f"{count / total:.1%}", "", "") for side, count in sides.items()]
    for reason, counts in report["reasons"].items():
        count = counts["documents"]
        rows.append((reason, count, f"{count / total:.1%}", console.size(counts["bytes"]), REASONS[reason]))
    console.table(["", "records", "share", "size", "meaning"], rows)
    console.table(
        ["language", "documents", "conversations", "text"],
        [
            (name, counts.get("documents", 0), counts.get("conversations", 0), console.size(counts["bytes"]))
            for name, counts in report["languages"].items()
        ],
    )
    if report.get("decontaminated"):
        console.table(
            ["evaluation file", "texts", "found in training text", "records left out"],
            [
                (name, counts["texts"], counts["found"], counts["records_left_out"])
                for name, counts in report["decontaminated"].items()
            ],
        )
    if report["masked"]:
        console.say("masked: " + ", ".join(f"{count:,} {name}" for name, count in report["masked"].items()))
    if report["left_out"]:
        console.say(
            "left out of texts: " + ", ".join(f"{count:,} {name}" for name, count in report["left_out"].items())
        )


def _refuse_nothing(report: Mapping[str, Any]) -> None:
    """DataError where nothing is left to train on; a warning where nothing is left to measure with."""
    held = {side: sum(kinds.get(side, 0) for kinds in report["sides"].values()) for side in SPLITS}
    if not held["train"]:
        reasons = ", ".join(f"{counts['documents']:,} {reason}" for reason, counts in report["reasons"].items())
        raise DataError(
            "no text is left to train on",
            where=", ".join(list(report["files"])[:5]),
            found=f"{report['documents']['in']:,} records in; left out: {reasons if reasons else 'none'}",
            remedy="look at rejected.jsonl, then correct prepare.sources or prepare.filters",
        )
    for side in ("validation", "test"):
        if not held[side]:
            console.warn_once(
                f"no record fell on the {side} side: give more documents, raise prepare.{side}_share, or name a "
                "separator where text files hold several documents"
            )
