"""Near-duplicates: hashes that depend on one text alone, C equal to numpy, one of each group kept, by a rule."""

import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.config import read_settings
from danlu.base.records import Document
from danlu.corpus import minhash, shingles
from danlu.corpus.minhash import NOTHING, Bands, band_keys, hash_functions
from danlu.corpus.neardup import NearDuplicates, clusters, direct
from danlu.stages import prepare

TEXTS = st.lists(st.text(alphabet="ab１Ａé 老人炉火,。\n\u0301𠀀😀ไ", max_size=30), min_size=1, max_size=6)


def words(count, seed=0):
    return " ".join(f"w{number}" for number in random.Random(seed).sample(range(10_000), count))


def spans(text):
    found = shingles.units(shingles.codes_of(text))
    return [text[begin:end] for begin, end in zip(found.begins, found.ends, strict=True)]


def test_units_are_words_and_single_characters():
    assert spans("The old smith's 炉火, 42次。ok") == ["The", "old", "smith", "s", "炉", "火", "42", "次", "ok"]
    assert spans("𠀀𠀁 café́ 😀 カタ ไทย") == ["𠀀", "𠀁", "café́", "カ", "タ", "ไ", "ท", "ย"]
    assert spans("") == spans(" ,。😀") == []


def test_case_width_and_what_stands_between_make_no_difference():
    left, right = (shingles.shingles([text], 3)[0] for text in ("Ｔhe old SMITH 炉 火", "the OLD, smith:炉火!"))
    assert len(left) == 3
    assert (left == right).all()
    other = shingles.shingles(["the old smithy 炉火"], 3)[0]
    assert not set(left[:1]) & set(other)


@settings(deadline=None)
@given(TEXTS, st.integers(1, 4))
def test_shingles_are_those_of_a_plain_loop_and_of_each_text_alone(texts, length):
    hashes, ends = shingles.shingles(texts, length)
    begin, known = 0, {}
    for text, end in zip(texts, ends, strict=True):
        folded = [
            tuple(shingles.characters()[1][ord(c)] if ord(c) < 0x20000 else ord(c) for c in unit)
            for unit in spans(text)
        ]
        runs = [tuple(folded[place : place + length]) for place in range(len(folded) - length + 1)]
        assert len(runs) == end - begin
        for run, value in zip(runs, hashes[begin:end].tolist(), strict=True):
            assert known.setdefault(run, value) == value
        assert (shingles.shingles([text], length)[0] == hashes[begin:end]).all()
        begin = end
    assert len(set(known.values())) == len(known), "different runs have different hashes"


def test_a_text_longer_than_a_slice_is_hashed_like_short_ones(monkeypatch):
    text = words(300)
    whole = shingles.shingles([text, "one two three four"], 4)
    monkeypatch.setattr(shingles, "SLICE", 100)
    shingles.powers.cache_clear()
    try:
        cut = [len(part) for part in spans(text)]
        parts = shingles.shingles([text, "one two three four"], 4)
    finally:
        shingles.powers.cache_clear()
    assert sum(cut) == len(text.replace(" ", ""))
    assert parts[1][1] - parts[1][0] == 1
    assert parts[0][-1] == whole[0][-1]
    assert len(np.intersect1d(parts[0], whole[0])) > 0.5 * len(whole[0]), "only words at a cut differ"


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 40))
def test_the_compiled_signatures_are_those_of_numpy(sizes, functions):
    if minhash.compiled() is None:
        pytest.skip("no C compiler")
    ends = np.cumsum(sizes)
    hashes = shingles.mixed(np.arange(1, ends[-1] + 1, dtype=np.uint64))
    assert (minhash.signatures(hashes, ends, functions) == minhash.reference(hashes, ends, functions)).all()


def test_the_same_keys_without_a_compiler(monkeypatch):
    texts = [words(50, seed) for seed in range(5)] + ["short"]
    compiled = minhash.keys(texts, Bands())
    monkeypatch.setattr(minhash, "compiled", lambda: None)
    assert (minhash.keys(texts, Bands()) == compiled).all()
    assert (compiled[-1] == NOTHING).all()


KEYS = [[5696194089765305484, 1097454588679583517], [15241825064683929497, 13578255775775456489]]


def test_keys_are_the_same_for_ever():
    assert minhash.keys(["the old smith lit the furnace", "老人点燃了炉火"], Bands(5, 2, 2)).tolist() == KEYS
    assert len(set(hash_functions(200)[0].tolist())) == 200
    assert (hash_functions(5)[0] == hash_functions(200)[0][:5]).all()


def test_every_row_of_a_band_counts():
    least = shingles.mixed(np.arange(24, dtype=np.uint64)).reshape(1, 3, 8)
    before = band_keys(least)
    for band, row in itertools.product(range(3), range(8)):
        changed = least.copy()
        changed[0, band, row] += np.uint64(1)
        assert (band_keys(changed) != before)[0].tolist() == [number == band for number in range(3)]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_clusters_are_those_of_a_plain_search(rows):
    found = clusters(np.array(rows, np.uint64).T, len(rows))
    near = [
        {j for j, b in enumerate(rows) if any(x == y != 0 for x, y in zip(a, b, strict=True))} | {i}
        for i, a in enumerate(rows)
    ]
    for number in range(len(rows)):
        group, border = set(), {number}
        while border:
            group |= border
            border = set().union(*(near[one] for one in border)) - group
        assert found[number] == min(group)


def gone(folder, documents):
    with NearDuplicates(folder, Bands()) as found:
        for document, side in documents:
            found.add(document, side, "f", 1)
    return {(side, one.line): one.kept for side, listed in found.gone() for one in listed}


def test_the_longest_stays_and_of_equally_long_ones_the_smallest_id(tmp_path):
    text = words(200)
    same = [Document(name, text, "f") for name in ("c", "a", "b")]
    assert gone(tmp_path, [(one, "train") for one in same]) == {("train", 0): "a", ("train", 2): "a"}
    longer = Document("z", text + " end", "f")
    sides = [(same[0], "train"), (longer, "test"), (same[1], "test"), (Document("o", words(200, 1), "f"), "train")]
    assert gone(tmp_path, sides) == {("train", 0): "z", ("test", 1): "z"}
    assert gone(tmp_path, [(Document("s", "too short", "f"), "train")] * 2) == {}
    assert gone(tmp_path, []) == {}


def test_nothing_goes_by_way_of_a_third_one(tmp_path):
    """B shares half with A and half with C; A and C share nothing. C stays, although all three are joined."""
    keys_of = {0: [1, 2, 3], 1: [1, 5, 6], 2: [4, 5, 9], 3: [4, 8, 0], 4: [7, 8, 0]}
    rows = [np.array(row, np.uint64) for row in keys_of.values()]
    assert (clusters(np.array(rows).T, 5) == 0).all()
    assert direct(np.arange(5), rows).tolist() == [0, 0, 2, 2, 4]


def test_equally_long_ones_are_asked_in_the_order_of_their_ids(tmp_path):
    same = [Document(name, words(200), "f") for name in ("b", "a")]
    longer = [Document(name, words(200, 7) + " end" * 300, "f") for name in ("d", "c")]
    asked = [(one, "train") for one in (*same, *longer)]
    assert gone(tmp_path, asked) == {("train", 0): "a", ("train", 2): "c"}


def corpus(folder, records, order, **values):
    (folder / "text").mkdir(parents=True)
    for number in order:
        line = json.dumps(records[number]) + "\n"
        (folder / "text" / f"{number:03d}.jsonl").write_text(line)
    (folder / "out").mkdir()
    values = {"sources": str(folder / "text"), "similar": True, **values}
    return prepare.run(read_settings(prepare.Config, values, "test"), {}, folder / "out")


def test_the_stage_leaves_one_of_each_group_and_names_it(tmp_path):
    records = [{"id": f"d{number}", "text": words(200, number)} for number in range(20)]
    records += [{"id": f"e{number}", "text": words(200, number) + " and more"} for number in range(5)]
    random.Random(3).shuffle(records)
    results = []
    for name, order in (("one", range(25)), ("two", reversed(range(25)))):
        made = corpus(tmp_path / name, records, order)
        results.append(
            {path.name: path.read_bytes() for path in made.folder.glob("*.json*") if path.name != "manifest.json"}
        )
    assert results[0] == results[1]
    rejected = [json.loads(line) for line in results[0]["rejected.jsonl"].splitlines()]
    assert {(one["id"], one["reason"], one["detail"]) for one in rejected} == {
        (f"d{number}", "similar", f"kept: e{number}") for number in range(5)
    }
    report = json.loads(results[0]["report.json"])
    assert report["documents"] == {"in": 25, "written": 20, "rejected": 0, "duplicates": 5}
    assert report["languages"]["en"]["documents"] == sum(report["sides"]["documents"].values()) == 20
    lines = b"".join(results[0][f"{side}.jsonl"] for side in ("train", "validation", "test")).splitlines()
    assert report["bytes"]["text_written"] == sum(len(json.loads(line)["text"]) for line in lines)
    assert corpus(tmp_path / "off", records, range(25), similar=False).metrics["duplicates"] == 0
