"""One record, cleaned: normalised, judged, its language named, private data hidden; or the reason against it.

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
from danlu.corpus.language import is_wanted, language_of
from danlu.corpus.normalise import normalise
from danlu.corpus.privacy import Privacy
from danlu.corpus.quality import Judge
from danlu.corpus.units import Record, Rejection, excerpt, text_of


@dataclass(frozen=True)
class Cleaner:
    """The rules of one run. `masked` counts, by kind, the private data that were replaced in records that are kept, and
    `left_out` what was cut from them: lines, stop words. `words` is the last step, (text, language) -> text."""

    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    languages: tuple[str, ...] = ()
    privacy: Privacy = Privacy()  # noqa: RUF009 - nothing changes it
    normalise: Callable[[str], str] = normalise
    identify: Callable[[str], str] = language_of
    judge: Judge | None = None
    words: Callable[[str, str], tuple[str, int]] | None = None
    masked: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def clean(self, record: Record) -> Record | Rejection:
        """The record as it will be written, or why not."""
        against = reason_against(text_of(record), self.limits, RAW_FILTERS)
        cleaned = _mapped(record, self.normalise)
        if against is None:
            names = DOCUMENT_FILTERS if isinstance(cleaned, Document) else CONVERSATION_FILTERS
            against = reason_against(text_of(cleaned), self.limits, names)
        if against is None and isinstance(cleaned, Conversation):
            against = _silent(cleaned)
        language = cleaned.language if cleaned.language else self.identify(text_of(cleaned))
        if against is None and self.languages and not is_wanted(language, self.languages):
            against = "other_language", language
        lines = 0
        if against is None and self.judge is not None and isinstance(cleaned, Document):
            verdict = self.judge.verdict(cleaned.text, language)
            if verdict.reason:
                against = verdict.reason, verdict.detail
            elif verdict.lines_left_out:
                cleaned, lines = replace(cleaned, text=verdict.text), verdict.lines_left_out
        if against is None:
            cleaned, found = self._without_private(cleaned)
            if found and self.privacy.action == "drop":
                against = "private", ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        if against is not None:
            return self.rejection(cleaned, *against)
        self.masked.update(found)
        self.left_out.update({"lines": lines} if lines else {})
        if self.words is not None:
            cleaned = _mapped(cleaned, lambda text: self._in_words(text, language))
        return cleaned if cleaned.language == language else replace(cleaned, language=language)

    def rejection(self, record: Record, reason: str, detail: str) -> Rejection:
        """A Rejection of the record; its excerpt is masked like everything else that is written."""
        return Rejection(record.id, record.source, reason, self.hide(excerpt(text_of(record))), self.hide(detail))

    def change(self, text: str) -> str:
        """What becomes of a text that is kept, in words too where they are set apart; not counted.

        Lines that a judge leaves out of documents stay: in conversations they stay as well.
        """
        normal = self.normalise(text)
        hidden = self.hide(normal)
        return hidden if self.words is None else self.words(hidden, self.identify(normal))[0]

    def hide(self, text: str) -> str:
        """The text without private data, unless they are to be kept; not counted."""
        return self.privacy.hide(text).text

    def _without_private(self, record: Record) -> tuple[Record, Counter[str]]:
        """The record without private data, in the arguments of calls too, and what they were."""
        found: Counter[str] = Counter()

        def change(text: str) -> str:
            hidden = self.privacy.hide(text)
            found.update(hidden.counts())
            return hidden.text

        changed = _mapped(record, change)
        if isinstance(changed, Document) or not any(turn.tool_calls for turn in changed.messages):
            return changed, found
        turns = tuple(_with_hidden_arguments(turn, change) for turn in changed.messages)
        return replace(changed, messages=turns), found

    def _in_words(self, text: str, language: str) -> str:
        assert self.words is not None
        changed, gone = self.words(text, language)
        self.left_out.update({"stop words": gone} if gone else {})
        return changed


def _with_hidden_arguments(turn: Message, change: Callable[[str], str]) -> Message:
    """A mark holds no quote and no backslash, so JSON stays JSON."""
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
