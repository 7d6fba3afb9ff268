"""Proof that private data are found, by their check digits where they have one, and that every place maps back (P3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import get_args

from danlu.corpus import checks
from danlu.corpus.privacy import Found, KindName, Privacy
from tests.proofs.mutant import Mutant

MUTANTS = {
    "P3": Mutant(
        "src/danlu/corpus/privacy.py",
        "            places.append((length, length + len(replacement)))\n",
        "            places.append((one.start, one.start + len(replacement)))\n",
    ),
}
KINDS = get_args(KindName)
LEAST_RECALL, MOST_FALSE = 0.995, 0.001
"""Of genuine data found, and of numbers whose check digit is wrong."""
ALL_NAMES = ("王伟", "李雷", "欧阳明", "张小红", "陈静怡", "Jane Smith", "Tom Brown")


def identity_number(random: Random) -> str:
    day = date(1940, 1, 1) + timedelta(days=random.randrange(25_000))
    body = (
        f"{random.choice(sorted(checks.PROVINCES))}{random.randrange(10**4):04}{day:%Y%m%d}{random.randrange(1000):03}"
    )
    return next(body + last for last in checks.ID_CHECK_DIGITS if mod_11_2(body + last))


def mod_11_2(digits: str) -> bool:
    """ISO 7064 in its recursive form, which is not the one under test."""
    rest = 0
    for digit in digits[:-1]:
        rest = (rest + int(digit)) * 2 % 11
    return (rest + (10 if digits[-1] == "X" else int(digits[-1]))) % 11 == 1


def credit_code(random: Random) -> str:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    place = random.choice(sorted(checks.PROVINCES)) + f"{random.randrange(10**4):04}"
    body = f"9{random.choice('123')}{place}" + "".join(random.choices(alphabet, k=9))
    total = sum(alphabet.index(one) * pow(3, i, 31) for i, one in enumerate(body))
    return body + alphabet[(31 - total % 31) % 31]


def card(random: Random) -> str:
    first, length = random.choice((("622", 19), ("621", 16), ("4", 16), ("53", 16), ("37", 15)))
    body = first + "".join(random.choices("0123456789", k=length - 1 - len(first)))
    return next(body + last for last in "0123456789" if luhn(body + last))


def luhn(digits: str) -> bool:
    table = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    return (sum(map(int, digits[-1::-2])) + sum(table[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def phone(random: Random) -> str:
    number = f"1{random.choice('3456789')}{random.randrange(10**9):09}"
    return random.choice(
        (
            number,
            f"{number[:3]} {number[3:7]} {number[7:]}",
            f"+86 {number}",
            f"{number[:3]}-{number[3:7]}-{number[7:]}",
        )
    )


def other_phone(random: Random) -> str:
    last = f"{random.randrange(10**7):07}"
    return random.choice(
        (
            f"010-6{last}",
            f"(0755) 8{last[:3]}-{last[3:]}",
            f"+852 9{last[:3]} {last[3:]}",
            f"0912-{last[:3]}-{last[3:6]}",
            f"+1 415-555-{last[:4]}",
            f"+44 20 7946 {last[:4]}",
        )
    )


GENUINE: dict[str, Callable[[Random], str]] = {
    "identity_number": identity_number,
    "credit_code": credit_code,
    "card": card,
    "phone": phone,
    "other_phone": other_phone,
    "email": lambda random: f"user.{random.randrange(10**6)}@mail{random.randrange(99)}.example.com",
    "ip_address": lambda random: f"8.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}",
    "api_key": lambda random: "sk-" + "".join(random.choices("abcdefXYZ0123456789", k=32)),
    "name": lambda random: random.choice(ALL_NAMES),
}
AROUND = {"name": (("姓名：", "，"), ("联系人: ", "\n"))}
PROSE = (("请联系 ", "，谢谢。"), ("his number is ", " today"), ("号码", "。第2节"), ("(", ")"))


@dataclass
class Tally:
    found: int = 0
    missed: int = 0
    false: int = 0

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed)

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.false, 1)


def with_wrong_check_digit(kind: str, random: Random) -> str:
    number = GENUINE[kind](random)
    return number[:-1] + random.choice([digit for digit in "0123456789" if digit != number[-1]])


def test_P3_private_data_are_found_by_their_check_digits_and_map_back(capsys):
    """A thousand of each kind in Chinese and English sentences, and as many numbers that are wrong by one digit."""
    random, privacy = Random(3), Privacy(KINDS)
    tallies = {kind: Tally() for kind in GENUINE}
    for kind, make in GENUINE.items():
        for _ in range(1000):
            datum = make(random)
            before, after = random.choice(AROUND.get(kind, PROSE))
            if kind == "name" and datum.isascii():
                before = "Dr. "
            text = f"{other_phone(random)}；{before}{datum}{after}"
            hidden, tally, start = privacy.hide(text), tallies[kind], text.index("；") + 1 + len(before)
            is_found = Found(kind, start, start + len(datum)) in hidden.found
            tally.found, tally.missed = tally.found + is_found, tally.missed + (not is_found)
            for one in hidden.found:
                if one.start >= start - len(before) and (one.start, one.end) != (start, start + len(datum)):
                    tallies[one.kind].false += 1
            assert hidden.with_originals(text) == text
            assert datum not in hidden.text or not is_found
    wrong = dict.fromkeys(("identity_number", "credit_code", "card"), 0)
    for kind in wrong:
        for _ in range(1000):
            wrong[kind] += bool(privacy.find(f"号码 {with_wrong_check_digit(kind, random)}。"))
    with capsys.disabled():
        for kind, tally in tallies.items():
            print(f"  {kind:16} recall {tally.recall:.4f}  precision {tally.precision:.4f}")
    assert min(tally.recall for tally in tallies.values()) >= LEAST_RECALL, tallies
    assert min(tally.precision for tally in tallies.values()) >= LEAST_RECALL, tallies
    assert sum(wrong.values()) <= MOST_FALSE * 3000, wrong
