"""HTML: gone from pages of the web, kept wherever a text speaks of it, counted, and never gone a second time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.corpus.markup import has_markup, is_page, without_markup
from danlu.corpus.normalise import normalise

SCRIPT = "<script>" + "var a=1;" * 500 + "</script>"
PIECES = (
    "<p> </p> <div> </div> <b> </b> <html> <br/> <!-- --> <script> </script> <!doctype html> < > / p b & amp; lt; gt; "
    "a 国 &amp; &lt; &gt; &semi; &#38; &#60; &#x26; &nbsp; &copy; &param; ` ``` ~~~ ."
)
MARKUP = st.lists(st.sampled_from([*PIECES.split(), " ", "\n", "\n\n", "\t"]), max_size=14).map("".join)
MODES = ("auto", "remove")


def bare(text, wanted="auto"):
    return without_markup(normalise(text), normalise, wanted)[0]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>你好</p><br/><b>再见</b>", "你好\n\n再见"),
        ("<div class='x'><!-- note --><script>x < 1</script>text</div>", "text"),
        ("<p>R&amp;D &lt; &#65;&nbsp;B &copy;</p>", "R&D < A B ©"),
        (f"<html><body><p>你好</p>{SCRIPT}</body></html>", "你好"),
        (f"<p>你好</p>{SCRIPT}", "你好"),
        ("<style>p { color: red }</style>\n<p>text</p>\n<svg viewBox='0'><path d='M0'/></svg>", "text"),
        ("<!DOCTYPE html>\n<html>\n<head>\n<title>T</title></head>\n<body>cut off", "T\n\ncut off"),
        ("<?xml version='1.0'?><!doctype html><html lang='en'><body><p>x</p></body></html>", "x"),
        ("<p>&param; &timestamp; &current; &unknown;</p>", "&param; &timestamp; &current; &unknown;"),
        (
            "<p>Write `<b>x</b> &lt;` here.</p>\n```html\n<i>&amp;</i>\n```\n<p>End.</p>",
            "Write `<b>x</b> &lt;` here.\n\n```html\n<i>&amp;</i>\n```\nEnd.",
        ),
        ("<p>See <code>&lt;b&gt;</code>.</p>", "See <b>."),
        ("<div><p>x</p><script>never ended</div>", "x\n<script>never ended"),
    ],
)
def test_a_page_loses_its_markup(page, text):
    assert bare(page) == text


SPOKEN_OF = (
    "What does <b> do in HTML?",
    "Here's your HTML table: <table><tr><th>Name</th><th>Age</th></tr></table>",
    "The element <b> makes text bold. " + "Nobody needs it in a book about something else. " * 20,
    "Write <p>your paragraph</p> and save the file.",
    "<p> begins a paragraph, </p> ends it.",
    "<b> is bold and <i> is italic.",
    "<!DOCTYPE html> stands before all else.",
    "```html\n<p>one</p>\n```",
    "`<p>one</p>`",
    "    <p>shown as code</p>",
    "<div align='center'><h1>Project</h1></div>\n\nInstall it, then read the long manual of it.\n\n<p>Bye.</p>",
    "<?xml version='1.0'?><rss><channel><title>News</title></channel></rss>",
    "p = &param; /* &timestamp; &current; */",
    '{"t":"say &quot;hi&quot;"}',
    "R&amp;D in plain text, &#65;",
    "if (a<b && c>d) vector<int> x;",
)


@pytest.mark.parametrize("text", SPOKEN_OF)
def test_a_text_that_speaks_of_markup_keeps_it(text):
    text = text.rstrip()
    assert without_markup(text, normalise, "auto") == (text, {})


def test_a_setting_keeps_all_or_removes_all_and_everything_is_counted():
    page = "<div><p>A &amp; B</p><!-- c --><script>d</script></div>"
    assert without_markup(page, normalise, "keep") == (page, {})
    counts = {"tags": 4, "comments": 1, "scripts": 1, "entities": 1}
    assert without_markup(page, normalise, "auto") == ("A & B", counts)
    spoken = "A &amp; B.<br/>See `<b>`."
    assert without_markup(spoken, normalise, "remove") == ("A & B.\nSee `<b>`.", {"tags": 1, "entities": 1})


@pytest.mark.parametrize(
    ("text", "found"),
    [("a <b> c", True), ("a &amp; c", True), ("`<b>` &param; a < b & c", False), ("plain", False)],
)
def test_what_is_left_is_noticed(text, found):
    assert has_markup(text) is found


def test_entities_of_entities_and_written_tags_are_never_read_twice():
    assert bare("<p>a &amp;lt; b</p>") == "a &lt; b" == bare(bare("<p>a &amp;lt; b</p>"))
    code = "<pre>&lt;p&gt;x &amp; y&lt;/p&gt;</pre>"
    assert bare(code) == "&lt;p&gt;x & y&lt;/p&gt;" == bare(bare(code))


@settings(deadline=None, max_examples=400)
@given(MARKUP, st.sampled_from(MODES))
def test_doing_it_twice_is_doing_it_once(text, wanted):
    once = bare(text, wanted)
    assert bare(once, wanted) == once
    assert wanted != "auto" or is_page(normalise(text)) or once == normalise(text)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from(["<p>", "</p>", "<b>", "word", " ", "&amp;", "`", "<!--", "\n"]), max_size=12).map("".join)
)
def test_visible_words_stay(text):
    assert bare(text).count("word") == text.count("word")


HOSTILE = (
    *("<a ", "<p><a ", "<!--", "<p><!--", "<b><script>", "<p><svg ", "<b><!doctype", "&#1", "`", "` `` ``` ", "```\n"),
    *("~~~a\n", "<p>", "<p></p>", "<div><p></div>", "<<b>p>", "&amp;", "</p", "</p   ", "<p>&amp;lt;</p>"),
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE)
def test_no_pattern_takes_quadratic_time(piece):
    """A quadratic pattern would take minutes and meet the timeout."""
    hostile = piece * (100_000 // len(piece))
    for wanted in MODES:
        bare(f"<html><body><p>x</p>{hostile}</body></html>", wanted)
