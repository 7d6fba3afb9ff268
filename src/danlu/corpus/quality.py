"""Rules of quality for Chinese and English web text, in the manner of Gopher, C4 and FineWeb.

In: a text, its language, the families or rules that the recipe names. Out: the text (C4 leaves out lines, citations),
or the rule that speaks against it with the measured value. Called by `clean`. Each rule is a line of RULES: what is
measured, its limits in English and in Chinese, its source; `quality_examples` has a text on either side of each limit.
Limits in words count 1.8 Han characters as a word. For other languages the laxer limit of the two holds.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from danlu.corpus.measures import SPACES, Measures, measure

GOPHER = "https://arxiv.org/abs/2112.11446"
C4 = "https://arxiv.org/abs/1910.10683"
FINEWEB = "https://arxiv.org/abs/2406.17557"
FINEWEB_2 = "https://arxiv.org/abs/2506.20920"
"""Its configuration for Mandarin (cmn_Hani) has the Chinese limits that differ from the English ones: of n-grams,
letters, repeated lines, ends of lines, newlines. Two of its rules are not here: words of 1 to 5 characters, because
nothing is cut into words by a dictionary; and its 22 stop words, because ours are single characters, which need no
cutting. Of FineWeb's own rules a text may have a tenth of its characters in repeated lines, as the paper says (0.1);
datatrove's code has 0.01 by default. C4's list of bad words is not here: it drops a page for one word, and with them
much of what minorities write and what medicine says (https://arxiv.org/abs/2104.08758).
"""

GRAM_LIMITS = {
    "gopher_top_2_words": (0.20, 0.256),
    "gopher_top_3_words": (0.18, 0.201),
    "gopher_top_4_words": (0.16, 0.171),
    "gopher_repeated_5_words": (0.15, 0.198),
    "gopher_repeated_6_words": (0.14, 0.182),
    "gopher_repeated_7_words": (0.13, 0.167),
    "gopher_repeated_8_words": (0.12, 0.154),
    "gopher_repeated_9_words": (0.11, 0.14),
    "gopher_repeated_10_words": (0.10, 0.127),
}
"""Most characters of a text in repeated n-grams, English and Chinese, in the order of `Measures.grams`."""


class Limit(NamedTuple):
    """The least and the most that is kept; None is no limit."""

    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. With `reaches` a value that reaches a limit is dropped already: so FineWeb has it, and Gopher not."""

    measured: Callable[[Measures], float]
    en: Limit
    zh: Limit
    source: str
    reaches: bool = False
    any: Limit = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "any", Limit(_laxer(min, "least", self), _laxer(max, "most", self)))

    def limit(self, language: str) -> Limit:
        """The limit of a language: `zh`, `zh-Hant` and `en` have their own."""
        return self.zh if language.startswith("zh") else self.en if language == "en" else self.any

    def against(self, measures: Measures, language: str) -> str | None:
        """What speaks against a text, in numbers, or None."""
        least, most = self.limit(language)
        value = self.measured(measures)
        if least is not None and (value < least or (self.reaches and value == least)):
            return f"{value:.3g}, {'more than' if self.reaches else 'at least'} {least:g}"
        if most is not None and (value > most or (self.reaches and value == most)):
            return f"{value:.3g}, {'less than' if self.reaches else 'at most'} {most:g}"
        return None


def _laxer(choose: Callable[[Iterable[float]], float], side: str, rule: Rule) -> float | None:
    """Where one of the two languages has no limit, another language has none either."""
    limits = [getattr(limit, side) for limit in (rule.en, rule.zh)]
    return None if None in limits else choose(limits)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _both(least: float | None = None, most: float | None = None) -> tuple[Limit, Limit]:
    return Limit(least, most), Limit(least, most)


def _gram(place: int, en: float, zh: float) -> Rule:
    return Rule(lambda m: _share(m.grams[place], m.word_characters), Limit(most=en), Limit(most=zh), GOPHER)


RULES: dict[str, Rule] = {
    "gopher_few_words": Rule(lambda m: m.words, *_both(least=50), GOPHER),
    "gopher_many_words": Rule(lambda m: m.words, *_both(most=100_000), GOPHER),
    "gopher_word_length": Rule(lambda m: _share(m.run_letters, m.runs), Limit(3, 10), Limit(), GOPHER),
    "gopher_hashes": Rule(lambda m: _share(m.hashes, m.words), *_both(most=0.1), GOPHER),
    "gopher_ellipses": Rule(lambda m: _share(m.ellipses, m.words), *_both(most=0.1), GOPHER),
    "gopher_bullets": Rule(lambda m: _share(m.bullet_lines, m.lines), *_both(most=0.9), GOPHER),
    "gopher_ellipsis_lines": Rule(lambda m: _share(m.ellipsis_lines, m.lines), *_both(most=0.3), GOPHER),
    "gopher_letters": Rule(
        lambda m: _share(m.lettered_runs + m.han, m.runs + m.han), Limit(least=0.8), Limit(least=0.735), GOPHER
    ),
    "gopher_stop_words_en": Rule(lambda m: m.stop_words_en, Limit(least=2), Limit(), GOPHER),
    "gopher_stop_words_zh": Rule(lambda m: m.stop_words_zh, Limit(), Limit(least=2), GOPHER),
    "gopher_repeated_lines": Rule(
        lambda m: _share(m.repeated_lines, m.lines), Limit(most=0.3), Limit(most=0.287), GOPHER
    ),
    "gopher_repeated_line_text": Rule(
        lambda m: _share(m.repeated_line_characters, m.characters), *_both(most=0.2), GOPHER
    ),
    "gopher_repeated_paragraphs": Rule(lambda m: _share(m.repeated_paragraphs, m.paragraphs), *_both(most=0.3), GOPHER),
    "gopher_repeated_paragraph_text": Rule(
        lambda m: _share(m.repeated_paragraph_characters, m.characters), *_both(most=0.2), GOPHER
    ),
    **{name: _gram(place, en, zh) for place, (name, (en, zh)) in enumerate(GRAM_LIMITS.items())},
    "c4_braces": Rule(lambda m: m.braces, *_both(most=0), C4),
    "c4_sentences": Rule(lambda m: m.sentences, *_both(least=3), C4),
    "fineweb_line_ends": Rule(
        lambda m: _share(m.ended_lines, m.lines) if m.lines else 1.0,
        Limit(least=0.12),
        Limit(least=0.106),
        FINEWEB,
        reaches=True,
    ),
    "fineweb_short_lines_en": Rule(
        lambda m: _share(m.lines_under_30, m.lines), Limit(most=0.67), Limit(), FINEWEB, reaches=True
    ),
    "fineweb_short_lines_zh": Rule(
        lambda m: _share(m.lines_under_10, m.lines), Limit(), Limit(most=0.67), FINEWEB, reaches=True
    ),
    "fineweb_repeated_text": Rule(
        lambda m: _share(m.repeated_line_characters, m.characters), *_both(most=0.1), FINEWEB, reaches=True
    ),
    "fineweb_newlines": Rule(lambda m: _share(m.newlines, m.words), Limit(most=0.3), Limit(most=0.178), FINEWEB),
}
"""Name of a rule, which is the reason that the report shows -> the rule, in the order of use."""

LOREM_IPSUM = "c4_lorem_ipsum"
NO_LINE_LEFT = "c4_no_line"
NOTE = re.compile(r"[ ]?\[(?:edit|citation needed|编辑|編輯|来源请求|來源請求)\]", re.IGNORECASE)
NUMBERS = r"(?:\[[1-9][0-9]{0,2}\])+(?![\])}=(]|[.,]?[A-Za-z0-9_\[]|[ ][-+*/=<>%])"
BEHIND_A_SIGN = re.compile(
    r"(?:(?<=[.,;!?…”’»。，；：！？、」』》）\u3040-\u30ff\u4e00-\u9fff])|(?<=[.,!?][\"'])|(?<=[.,!?]\)))" + NUMBERS
)
BEHIND_A_WORD = re.compile(rf"(?<!\w)(?P<word>[^\W\d_]{{3,}}|[0-9]{{3,4}})(?P<numbers>{NUMBERS})")
SUBSCRIPT = re.compile(r"(?<!\w)(?P<word>\w+)\[(?P<of>\w+)\]")
NOTICES = tuple(
    phrase.encode()
    for phrase in (
        "javascript",
        "terms of use",
        "privacy policy",
        "cookie policy",
        "uses cookies",
        "use of cookies",
        "use cookies",
        *("隐私政策", "隱私政策", "隱私權政策", "使用条款", "使用條款", "服务条款", "服務條款"),
        *("cookie政策", "cookie 政策", "使用cookie", "使用 cookie"),
    )
)
LINE_END = (".", "!", "?", '"', "'", "”", "’", "。", "．", "！", "？", "；", "」", "』", "…")
MIN_LINE_WORDS, MIN_LINE_HAN = 5, 8
MOST_WORD_CHARACTERS = 1_000
LONG_WORD = re.compile(rf"[^\s\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{{{MOST_WORD_CHARACTERS + 1}}}")
"""As C4 has it, of text between spaces or Chinese characters."""
HAN_CHARACTER = re.compile(r"[\u4e00-\u9fff]")
FAMILIES = ("gopher", "c4", "fineweb")
NAMES = (*FAMILIES, *RULES)
"""What a recipe may name: a family, or a single rule."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The text as it is kept and what was left out of it, by kind; or the rule against it with the measured cause."""

    text: str
    left_out: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    detail: str = ""


class Judge:
    """The rules that a recipe names, made ready once."""

    def __init__(self, names: Iterable[str]):
        chosen = tuple(names)
        self.cuts_lines = "c4" in chosen
        self.rules: Mapping[str, Rule] = {
            name: rule for name, rule in RULES.items() if name in chosen or name.partition("_")[0] in chosen
        }

    def verdict(self, text: str, language: str) -> Verdict:
        """C4's citations and lines go first, as there; then each rule in turn."""
        before, left_out = text, Counter[str]()
        if self.cuts_lines:
            if b"lorem ipsum" in _small(text):
                return Verdict(text, reason=LOREM_IPSUM, detail="it says lorem ipsum")
            text, citations = without_citations(text)
            text, lines = without_bad_lines(text)
            if not text:
                return Verdict(before, reason=NO_LINE_LEFT, detail=f"{lines} lines, and none is a sentence")
            left_out = +Counter(citations=citations, lines=lines)
        measures = measure(text, chinese=language.startswith("zh"))
        for name, rule in self.rules.items():
            cause = rule.against(measures, language)
            if cause is not None:
                return Verdict(before, reason=name, detail=cause)
        return Verdict(text, left_out)


def without_citations(text: str) -> tuple[str, int]:
    """`(text, citations left out)`: notes of an encyclopaedia, and the numbers of sources in brackets.

    C4 takes every number in brackets; here `x[1]` stays. A number is a source's right behind the end of a sentence, a
    comma or a Chinese character; in a text that has such a one also behind a word that is no variable's name.
    """
    if "[" not in text:
        return text, 0
    text, notes = NOTE.subn("", text)
    found = BEHIND_A_SIGN.findall(text)
    if not found:
        return text, notes
    numbers = sum(piece.count("[") for piece in found)
    subscripts: dict[str, set[str]] = defaultdict(set)
    for match in SUBSCRIPT.finditer(text):
        subscripts[match["word"]].add(match["of"])

    def bare(match: re.Match[str]) -> str:
        nonlocal numbers
        word = match["word"]
        if len(subscripts[word]) > 1 or word not in (word.lower(), word.upper(), word.capitalize()):
            return match[0]
        numbers += match["numbers"].count("[")
        return word

    return BEHIND_A_WORD.sub(bare, BEHIND_A_SIGN.sub("", text)), notes + numbers


def without_bad_lines(text: str) -> tuple[str, int]:
    """C4's way: `(text, lines left out)`. A line stays that ends a sentence, has words enough, and is no notice."""
    is_suspect = _is_notice(text)
    lines = text.split("\n")
    kept = [line for line in lines if not line or (_is_sentence(line) and not (is_suspect and _is_notice(line)))]
    left_out = len(lines) - len(kept)
    if not left_out:
        return text, 0
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n"), left_out


def _is_sentence(line: str) -> bool:
    """True where the line ends one and has words enough, which are counted by the spaces between them."""
    line = line.strip(SPACES)
    if not line.endswith(LINE_END) or line.endswith("..."):
        return False
    if len(line) > MOST_WORD_CHARACTERS and LONG_WORD.search(line):
        return False
    return line.count(" ") >= MIN_LINE_WORDS - 1 or len(HAN_CHARACTER.findall(line[: 8 * MIN_LINE_HAN])) >= MIN_LINE_HAN


def _is_notice(text: str) -> bool:
    small = _small(text)
    return any(notice in small for notice in NOTICES)


def _small(text: str) -> bytes:
    """ASCII letters in lower case; bytes do this ten times as fast as characters."""
    return text.encode("utf-8", "replace").lower()
