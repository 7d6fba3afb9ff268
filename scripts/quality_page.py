"""Write the tables of `docs/quality.md` and `docs/quality.zh.md`: each rule, its limits, and a text on either side.

In: RULES and EXAMPLES. Out: the two pages, of which the part between the marks is made anew. A test holds them to it:

    python scripts/quality_page.py
"""

from __future__ import annotations

from pathlib import Path

from danlu.corpus.measures import measure
from danlu.corpus.quality import RULES, Rule
from danlu.corpus.quality_examples import EXAMPLES
from danlu.corpus.units import REASONS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"en": DOCS / "quality.md", "zh": DOCS / "quality.zh.md"}
BEGIN, END = "<!-- tables: scripts/quality_page.py -->", "<!-- end of tables -->"
HEADS = {
    "en": (
        "rule",
        "what it drops",
        "English keeps",
        "just kept, just dropped",
        "Chinese keeps",
        "just kept, just dropped",
    ),
    "zh": ("规则", "去掉什么", "英文保留", "刚好保留、刚好去掉", "中文保留", "刚好保留、刚好去掉"),
}
TEXT_HEADS = {"en": ("rule", "kept", "dropped"), "zh": ("规则", "保留", "去掉")}
IN_CHINESE = {
    "gopher_few_words": "词数少于一页应有的",
    "gopher_many_words": "词数多于一篇应有的",
    "gopher_word_length": "词长不像英文",
    "gopher_hashes": "# 号很多",
    "gopher_ellipses": "省略号很多",
    "gopher_bullets": "几乎每行都有项目符号",
    "gopher_ellipsis_lines": "许多行没有说完",
    "gopher_letters": "许多词没有字母",
    "gopher_stop_words_en": "没有任何英文都有的那些词",
    "gopher_stop_words_zh": "没有任何中文都有的那些字",
    "gopher_repeated_lines": "许多行前面出现过",
    "gopher_repeated_line_text": "许多文字在出现过的行里",
    "gopher_repeated_paragraphs": "许多段前面出现过",
    "gopher_repeated_paragraph_text": "许多文字在出现过的段里",
    **{f"gopher_top_{n}_words": f"许多文字是同一个 {n} 词短语" for n in (2, 3, 4)},
    **{f"gopher_repeated_{n}_words": f"许多文字在出现过的 {n} 词短语里" for n in range(5, 11)},
    "c4_braces": "程序代码",
    "c4_sentences": "不到三句",
    "fineweb_line_ends": "几乎没有一行像句子那样结尾",
    "fineweb_short_lines_en": "多为短行",
    "fineweb_short_lines_zh": "多为短行",
    "fineweb_repeated_text": "文字在出现过的行里",
    "fineweb_newlines": "没几个词就换行",
}
"""What REASONS says, for the Chinese page."""
LONGEST = 60
"""Characters of an example that is shown whole; those made to measure are longer."""


def tables(page: str) -> str:
    """Both tables in the language of a page: the limits of all rules, and the texts that are short enough to show."""
    meanings = REASONS if page == "en" else IN_CHINESE
    limits = [HEADS[page], *(_limits(name, rule, meanings[name]) for name, rule in RULES.items())]
    texts = [TEXT_HEADS[page], *(row for name in RULES for row in _texts(name))]
    return f"{_table(limits)}\n\n{_table(texts)}"


def _limits(name: str, rule: Rule, meaning: str) -> tuple[str, ...]:
    cells = []
    for language in ("en", "zh"):
        least, most = rule.limit(language)
        sides = [(least, ">" if rule.reaches else "≥"), (most, "<" if rule.reaches else "≤")]
        cells.append(", ".join(f"{sign} {value:,g}" for value, sign in sides if value is not None))
        pairs = EXAMPLES[name].get(language, ())
        cells.append("; ".join(", ".join(_value(rule, text, language) for text in pair) for pair in pairs))
    return f"`{name}`", meaning, *cells


def _value(rule: Rule, text: str, language: str) -> str:
    return f"{round(rule.measured(measure(text, chinese=language == 'zh')), 3):,g}"


def _texts(name: str) -> list[tuple[str, ...]]:
    pairs = [pair for language in ("en", "zh") for pair in EXAMPLES[name].get(language, ())]
    return [(f"`{name}`", *map(_shown, pair)) for pair in pairs if max(map(len, pair)) <= LONGEST]


def _shown(text: str) -> str:
    return " ⏎ ".join(text.split("\n")).replace("|", "\\|")


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def with_tables(text: str, page: str) -> str:
    """A page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(page)}\n\n{END}{after}"


if __name__ == "__main__":
    for page, path in PAGES.items():
        path.write_text(with_tables(path.read_text(encoding="utf-8"), page), encoding="utf-8")
