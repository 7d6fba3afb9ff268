"""The walk through the ten files runs: its blocks, in order, in one namespace, with the outputs that the page shows.

In: `docs/one-token.md` and its Chinese twin. Out: red where a number on the page is not what the code gives, or where
the two pages have come apart. The blocks keep their line numbers, so that a failure points into the page.
"""

from __future__ import annotations

import runpy

import pytest
import torch

from tests.docs import pages

ENGLISH, CHINESE = pages.ROOT / "docs" / "one-token.md", pages.ROOT / "docs" / "one-token.zh.md"
TEN_FILES = (
    "recipes/quickstart.yaml",
    "src/danlu/stages/prepare.py",
    "src/danlu/tokenizer/train.py",
    "src/danlu/shards/packing.py",
    "src/danlu/model/transformer.py",
    "src/danlu/train/objectives.py",
    "src/danlu/train/loop.py",
    "src/danlu/infer/generate.py",
    "src/danlu/serve/stream.py",
    "src/danlu/serve/app.py",
)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_blocks_run_in_order_and_show_what_the_page_says(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(pages.ROOT)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    names = runpy.run_path(str(pages.as_program(ENGLISH, tmp_path)))
    assert "".join(names["texts"]) == names["sentence"]
    assert f"> {names['sentence']}" in ENGLISH.read_text(encoding="utf-8")


def test_both_languages_run_the_same_program():
    assert [block.text for block in pages.blocks(ENGLISH)] == [block.text for block in pages.blocks(CHINESE)]


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)
def test_each_section_is_one_of_the_ten_files(page):
    sections = [heading for heading in pages.headings(page) if heading.level == 2]
    assert len(sections) == len(pages.blocks(page, "python")) == len(TEN_FILES)
    for section, file in zip(sections, TEN_FILES, strict=True):
        assert section.text.endswith(file.removeprefix("src/danlu/")), section
        assert (pages.ROOT / file).is_file()
        assert f"](../{file})" in page.read_text(encoding="utf-8")
