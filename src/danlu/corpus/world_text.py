"""Sentences and stories of the little world, each on one side of the split.

In: a seeded `random.Random` and a side (train, validation or test). Out: events, facts and stories as text in Chinese
or English. Called by `world_talk` and `world`. Writes no files, asks no questions.

The split rule: a triple (person, place, day) belongs to the side that its keyed hash names, and every other sentence
to the side that the keyed hash of its text names. Whoever writes for a side draws until the sentence belongs to it.
The key is fixed, so that two worlds of different seeds agree and can be joined without a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from random import Random

from danlu.base.records import SPLITS, Split
from danlu.corpus.world_words import (
    ACTIONS,
    ANIMALS,
    DAYS,
    DIARY_FORMS,
    DIARY_HEADS,
    FACT_FORMS,
    FEELING,
    FRAMES,
    LIST,
    MOODS,
    NUMBERS,
    PEOPLE,
    PLACES,
    SMALL_NUMBERS,
    THINGS,
    TRADES,
    WEATHER,
    WEATHER_FORMS,
    Word,
)

LANGUAGES = ("zh", "en")
SHARES: dict[Split, float] = {"train": 0.80, "validation": 0.08, "test": 0.12}
"""How much of all triples and sentences belongs to each side; how many records each side gets is another matter."""
KEY = b"the little world"
LISTED = (PEOPLE, PLACES + DAYS, ANIMALS + TRADES + THINGS)
"""What a list may hold; never people, places and days together, for these belong to one side of the split."""
MOST_DRAWS = 2000
"""Even the smallest side holds a twelfth of the sentences; this many draws without one mean a form with too few."""

Triple = tuple[Word, Word, Word]  # person, place, day


def _number(key: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(blake2b(key.encode(), digest_size=7, key=KEY).digest(), "big") / 2**56


def side(key: str) -> Split:
    """The side that owns a sentence, or the English names of a triple."""
    number = _number(key)
    if number < SHARES["train"]:
        return "train"
    return "validation" if number < SHARES["train"] + SHARES["validation"] else "test"


def triple_side(person: Word, place: Word, day: Word) -> Split:
    """The side that owns everything said of this person at this place on this day, in either language."""
    return side(f"{person.en}|{place.en}|{day.en}")


TRIPLES: dict[Split, list[Triple]] = {
    split: [
        (person, place, day)
        for person in PEOPLE
        for place in PLACES
        for day in DAYS
        if triple_side(person, place, day) == split
    ]
    for split in SPLITS
}
FACTS: dict[str, dict[str, Word]] = {
    person.en: {
        "trade": TRADES[int(_number(f"trade of {person.en}") * len(TRADES))],
        "home": PLACES[int(_number(f"home of {person.en}") * len(PLACES))],
        "pet": ANIMALS[int(_number(f"pet of {person.en}") * len(ANIMALS))],
    }
    for person in PEOPLE
}
"""What holds of each person in every document; it does not depend on the seed."""


def say(form: Word, language: str, **slots: Word | str | int) -> str:
    """Fill the slots of a form in one language; words are written in that language."""
    words = {name: getattr(value, language) if isinstance(value, Word) else value for name, value in slots.items()}
    return getattr(form, language).format(**words)


def draw(split: Split, make: Callable[[], str]) -> str:
    """Call `make` until its sentence belongs to the side."""
    for _ in range(MOST_DRAWS):
        text = make()
        if side(text) == split:
            return text
    raise AssertionError(f"no sentence like {text!r} belongs to the {split} side")


@dataclass(frozen=True)
class Event:
    """Somebody did something somewhere on some day, and may have felt something."""

    person: Word
    place: Word
    day: Word
    deed: Word
    mood: Word | None
    frame: Word

    def text(self, language: str) -> str:
        """The event as one sentence."""
        return self.write(self.frame, language)

    def write(self, form: Word, language: str) -> str:
        """The event in another form, for example a diary's."""
        feeling = say(FEELING, language, m=self.mood) if self.mood is not None else ""
        return say(form, language, p=self.person, l=self.place, d=self.day, v=self.deed, m=feeling)

    def name(self, form: Word, language: str) -> str:
        """Who was where and when, and in a form that asks for it the mood by its own word: summaries and answers."""
        mood = {"m": self.mood} if self.mood is not None else {}
        return say(form, language, p=self.person, l=self.place, d=self.day, **mood)


def deed(random: Random) -> Word:
    """An action with its slots filled, in both languages."""
    action = random.choice(ACTIONS)
    slots: dict[str, Word | int] = {"n": _amount(random), "o": random.choice(THINGS)}
    slots |= {"a": random.choice(ANIMALS), "t": random.choice(TRADES)}
    return Word(say(action, "zh", **slots), say(action, "en", **slots))


def _amount(random: Random) -> int:
    """How many things: mostly few, as people count."""
    return random.choice(SMALL_NUMBERS if random.random() < 0.7 else NUMBERS)


def events(random: Random, split: Split, count: int, mood_share: float = 0.75) -> list[Event]:
    """`count` events of one side with no person, place, day or mood in common."""
    moods = random.sample(MOODS, count)
    found: list[Event] = []
    taken: set[Word] = set()
    while len(found) < count:
        triple = random.choice(TRIPLES[split])
        if taken.isdisjoint(triple):
            taken.update(triple)
            mood = moods[len(found)] if random.random() < mood_share else None
            found.append(Event(*triple, deed(random), mood, random.choice(FRAMES)))
    return found


def weather(random: Random, split: Split, language: str) -> str:
    """A sentence about the weather of a day."""
    return draw(
        split,
        lambda: say(random.choice(WEATHER_FORMS), language, d=random.choice(DAYS), w=random.choice(WEATHER)),
    )


def fact(random: Random, split: Split, language: str, kinds: tuple[str, ...] = ("trade", "home", "pet")) -> str:
    """A sentence about what a person is, where the person lives or which animal the person keeps."""

    def make() -> str:
        person, kind = random.choice(PEOPLE), random.choice(kinds)
        known = FACTS[person.en]
        return say(
            random.choice(FACT_FORMS[kind]), language, p=person, t=known["trade"], l=known["home"], a=known["pet"]
        )

    return draw(split, make)


def story(random: Random, split: Split, language: str, told: list[Event]) -> str:
    """The events in their order, a sentence a line, and perhaps one about weather or people anywhere between them."""
    sentences = [event.text(language) for event in told]
    if random.random() < 0.5:
        extra = (
            weather(random, split, language)
            if random.random() < 0.5
            else fact(random, split, language, ("trade", "pet"))
        )
        sentences.insert(random.randint(0, len(sentences)), extra)
    return "\n".join(sentences)


def tale(random: Random, split: Split, language: str) -> str:
    """A document: a story of three to five events."""
    return story(random, split, language, events(random, split, random.randint(3, 5)))


def retold(random: Random, split: Split, language: str) -> str:
    """A document: a story told twice. Who reads it learns to look back, which questions about a story are built on."""
    lines = [event.text(language) for event in events(random, split, random.randint(3, 5))]
    return "\n".join(lines + lines)


def listing(random: Random, language: str, pool: Sequence[Word]) -> str:
    """Eight to twenty-four words of a pool, as a list is read out."""
    words = [getattr(word, language) for word in random.sample(pool, random.randint(8, min(24, len(pool))))]
    return ("" if language == "zh" else " ").join(words)


def read_twice(random: Random, split: Split, language: str) -> str:
    """A list of the town's words, read out twice.

    Only the first reading tells how the second goes on. It is the shortest way to the skill that answering from a
    prompt needs: find where the present word stood before, and see what followed (induction,
    https://arxiv.org/abs/2209.11895). Without such text the same model is still guessing when its minutes are over;
    read more often than twice it teaches the skill much later, and short lists teach it for short distances only.
    """
    pool = random.choice(LISTED)
    line = draw(split, lambda: say(LIST, language, w=listing(random, language, pool)))
    return f"{line}\n{line}"


def diary(random: Random, split: Split, language: str) -> str:
    """A document: one person's day, told by that person at two or three places."""
    while True:
        author, _, day = random.choice(TRIPLES[split])
        head = say(random.choice(DIARY_HEADS), language, p=author, d=day, w=random.choice(WEATHER))
        stations = [triple for triple in TRIPLES[split] if triple[0] is author and triple[2] is day]
        if side(head) == split and len(stations) >= 2:
            break
    chosen = random.sample(stations, min(len(stations), random.randint(2, 3)))
    lines = [draw(split, partial(_diary_line, random, language, triple)) for triple in chosen]
    return "\n".join([head, *lines])


def _diary_line(random: Random, language: str, triple: Triple) -> str:
    mood = random.choice(MOODS) if random.random() < 0.75 else None
    return Event(*triple, deed(random), mood, FRAMES[0]).write(random.choice(DIARY_FORMS), language)


def chronicle(random: Random, split: Split, language: str) -> str:
    """A document: what everybody in town knows, four to six facts."""
    sentences: list[str] = []
    wanted = random.randint(4, 6)
    while len(sentences) < wanted:
        sentence = fact(random, split, language)
        if sentence not in sentences:
            sentences.append(sentence)
    return "\n".join(sentences)


def bilingual(random: Random, split: Split, language: str) -> str:
    """A document: three or four events, each in both languages, `language` first."""
    other = "en" if language == "zh" else "zh"
    lines = [event.text(each) for event in events(random, split, random.randint(3, 4)) for each in (language, other)]
    return "\n".join(lines)


DOCUMENTS: dict[str, tuple[Callable[[Random, Split, str], str], float]] = {
    "story": (tale, 0.2),
    "retold": (retold, 0.2),
    "diary": (diary, 0.15),
    "chronicle": (chronicle, 0.25),
    "bilingual": (bilingual, 0.2),
}
"""Kind of document: its writer and its share."""
