"""Numbers that prove themselves: check digits, real dates, real issuers.

In: the characters of a number as found, in capitals and without spaces. Out: True where it can be genuine. Called by
`privacy`. Sources: GB 11643-1999 with ISO 7064 MOD 11-2 (identity numbers), GB 32100-2015 (social credit codes),
ISO/IEC 7812 (cards), RFC 6890 (addresses). A genuine form does not say that the number was ever given out.
"""

from __future__ import annotations

import ipaddress
from datetime import date

ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECK_DIGITS = "10X98765432"
PROVINCES = frozenset(
    [
        "11",
        "12",
        "13",
        "14",
        "15",
        "21",
        "22",
        "23",
        "31",
        "32",
        "33",
        "34",
        "35",
        "36",
        "37",
        "41",
        "42",
        "43",
        "44",
        "45",
        "46",
        "50",
        "51",
        "52",
        "53",
        "54",
        "61",
        "62",
        "63",
        "64",
        "65",
        "71",
        "81",
        "82",
        "83",
    ]
)
CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
CENTURIES = ("18", "19", "20")
OFFICES = {
    **{"1": "1239", "2": "19", "3": "123459", "4": "19", "5": "1239", "6": "129", "7": "129", "8": "19", "9": "1239"},
    **{"A": "19", "N": "1239", "Y": "19"},
}
"""The office that registers -> the kinds of organisations that it has."""
CREDIT_WEIGHTS = tuple(3**place % 31 for place in range(17))
CARDS = (
    (("62",), (16, 17, 18, 19)),
    (("60", "64", "65", "81"), (16, 17, 19)),
    (("9558", "9559"), (19,)),
    (("4",), (13, 16, 19)),
    (("51", "52", "53", "54", "55", "22", "23", "24", "25", "26", "27"), (16,)),
    (("34", "37"), (15,)),
    (("35",), (16, 19)),
    (("30", "36", "38", "39"), (14, 16, 19)),
)
"""First digits of the issuers and the lengths of their numbers."""
PHONE_LENGTHS = {
    "1": (11,),
    "7": (11,),
    "33": (11,),
    "44": (11, 12),
    "61": (11,),
    "65": (10,),
    "81": (11, 12),
    "82": (11, 12),
    "86": (11, 12, 13),
    "91": (12,),
    "852": (11,),
    "853": (11,),
    "886": (11, 12),
}
"""Digits of a number with its country's code, where the country's plan has few lengths."""
ANY_PHONE_LENGTH = range(9, 16)


def is_identity_number(digits: str) -> bool:
    """True where 18 characters name a province and a day, and the last is the check digit of the first 17."""
    if digits[:2] not in PROVINCES:
        return False
    try:
        date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, digits, strict=False))
    return ID_CHECK_DIGITS[total % 11] == digits[-1].upper()


def is_credit_code(code: str) -> bool:
    """True where 18 characters name an office and a place, and the last is the check character of the first 17."""
    if code[1] not in OFFICES.get(code[0], "") or code[2:4] not in PROVINCES | {"10"}:
        return False
    if code.isdigit() and code[:2] in PROVINCES and code[6:8] in CENTURIES:
        return False  # an identity number with a slip of the pen
    total = sum(weight * CREDIT_ALPHABET.index(one) for weight, one in zip(CREDIT_WEIGHTS, code, strict=False))
    return CREDIT_ALPHABET[-total % 31] == code[-1]


def is_card(digits: str) -> bool:
    """True where an issuer has numbers of this beginning and length, and Luhn's sum is a multiple of ten."""
    if not any(digits.startswith(first) and len(digits) in lengths for first, lengths in CARDS):
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_public_address(address: str) -> bool:
    """True for an IP address that leads to somebody: not this machine, not a local net, no example."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def has_phone_length(number: str) -> bool:
    """True for a number with country code of as many digits as the country's plan has; 15 at most (ITU-T E.164)."""
    digits = number.removeprefix("+").removeprefix("00")
    lengths = next((found for code, found in PHONE_LENGTHS.items() if digits.startswith(code)), ANY_PHONE_LENGTH)
    return len(digits) in lengths
