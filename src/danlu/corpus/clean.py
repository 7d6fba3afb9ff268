"""One record, cleaned: normalised, without HTML, judged, its language named, private data hidden; or why not.

In: a record as a reader made it. Out: the record as it will be written, or a Rejection. Called by `pipeline`, one
record at a time and without memory of the others, so that order and number of processes cannot change a result. What
depends on other records is in `dedup`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from danlu.base.records import Conversation, Document, Message
from danlu.corpus.filters import CONVERSATION_FILTERS, DOCUMENT_FILTERS, RAW_FILTERS, Limits, reason_against
from danlu.corpus.json_text import with_values
from danlu.corpus.language import is_wanted, language_of
from danlu.corpus.markup import Html, has_markup, without_markup
from danlu.corpus.normalise import normalise
from danlu.corpus.privacy import Hidden, Privacy
from danlu.corpus.quality import Judge
from danlu.corpus.units import EXCERPT_SOURCE, LONGEST_DATUM, Record, Rejection, excerpt, text_of

GONE = {"tags": "HTML tags", "comments": "HTML comments", "scripts": "scripts and styles", "entities": "HTML entities"}
"""What the report calls the kinds of markup that pages lose."""


@dataclass(frozen=True)
class Cleaner:
    """The rules of one run. `words` is the last step, (text, language) -> text. Of records that are kept, `masked`
    counts the private data that were replaced, by kind, `left_out` what was cut (HTML, lines, citations, stop words),
    and `left_in` the documents that have HTML and are no pages."""

    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    languages: tuple[str, ...] = ()
    privacy: Privacy = Privacy()  # noqa: RUF009 - nothing changes it
    normalise: Callable[[str], str] = normalise
    identify: Callable[[str], str] = language_of
    judge: Judge | None = None
    words: Callable[[str, str], tuple[str, int]] | None = None
    html: Html = "auto"
    masked: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    left_in: Counter[str] = field(default_factory=Counter)

    def clean(self, record: Record) -> Record | Rejection:
        """The record as it will be written, or why not."""
        against = reason_against(text_of(record), self.limits, RAW_FILTERS)
        cleaned, gone = self._tidied(record)
        if against is None:
            names = DOCUMENT_FILTERS if isinstance(cleaned, Document) else CONVERSATION_FILTERS
            against = reason_against(text_of(cleaned), self.limits, names)
        if against is None and isinstance(cleaned, Conversation):
            against = _silent(cleaned)
        language = cleaned.language if cleaned.language else self.identify(text_of(cleaned))
        if against is None and self.languages and not is_wanted(language, self.languages):
            against = "other_language", language
        if against is None and self.judge is not None and isinstance(cleaned, Document):
            verdict = self.judge.verdict(cleaned.text, language)
            if verdict.reason:
                against = verdict.reason, verdict.detail
            elif verdict.left_out:
                cleaned, gone = replace(cleaned, text=verdict.text), gone + verdict.left_out
        if against is None:
            cleaned, found = self._without_private(cleaned)
            if found and self.privacy.action == "drop":
                against = "private", ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        if against is not None:
            return self.rejection(cleaned, *against)
        self.masked.update(found)
        self.left_out.update(gone)
        if isinstance(cleaned, Document) and has_markup(cleaned.text):
            self.left_in["documents with tags or entities"] += 1
        if self.words is not None:
            cleaned = _mapped(cleaned, lambda text: self._in_words(text, language))
        return cleaned if cleaned.language == language else replace(cleaned, language=language)

    def rejection(self, record: Record, reason: str, detail: str) -> Rejection:
        """A Rejection of the record; its excerpt and its cause are masked like everything else that is written."""
        return self.masked_rejection(Rejection(record.id, record.source, reason, text_of(record), detail))

    def masked_rejection(self, rejection: Rejection) -> Rejection:
        """The Rejection with an excerpt of what its own one holds: masked first, then cut, or a cut datum would stay.

        Its id and its source stay: they are how a person finds the record again.
        """
        hidden = self.privacy.hide(rejection.excerpt[: EXCERPT_SOURCE + LONGEST_DATUM])
        shown = excerpt(_beginning(hidden, EXCERPT_SOURCE))
        return replace(rejection, excerpt=shown, detail=self.hide(rejection.detail))

    def change(self, text: str) -> str:
        """What becomes of a document that is kept, in words too where they are set apart; not counted.

        What a judge leaves out of documents stays: in conversations it stays as well.
        """
        normal, _ = without_markup(self.normalise(text), self.normalise, self.html)
        hidden = self.hide(normal)
        return hidden if self.words is None else self.words(hidden, self.identify(normal))[0]

    def hide(self, text: str) -> str:
        """The text without private data, unless they are to be kept; not counted."""
        return self.privacy.hide(text).text

    def _tidied(self, record: Record) -> tuple[Record, Counter[str]]:
        """The record normalised, and a document without its HTML, where it is to go; what went, by its name."""
        tidied = _mapped(record, self.normalise)
        if not isinstance(tidied, Document):
            return tidied, Counter()
        text, gone = without_markup(tidied.text, self.normalise, self.html)
        named = Counter({GONE[kind]: count for kind, count in gone.items()})
        return (replace(tidied, text=text) if text != tidied.text else tidied), named

    def _without_private(self, record: Record) -> tuple[Record, Counter[str]]:
        """The record without private data, in the arguments of calls too, and what they were; JSON stays JSON."""
        found: Counter[str] = Counter()
        if not self.privacy.forms:
            return record, found

        def value(text: str, key: str) -> str:
            hidden, kinds = self._hidden_value(text, key)
            found.update(kinds)
            return hidden

        def change(text: str, *, is_json: bool) -> str:
            changed = with_values(text, value) if is_json else None
            if changed is not None:
                return changed
            hidden = self.privacy.hide(text)
            found.update(hidden.counts())
            return hidden.text

        changed = _mapped(record, lambda text: change(text, is_json=text.startswith(("{", "["))))
        if isinstance(changed, Conversation) and any(turn.tool_calls for turn in changed.messages):
            turns = [_with_arguments(turn, lambda text: change(text, is_json=True)) for turn in changed.messages]
            changed = replace(changed, messages=tuple(turns))
        return changed, found

    def _hidden_value(self, value: str, key: str) -> tuple[str, Counter[str]]:
        """A value of a JSON text without private data, and what they were; its key may say what it is, like a label."""
        label = f"{key}: " if key else ""
        hidden = self.privacy.hide(label + value)
        if not hidden.text.startswith(label):  # the key was taken for a datum, and keys stay
            label, hidden = "", self.privacy.hide(value)
        return hidden.text[len(label) :], hidden.counts()

    def _in_words(self, text: str, language: str) -> str:
        assert self.words is not None
        changed, gone = self.words(text, language)
        self.left_out.update({"stop words": gone} if gone else {})
        return changed


def _beginning(hidden: Hidden, size: int) -> str:
    """What the first `size` characters of the original became; a mark that they reach into is whole."""
    end = size
    for one, (_, stop) in zip(hidden.found, hidden.places, strict=True):
        if one.start >= size:
            break
        end = stop + max(size - one.end, 0)
    return hidden.text[:end]


def _with_arguments(turn: Message, change: Callable[[str], str]) -> Message:
    calls = tuple(replace(call, arguments=change(call.arguments)) for call in turn.tool_calls)
    return replace(turn, tool_calls=calls)


def _silent(conversation: Conversation) -> tuple[str, str] | None:
    """A conversation whose assistant says and does nothing."""
    for turn in conversation.messages:
        if turn.role == "assistant" and (turn.content or turn.tool_calls):
            return None
    return "no_answer", "every turn of the assistant is empty"


def _mapped(record: Record, change: Callable[[str], str]) -> Record:
    """The record with every text of it changed; calls keep their arguments' JSON, which is not prose."""
    if isinstance(record, Document):
        return replace(record, text=change(record.text))
    return replace(record, messages=tuple(_changed(turn, change) for turn in record.messages))


def _changed(turn: Message, change: Callable[[str], str]) -> Message:
    content, reasoning = change(turn.content), change(turn.reasoning) if turn.reasoning else ""
    if content == turn.content and reasoning == turn.reasoning:
        return turn  # most are clean already, and a copy costs more than the comparison
    return replace(turn, content=content, reasoning=reasoning)
