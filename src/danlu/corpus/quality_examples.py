"""For each rule of quality, in English and in Chinese, a text that it just keeps and one that it just drops.

In: nothing. Out: EXAMPLES. Nobody calls it but the tests, which hold limits and examples together: a limit that is
moved by a fifth, or by one where it counts, changes the verdict on one of them. The texts are made to measure: distinct
words of one length, distinct characters (the beginning of the Thousand Character Classic, which repeats none).
"""

from __future__ import annotations

import math
from typing import TypeAlias

from danlu.corpus.measures import GRAMS
from danlu.corpus.quality import GRAM_LIMITS

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""(kept, dropped), one for each side on which the rule has a limit."""

FOX = "The quick brown fox jumps over the lazy dog, and then it runs to the end of the garden with a hen."
TEA = "老人坐在树下喝茶，说起从前的故事。孩子们在河边放风筝，也有人在田里种菜，天黑了才回家。"
"""A sentence or two that no rule on signs, words and lines speaks against."""
CLASSIC = (
    "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光果珍李柰"
    "菜重芥姜海咸河淡鳞潜羽翔龙师火帝鸟官人皇始制文字乃服衣裳推位让国有虞陶唐吊民伐罪周发殷汤坐朝问道垂拱平章爱育黎首臣伏戎羌"
    "遐迩一体率宾归王鸣凤在竹白驹食场化被草木赖及万方"
)
FIRST, SECOND = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu"), ("la", "me", "ni", "po", "ru", "sa", "te")
INVENTED = [first + second for second in SECOND for first in FIRST] + [a + b for b in FIRST[:4] for a in SECOND]


def _words(count: int) -> str:
    """Words of four letters, no two alike."""
    return " ".join(INVENTED[:count])


def _lines(count: int, repeated: int, language: str, between: str = "\n") -> str:
    """Lines of one length, of which the last `repeated` say again what the first one said."""
    lines = [f"{CLASSIC[n : n + 8]}。" if language == "zh" else f"line {n:02} of the poem." for n in range(count)]
    return between.join([*lines[: count - repeated], *lines[:1] * repeated])


def _some(count: int, marked: int, mark: str, language: str, *, before: bool = False) -> str:
    """Lines of which the first `marked` bear a mark at their end, or before it."""
    lines = [
        CLASSIC[3 * n : 3 * n + 12] if language == "zh" else f"the mill at place {n:02} of many" for n in range(count)
    ]
    return "\n".join((mark + line if before else line + mark) if n < marked else line for n, line in enumerate(lines))


def _short(count: int, short: int, language: str) -> str:
    """Lines of which the first `short` are short ones."""
    little, much = ("首页", CLASSIC[:12]) if language == "zh" else ("Home", FOX)
    return "\n".join([little] * short + [much] * (count - short))


def _gram(language: str, place: int, limit: float) -> tuple[str, str]:
    """Texts with one n-gram that stands in them twice: of the shorter n-grams both places count, of the longer one."""
    length = GRAMS[language == "zh"][place]
    counted = 2 * length if place < 3 else length
    least = math.ceil(counted / limit - 1e-9)
    return _twice(language, length, least), _twice(language, length, least - 1)


def _twice(language: str, length: int, size: int) -> str:
    units = list(CLASSIC) if language == "zh" else INVENTED
    said, others = units[:length], units[length : size - length]
    return ("" if language == "zh" else " ").join([*said, *others[:1], *said, *others[1:]])


def _both(make: object, *texts: tuple[int, int]) -> dict[str, Pairs]:
    assert callable(make)
    kept, dropped = texts
    return {language: ((make(*kept, language), make(*dropped, language)),) for language in ("en", "zh")}


EXAMPLES: dict[str, dict[str, Pairs]] = {
    "gopher_few_words": {"en": ((_words(50), _words(49)),), "zh": ((CLASSIC[:90], CLASSIC[:89]),)},
    "gopher_many_words": {
        "en": (("word " * 100_000, "word " * 100_001),),
        "zh": (("字" * 180_000, "字" * 180_001),),
    },
    "gopher_word_length": {
        "en": (
            ("The cat ran.", "The ox ran."),
            ("background basketball blackberry", "background basketball blackboards"),
        )
    },
    "gopher_hashes": {
        "en": ((f"#{_words(10)}", f"#{_words(9)}"),),
        "zh": ((f"#{CLASSIC[:17]}", f"#{CLASSIC[:16]}"),),
    },
    "gopher_ellipses": {
        "en": ((f"{_words(10)}...", f"{_words(9)}..."),),
        "zh": ((f"{CLASSIC[:18]}……", f"{CLASSIC[:17]}……"),),
    },
    "gopher_bullets": {
        "en": ((_some(10, 9, "- ", "en", before=True), _some(10, 10, "- ", "en", before=True)),),
        "zh": ((_some(10, 9, "●", "zh", before=True), _some(10, 10, "●", "zh", before=True)),),
    },
    "gopher_ellipsis_lines": {
        "en": ((_some(10, 3, "...", "en"), _some(3, 1, "...", "en")),),
        "zh": ((_some(10, 3, "……", "zh"), _some(3, 1, "……", "zh")),),
    },
    "gopher_letters": {
        "en": ((f"{_words(4)} 12", f"{_words(7)} 12 34"),),
        "zh": ((f"{CLASSIC[:14]} 1 2 3 4 5", f"{CLASSIC[:13]} 1 2 3 4 5"),),
    },
    "gopher_stop_words_en": {"en": (("Sofa and bed with lamp", "Sofa and bed, lamp, desk"),)},
    "gopher_stop_words_zh": {"zh": (("沙发和床垫的价格", "沙发和床垫价格"),)},
    "gopher_repeated_lines": {
        "en": ((_lines(10, 3, "en"), _lines(3, 1, "en")),),
        "zh": ((_lines(7, 2, "zh"), _lines(10, 3, "zh")),),
    },
    "gopher_repeated_line_text": _both(_lines, (5, 1), (9, 2)),
    "gopher_repeated_paragraphs": {
        language: ((_lines(10, 3, language, "\n\n"), _lines(3, 1, language, "\n\n")),) for language in ("en", "zh")
    },
    "gopher_repeated_paragraph_text": {
        language: ((_lines(5, 1, language, "\n\n"), _lines(9, 2, language, "\n\n")),) for language in ("en", "zh")
    },
    **{
        name: {"en": (_gram("en", place, en),), "zh": (_gram("zh", place, zh),)}
        for place, (name, (en, zh)) in enumerate(GRAM_LIMITS.items())
    },
    "c4_braces": {
        "en": (("Add a to b and return the sum.", "function add(a, b) { return a + b; }"),),
        "zh": (("把甲加上乙，得到它们的和。", "求和：function add() { return 甲 + 乙; }"),),
    },
    "c4_sentences": {
        "en": (("It rained. We read. Then the sun came.", "It rained. We read, then the sun came."),),
        "zh": (("下雨了。我们看书。后来出太阳了。", "下雨了。我们看书，后来出太阳了。"),),
    },
    "fineweb_line_ends": {
        "en": ((_some(8, 1, ".", "en"), _some(25, 3, ".", "en")),),
        "zh": ((_some(9, 1, "。", "zh"), _some(10, 1, "。", "zh")),),
    },
    "fineweb_short_lines_en": {"en": ((_short(3, 2, "en"), _short(100, 67, "en")),)},
    "fineweb_short_lines_zh": {"zh": ((_short(3, 2, "zh"), _short(100, 67, "zh")),)},
    "fineweb_repeated_text": _both(_lines, (11, 1), (10, 1)),
    "fineweb_newlines": {
        "en": ((_words(10).replace(" ", "\n", 3), _words(13).replace(" ", "\n", 4)),),
        "zh": (("\n".join((*CLASSIC[:3], CLASSIC[3:31])), "\n".join((*CLASSIC[:3], CLASSIC[3:30]))),),
    },
}
"""Name of a rule -> language -> its pairs."""
