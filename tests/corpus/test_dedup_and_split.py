"""Equal texts are kept once, different ones both; a record's side depends on its id alone."""

import tracemalloc
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.records import Conversation, Document, Message, ToolCall
from danlu.corpus.dedup import Seen, Table
from danlu.corpus.split import Splitter

LONG = "The furnace stood at the edge of the village, and the old smith lit it."


def fates(*records, near=True):
    seen = Seen(near=near)
    return [found[0] if (found := seen.duplicate_of(record)) is not None else "kept" for record in records]


def document(text, name="d"):
    return Document(name, text, "f")


def talk(*contents, tools=(), calls=()):
    turns = [Message("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(contents)]
    if calls:
        turns[-1] = Message("assistant", contents[-1], tool_calls=calls)
    return Conversation("c", tuple(turns), "f", tools=tools)


def test_spacing_makes_no_difference():
    assert fates(document("one  text\nhere"), document("one text here")) == ["kept", "duplicate"]


def test_case_width_and_punctuation_make_a_near_duplicate():
    changed = LONG.upper().replace(",", "!! ").replace("1", "１")
    assert fates(document(LONG), document(changed)) == ["kept", "near_duplicate"]
    assert fates(document(LONG), document(changed), near=False) == ["kept", "kept"]


def test_another_word_or_number_makes_another_text():
    assert fates(document(LONG), document(LONG.replace("old", "new"))) == ["kept", "kept"]
    assert fates(document("It is 12 degrees on Monday."), document("It is 13 degrees on Monday.")) == ["kept", "kept"]


DIFFERENT = [
    ("The temperature this morning was -5 degrees.", "The temperature this morning was 5 degrees."),
    ("The temperature this morning was \u22125 degrees.", "The temperature this morning was 5 degrees."),
    (
        "今天早上的气温是－5度，比昨天冷得多，大家都穿上了棉衣。",
        "今天早上的气温是5度，比昨天冷得多，大家都穿上了棉衣。",
    ),
    ("A cup of this tea costs $1.25 at the market.", "A cup of this tea costs $125 at the market."),
    ("A cup of this tea costs €125 at the market.", "A cup of this tea costs $125 at the market."),
    ("Prices rose by 5% in the second year of the plan.", "Prices rose by 5 in the second year of the plan."),
    ("The train to the coast leaves at 3:45 every day.", "The train to the coast leaves at 345 every day."),
    ("Let f(x)=x²+2x-3 and find where it is zero.", "Let f(x)=x²-2x+3 and find where it is zero."),
    ("The area of the field is 10² metres in all.", "The area of the field is 102 metres in all."),
    ("Work out 2*(3+4) and write the result down.", "Work out 2*3+4 and write the result down."),
    ("if value < limit and not done: return value", "if value > limit and not done: return value"),
    ("if value != limit and not done: return value", "if value = limit and not done: return value"),
    ("result = left * right / total_of_rows[a*b]", "result = left * right / total_of_rows[a/b]"),
    ("वह रोज सुबह बाजार जाता है और शाम को लौटता है", "वह रोज सुबह बाजार जाती है और शाम को लौटती है"),
    ("Everybody said of the new film: 👍👍👍, and left.", "Everybody said of the new film: 👎👎👎, and left."),
]


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_signs_of_numbers_and_formulas_and_marks_of_letters_are_content(left, right):
    assert fates(document(left), document(right)) == ["kept", "kept"]


SAME = [
    ("It was -5 degrees, and 1.25 m of snow fell here.", "It was \u22125 degrees and １.２５ m of snow fell, here!"),
    ("他说：“今天真冷啊，我们回家吧。”大家都同意了这个主意。", "他说「今天真冷啊!我们回家吧」 大家都同意了这个主意…"),
    ("Well, the end of the story is (as ever) open.", "well the end of the story is – as ever – open"),
    ("We all love this little town by the river ❤\ufe0f", "We all love this little town by the river ❤"),
    ("One of them came. 6 more people came on Monday.", "One of them came: 6 more people came, on Monday"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_the_punctuation_of_sentences_is_not(left, right):
    assert fates(document(left), document(right)) == ["kept", "near_duplicate"]


def test_short_texts_may_differ_in_signs_alone():
    assert fates(document("1 + 2 is odd"), document("1 - 2 is odd")) == ["kept", "kept"]


def test_conversations_are_compared_turn_by_turn():
    assert fates(talk("a", "b"), talk("a", "b")) == ["kept", "duplicate"]
    assert fates(talk("a b", "c"), talk("a", "b c")) == ["kept", "kept"]
    assert fates(talk("3-1=", "2"), talk("3+1=", "2")) == ["kept", "kept"]
    assert fates(talk("a", "b"), talk("a", "b", tools=({"name": "f"},))) == ["kept", "kept"]
    assert fates(talk("a", "b"), talk("a", "b", calls=(ToolCall("f", "{}"),))) == ["kept", "kept"]


def test_a_record_may_be_like_one_that_was_not_kept():
    """The third has the words of the second to the letter, yet the first is the one that stays for both."""
    changed = document(LONG.upper())
    assert fates(document(LONG), changed, changed) == ["kept", "near_duplicate", "near_duplicate"]
    assert fates(document(LONG), document(LONG + "\n"), changed) == ["kept", "duplicate", "near_duplicate"]


def test_the_one_that_was_kept_is_named():
    seen = Seen()
    seen.duplicate_of(document("text", "first"))
    assert seen.duplicate_of(document("text", "second")) == ("duplicate", "first")


def test_an_id_that_comes_twice_gets_its_place():
    seen = Seen()
    names = [seen.unique_id(document("x", "7"), place) for place in ("a.jsonl#1", "b.jsonl#1", "b.jsonl#1")]
    assert names[:2] == ["7", "7@b.jsonl#1"]
    assert len(set(names)) == 3


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "a@x", "a@x@x", "b"]), max_size=12))
def test_ids_never_meet(names):
    seen = Seen()
    given_names = [seen.unique_id(document("x", name), "x") for name in names]
    assert len(set(given_names)) == len(names)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=30))
def test_the_table_is_a_dictionary(entries):
    table, known = Table(), {}
    table._keys, table._numbers = array("Q", bytes(32)), array("I", bytes(16))
    for key, number in entries:
        table.put(key, number)
        known[max(key, 1)] = number
    assert all(table.get(key) == known[max(key, 1)] for key, _ in entries)
    assert table.get(12345678901234567890) == known.get(12345678901234567890)


def test_memory_grows_by_little_for_each_record():
    text = "the furnace stood at the edge of the village, and number"
    tracemalloc.start()
    seen = Seen()
    for number in range(20_000):
        record = document(f"{text} {number}", f"folder/file.jsonl#{number}")
        assert seen.duplicate_of(record) is None
        seen.unique_id(record, "x")
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown / 20_000 < 120
    seen.forget()
    assert seen.duplicate_of(record) is None


def test_shares_are_met_and_the_seed_is_the_key():
    splitter = Splitter(0.1, 0.2, seed=3)
    names = [document("x", f"doc-{number}") for number in range(20_000)]
    counts = Counter(splitter.side(one) for one in names)
    assert abs(counts["test"] / 20_000 - 0.2) < 0.01
    assert abs(counts["validation"] / 20_000 - 0.1) < 0.01
    other = Splitter(0.1, 0.2, seed=4)
    assert any(splitter.side(one) != other.side(one) for one in names[:100])


def test_a_record_keeps_its_own_split():
    assert Splitter(0.0, 0.0).side(Document("1", "x", "f", split="test")) == "test"


def test_sides_are_the_same_for_ever():
    splitter = Splitter(0.2, 0.2, seed=0)
    sides = {number: splitter.side(document("x", str(number))) for number in range(30)}
    assert [number for number, side in sides.items() if side == "test"] == [0, 7, 8, 9]
    assert [number for number, side in sides.items() if side == "validation"] == [14, 16, 20, 24]
