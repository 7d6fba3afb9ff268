"""The little world: an honest split, facts that hold, even questions, same seed same bytes, counted dirt."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
import zstandard

from danlu.corpus import world
from danlu.corpus.world_dirt import FATES, ID_CHECKS, ID_WEIGHTS
from danlu.corpus.world_text import DOCUMENTS, FACTS, TRIPLES, events, side, triple_side
from danlu.corpus.world_words import (
    ACTIONS,
    ANIMALS,
    DAYS,
    FACT_FORMS,
    FRAMES,
    MOODS,
    PEOPLE,
    PLACES,
    QUESTIONS,
    TRADES,
    UNSEEN_QUESTIONS,
    WEATHER,
    Word,
)

SENTENCE_ENDS = re.compile(r"[。！？!?\n]|\.(?!\w)")
LABELS = ("：", ":")
HELD_OUT = ("validation", "test")
STORIES, LISTS, TALKS = 1500, 1500, 6000
WORDS = {word.en: word for word in (*PEOPLE, *PLACES, *DAYS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("world")
    counts = world.write(place, seed=3, stories=STORIES, lists=LISTS, conversations=TALKS)
    (place / "counts.json").write_text(json.dumps(counts))
    return place


def records(folder: Path) -> Iterator[dict]:
    """Every record of the folder that a reader can read, with its side; broken lines are left out."""
    for path in sorted(folder.rglob("*")):
        name = path.name
        if name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
            data = path.read_bytes()
            data = gzip.decompress(data) if name.endswith(".gz") else data
            data = zstandard.decompress(data) if name.endswith(".zst") else data
            for line in data.split(b"\n"):
                try:
                    text = line.decode()
                except UnicodeDecodeError:
                    continue
                if text:
                    yield json.loads(text)
        elif name.endswith(".parquet"):
            yield from pq.read_table(path).to_pylist()
        elif name.endswith(".txt"):
            encoding = next((word for word in ("gb18030", "big5") if name.startswith(word)), "utf-8")
            for block in path.read_text(encoding).split("\n\n"):
                yield {"text": block, "split": path.parent.name}


def talks(folder: Path, *splits: str) -> list[dict]:
    lines = map(json.loads, (folder / "conversations.jsonl").read_text("utf-8").splitlines())
    return [record for record in lines if not splits or record["split"] in splits]


def texts(record: dict) -> Iterator[str]:
    """The texts of a record in which sentences stand; an answer of one word or phrase is no sentence."""
    if "text" in record:
        yield record["text"]
        return
    for message in record["messages"]:
        if message["role"] != "assistant" or SENTENCE_ENDS.search(message["content"]):
            yield message["content"]


def sentences(record: dict) -> Iterator[str]:
    """Sentences without their signs, case and spacing; a line such as `Translate into Chinese:` is none."""
    for text in texts(record):
        for piece in SENTENCE_ENDS.split(text):
            bare = re.sub(r"\W", "", piece).lower()
            if bare and not piece.endswith(LABELS):
                yield bare


def named(words: tuple[Word, ...], text: str) -> set[str]:
    """English names of the words that a text holds in either language."""
    pattern, forms = _search(words)
    return {forms[found] for found in pattern.findall(text)}


@cache
def _search(words: tuple[Word, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """One expression for all words in both languages, and the English name of each form."""
    chinese, english = "|".join(word.zh for word in words), "|".join(word.en for word in words)
    return re.compile(rf"{chinese}|\b(?:{english})\b"), {form: word.en for word in words for form in word}


def triples(record: dict) -> Iterator[tuple[str, str, str]]:
    """Person, place and day that stand together in a sentence, or in a diary under one head."""
    for text in texts(record):
        first = text.split("\n")[0]
        head = first if re.search(r"的日记|[Dd]iary of", first) else ""
        for piece in SENTENCE_ENDS.split(text):
            whole = f"{head} {piece}"
            people, places, days = named(PEOPLE, whole), named(PLACES, whole), named(DAYS, whole)
            yield from ((person, place, day) for person in people for place in places for day in days)


def leaks(found: dict[str, set]) -> set:
    return found["train"] & (found["validation"] | found["test"])


def test_vocabulary_is_as_large_as_promised() -> None:
    assert len(PEOPLE) >= 60
    assert len(PLACES) >= 12
    assert len(TRADES) >= 10
    assert len(DAYS) == 7
    assert min(map(len, (ANIMALS, MOODS, WEATHER))) >= 8
    for language in ("zh", "en"):
        assert len({(getattr(f, language), getattr(a, language)) for f in FRAMES for a in ACTIONS}) >= 40


def test_each_word_has_one_form_in_each_language_and_none_hides_in_another() -> None:
    tables = (PEOPLE, PLACES, DAYS, MOODS, TRADES, ANIMALS, WEATHER)
    for table in (*tables, ACTIONS, FRAMES):
        assert len({word.zh for word in table}) == len({word.en for word in table}) == len(table)
    sought = [*PEOPLE, *PLACES, *DAYS]
    forms = [*FRAMES, *ACTIONS, *(form for group in FACT_FORMS.values() for form in group)]
    forms += [form for group in (*QUESTIONS.values(), *UNSEEN_QUESTIONS.values()) for form in group]
    for word in sought:
        for other in (*(word for table in tables for word in table), *forms):
            assert other == word or (word.zh not in other.zh and not re.search(rf"\b{word.en}\b", other.en))


def test_no_triple_and_no_sentence_is_on_both_sides(folder: Path) -> None:
    said: dict[str, set] = defaultdict(set)
    told: dict[str, set] = defaultdict(set)
    for record in records(folder):
        said[record["split"]].update(sentences(record))
        told[record["split"]].update(triples(record))
    assert not leaks(said)
    assert not leaks(told)
    assert not said["validation"] & said["test"]
    assert not told["validation"] & told["test"]
    assert len(said["train"]) > 10_000
    assert min(len(told[split]) for split in HELD_OUT) > 100


def test_every_line_is_owned_by_its_side(folder: Path) -> None:
    """The rule itself, line by line: a rare sentence may be drawn once only, so that no overlap would betray it."""
    checked = 0
    for record in (*talks(folder), *map(json.loads, (folder / "stories.jsonl").read_text("utf-8").splitlines())):
        if record.get("task") in (
            "sum",
            "wording",
        ):  # pairs of numbers have owners; new wordings are for the test alone
            continue
        for text in texts(record):
            for line in text.split("\n"):
                found = [triple_side(*map(WORDS.get, triple)) for triple in triples({"text": line})]
                owners = set(found) if found else {side(line)}
                assert line.endswith(LABELS) or owners == {record["split"]}, line
                checked += 1
    assert checked > 20_000


@pytest.mark.parametrize("task", ["who", "translate", "town", "chat", "summary"])
def test_the_check_of_the_split_sees_a_leak(folder: Path, task: str) -> None:
    """The detectors above are not blind: one held-out record put into training is noticed."""
    record = next(record for record in talks(folder, "test") if record["task"] == task)
    assert leaks({"train": set(sentences(record)), "validation": set(), "test": set(sentences(record))})
    if task != "town":
        found = set(triples(record))
        assert leaks({"train": found, "validation": set(), "test": found})
        assert all(triple_side(*map(WORDS.get, triple)) == "test" for triple in found)


def test_worlds_of_two_seeds_can_be_joined(folder: Path, tmp_path: Path) -> None:
    world.write(tmp_path, seed=4, stories=300, lists=300, conversations=1500)
    said: dict[str, set] = defaultdict(set)
    for place in (folder, tmp_path):
        for record in records(place):
            said[record["split"]].update(sentences(record))
    assert not leaks(said)


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    def fingerprint(name: str, seed: int) -> dict[str, str]:
        world.write(tmp_path / name, seed=seed, stories=200, lists=200, conversations=200)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {
            path.relative_to(tmp_path / name).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    first = fingerprint("a", 1)
    assert first == fingerprint("b", 1)
    assert all(first[name] != digest for name, digest in fingerprint("c", 2).items() if name != "unsorted/empty.jsonl")


def test_facts_hold_across_documents(folder: Path) -> None:
    patterns = {
        "trade": (
            r"^They say (\w+) is a (\w+)$",
            r"^Here (\w+) works as a (\w+)$",
            r"^Everyone knows that (\w+) is a (\w+)$",
        ),
        "home": (r"^They say (\w+) lives near (\w+)$", r"^The home of (\w+) is near (\w+)$"),
        "pet": (r"^They say (\w+) keeps a (\w+)$", r"^The pet of (\w+) is a (\w+)$"),
    }
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records(folder):
        for piece in SENTENCE_ENDS.split(record.get("text", "")):
            for kind, forms in patterns.items():
                for form in forms:
                    if match := re.search(form, piece.strip()):
                        found[match[1], kind].add(match[2])
    assert len(found) > 150
    assert all(values == {FACTS[person][kind].en} for (person, kind), values in found.items())


def test_counts_are_those_of_the_files(folder: Path) -> None:
    counts = json.loads((folder / "counts.json").read_text())
    clean = [record for record in records(folder) if "text" in record and not record.get("id", "x").startswith("talk")]
    planted = {"copy", "repost", "web", "register", "empty", "dump", "beside", "broken"}
    clean = [record for record in clean if record.get("id", "").split("-")[0] not in planted]
    encoded = counts["dirty"]["GBK documents"] + counts["dirty"]["Big5 documents"]
    assert counts["lists"] == LISTS
    assert counts["documents"] + counts["lists"] == STORIES + LISTS == len(clean) - encoded
    assert counts["conversations"] == TALKS == sum(counts["tasks"].values())
    by_task = Counter(f"{talk['split']} {talk['task']} {talk['language']}" for talk in talks(folder))
    assert counts["tasks"] == dict(by_task)
    documents = [record["text"] for record in clean]
    assert len(set(documents)) == len(documents)
    turns = [json.dumps(talk["messages"]) for talk in talks(folder)]
    assert len(set(turns)) == len(turns)


def test_every_task_is_held_out_in_both_languages(folder: Path) -> None:
    held = {(talk["task"], talk["language"]) for talk in talks(folder, "test")}
    tasks = {
        "who",
        "where",
        "when",
        "mood",
        "translate",
        "sum",
        "town",
        "wording",
        "summary",
        "chat",
        "extract",
        "repeat",
    }
    assert held == {(task, language) for task in tasks for language in ("zh", "en")}
    assert {talk["task"] for talk in talks(folder, "train", "validation")} == tasks - {"wording"}


def test_a_held_out_conversation_asks_once(folder: Path) -> None:
    for talk in talks(folder, *HELD_OUT):
        roles = [message["role"] for message in talk["messages"]]
        expected = ["system", "user", "assistant", "user", "assistant"] if talk["task"] == "chat" else roles[:2]
        assert roles == expected
        assert talk["messages"][0]["role"] == ("system" if talk["task"] == "chat" else "user")


def asked_events(folder: Path) -> Iterator[tuple[dict, list[str], str, str]]:
    """Held-out questions over stories: the record, the story's events, the question, the answer."""
    for talk in talks(folder, *HELD_OUT):
        if talk["task"] in QUESTIONS or talk["task"] == "wording":
            story, question = talk["messages"][0]["content"].rsplit("\n", 1)
            told = [piece for piece in SENTENCE_ENDS.split(story) if named(PEOPLE, piece) and named(PLACES, piece)]
            yield talk, told, question, talk["messages"][-1]["content"]


def test_the_answer_stands_in_exactly_one_event_that_the_question_names(folder: Path) -> None:
    for talk, told, question, answer in asked_events(folder):
        assert len(told) >= 2
        for table in (PEOPLE, PLACES, DAYS):
            assert len(set().union(*(named(table, event) for event in told))) == len(told)
        keys = named(PEOPLE, question) | named(PLACES, question) | named(DAYS, question)
        mentioned = [event for event in told if keys <= named((*PEOPLE, *PLACES, *DAYS), event)]
        assert len(keys) == 2, talk
        assert len(mentioned) == 1, talk
        told_of = (*PEOPLE, *PLACES, *DAYS)
        assert named(told_of, answer) == named(told_of, mentioned[0])  # all three, the one asked for among them
        assert not named(told_of, answer) <= named(told_of, question)
        if talk["task"] == "mood":
            assert named(MOODS, answer) == named(MOODS, mentioned[0])
            assert not named(MOODS, question)


def test_every_position_is_asked_about_equally_often(folder: Path) -> None:
    positions: dict[int, Counter[int]] = defaultdict(Counter)
    for _, told, question, _answer in asked_events(folder):
        keys = named(PEOPLE, question) | named(PLACES, question) | named(DAYS, question)
        (place,) = [i for i, event in enumerate(told) if keys <= named((*PEOPLE, *PLACES, *DAYS), event)]
        positions[len(told)][place] += 1
    assert set(positions) == {2, 3}
    for count, found in positions.items():
        expected = found.total() / count
        # chi-squared with at most 3 degrees of freedom exceeds 16.3 once in a thousand worlds; the seed is fixed
        assert sum((found[place] - expected) ** 2 / expected for place in range(count)) < 16.3


def test_unseen_wordings_occur_in_no_other_task(folder: Path) -> None:
    def shape(text: str) -> str:
        for word in (*PEOPLE, *PLACES, *DAYS):
            text = text.replace(word.zh, "_").replace(word.en, "_")
        return text

    unseen = {shape(question) for talk, _, question, _ in asked_events(folder) if talk["task"] == "wording"}
    seen = {
        shape(message["content"].split("\n")[-1])
        for talk in talks(folder)
        if talk["task"] != "wording"
        for message in talk["messages"]
    }
    assert len(unseen) >= 8
    assert not unseen & seen


def test_translations_agree_and_both_directions_occur(folder: Path) -> None:
    for talk in talks(folder, *HELD_OUT):
        if talk["task"] == "translate":
            prompt, answer = (message["content"] for message in talk["messages"])
            asked = prompt.split("\n")[-1]
            for table in (PEOPLE, PLACES, DAYS, MOODS, TRADES, ANIMALS):
                assert named(table, asked) == named(table, answer)
            assert bool(re.search("[\u4e00-\u9fff]", answer)) == (talk["language"] == "zh")


def test_each_sentence_has_one_translation() -> None:
    random = Random(0)
    told = [event for _ in range(1500) for event in events(random, "train", 4)]
    pairs = {(event.text("zh"), event.text("en")) for event in told}
    assert len({chinese for chinese, _ in pairs}) == len({english for _, english in pairs}) == len(pairs) > 5000


def test_sums_are_right(folder: Path) -> None:
    for talk in talks(folder):
        if talk["task"] == "sum":
            for question, answer in zip(talk["messages"][::2], talk["messages"][1::2], strict=True):
                assert sum(map(int, re.findall(r"\d+", question["content"]))) == int(answer["content"]) <= 99


def test_dirt_is_what_the_counts_say(folder: Path) -> None:
    counts = json.loads((folder / "counts.json").read_text())["dirty"]
    assert counts.keys() == FATES.keys()
    assert all(count > 0 for count in counts.values())
    place = folder / "unsorted"

    def lines(name: str) -> list[dict]:
        return [json.loads(line) for line in (place / name).read_text("utf-8").splitlines()]

    kinds = (*DOCUMENTS, "list")
    clean = {record["text"] for record in records(folder) if record.get("id", "").startswith(kinds)}
    clean |= set((folder / "train" / "stories.txt").read_text("utf-8").strip().split("\n\n"))
    copies = lines("copies.jsonl")
    assert len(copies) == counts["exact duplicates"]
    assert all(record["text"] in clean for record in copies)
    bare = {re.sub(r"\W", "", text).lower() for text in clean}
    reposts = lines("reposts.jsonl")
    assert len(reposts) == counts["near duplicates"]
    assert all(re.sub(r"\W", "", record["text"]).lower() in bare and record["text"] not in clean for record in reposts)
    register = "\n".join(record["text"] for record in lines("register.jsonl"))
    numbers = re.findall(r"(?<!\d)\d{17}[\dX]", register)
    assert len(numbers) == counts["ID numbers"]
    for number in numbers:
        total = sum(int(digit) * weight for digit, weight in zip(number[:17], ID_WEIGHTS, strict=True))
        assert number[17] == ID_CHECKS[total % 11]
    assert len(re.findall(r"(?<!\d)138\d{8}(?!\d)", register)) == counts["phone numbers"]
    assert len(re.findall(r"\w+@example\.com", register)) == counts["e-mail addresses"]
    assert sum(not record["text"].strip() for record in lines("empty.jsonl")) == counts["empty records"]
    assert all(len(record["text"]) >= 200_000 and "\n" not in record["text"] for record in lines("dump.jsonl"))
    broken = 0
    for line in (place / "broken.jsonl").read_bytes().splitlines():
        broken += b"\xff" in line
    assert broken == counts["broken UTF-8 lines"]
    for encoding, kind in (("gb18030", "GBK documents"), ("big5", "Big5 documents")):
        files = sorted((place / "train").glob(f"{encoding}*.txt"))
        assert len(files) == counts[kind]
        assert all(len(path.read_text(encoding)) > 100 for path in files)
        for path in files:
            with pytest.raises(UnicodeDecodeError):
                path.read_text("utf-8")


@pytest.mark.parametrize("amounts", [(0, 0), (1, 1), (3, 3)])
def test_small_worlds(tmp_path: Path, amounts: tuple[int, int]) -> None:
    counts = world.write(tmp_path, seed=0, stories=amounts[0], conversations=amounts[1])
    assert (counts["documents"], counts["conversations"]) == amounts
    if amounts[0] == 3:
        assert {talk["split"] for talk in talks(tmp_path)} == {"train", "validation", "test"}


def test_each_side_owns_triples_of_every_person_place_and_day() -> None:
    for owned in TRIPLES.values():
        assert {person for person, _, _ in owned} == set(PEOPLE)
        assert {place for _, place, _ in owned} == set(PLACES)
        assert {day for _, _, day in owned} == set(DAYS)


def test_after_prepare_the_split_is_honest_and_the_dirt_has_met_its_fate(tmp_path: Path) -> None:
    from danlu.stages import prepare

    counts = world.write(tmp_path / "again", seed=5, stories=800, lists=800, conversations=1200)
    town = {"little-world": {"stories": 800, "lists": 800, "conversations": 1200}}
    prepare.run(prepare.Config(sources=[town], seed=5), {}, tmp_path)  # type: ignore[arg-type]
    said: dict[str, set] = defaultdict(set)
    told: dict[str, set] = defaultdict(set)
    for split in ("train", *HELD_OUT):
        for name in (f"{split}.jsonl", f"conversations-{split}.jsonl"):
            for line in (tmp_path / name).read_text("utf-8").splitlines():
                record = json.loads(line)
                said[split].update(sentences(record))
                told[split].update(triples(record))
    assert not leaks(said)
    assert not leaks(told)
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text("utf-8").splitlines()]
    assert dict(Counter(one["reason"] for one in rejected)) == counts["expected"]["rejected"]
    assert {Path(one["source"]).parent.name for one in rejected} == {"unsorted"}
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["masked"] == counts["expected"]["masked"]
