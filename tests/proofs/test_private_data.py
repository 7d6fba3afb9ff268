"""Proofs that private data are found as people write them and that every place maps back (P3), that each check digit is
the standard's own (P3a identity numbers, P3b credit codes, P3c cards), that JSON with masks is JSON (P3d), and that
nothing is cut before it is masked (P3e).

The samples are `private_samples`' own: nothing in them comes from the detector. What is found of them is stored in
`docs/results/private-data.json` and told on the page of `prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import pytest

from danlu.base.records import Conversation, Document, Message, ToolCall
from danlu.corpus import checks
from danlu.corpus.clean import Cleaner
from danlu.corpus.privacy import Privacy
from tests.proofs import private_samples as written
from tests.proofs.mutant import Mutant

MUTANTS = {
    "P3": (
        Mutant(
            "src/danlu/corpus/privacy.py",
            "            places.append((length, length + len(replacement)))\n",
            "            places.append((one.start, one.start + len(replacement)))\n",
        ),
        Mutant(  # digits of full width slip through
            "src/danlu/corpus/privacy.py", 'FULL_WIDTH = re.compile(f"[{FULL}]")', 'FULL_WIDTH = re.compile("(?!)")'
        ),
        Mutant(  # and so does a password in a header
            "src/danlu/corpus/privacy.py", 'pieces=("earer ", "Basic ")', 'pieces=("earer ",)'
        ),
    ),
    "P3a": Mutant(
        "src/danlu/corpus/checks.py",
        "ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)",
        "ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 4, 8, 2)",
        entails=("P3",),
    ),
    "P3b": Mutant(
        "src/danlu/corpus/checks.py",
        "    return CREDIT_ALPHABET[-total % 31] == code[-1]\n",
        "    return CREDIT_ALPHABET[-total % 30] == code[-1]\n",
        entails=("P3",),
    ),
    "P3c": Mutant(
        "src/danlu/corpus/checks.py",
        "    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0\n",
        "    return sum(doubled) % 10 == 0\n",
        entails=("P3",),
    ),
    "P3d": Mutant(
        "src/danlu/corpus/clean.py",
        "            changed = with_values(text, value) if is_json else None\n",
        "            changed = None\n",
    ),
    "P3e": Mutant(
        "src/danlu/corpus/clean.py",
        "        hidden = self.privacy.hide(rejection.excerpt[: EXCERPT_SOURCE + LONGEST_DATUM])\n",
        "        hidden = self.privacy.hide(excerpt(rejection.excerpt))\n",
    ),
}
LEAST_RECALL, LEAST_PRECISION, MOST_TAKEN = 0.995, 0.995, 0.001
"""Of each kind, and of what only looks like a datum."""
NUMBERS = 500


def test_P3_private_data_are_found_as_people_write_them_and_map_back(capsys):
    """Every spelling in prose, tables, JSON and environments, beside other numbers; what only looks like one stays."""
    privacy = Privacy(written.KINDS)
    of_kind, taken = written.tallies(privacy.find)
    with capsys.disabled():
        for kind, tally in of_kind.items():
            print(f"  {kind:16} recall {tally.recall:.4f}  precision {tally.precision:.4f}  missed {tally.missed}")
    assert min(tally.recall for tally in of_kind.values()) >= LEAST_RECALL, of_kind
    assert min(tally.precision for tally in of_kind.values()) >= LEAST_PRECISION, of_kind
    assert sum(taken.values()) <= MOST_TAKEN * len(written.NEAR_MISSES) * written.OF_EACH, taken
    pseudonyms = Privacy(written.KINDS, "pseudonym", b"k" * 32)
    for sample in written.samples(of_each=5):
        text = f"电话13812345678；{sample.text}"  # what an earlier mark is longer or shorter moves the later ones
        for hidden in (privacy.hide(text), pseudonyms.hide(text)):
            assert hidden.with_originals(text) == text
            assert len(hidden.found) == 1 + (sample.kind is not None)


def test_what_is_told_of_the_samples_is_what_is_found():
    stored = json.loads(written.RESULT.read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(written.measured())), "python -m tests.proofs.private_samples"


def slips(number: str, alphabet: str) -> list[str]:
    """The number with one sign changed, in every place, and with two neighbours exchanged."""
    changed = [
        number[:place] + other + number[place + 1 :]
        for place in range(6, len(number))
        for other in alphabet
        if other != number[place] and (other.isdigit() or len(alphabet) > 11 or place == 17)
    ]
    exchanged = [
        number[:place] + number[place + 1] + number[place] + number[place + 2 :]
        for place in range(6, len(number) - 1)
        if number[place] != number[place + 1] and number[place + 1] != "X"
    ]
    return changed + exchanged


Check = Callable[[str], bool]


def check_signs(is_right: Check, make: written.Write, alphabet: str, every: int, by_chance: Check) -> None:
    """Numbers as the standard makes them are right, and with a slip wrong. One in so many of the slips is tried, none
    of those that give another right number by chance."""
    random = Random(1)
    for _ in range(NUMBERS):
        number = make(random)
        assert is_right(number)
        wrong = [slip for slip in slips(number, alphabet) if not by_chance(slip)]
        assert not any(map(is_right, wrong[::every])), number


def test_P3a_identity_numbers_have_the_check_digit_of_GB_11643():
    assert checks.is_identity_number("11010519491231002X"), "the example of the standard"
    alphabet = written.DIGITS + "X"
    check_signs(checks.is_identity_number, written.identity_number, alphabet, 7, by_chance=lambda slip: False)


def test_P3b_credit_codes_have_the_check_sign_of_GB_32100():
    assert checks.is_credit_code("91350100M000100Y43"), "the example of the standard"
    check_signs(checks.is_credit_code, written.credit_code, checks.CREDIT_ALPHABET, 11, written.is_mod_31_3)


def test_P3c_cards_have_the_check_digit_of_Luhn():
    for number in ("4111111111111111", "5500000000000004", "378282246310005", "6011111111111117"):
        assert checks.is_card(number), "the numbers that issuers give for trials"
    check_signs(checks.is_card, written.card, written.DIGITS, 5, written.is_luhn)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("indent", [None, 1])
def test_P3d_JSON_with_masks_is_JSON_and_says_all_else_as_before(ascii_only, indent):
    random = Random(5)
    for _ in range(50):
        phone = f"138{random.randrange(10**8):08}"
        said = {
            "n": int(phone),
            "text": f'说 "hi"\n{phone}\tand',
            "to": [{"cc": f"a{phone}@example.com"}],
            "price": 1.5,
        }
        masked = {"n": "[PHONE]", "text": '说 "hi"\n[PHONE]\tand', "to": [{"cc": "[EMAIL]"}], "price": 1.5}
        arguments = json.dumps(said, ensure_ascii=ascii_only, indent=indent)
        turns = (Message("user", "?"), Message("assistant", arguments, tool_calls=(ToolCall("send", arguments),)))
        _, answer = Cleaner().clean(Conversation("1", turns, "f")).messages
        for text in (answer.content, answer.tool_calls[0].arguments):
            assert json.loads(text) == masked
            assert text == json.dumps(masked, ensure_ascii=ascii_only, indent=indent)


def test_P3e_no_excerpt_shows_a_part_of_a_datum():
    random = Random(6)
    for place in range(130, 340):
        text = "春" * place + f" {written.identity_number(random)} " + "秋" * 200
        rejected = Cleaner().rejection(Document("1", text, "f"), "duplicate", "")
        assert not any(character.isdigit() for character in rejected.excerpt), place


@pytest.mark.parametrize("kind", written.KINDS)
def test_the_samples_are_what_they_say(kind):
    """A generator that wrote one spelling only would prove little; every datum stands where its sample says."""
    of_kind = [sample for sample in written.samples(of_each=2) if sample.kind == kind]
    assert len({sample.name for sample in of_kind}) >= 4
    assert all(sample.text[sample.start : sample.end] for sample in of_kind)
