"""One word for one concept: the Chinese pages, and what writes them, use the glossary's word and not another one.

In: `docs/glossary.md`, the Chinese pages, the scripts that write some of them. Out: red where a word that was given up
stands there again, or where the word that took its place is not in the glossary.
"""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, all_pages

GIVEN_UP = {
    "代号": "化名",
    "校验位": "校验码",
    "条带": "带",
    "绑定": "共享",
    "升温": "预热",
    "纳特": "奈特",
    "每词元 nats": "奈特",
    "评测": "评估",
    "小批": "微批次",
    "被排除": "剔除",
    "各库给出的 id": "编号",
    "文件夹": "目录",
}
"""What once stood beside the glossary's word, and that word; `目录` is not a concept of its own there."""
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
WRITTEN = [
    *(page for page in all_pages() if page.name.endswith(".zh.md") or page.name == "glossary.md"),
    *sorted((ROOT / "benchmarks").glob("*.py")),
]


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_word_that_was_given_up_stands_in_a_chinese_page(file):
    text = file.read_text(encoding="utf-8")
    assert [word for word in GIVEN_UP if word in text] == []


def test_the_words_that_took_their_place_are_in_the_glossary():
    assert [word for word in GIVEN_UP.values() if word not in GLOSSARY] == []
