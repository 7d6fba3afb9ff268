"""Rules of quality: the table's own examples, C4's lines, and counts that agree in C and in Python."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base import native
from danlu.corpus import measures, quality
from danlu.corpus.measures import ENOUGH, counted, measure
from danlu.corpus.quality import GRAM_LIMITS, RULES, Judge, Limit, without_bad_lines, without_citations
from danlu.corpus.quality_examples import EXAMPLES, FOX, TEA
from danlu.corpus.units import REASONS

LANGUAGES = ("en", "zh")
ODD = st.text(alphabet="ab的了國一 \n\n\u3000\t.!?…•-#{\"'’。．，1é★😀\u0301\ufe0f²क\0", max_size=80)
REPEATING = st.lists(
    st.sampled_from(["the cat", "a dog. ", "\n", "\n\n", "是的", "一二三四五六七八九十", " ", "of  x\ty"]), max_size=60
).map("".join)


LIMITED = [
    (name, language) for name, rule in RULES.items() for language in LANGUAGES if rule.limit(language) != Limit()
]


def verdicts(rule, language, pairs):
    """Whether each text is dropped: kept, dropped, kept, dropped."""
    return [
        rule.against(measure(text, chinese=language == "zh"), language) is not None for pair in pairs for text in pair
    ]


@pytest.mark.parametrize(("name", "language"), LIMITED)
def test_every_rule_keeps_one_text_and_drops_another_in_either_language(name, language):
    pairs = EXAMPLES[name][language]
    assert len(pairs) == sum(side is not None for side in RULES[name].limit(language)), "a pair for each limit"
    assert verdicts(RULES[name], language, pairs) == [False, True] * len(pairs)
    for kept, dropped in pairs:
        assert Judge([name]).verdict(kept, language).reason == ""
        assert Judge([name]).verdict(dropped, language).reason == name


@pytest.mark.parametrize(("name", "language"), LIMITED)
def test_the_examples_stand_so_near_the_limits_that_other_limits_judge_otherwise(name, language):
    """Mutants of the table: each limit a fifth higher and lower, or by one where things are counted, or not there."""
    rule, limit = RULES[name], RULES[name].limit(language)
    for side, value in limit._asdict().items():
        if value is None:
            continue
        step = value / 5 if 0 < value < 2 else max(1, value / 5)
        for other in (value - step, value + step, None):
            if name in GRAM_LIMITS and other is not None and other < ENOUGH:
                continue  # below it repetitions are not counted: it is the least limit of all
            moved = replace(rule, **{language: limit._replace(**{side: other})})
            assert verdicts(moved, language, EXAMPLES[name][language]) != [False, True] * len(EXAMPLES[name][language])


def test_no_limit_lies_below_what_is_counted():
    assert min(map(min, GRAM_LIMITS.values())) == ENOUGH


def test_every_example_belongs_to_a_limit():
    assert sorted((name, language) for name, texts in EXAMPLES.items() for language in texts) == sorted(LIMITED)


def test_fineweb_drops_at_its_limits_and_gopher_beyond_them():
    lines = "\n".join(["Home"] * 67 + [FOX] * 33)
    assert RULES["fineweb_short_lines_en"].against(measure(lines, chinese=False), "en") == "0.67, less than 0.67"
    ended = "\n".join(["a line that ends."] * 3 + ["a line that does not"] * 22)
    assert RULES["fineweb_line_ends"].against(measure(ended, chinese=False), "en") == "0.12, more than 0.12"
    assert RULES["gopher_hashes"].against(measure("#a b c d e f g h i j", chinese=False), "en") is None


def test_every_reason_has_a_meaning_and_every_rule_a_source():
    assert {*RULES, quality.LOREM_IPSUM, quality.NO_LINE_LEFT} <= set(REASONS)
    assert {rule.source for rule in RULES.values()} == {quality.GOPHER, quality.C4, quality.FINEWEB}
    assert {name.partition("_")[0] for name in RULES} == set(quality.FAMILIES)


def test_another_language_has_the_laxer_limit():
    assert RULES["gopher_word_length"].limit("fr") == Limit()
    assert RULES["gopher_letters"].limit("fr") == Limit(least=0.735)
    assert Judge(["gopher_stop_words_en"]).verdict("chaise table lit", "fr").reason == ""


@settings(max_examples=300, deadline=None)
@given(st.one_of(ODD, REPEATING, st.text(max_size=80)), st.booleans())
def test_c_counts_what_python_counts(text, chinese):
    if native.load(measures.Path(measures.__file__).with_suffix(".c"))[0] is None:
        pytest.skip("no C compiler here")
    assert measure(text, chinese=chinese) == counted(text, chinese=chinese)


@pytest.mark.parametrize("count", [measure, counted])
def test_an_ellipsis_is_one_however_it_is_written(count):
    for written, ellipses in (
        ("等等…", 1),
        ("等等……", 1),
        ("等等。。。", 1),
        ("wait...", 1),
        ("wait......", 1),
        ("。。", 0),
    ):
        found = count(written, chinese=True)
        assert (found.ellipses, found.ellipsis_lines) == (ellipses, ellipses), written
    assert count("……等……等……\n……", chinese=True).ellipses == 4
    assert count(". . . 。 。 。\n.\n.\n.", chinese=False).ellipses == 0


def test_an_ellipsis_in_every_line_of_talk_is_kept_in_both_languages_and_more_is_not():
    """One in 25 characters, that is 14 words, is as often as one in 14 words of English."""
    rule = RULES["gopher_ellipses"]
    chinese, english = (
        "他说等一下我们马上就回来请大家不要走开好吗谢谢……",
        "wait for us here we shall be back at once do not go away please...",
    )
    for text, language, against in (
        (chinese * 10, "zh", None),
        (f"{english} " * 10, "en", None),
        ("再等一下我们就回来……" * 10, "zh", "at most 0.1"),
        ("we shall be back at once... " * 10, "en", "at most 0.1"),
    ):
        found = rule.against(measure(text, chinese=language == "zh"), language)
        assert (found is None) == (against is None), (text[:40], found)


@pytest.mark.parametrize("count", [measure, counted])
@pytest.mark.parametrize("signs", ["★ → ■ ═ 😀 ", "① ½ ⅳ ", "€ © ™ ", "\ufe0f \u200d "])
def test_signs_are_no_letters(count, signs):
    found = count(signs * 100, chinese=False)
    assert (found.lettered_runs, found.runs) == (0, len(signs.split()) * 100)


@pytest.mark.parametrize("count", [measure, counted])
def test_letters_of_every_script_are_letters(count):
    for text in ("naïve", "слово", "जाता", "한국어", "ไทย", "عربي", "ª", "𝐀"):
        found = count(text, chinese=False)
        assert (found.lettered_runs, found.run_letters) == (1, len(text)), text


@pytest.mark.parametrize("count", [measure, counted])
def test_a_curly_apostrophe_is_a_straight_one(count):
    for text, runs in (
        ("don’t", 1),
        ("l’eau d’été", 2),
        ("‘so’ it is", 3),
        ("rock ’n’ roll", 3),
        ("a’’b", 2),
        ("1’2", 2),
    ):
        assert count(text, chinese=False).runs == runs, text
        if "’’" not in text and "‘" not in text and "1" not in text and " ’" not in text:
            straight = count(text.replace("’", "'"), chinese=False)
            assert count(text, chinese=False) == straight


@pytest.mark.parametrize("chinese", [False, True])
def test_a_text_said_twice_is_half_repetition(chinese):
    text = " ".join(f"word{n}" for n in range(40))
    found = measure(f"{text}\n{text}", chinese=chinese)
    assert found.grams[len(measures.TOP_GRAMS)] * 2 == found.word_characters
    assert found.repeated_lines == 1
    assert found.repeated_line_characters * 2 == found.characters


def test_without_a_compiler_python_counts(monkeypatch):
    monkeypatch.setattr(measures, "_library", lambda: None)
    assert measure(TEA, chinese=True) == counted(TEA, chinese=True)


def test_c4_leaves_out_lines_that_are_no_sentences():
    text = f"Home | About\n{FOX}\nPlease enable JavaScript to see this page.\n{TEA}\n首页\nFour words it has."
    assert without_bad_lines(text) == (f"{FOX}\n{TEA}", 4)
    verdict = Judge(["c4"]).verdict(f"{FOX} {FOX}\n{TEA}\nmenu", "en")
    assert (verdict.text, verdict.left_out, verdict.reason) == (f"{FOX} {FOX}\n{TEA}", {"lines": 1}, "")
    assert Judge(["c4"]).verdict("Lorem ipsum dolor sit amet.", "en").reason == quality.LOREM_IPSUM
    assert Judge(["c4"]).verdict("menu\nhome", "en").reason == quality.NO_LINE_LEFT


@pytest.mark.parametrize(
    ("text", "bare", "count"),
    [
        ("We said so long ago, in a book.[12]", "We said so long ago, in a book.", 1),
        ("In 1850,[1] or so,[2][3] it stood.", "In 1850, or so, it stood.", 3),
        ("“So it is.”[4] He left (he said.)[5]", "“So it is.” He left (he said.)", 2),
        ("城市[3]，后来。[12][13]然后", "城市，后来。然后", 3),
        ("The city[1] was old.[2] It fell in 1850[3].", "The city was old. It fell in 1850.", 3),
        ("History[edit] of it [citation needed].", "History of it.", 2),
        ("x[0] = a[12]; b[i][1]", None, 0),
        ("The value of array[12] is large.", None, 0),
        (
            "It ends.[1] Then array[1] and array[2] and x[3] follow, myList[4].",
            "It ends. Then array[1] and array[2] and x[3] follow, myList[4].",
            1,
        ),
        ("f(a,[1]), [[1,2],[3]], (a,[1] + b), {k:[12] }", None, 0),
        ("as shown in [12] and by Smith [3].", None, 0),
        ("sentence.[0] sentence.[007] sentence.[1234]", None, 0),
    ],
)
def test_citations_go_and_subscripts_stay(text, bare, count):
    assert without_citations(text) == (text if bare is None else bare, count)


def test_a_family_is_all_its_rules_and_leaves_the_text():
    assert set(Judge(["fineweb"]).rules) == {name for name in RULES if name.startswith("fineweb_")}
    assert Judge(["fineweb"]).verdict(TEA, "zh") == quality.Verdict(TEA)


def test_the_full_stop_of_old_chinese_text_ends_lines_and_sentences():
    text = "\n".join(f"却说第{n}日天色微明，众人便都起身赶路去了．" for n in "一二三")
    found = measure(text, chinese=True)
    assert (found.sentences, found.ended_lines) == (3, 3)
    assert without_bad_lines(text) == (text, 0)


@pytest.mark.parametrize("quote", ["'", "’"])
def test_a_line_may_end_with_a_british_quotation_mark(quote):
    line = f"And then he said to them, 'Come in.{quote}"
    assert without_bad_lines(line) == (line, 0)


@pytest.mark.parametrize(
    "line",
    [
        "请在使用本网站之前仔细阅读我们的隐私政策。",
        "繼續瀏覽即表示您同意我們的隱私權政策與說明。",
        "注册即代表您已同意本站的使用条款及其更新。",
        "本网站使用 Cookie 来改善您的浏览体验，请点击同意。",
        "This site has a Privacy Policy that you should read.",
    ],
)
def test_notices_are_left_out_in_both_languages(line):
    assert without_bad_lines(f"{FOX}\n{line}\n{TEA}") == (f"{FOX}\n{TEA}", 1)


def test_a_line_with_a_word_of_more_than_a_thousand_characters_is_left_out():
    for word, left_out in (("x" * 1_000, 0), ("x" * 1_001, 1), ("汉" * 2_000, 0), ("https://a.b/" + "q" * 995, 1)):
        assert without_bad_lines(f"{FOX}\nSee what we have here: {word} and more of it.")[1] == left_out


def test_formal_chinese_may_repeat_its_terms_more_than_english_does():
    """A share of repeated runs that Gopher drops in English is kept in Chinese: FineWeb-2's limits for Mandarin."""
    rule = RULES["gopher_repeated_5_words"]
    assert rule.limit("en").most == 0.15
    assert rule.limit("zh").most == 0.198
    assert measures.GRAMS[True] == (4, 5, 7, 9, 11, 13, 14, 16, 18)
