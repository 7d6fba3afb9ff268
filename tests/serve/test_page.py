"""The chat page in a real headless Chromium: ask, stream, stop, both languages, keyboard, keys, hostile text.

In: Debian's chromium through playwright. Out: red where the page does not do what a person expects, or says anything
on the console. Skipped, with the reason, where there is no chromium.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from danlu.serve.endpoints import content_security_policy
from tests import tiny
from tests.serving import Running, serving

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
PATIENCE_MILLISECONDS = 60_000
REPLY = "<think>\nA thought.\n</think>\n\n老师在图书馆。<img src=x onerror=alert(1)> **end**"
KNOWS_MODEL = "#model:not(:empty)"  # waiting by a script is what the page's policy forbids
KEY = "danlu-test-key-0123456789"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def server():
    with serving(tiny.Scripted(REPLY), length=2048) as running:
        yield running


@contextmanager
def opened(browser, server: Running, *, may_complain: bool = False, **options) -> Iterator:
    """The page in a window of its own; afterwards nothing may stand on its console."""
    context = browser.new_context(**{"locale": "en-US", **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MILLISECONDS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.goto(server.url)
    if not may_complain:
        page.wait_for_selector(KNOWS_MODEL)
    yield page
    context.close()
    assert may_complain or not complaints, complaints


def ask(page, text: str) -> None:
    page.fill("#input", text)
    page.keyboard.press("Enter")


def test_a_question_is_answered_as_a_stream_and_text_stays_text(browser, server):
    with opened(browser, server) as page:
        ask(page, "<b>Where?</b>")
        page.wait_for_selector(".turn.assistant .note")
        assert page.inner_text(".turn.user .text") == "<b>Where?</b>"
        assert page.inner_text(".turn.assistant > .text") == "老师在图书馆。<img src=x onerror=alert(1)> **end**"
        assert page.inner_text(".turn.assistant details .text") == "A thought."
        assert page.locator(".turn img, .turn b").count() == 0
        assert re.match(r"\d+ tokens", page.inner_text(".turn.assistant .note span"))
        assert page.input_value("#input") == ""


def test_the_conversation_the_system_prompt_and_the_settings_are_sent(browser, server):
    with opened(browser, server) as page:
        sent = []
        page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
        page.click("#toggle-settings")
        page.fill("#system", "Be kind.")
        page.fill("#most", "100")
        page.locator("#temperature").evaluate("e => { e.value = 0.2; e.dispatchEvent(new Event('input')); }")
        assert page.inner_text("#temperature-value") == "0.20"
        for count in (1, 2):
            ask(page, f"question {count}")
            page.wait_for_selector(f".turn.assistant:nth-of-type({2 * count}) .note")
        assert sent[1]["temperature"] == 0.2
        assert sent[1]["max_tokens"] == 100
        assert [item["role"] for item in sent[1]["messages"]] == ["system", "user", "assistant", "user"]
        page.click("#new")
        assert page.locator(".turn").count() == 0
        ask(page, "again")
        page.wait_for_selector(".turn.assistant .note")
        assert [item["role"] for item in sent[2]["messages"]] == ["system", "user"]


def test_both_languages_and_both_themes_are_remembered(browser, server):
    with opened(browser, server, locale="zh-CN", color_scheme="dark") as page:
        assert page.inner_text("#send") == "发送"
        assert page.get_attribute("html", "lang") == "zh-Hans"
        assert page.get_attribute("html", "data-theme") == "dark"
        page.click("#language")
        page.click("#theme")
        page.reload()
        assert page.inner_text("#send") == "Send"
        assert page.get_attribute("html", "data-theme") == "light"
        chinese = page.evaluate("Object.keys(TEXT.zh).sort().join()")
        assert chinese == page.evaluate("Object.keys(TEXT.en).sort().join()")


def test_only_questions_that_the_model_was_taught_are_offered(browser, server):
    """In the reader's language first, three at most, and none where nobody knows what the model was taught."""
    with opened(browser, server) as page:
        assert page.locator("#ideas button").count() == 0
        assert page.inner_text("#welcome h2") == "What shall we talk about?"
    taught = ("老师在哪里？", "Anna was at the\neast gate.\nWhere was Anna?", "<b>Who</b> is sad?", "谁很高兴？")
    with serving(tiny.Scripted(REPLY), length=2048, questions=taught) as knowing, opened(browser, knowing) as page:
        page.wait_for_selector("#ideas button")
        assert page.locator("#ideas button").all_inner_texts() == [taught[1], taught[2], taught[0]]
        page.click("#language")
        assert page.locator("#ideas button").all_inner_texts() == [taught[0], taught[3], taught[1]]
        page.locator("#ideas button").nth(2).click()
        page.wait_for_selector(".turn.assistant .note")
        assert page.inner_text(".turn.user .text") == taught[1]


def test_stop_ends_the_answer_on_the_server_too(browser):
    with serving(tiny.Scripted("好" * 1500, seconds=0.01), length=2048) as slow, opened(browser, slow) as page:
        page.click("#toggle-settings")
        page.fill("#most", "1500")
        ask(page, "go")
        page.wait_for_selector(".turn.assistant > .text:not(:empty)")
        page.click("#stop")
        page.wait_for_selector(".turn.assistant .note")
        assert "stopped" in page.inner_text(".turn.assistant .note")
        assert page.is_visible("#send")
        for _ in range(PATIENCE_MILLISECONDS // 20):
            if not slow.engine.has_work:
                break
            page.wait_for_timeout(20)
        assert not slow.engine.has_work
        assert len(page.inner_text(".turn.assistant > .text")) < 1500


def test_the_keyboard_is_enough_and_everything_has_a_name(browser, server):
    with opened(browser, server) as page:
        assert page.evaluate("document.activeElement.id") == "input"
        page.keyboard.type("line one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("line two")
        assert page.input_value("#input") == "line one\nline two"
        assert page.locator(".turn").count() == 0
        page.keyboard.press("Shift+Tab")
        nameless = page.evaluate(
            """[...document.querySelectorAll("button, input, textarea")].filter((element) =>
                !(element.textContent.trim() || element.getAttribute("aria-label") || element.labels?.length))
                .map((element) => element.id)"""
        )
        assert nameless == []
        assert page.get_attribute("#log", "role") == "log"


def test_a_key_is_asked_for_and_used(browser):
    with (
        serving(tiny.Scripted(REPLY), keys=(KEY,), length=2048) as locked,
        opened(browser, locked, may_complain=True) as page,  # the browser itself reports the 401
    ):
        ask(page, "hello")
        page.wait_for_selector(".turn.error")
        assert "API key" in page.inner_text(".turn.error")
        assert page.evaluate("document.activeElement.id") in ("key", "input")
        page.fill("#key", KEY)
        page.locator("#key").press("Tab")
        page.wait_for_selector(KNOWS_MODEL)
        ask(page, "hello")
        page.wait_for_selector(".turn.assistant .note")
        assert page.evaluate("JSON.stringify(localStorage) + document.cookie").find(KEY) < 0


def test_a_dead_server_is_said_in_words(browser):
    with serving(tiny.Scripted(REPLY)) as mortal:
        context = browser.new_context(locale="en-US")
        page = context.new_page()
        page.goto(mortal.url)
        page.wait_for_selector(KNOWS_MODEL)
    ask(page, "hello?")
    page.wait_for_selector(".turn.error")
    assert page.inner_text(".turn.error .text") == "The server cannot be reached."
    context.close()


def test_the_page_is_one_file_without_external_assets_or_unsafe_sinks():
    page = files("danlu.serve").joinpath("chat.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|@import", page)
    assert len(page.encode()) < 60_000
    policy = content_security_policy(page)
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
