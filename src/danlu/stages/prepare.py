"""Clean raw text into a corpus: read, normalise, filter, mask, deduplicate, split.

Takes: nothing but raw files (txt, JSON Lines, JSON, Parquet, each also compressed, in folders) and generators.
Makes: `{train,validation,test}.jsonl`, `conversations-*.jsonl`, `rejected.jsonl` with each reason, `report.json`.
Cost: one pass over the text, a few megabytes a second and process, and the space of the cleaned text once more while it
runs: killed, it goes on behind the last shard of 16 MB that was cleaned. Memory grows by some 100 bytes a record.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from danlu.base import console
from danlu.base.artifact import Artifact, digest, fingerprint, open_artifact, seal, write_atomically
from danlu.base.config import Count, Settings
from danlu.base.errors import DataError
from danlu.corpus.settings import AnySource, Decontaminate, Filters, PrivateData, Similar, Text

if TYPE_CHECKING:
    from danlu.corpus.clean import Cleaner
    from danlu.corpus.decontaminate import Decontaminator
    from danlu.corpus.ledger import Ledger
    from danlu.corpus.neardup import NearDuplicates
    from danlu.corpus.pipeline import Pipeline
    from danlu.corpus.privacy import Privacy
    from danlu.corpus.stamps import Stamped
    from danlu.tokenizer.cutting import Cutter

VERSION = 2
REPORT = "report.json"
DIARY = (REPORT, "sources/manifest.json")
"""Files about the making, for people: no later stage reads them."""
MIN_KEY_BYTES = 16
SCRATCH = "scratch"


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
        True,
        description="also drop documents that differ only in spacing, case, width and the punctuation of sentences",
    )
    similar: Annotated[
        Similar, BeforeValidator(lambda value: {"drop": value} if isinstance(value, bool) else value)
    ] = Field(Similar(), description="true also drops documents that share most with another one")
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
    seed: int = Field(0, ge=-(2**63), lt=2**63, description="key of the split, and the seed of what is generated")
    _planned: Any = PrivateAttr(())
    """What the raw files were when the stage was planned: a log that grows meanwhile is read up to there."""

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
    config._planned = _given(config)
    return fingerprint("sources", VERSION, _listing(config, config._planned), {})


def run(config: Config, inputs: Mapping[str, Artifact], out: Path) -> Artifact:
    """Read every source to its end, write what is kept and what is not, check that nothing vanished, report."""
    from danlu.corpus import raw, scratch
    from danlu.corpus.stamps import stamped

    started_at = time.monotonic()
    given = _given(config, config._planned)
    listing = _listing(config, given)
    made_from = digest({"version": VERSION, "config": config.model_dump(mode="json"), "listing": listing})
    if not raw.is_sealed(out, made_from):
        _make(config, out, given, _rules(config))
        raw.refuse_changes(listing, _listing(config, stamped([one.file for one in given], given)))
        raw.seal_sources(out, listing, VERSION, made_from)
    scratch.clear_shards(out / SCRATCH)
    report, sources = json.loads((out / REPORT).read_bytes()), open_artifact(out / raw.FOLDER)
    return seal(
        out,
        kind="corpus",
        stage="prepare",
        version=VERSION,
        config=config.model_dump(mode="json"),
        parents={**inputs, "sources": sources},
        diary=DIARY,
        metrics={
            **report["documents"],
            **report["sides"],
            "bytes": report["bytes"],
            "unusable_conversations": report["unusable_conversations"],
        },
        seconds=time.monotonic() - started_at,
        seed=config.seed,
        extra={"sources": sources.fingerprint},
    )


def _make(config: Config, out: Path, given: list[Stamped], rules: str) -> None:
    """Write the corpus and its report, check that nothing vanished, refuse a corpus that teaches nothing."""
    from danlu.corpus import account, raw, scratch
    from danlu.corpus.engine import Work
    from danlu.corpus.ledger import Ledger
    from danlu.corpus.prune import prune
    from danlu.corpus.writer import CorpusWriter, lines_on_disk

    shutil.rmtree(out / raw.FOLDER, ignore_errors=True)
    shards = out / SCRATCH / f"shards-{rules[:16]}"
    scratch.sweep(out / SCRATCH, keep=shards)
    ledger = Ledger()
    pipeline = _pipeline(config, rules, ledger, out)
    generated = raw.generated_files(config.sources, out / SCRATCH, config.seed)
    work = Work([*generated, *given], partial(_cleaner, config, rules), shards)
    with (
        CorpusWriter(out) as writer,
        pipeline.similar if pipeline.similar is not None else nullcontext(),
        console.progress("cleaning", unit="records") as shown,
    ):
        for outcome in shown.each(pipeline.settled(work.pieces(pipeline.cleaner, config.workers))):
            writer.write(outcome)
    pipeline.seen.forget()  # the next step takes memory of its own
    if pipeline.similar is not None:
        prune(out, pipeline.similar, ledger)
        shutil.rmtree(pipeline.similar.folder)
    ledger.check(lines_on_disk(out))
    report = pipeline.report()
    write_atomically(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    account.say(report)
    account.refuse_nothing(report)


def _cleaner(config: Config, rules: str) -> Cleaner:
    """The rules for one record; every process that cleans makes them anew, and DataError where they are others now."""
    from danlu.corpus.clean import Cleaner
    from danlu.corpus.filters import Limits
    from danlu.corpus.language import IDENTIFIERS
    from danlu.corpus.normalise import normaliser
    from danlu.corpus.quality import Judge

    text, quality = config.text, config.filters.quality
    made = Cleaner(
        Limits(**config.filters.model_dump(exclude={"quality"})),
        config.languages,
        _privacy(config.private_data),
        normaliser(text.form, text.width, text.chinese),
        IDENTIFIERS[text.language],
        Judge(quality) if quality else None,
        _cutter(text),
        text.html,
    )
    if _rules(config) != rules:
        raise DataError(
            "the key or the tokenizer changed while texts were cleaned with it",
            where=", ".join(filter(None, (config.private_data.key_file, text.tokenizer))),
            remedy="run the stage again when they are at rest",
        )
    return made


def _privacy(options: PrivateData) -> Privacy:
    """What is looked for and what becomes of it; DataError where the key of the pseudonyms is no secret."""
    from danlu.corpus.privacy import MARKS, Privacy
    from danlu.corpus.raw import content_of

    kinds = tuple(MARKS) if "all" in options.kinds else options.kinds
    key = content_of(options.key_file, "private_data.key_file") if options.key_file else b""
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


def _pipeline(config: Config, rules: str, ledger: Ledger, out: Path) -> Pipeline:
    from danlu.corpus.dedup import Seen
    from danlu.corpus.pipeline import Pipeline
    from danlu.corpus.split import Splitter

    cleaner = _cleaner(config, rules)
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
    files = [one.file for one in _evaluation(options)]
    return Decontaminator.of(files, Lengths(options.words, options.characters), cleaner.change)


def _given(config: Config, earlier: Iterable[Stamped] = ()) -> list[Stamped]:
    from danlu.corpus.raw import given_files

    return given_files(config.sources, "prepare.sources", earlier)


def _evaluation(options: Decontaminate) -> list[Stamped]:
    from danlu.corpus.raw import given_files

    return given_files(options.files, "prepare.decontaminate", sheets=True)


def _rules(config: Config) -> str:
    """The name of all that cleaning depends on but for the text: shards of other rules are not taken."""
    options, tools = _listed_options(config), _listed_tools(config)
    return digest({"version": VERSION, "config": config.model_dump(mode="json"), "options": options, "tools": tools})


def _listing(config: Config, given: list[Stamped]) -> dict[str, Any]:
    """What the raw text is made of, and the options and tools that change it, where the recipe asks for them."""
    from danlu.corpus.raw import listing

    listed = listing(config.sources, config.seed, given, _evaluation(config.decontaminate))
    options, tools = _listed_options(config), _listed_tools(config)
    return {**listed, **({"options": options} if options else {}), **({"tools": tools} if tools else {})}


def _listed_options(config: Config) -> dict[str, str]:
    """Hashes of the files that options name; of the key it says nothing, for it has too many values to try."""
    from danlu.corpus.raw import content_of

    contents = {}
    if config.text.tokenizer:
        place = Path(config.text.tokenizer) / "tokenizer.json"
        contents["tokenizer"] = sha256(content_of(str(place), "text.tokenizer")).hexdigest()
    if config.private_data.key_file:
        key = content_of(config.private_data.key_file, "private_data.key_file")
        contents["key"] = sha256(b"danlu pseudonyms\0" + key.strip()).hexdigest()
    return contents


def _listed_tools(config: Config) -> dict[str, str]:
    """What cuts, names and converts text here: with another one the text is another."""
    text, tools = config.text, {}
    if text.words not in ("keep", "subword"):
        from danlu.tokenizer.words import require_segmenter

        tools["words"] = require_segmenter()
    elif text.words == "keep" and text.stop_words == "drop":  # texts without Chinese are cut by rule
        from danlu.tokenizer.words import segmenter

        tools["words"] = segmenter()
    if text.language == "model":
        from danlu.corpus.language import identifier

        tools["language"] = identifier()
    if text.chinese != "keep":
        from danlu.corpus.normalise import converter

        tools["chinese"] = converter()
    return tools
