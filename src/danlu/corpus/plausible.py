"""How far characters are those that people write, language by language.

In: the characters beyond ASCII of a text that was read in some encoding. Out: a share from 0 to 1. Called by
`encodings`, which reads bytes in every way and takes the one whose characters are usual. Wrong readings of Chinese give
rare characters: they reach 0.2, hardly ever 0.4, where the right one has 0.8 and more. Knows no bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeAlias

FREQUENT_HAN = re.compile(
    "[的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去"
    "法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关"
    "這個們來為國說時會對於著過發後裡經麼學現當沒動還進樣開從實軍無與長機關兩問間頭種將見給聽應點話書車門東電業]+"
)
"""Characters of which any Chinese text of some length is made by a third, simplified and traditional."""
SEEN_CHARACTERS = 256
"""So many tell how often the frequent ones are."""
SIGNS = "，。、；：？！“”‘’（）《》〈〉「」『』【】…—·　～％＋－＝／０-９○〇①-⑩×°℃→■●★◆※"
BOPOMOFO = re.compile("[ㄅ-ㄩ]")
"""In the tables among the signs; nobody writes them alone, and a comma in GBK is one in Big5."""
HAN = re.compile("[㐀-鿿]+")
KANA = re.compile("[ぁ-ヿ]+")
JAPANESE = re.compile(f"[ぁ-ヿ一-鿿{SIGNS}]+")
HANGUL = re.compile("[가-힣]+")
KOREAN = re.compile(f"[가-힣{SIGNS}]+")
KOREAN_PARTICLES = re.compile("[이다는을의에가고하지은도로를한]+")
WESTERN_LETTERS = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœšž"
WESTERN = re.compile(f"[{WESTERN_LETTERS}‘’“”–—…€£°§«»¿¡·©®\xa0]+")
ALPHABETS = tuple(re.compile(f"[{one}]+") for one in ("Ͱ-Ͽ", "Ѐ-ӿ", "\u0590-\u05ff", "\u0600-\u06ff", "\u0e00-\u0e7f"))
"""Greek, Cyrillic, Hebrew, Arabic, Thai."""


def share(characters: re.Pattern[str], text: str) -> float:
    """How much of a text that is not empty consists of runs of such characters."""
    return 1 - len(characters.sub("", text)) / len(text)


def _table(rows: Iterable[int], cells: Iterable[int], name: str) -> str:
    """The characters in some rows of the table of an encoding."""
    columns = list(cells)
    return "".join(re.escape(bytes((row, cell)).decode(name, "ignore")) for row in rows for cell in columns)


@cache
def common_chinese() -> re.Pattern[str]:
    """For daily use: the first level of GB 2312 (3,755, simplified) and of Big5 (5,401, traditional), and signs."""
    simplified = _table(range(0xB0, 0xD8), range(0xA1, 0xFF), "gb2312")
    traditional = _table(range(0xA4, 0xC7), (*range(0x40, 0x7F), *range(0xA1, 0xFF)), "big5")
    return re.compile(f"[{simplified}{traditional}{SIGNS}]+")


@cache
def common_japanese() -> re.Pattern[str]:
    """Kana, the first level of JIS X 0208 (2,965), and what Chinese has for daily use."""
    return re.compile(f"[ぁ-ヿ{_table(range(0xB0, 0xD0), range(0xA1, 0xFF), 'euc_jp')}{common_chinese().pattern[1:]}")


@cache
def chinese_signs() -> re.Pattern[str]:
    """The rows of GB 2312 and Big5 before their Han: punctuation, wide letters, pinyin, lines of tables."""
    simplified = _table(range(0xA1, 0xAA), range(0xA1, 0xFF), "gbk")
    traditional = _table(range(0xA1, 0xA4), (*range(0x40, 0x7F), *range(0xA1, 0xFF)), "big5")
    return re.compile(f"[{BOPOMOFO.sub('', simplified + traditional)}]+")


def chinese(beyond: str) -> float:
    """Share of characters in daily use, less what is missing of the most frequent ones in texts of some length."""
    han = share(HAN, beyond) * len(beyond)
    if not han:
        return 0.0
    expected = min(0.15, han / 200)  # a line of names may hold none of them
    frequent = share(FREQUENT_HAN, beyond[:SEEN_CHARACTERS])
    return share(common_chinese(), beyond) * min(1.0, 0.5 + frequent / expected)


def beside_chinese(beyond: str) -> float:
    """The same, or the share of signs where there is no Han: a line of dots, a word in pinyin."""
    return chinese(beyond) if HAN.search(beyond) else share(chinese_signs(), beyond)


def japanese(beyond: str) -> float:
    """Share of kana and Han where kana are plenty; half-width kana are what Chinese bytes look like."""
    return share(JAPANESE, beyond) if share(KANA, beyond) >= 0.25 else 0.0


def beside_japanese(beyond: str) -> float:
    """Share of kana and Han in daily use: a line of names has no kana."""
    return share(common_japanese(), beyond)


def east_asian(beyond: str) -> float:
    """Chinese or Japanese, whichever it is more."""
    return max(chinese(beyond), japanese(beyond))


def korean(beyond: str) -> float:
    """Share of Hangul where the particles that every Korean sentence has are among them."""
    hangul = share(HANGUL, beyond)
    return hangul if share(KOREAN_PARTICLES, beyond) >= 0.12 * hangul > 0 else 0.0


def beside_korean(beyond: str) -> float:
    """Share of Hangul and signs."""
    return share(KOREAN, beyond)


def western(beyond: str) -> float:
    """Share of lower-case accented letters and typographic signs; a word spelled with them alone is no word."""
    return share(WESTERN, beyond)


def beside_western(beyond: str) -> float:
    """The same, in capitals too."""
    return share(WESTERN, beyond.lower())


def alphabet(beyond: str) -> float:
    """Share of letters of one alphabet that is not Latin."""
    return max(share(one, beyond) for one in ALPHABETS)


def is_usual_word(text: str) -> bool:
    """Whether a few characters are Chinese, Japanese or Korean ones in daily use, at least two of them."""
    if len(text) < 2 or sum(character >= "\u0800" for character in text) < 2:
        return False
    return share(common_japanese(), text) + share(HANGUL, text) >= 0.8


Test: TypeAlias = Callable[[str], float]
