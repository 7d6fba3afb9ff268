"""Three answerers that understand nothing, to stand beside a model: what remains above them is more than memory.

In: training conversations (`fit`), then one at a time (`answer`). Out: the text each would give as the last
answer. Called by `stages.evaluate`. Marks nothing; reads no files.

All are told the task and the language, which the model is not; where training has none of that task, they use all of
the language. Each training conversation gives one example: its last question and its last answer.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self

import numpy as np

from danlu.base.records import Conversation

TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
"""One Chinese character, or one word of another script."""
LONGEST_ORDER = 5


class Baseline(Protocol):
    """What a baseline can do; an answer asked for before `fit` is an error of ours."""

    def fit(self, conversations: Iterable[Conversation]) -> Self: ...

    def answer(self, conversation: Conversation) -> str: ...


def prompt(conversation: Conversation) -> str:
    """The last message that is not the assistant's: what the last answer answers."""
    asked = [message.content for message in conversation.messages if message.role != "assistant"]
    return asked[-1] if asked else ""


def question(conversation: Conversation) -> str:
    """The last line of the prompt: the question without its story."""
    lines = prompt(conversation).splitlines()
    return lines[-1] if lines else ""


def tokens(text: str) -> list[str]:
    """`"Who is 安娜?"` → `["who", "is", "安", "娜"]`."""
    return TOKEN.findall(text.lower())


class Examples:
    """Answers of the training conversations, and which of them belong to a conversation's task and language."""

    def __init__(self, conversations: Iterable[Conversation]):
        self.answers: list[str] = []  # distinct, by number
        self.prompts: list[list[str]] = []
        self.questions: list[list[str]] = []
        numbers: dict[str, int] = {}
        given: list[int] = []
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for conversation in conversations:
            replies = [message.content for message in conversation.messages if message.role == "assistant"]
            if not replies:
                continue
            for group in ((conversation.task, conversation.language), (conversation.language,), ()):
                groups[group].append(len(given))
            given.append(numbers.setdefault(replies[-1], len(numbers)))
            self.prompts.append(tokens(prompt(conversation)))
            self.questions.append(tokens(question(conversation)))
        self.answers = list(numbers)
        self.given = np.array(given, dtype=np.int64)  # (examples,) number of the answer
        self.groups = {group: np.array(rows, dtype=np.int64) for group, rows in groups.items()}
        self._most_frequent: dict[tuple[str, ...], str] = {}

    def group(self, conversation: Conversation) -> tuple[str, ...]:
        """The narrowest group that training knows: task and language, else the language, else everything."""
        language = conversation.language
        return next(key for key in ((conversation.task, language), (language,), ()) if key in self.groups or not key)

    def rows(self, conversation: Conversation) -> np.ndarray:
        """Numbers of the examples of that group."""
        return self.groups.get(self.group(conversation), np.zeros(0, dtype=np.int64))

    def most_frequent(self, conversation: Conversation) -> str:
        """The group's most frequent answer, of equals the first; empty where training was."""
        group = self.group(conversation)
        if group not in self._most_frequent:
            counts = np.bincount(self.given[self.rows(conversation)], minlength=1)
            self._most_frequent[group] = self.answers[int(counts.argmax())] if self.answers else ""
        return self._most_frequent[group]


class MostFrequentAnswer:
    """Gives every question of one task and language the same answer."""

    def fit(self, conversations: Iterable[Conversation]) -> Self:
        self.examples = Examples(conversations)
        return self

    def answer(self, conversation: Conversation) -> str:
        return self.examples.most_frequent(conversation)


class NGram:
    """Backs off from runs of five words of the question to single ones.

    The longest runs that training knows vote, each with the distribution of the answers that it was seen with.
    """

    def fit(self, conversations: Iterable[Conversation]) -> Self:
        self.examples = Examples(conversations)
        self.keys: list[np.ndarray] = []  # one array for each order, sorted: hashes of runs
        self.rows: list[np.ndarray] = []  # the example in which each was seen
        self.numbers: dict[str, int] = {}
        numbered = [self._numbered(words) for words in self.examples.questions]
        for order in range(1, LONGEST_ORDER + 1):
            runs = [(key, row) for row, words in enumerate(numbered) for key in _runs(words, order)]
            table = np.array(runs, dtype=np.int64).reshape(-1, 2)
            table = table[np.argsort(table[:, 0], kind="stable")]
            self.keys.append(table[:, 0])
            self.rows.append(table[:, 1])
        return self

    def _numbered(self, words: Sequence[str]) -> list[int]:
        return [self.numbers.setdefault(word, len(self.numbers)) for word in words]

    def answer(self, conversation: Conversation) -> str:
        words = [self.numbers.get(word, -1) for word in tokens(question(conversation))]
        allowed = np.zeros(len(self.examples.given), dtype=bool)
        allowed[self.examples.rows(conversation)] = True
        for order in range(LONGEST_ORDER, 0, -1):
            votes = np.zeros(len(self.examples.answers))
            for key in _runs(words, order):
                seen = self._seen(order, key)
                seen = seen[allowed[seen]]
                if len(seen):
                    votes += np.bincount(self.examples.given[seen], minlength=len(votes)) / len(seen)
            if votes.any():
                return self.examples.answers[int(votes.argmax())]
        return self.examples.most_frequent(conversation)

    def _seen(self, order: int, key: int) -> np.ndarray:
        """Examples that hold the run."""
        keys, rows = self.keys[order - 1], self.rows[order - 1]
        return rows[np.searchsorted(keys, key, "left") : np.searchsorted(keys, key, "right")]


def _runs(words: Sequence[int], order: int) -> set[int]:
    """Hashes of the runs of `order` words; Python's hash of a tuple of numbers is the same in every process."""
    return {hash(tuple(words[start : start + order])) for start in range(len(words) - order + 1)}


class NearestQuestion:
    """Gives the answer of the training prompt that shares most with this one, rare words counting more (cosine)."""

    def fit(self, conversations: Iterable[Conversation]) -> Self:
        self.examples = Examples(conversations)
        postings: dict[str, list[int]] = defaultdict(list)
        for row, words in enumerate(self.examples.prompts):
            for word in sorted(set(words)):
                postings[word].append(row)
        total = len(self.examples.prompts)
        self.postings = {word: np.array(rows, dtype=np.int64) for word, rows in postings.items()}
        self.weights = {word: math.log((total + 1) / len(rows)) for word, rows in postings.items()}
        squares = np.zeros(total)
        for word, rows_of_word in self.postings.items():
            squares[rows_of_word] += self.weights[word] ** 2
        self.lengths = np.sqrt(np.maximum(squares, 1e-12))
        return self

    def answer(self, conversation: Conversation) -> str:
        rows = self.examples.rows(conversation)
        if not len(rows):
            return ""
        overlap = np.zeros(len(self.lengths))
        for word in sorted(set(tokens(prompt(conversation))) & self.postings.keys()):
            overlap[self.postings[word]] += self.weights[word] ** 2
        nearest = rows[int((overlap[rows] / self.lengths[rows]).argmax())]
        return self.examples.answers[self.examples.given[nearest]]


BASELINES: dict[str, type[Baseline]] = {
    "most frequent answer": MostFrequentAnswer,
    "n-gram": NGram,
    "nearest question": NearestQuestion,
}
"""Every baseline by its name in tables."""


def fit(
    conversations: Iterable[Conversation],
    read: Callable[[Iterable[Conversation]], Iterable[Conversation]] = iter,
) -> dict[str, Baseline]:
    """All baselines, fitted on the same training conversations, which each reads once through `read`."""
    examples = list(conversations)
    return {name: make().fit(read(examples)) for name, make in BASELINES.items()}
