"""Proofs about raw text: nothing vanishes on the way (RD1), and text is never split or lost at odd characters (D20)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.corpus import streams
from danlu.corpus.clean import Cleaner
from danlu.corpus.dedup import Seen
from danlu.corpus.ledger import LawBroken, Ledger
from danlu.corpus.pipeline import Pipeline
from danlu.corpus.sources import Source, source_files
from danlu.corpus.split import Splitter
from danlu.corpus.values import BETWEEN_LINES
from danlu.corpus.writer import FILES, CorpusWriter, lines_on_disk
from tests.proofs.mutant import Mutant

MUTANTS = {
    "RD1": Mutant(
        "src/danlu/corpus/readers.py",
        "            if not line.strip(BETWEEN_LINES):\n",
        '            if not line.strip().startswith(b"{"):\n',
    ),
    "D20": Mutant(
        "src/danlu/corpus/readers.py",
        "        for line, size in lines(self._utf8()):\n",
        '        pieces = b"".join(self._utf8()).decode("utf-8", "replace").splitlines(keepends=True)\n'
        "        for line, size in ((piece.encode(), len(piece.encode())) for piece in pieces):\n",
    ),
}

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
GOOD = st.sampled_from(
    [
        "老人坐在树下喝茶，说起从前的故事。",
        "The furnace stood at the edge of the village.",
        "短",
        "Call 13812345678 now.",
    ]
)
RECORDS = st.one_of(
    st.builds(
        lambda text, n: json.dumps({"text": f"{text} {n}"}, ensure_ascii=False).encode(), GOOD, st.integers(0, 9)
    ),
    st.builds(
        lambda text: json.dumps(
            {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]}
        ).encode(),
        GOOD,
    ),
    st.sampled_from(
        [b'{"text": 5}', b'{"title": "x"}', b"{", b"null", b"[]", b'{"text": "a\\ud800b, and more text"}', b"  ", b""]
    ),
    st.binary(max_size=12),
)


def run(top: Path, out: Path, **source: str) -> Ledger:
    """All of one source through the pipeline into files, its law checked against the disk."""
    out.mkdir(exist_ok=True)
    ledger = Ledger()
    pipeline = Pipeline(Cleaner(), Seen(), Splitter(0.2, 0.2), ledger)
    with CorpusWriter(out) as writer:
        for outcome in pipeline.outcomes(source_files([Source(str(top), **source)])):
            writer.write(outcome)
    ledger.check(lines_on_disk(out))
    return ledger


def written(out: Path) -> list[dict]:
    """Every record that was kept, from the files themselves."""
    names = [name for name in FILES if name != "rejected.jsonl"]
    return [json.loads(line) for name in names for line in (out / name).read_bytes().splitlines()]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(RECORDS, max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.sampled_from(list(PACK)), st.booleans()
)
def test_RD1_every_line_in_is_written_rejected_or_a_duplicate(tmp_path_factory, lines, end, packing, last_end):
    folder = tmp_path_factory.mktemp("law")
    data = end.join(lines) + (end if last_end and lines else b"")
    (folder / f"a.jsonl{packing}").write_bytes(PACK[packing](data))
    ledger = run(folder, folder / "out")
    report = ledger.report()
    documents, sizes = report["documents"], report["bytes"]
    if "unknown_encoding" not in report["reasons"]:
        assert documents["in"] == sum(bool(line.strip(BETWEEN_LINES)) for line in data.splitlines())
    assert documents["in"] == documents["written"] + documents["rejected"] + documents["duplicates"]
    assert sizes["in"] == sizes["written"] + sizes["rejected"] + sizes["duplicates"] + sizes["between"]
    if next(iter(ledger.encodings.values())) in ("utf-8", ""):
        assert sizes["in"] == len(data)
    assert documents["written"] == len(written(folder / "out"))
    rejected = (folder / "out" / "rejected.jsonl").read_bytes().splitlines()
    assert documents["rejected"] + documents["duplicates"] == len(rejected)


def test_RD1_a_loss_anywhere_is_an_error_that_names_the_file(tmp_path):
    top = tmp_path / "text"
    top.mkdir()
    (top / "a.jsonl").write_text('{"text": "the first of two documents"}\n{"text": "the second of two documents"}\n')
    ledger = run(top, tmp_path / "out")
    ledger.bytes_in["text/a.jsonl"] += 1
    with pytest.raises(LawBroken, match=r"text/a\.jsonl: .* bytes in"):
        ledger.check()
    ledger.bytes_in["text/a.jsonl"] -= 1
    ledger.units_in["text/a.jsonl"] += 1
    with pytest.raises(LawBroken, match="3 documents in, 2 out"):
        ledger.check()
    ledger.units_in["text/a.jsonl"] -= 1
    with pytest.raises(LawBroken, match="documents: 2 counted, 1 on disk"):
        ledger.check({"documents": 1})


ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What str.splitlines takes for line ends, and JSON and people do not."""


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text(alphabet=st.sampled_from("汉字é😀aZ9 \u200d" + ODD), min_size=1, max_size=20), min_size=1, max_size=8
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_D20_odd_characters_and_mixed_line_ends_neither_split_nor_lose_records(tmp_path_factory, texts, end):
    folder = tmp_path_factory.mktemp("odd")
    whole = [f"{number:08d} begin {text} end" for number, text in enumerate(texts)]
    data = "".join(json.dumps({"id": str(n), "text": text}, ensure_ascii=False) + end for n, text in enumerate(whole))
    (folder / "a.jsonl").write_bytes(data.encode())
    run(folder, folder / "out")
    kept = {record["id"]: record["text"] for record in written(folder / "out")}
    for number, text in enumerate(whole):
        visible = [character for character in text if character.isalnum()]
        assert [character for character in kept[str(number)] if character.isalnum()] == visible


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7])
def test_D20_characters_cut_by_the_size_of_a_read_are_whole(tmp_path, monkeypatch, encoding, chunk_bytes):
    text = "老人坐在树下喝茶，一面看水，一面说起从前的故事。他们都知道明天还会是好天气。🀄"
    top = tmp_path / "text"
    top.mkdir()
    (top / "a.txt").write_bytes(text.encode(encoding))
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
    run(top, tmp_path / "out")
    assert [record["text"] for record in written(tmp_path / "out")] == [text]


def test_D20_a_broken_character_costs_its_own_document_only(tmp_path):
    top = tmp_path / "text"
    top.mkdir()
    blocks = [f"这是第{number}个故事，讲的是一个人和他的炉子。".encode() for number in range(5)]
    blocks[2] = blocks[2][:10] + b"\xff" + blocks[2][10:]
    (top / "a.txt").write_bytes(b"\n\n".join(blocks))
    ledger = run(top, tmp_path / "out", separator="blank line")
    assert ledger.report()["documents"] == {"in": 5, "written": 4, "rejected": 1, "duplicates": 0}
    assert dict(ledger.reasons) == {"broken_characters": 1}
