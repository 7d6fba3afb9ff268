"""What `benchmarks/text_encodings.py` measured: nearly all samples are read right, and the pages tell the results."""

import json

import pytest

from tests.corpus.written import ENCODINGS, TEXTS
from tests.docs.pages import ROOT

FOUND = json.loads((ROOT / "docs/results/encodings.json").read_text(encoding="utf-8"))
FEW_SIGNS = {("with Chinese words", "gb18030"), ("with one Chinese word", "gb18030")}
"""Where too little stands beyond ASCII to tell an encoding by."""


@pytest.mark.parametrize(("end", "head"), ENCODINGS.HEADS.items())
def test_the_page_of_prepare_tells_every_row(end, head):
    page = (ROOT / "docs/stages" / f"prepare{end}").read_text(encoding="utf-8")
    _, table = page.split(f"\n{head}", 1)
    told = [line for line in table.split("\n\n", 1)[0].splitlines() if "encodings.json" in line]
    assert told == ENCODINGS.rows(FOUND, chinese=end == ".zh.md")


def test_every_sample_has_an_outcome_and_nearly_all_are_read_right():
    kinds = {(kind, encoding): one for kind, found in FOUND["kinds"].items() for encoding, one in found.items()}
    assert {kind: tuple(found) for kind, found in FOUND["kinds"].items()} == ENCODINGS.WRITTEN_IN
    assert FOUND["mixtures"].keys() == ENCODINGS.MIXTURES.keys()
    for (kind, encoding), one in kinds.items():
        assert sum(one[outcome] for outcome in ENCODINGS.OUTCOMES) == FOUND["samples"]
        if (kind, encoding) not in FEW_SIGNS:
            assert one["right"] >= 0.99 * FOUND["samples"], (kind, encoding)
            assert one["wrong"] <= 0.001 * FOUND["samples"], (kind, encoding)
    for mixture, one in FOUND["mixtures"].items():
        assert sum(one.values()) == len(ENCODINGS.MIXTURES[mixture]) * FOUND["samples"]
        assert one["right"] >= 0.99 * sum(one.values()), mixture
        assert one["wrong"] <= 0.002 * sum(one.values()), mixture


def test_what_is_read_wrong_among_English_is_valid_utf8_and_told():
    """The bytes of 谢谢 in GBK are лл in UTF-8, and no bytes beside them say otherwise."""
    assert "谢谢".encode("gbk").decode() == "лл"
    for kind, encoding in FEW_SIGNS:
        one = FOUND["kinds"][kind][encoding]
        assert one["wrong"] == one["wrong_but_utf8"] > 0
    assert FOUND["kinds"]["with Chinese words"]["gb18030"]["wrong"] <= 0.03 * FOUND["samples"]
    for end in ENCODINGS.HEADS:
        assert "лл" in (ROOT / "docs/stages" / f"prepare{end}").read_text(encoding="utf-8")


def test_what_is_measured_is_counted_and_told():
    """On few samples of texts that ship with the project."""
    texts = {kind: TEXTS[kind]() for kind in ENCODINGS.LETTERS}
    found = {"samples": 20, "size_bytes": ENCODINGS.SIZE_BYTES, **ENCODINGS.measured(texts, samples=20)}
    assert found["kinds"]["simplified"]["gb18030"] == {"right": 20, "refused": 0, "wrong": 0, "wrong_but_utf8": 0}
    single = found["kinds"]["with one Chinese word"]["gb18030"]
    assert single["right"] + single["refused"] + single["wrong"] == 20
    assert single["wrong"] == single["wrong_but_utf8"]
    assert single["refused"] > single["right"], "a word of two characters proves nothing"
    assert sum(found["mixtures"]["five hands"].values()) == 100
    for chinese in (False, True):
        told = ENCODINGS.rows(found, chinese=chinese)
        assert len(told) == 2 + sum(map(len, ENCODINGS.WRITTEN_IN.values())) + len(ENCODINGS.MIXTURES)
        assert told[3].startswith("| 20 / 0 / 0 | [encodings.json](../results/encodings.json) `kinds.simplified.gb")


def test_lines_of_another_script_are_not_taken(tmp_path):
    lines = ["春天到了，孩子们在河边。", "plain English", "\ufeff春天\ufffd", "  \ufeff老人在树下喝茶  ", ""]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "only English\n明天见"}) + "\n", encoding="utf-8")
    paths = list(ENCODINGS.listed([tmp_path]))
    assert ENCODINGS.taken(paths, ENCODINGS.LETTERS["simplified"]) == "春天到了，孩子们在河边。\n老人在树下喝茶\n明天见"
    assert list(ENCODINGS.listed(paths[:1])) == paths[:1]
