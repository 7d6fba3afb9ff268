"""Proofs about texts that stand in each other: leaks of evaluation texts (D18), near-duplicates (D19)."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from danlu.base.artifact import Artifact, seal
from danlu.base.config import read_settings
from danlu.corpus.decontaminate import Lengths, Runs
from danlu.corpus.minhash import Bands, keys
from danlu.corpus.neardup import clusters
from danlu.evaluate import report
from danlu.stages import evaluate, prepare
from tests import tiny
from tests.docs.pages import benchmark
from tests.proofs.mutant import Mutant

MUTANTS = {
    "D18": Mutant(
        "src/danlu/corpus/decontaminate.py",
        "            places = np.flatnonzero(sieve[here >> shift])\n",
        "            places = np.flatnonzero(sieve[here >> shift])\n"
        "            places = places[places % length == 0]\n",
    ),
    "D19": (
        Mutant(
            "src/danlu/corpus/minhash.py",
            "    for row in range(rows):\n",
            "    for row in range(rows - 1):\n",
        ),
        Mutant(  # whatever is joined with the longest goes for it, also by way of a third one
            "src/danlu/corpus/neardup.py",
            "            stays[ranked] = direct(ranked, self._keys_of(ranked))\n",
            "            stays[ranked] = ranked[0]\n",
        ),
    ),
}

HAN = [chr(code) for code in range(0x4E00, 0x5200)]
WORDS = [
    f"{left}{right}" for left in ("ba", "de", "ki", "lo", "mu", "sen", "tor", "vi") for right in "abcdefghijklmnop"
]


def english(rng: random.Random, count: int) -> list[str]:
    return rng.choices(WORDS, k=count)


def chinese(rng: random.Random, count: int) -> list[str]:
    return rng.choices(HAN, k=count)


def disguised(rng: random.Random, units: list[str]) -> str:
    """The same words with other case, width, spacing and punctuation."""
    between = [" ", ", ", "  ", "\n", "！ "] if units[0].isascii() else ["", "", "，", " ", "\n"]
    written = []
    for unit in units:
        word = unit.upper() if rng.random() < 0.3 else unit
        if rng.random() < 0.2:
            word = "".join(chr(ord(letter) + 0xFEE0) if letter.isascii() else letter for letter in word)
        written.append(word + rng.choice(between))
    return "".join(written)


def planted(rng: random.Random, number: int) -> tuple[str, str]:
    """`(evaluation text, document with a run of it)`: just as many units as betray it, from any place to any place."""
    make, length = ((english, 13), (chinese, 20))[number % 2]
    test = make(rng, rng.randint(length, 5 * length))
    start = rng.randint(0, len(test) - length)
    before, after = (make(rng, rng.randint(30, 200)) for _ in range(2))
    spaced = " " if make is english else ""
    document = [*before, *test[start : start + length], *after]
    return spaced.join(test), disguised(rng, document)


def evaluation_files(folder: Path, tests: list[str]) -> list[str]:
    """The tests in three files of three kinds."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    lines, rows, blocks = tests[::3], tests[1::3], tests[2::3]
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    pyarrow.parquet.write_table(pyarrow.table({"question": rows}), folder / "b.parquet")
    (folder / "c.txt").write_text("\n\n".join(blocks))
    return [
        str(folder / "a.jsonl"),
        {"path": str(folder / "b.parquet"), "text_field": "question"},
        {"path": str(folder / "c.txt"), "separator": "blank line"},
    ]


def prepared(folder: Path, texts: list[str], **values):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"id": f"d{number}", "text": text}, ensure_ascii=False) for number, text in enumerate(texts)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    (folder / "out").mkdir()
    settings = {"sources": str(folder / "text.jsonl"), "validation_share": 0, "test_share": 0, **values}
    return prepare.run(read_settings(prepare.Config, settings, "test"), {}, folder / "out")


def test_D18_every_planted_run_is_found_and_nothing_else(tmp_path):
    rng = random.Random(18)
    pairs = [planted(rng, number) for number in range(150)]
    innocent = [disguised(rng, (english, chinese)[number % 2](rng, 300)) for number in range(150)]
    files = evaluation_files(tmp_path / "evaluation", [test for test, _ in pairs])
    made = prepared(tmp_path / "corpus", [text for _, text in pairs] + innocent, decontaminate=files)
    rejected = [json.loads(line) for line in made.path("rejected.jsonl").read_bytes().splitlines()]
    assert {(one["id"], one["reason"]) for one in rejected} == {(f"d{number}", "contaminated") for number in range(150)}
    assert {one["detail"].split("#")[0] for one in rejected} == {"a.jsonl", "b.parquet", "c.txt"}
    assert made.metrics["rejected"] == 150
    assert json.loads(made.path("report.json").read_bytes())["decontaminated"] == {
        name: {"texts": 50, "too_short": 0, "unread": 0, "prompt_runs": 0, "found": 50, "records_left_out": 50}
        for name in ("a.jsonl", "b.parquet", "c.txt")
    }


@pytest.mark.parametrize("number", range(2))
def test_D18_a_run_is_found_wherever_it_begins(number):
    rng = random.Random(number)
    make, length = ((english, 13), (chinese, 20))[number]
    test = make(rng, 4 * length)
    spaced = (" ", "")[number]
    runs = Runs(Lengths())
    assert runs.learn(spaced.join(test))
    for start in range(len(test) - length + 1):
        for before in range(length + 1):
            text = spaced.join([*make(rng, before), *test[start : start + length], *make(rng, 3)])
            assert runs.find(text) is not None, f"run {start} behind {before} others"
            cut = spaced.join([*make(rng, before), "begin", *test[start : start + length - 1], "end", *make(rng, 3)])
            assert runs.find(cut) is None


def test_D18_the_number_found_stands_beside_the_score(tmp_path):
    """A question and a text of the test side that also stand in training text are counted where their score is."""
    rng = random.Random(1)
    texts = [" ".join(english(rng, 60)) for _ in range(4)]
    asked = [" ".join(english(rng, 20)) for _ in range(3)]
    folder = tmp_path / "text"
    (folder / "test").mkdir(parents=True)
    lines = [{"text": text, "language": "en"} for text in texts]
    talks = [{"instruction": one, "output": "yes", "task": "who", "language": "en"} for one in asked]
    (folder / "test" / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*lines, *talks]))
    leak = [
        {"text": f"Copied: {texts[2]} end."},
        {"text": f"They ask: {asked[1].upper()}"},
        {"text": f"{asked[0][:40]}"},
    ]
    (folder / "web.jsonl").write_text("".join(json.dumps(one) + "\n" for one in leak))
    (tmp_path / "out").mkdir()
    settings = {"sources": str(folder), "test_share": 0, "validation_share": 0}
    corpus = prepare.run(read_settings(prepare.Config, settings, "test"), {}, tmp_path / "out")
    (tmp_path / "evaluation").mkdir()
    made = evaluate.run(
        evaluate.Config(max_tokens=2, device="cpu", baselines=False),
        {"model": model_at(tmp_path / "model"), "corpus": corpus},
        tmp_path / "evaluation",
    )
    result = json.loads(made.path("evaluation.json").read_bytes())
    assert result["language_model"]["en"]["documents"] == 4
    assert result["language_model"]["en"]["leaked"] == 1
    rows = {row["task"]: row for row in result["answers"]}
    assert (rows["who"]["n"], rows["who"]["leaked"]) == (3, 1)
    shown = dict(zip(report.answer_columns([]), report.answer_rows([rows["who"]], [])[0], strict=True))
    assert shown[report.LEAKED] == 1


def model_at(folder: Path) -> Artifact:
    tiny.folder(folder)
    return seal(folder, kind="model", stage="pretrain", version=1, config={}, parents={}, metrics={}, seconds=0.0)


def pairs_at(jaccard: float, count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """`count` pairs of texts one after the other, and the true similarity of each pair, counted on their word runs."""
    rng = random.Random(seed)
    shared = 120
    alone = round(shared * (1 - jaccard) / (2 * jaccard))
    texts: list[str] = []
    similarity = []
    for pair in range(count):
        common = [f"c{pair}x{rng.randrange(1 << 30)}" for _ in range(shared + 4)]
        sides = [common + [f"{side}{pair}x{rng.randrange(1 << 30)}" for _ in range(alone)] for side in "lr"]
        left, right = ({tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in sides)
        similarity.append(len(left & right) / len(left | right))
        texts += [" ".join(words) for words in sides]
    return texts, np.array(similarity)


def test_D19_recall_and_precision_are_those_of_the_theory():
    bands, threshold, count = Bands(), 0.7, 2000
    levels = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)
    found, similar, expected = [], [], []
    for seed, level in enumerate(levels):
        texts, similarity = pairs_at(level, count, seed)
        groups = clusters(keys(texts, bands).T, len(texts))
        own = np.arange(len(texts))
        assert ((groups == own) | (groups == own - own % 2)).all(), "no text is joined with one of another pair"
        joined = groups[1::2] == groups[::2]
        theory = np.array([1 - (1 - s**bands.rows) ** bands.bands for s in similarity])
        assert abs(joined.mean() - theory.mean()) < 0.03, f"at {level}: {joined.mean():.3f}, not {theory.mean():.3f}"
        assert theory.mean() == pytest.approx(bands.probability(similarity.mean()), abs=0.01)
        found.append(joined)
        similar.append(similarity >= threshold - 0.01)
        expected.append(theory)
    joined, alike, theory = (np.concatenate(part) for part in (found, similar, expected))
    recall, precision = joined[alike].mean(), alike[joined].mean()
    assert abs(recall - theory[alike].mean()) < 0.03
    assert abs(precision - theory[alike].sum() / theory.sum()) < 0.03


def test_D19_texts_without_a_common_run_are_never_joined():
    rng = random.Random(19)
    texts = [" ".join(rng.sample(WORDS, 100)) for _ in range(500)]
    texts += ["".join(rng.sample(HAN, 200)) for _ in range(500)]
    assert (clusters(keys(texts, Bands()).T, len(texts)) == np.arange(len(texts))).all()


def test_D19_edited_copies_are_found_in_both_languages_and_a_chain_of_them_is_not_one_text():
    """The measurement of the pages on fewer pairs: a document goes only for one that it resembles itself."""
    for found in benchmark("near_duplicates").measured(pairs=600, chains=60, seed=19).values():
        assert found["recall"] >= 0.95
        assert found["precision"] >= 0.95
        theory = found["strict_precision_in_theory"]
        assert abs(found["strict_precision"] - theory) < 0.08, "what is found below 0.8 is what theory finds"
        chains = found["chains"]
        assert chains["neighbours"] > 0.6 > 0.4 > chains["ends"], "so that chains are what they are meant to be"
        assert chains["gone"] > chains["documents"] / 4
        assert chains["gone_unlike"] <= 0.05 * chains["gone"]
        assert chains["least"] > 0.3
        assert chains["kept_that_went"] == 0
