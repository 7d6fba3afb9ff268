"""Private data as people write them, and what only looks like them: written from lists and rules of its own.

In: a seed. Out: samples, each a text, and the place of the one private datum in it or none. Called by
`test_private_data`, and by itself to store what the detector finds. Nothing here is taken from the detector: areas,
issuers, ranges of phones and check digits are written down once more, the latter in another form of their definition.

Usage: python -m tests.proofs.private_samples   writes docs/results/private-data.json
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random

from danlu.corpus.privacy import Found, KindName, Privacy

RESULT = Path(__file__).parents[2] / "docs" / "results" / "private-data.json"
SEED, OF_EACH = 3, 100
"""Samples of each spelling, and of each thing that only looks like one."""
KINDS: tuple[KindName, ...] = (
    *("identity_number", "credit_code", "card", "phone", "other_phone"),
    *("email", "ip_address", "api_key", "private_key"),
)
Write = Callable[[Random], str]

DIGITS = "0123456789"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
AREAS = (
    *("110101", "110105", "120103", "130102", "140105", "150102", "210102", "220104", "230103", "310101"),
    *("310115", "320102", "320505", "330106", "340102", "350203", "360102", "370202", "410105", "420106"),
    *("430102", "440106", "440305", "450103", "460105", "500103", "510104", "520102", "530102", "540102"),
    *("610113", "620102", "630102", "640104", "650102"),
)
ISSUERS = (
    *(("622202", 19), ("622848", 19), ("621700", 19), ("955880", 19), ("622588", 16), ("625910", 16), ("622208", 18)),
    *(("4", 16), ("4563", 19), ("53", 16), ("2223", 16), ("6011", 16), ("3530", 16), ("37", 15), ("36", 14)),
)
MOBILES = tuple(
    first + last
    for first, lasts in (
        ("13", "0123456789"),
        ("14", "579"),
        ("15", "012356789"),
        ("16", "2567"),
        ("17", "1235678"),
        ("18", "0123456789"),
        ("19", "012356789"),
    )
    for last in lasts
)
CONTEXTS = (
    *(
        ("请联系 ", "，谢谢。"),
        ("his number is ", " today"),
        ("号码", "。第2节"),
        ("（", "）"),
        ("：", "；"),
        ("「", "」"),
    ),
    *(
        ('{"value": "', '", "n": 3}'),
        ("VALUE=", "\n"),
        ("| 12 | ", " | 2024-01-02 |"),
        ("<td>", "</td>"),
        ("a\t", "\t27"),
    ),
    *(("", " 12/27"), ("", " 200 300"), ("12 ", ""), ("1. ", "\n2. "), ("\\n", "\\n")),
)


def some(random: Random, alphabet: str, count: int) -> str:
    return "".join(random.choices(alphabet, k=count))


def full_width(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


def in_groups(number: str, lengths: tuple[int, ...], gap: str) -> str:
    """The number in groups of these lengths; the last one is as long as it takes."""
    pieces, start = [], 0
    for length in lengths:
        pieces.append(number[start : start + length])
        start += length
    return gap.join([*pieces, number[start:]] if number[start:] else pieces)


def is_mod_11_2(number: str) -> bool:
    """ISO 7064 in its recursive form: what GB 11643 gives as a table of weights."""
    rest = 0
    for digit in number[:-1]:
        rest = (rest + int(digit)) * 2 % 11
    return (rest + (10 if number[-1] == "X" else int(number[-1]))) % 11 == 1


def is_mod_31_3(code: str) -> bool:
    """GB 32100 by Horner's rule from the right: each place weighs three times the one before."""
    alphabet, total = "0123456789ABCDEFGHJKLMNPQRTUWXY", 0
    for sign in reversed(code[:-1]):
        total = total * 3 + alphabet.index(sign)
    return (total + alphabet.index(code[-1])) % 31 == 0


def is_luhn(digits: str) -> bool:
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    return (sum(map(int, digits[-1::-2])) + sum(doubled[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def identity_number(random: Random) -> str:
    born = date(1940, 1, 1) + timedelta(days=random.randrange(25_000))
    body = f"{random.choice(AREAS)}{born:%Y%m%d}{random.randrange(1000):03}"
    return next(body + last for last in DIGITS + "X" if is_mod_11_2(body + last))


def credit_code(random: Random) -> str:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    office = random.choice(("91", "92", "93", "12", "51", "52", "N2"))
    body = f"{office}{random.choice(AREAS)}{random.choice(('MA', 'MF', '07', '71'))}{some(random, alphabet, 7)}"
    return next(body + last for last in alphabet if is_mod_31_3(body + last))


def card(random: Random, *issuers: tuple[str, int]) -> str:
    first, length = random.choice(issuers if issuers else ISSUERS)
    body = first + some(random, DIGITS, length - 1 - len(first))
    return next(body + last for last in DIGITS if is_luhn(body + last))


def mobile(random: Random) -> str:
    return random.choice(MOBILES) + some(random, DIGITS, 8)


def of_eight(random: Random) -> str:
    return random.choice("2345678") + some(random, DIGITS, 7)


def secret(random: Random) -> str:
    """As a program makes one: letters of both cases and digits."""
    return some(random, BASE64, random.choice((12, 20, 40))) + random.choice("abc") + random.choice("XYZ") + "7"


def key_lines(random: Random) -> str:
    return "\n".join(some(random, BASE64 + "+/", 64) for _ in range(random.randrange(3, 30)))


def armoured(name: str, head: str = "") -> Write:
    return lambda random: f"-----BEGIN {name}-----\n{head}{key_lines(random)}==\n-----END {name}-----"


def grouped(make: Write, lengths: tuple[int, ...], gap: str, before: str = "") -> Write:
    return lambda random: before + in_groups(make(random), lengths, gap)


SPELLINGS: dict[KindName, dict[str, Write]] = {
    "identity_number": {
        "plain": identity_number,
        "small x": lambda random: identity_number(random).lower(),
        "full width": lambda random: full_width(identity_number(random)),
        "6 8 4": grouped(identity_number, (6, 8, 4), " "),
        "6-8-4": grouped(identity_number, (6, 8, 4), "-"),
        "6 4 4 4": grouped(identity_number, (6, 4, 4, 4), " "),
        "4 4 4 4 2": grouped(identity_number, (4, 4, 4, 4), " "),
    },
    "credit_code": {
        "plain": credit_code,
        "small letters": lambda random: credit_code(random).lower(),
        "full width": lambda random: full_width(credit_code(random)),
        "2-6-9-1": grouped(credit_code, (2, 6, 9, 1), "-"),
    },
    "card": {
        "plain": card,
        "full width": lambda random: full_width(card(random)),
        "4 4 4 4": grouped(lambda random: card(random, *ISSUERS[:13]), (4, 4, 4, 4), " "),
        "4-4-4-4": grouped(lambda random: card(random, *ISSUERS[:13]), (4, 4, 4, 4), "-"),
        "6 13": grouped(lambda random: card(random, *ISSUERS[:4]), (6,), " "),
        "4 6 5": grouped(lambda random: card(random, ("37", 15), ("34", 15)), (4, 6, 5), " "),
        "4-6-4": grouped(lambda random: card(random, ("36", 14)), (4, 6, 4), "-"),
    },
    "phone": {
        "plain": mobile,
        "full width": lambda random: full_width(mobile(random)),
        **{f"3{gap}4{gap}4": grouped(mobile, (3, 4, 4), gap) for gap in (" ", "-", ".", "–", " - ")},
        "3 8": grouped(mobile, (3, 8), " "),
        "7 4": grouped(mobile, (7, 4), " "),
        "4 3 4": grouped(mobile, (4, 3, 4), " "),
        **{
            f"{code}, plain": grouped(mobile, (11,), "", code)
            for code in ("+86", "+86 ", "+86-", "86", "0086 ", "(+86)")
        },
        **{f"{code}, 3 4 4": grouped(mobile, (3, 4, 4), " ", code) for code in ("+86 ", "86 ", "（+86）")},
    },
    "other_phone": {
        "010-8": lambda random: f"010-{of_eight(random)}",
        "(021) 4-4": lambda random: f"(021) {in_groups(of_eight(random), (4, 4), '-')}",
        "（0755）8": lambda random: f"（0755）{of_eight(random)}",
        "0571 8": lambda random: f"0571 {of_eight(random)}",
        "0311-7": lambda random: f"0311-{of_eight(random)[:7]}",
        "010 without a gap": lambda random: f"010{of_eight(random)}",
        "+86 10 8": lambda random: f"+86 10 {of_eight(random)}",
        "Hong Kong": lambda random: f"+852 {random.choice('569')}{some(random, DIGITS, 3)} {some(random, DIGITS, 4)}",
        "Macau": lambda random: f"+853-6{some(random, DIGITS, 7)}",
        "Taiwan": lambda random: f"0912-{some(random, DIGITS, 3)}-{some(random, DIGITS, 3)}",
        "Taiwan, +886": lambda random: f"+886 912 {some(random, DIGITS, 3)} {some(random, DIGITS, 3)}",
        "+1 3 3 4": lambda random: f"+1 415 {random.randrange(200, 1000)} {some(random, DIGITS, 4)}",
        "(3) 3-4": lambda random: f"(212) {random.randrange(200, 1000)}-{some(random, DIGITS, 4)}",
        "3.3.4": lambda random: f"415.{random.randrange(200, 1000)}.{some(random, DIGITS, 4)}",
        "1-3-3-4": lambda random: f"1-415-{random.randrange(200, 1000)}-{some(random, DIGITS, 4)}",
        "London": lambda random: f"+44 (0)20 7{some(random, DIGITS, 3)} {some(random, DIGITS, 4)}",
        "Tokyo": lambda random: f"+81-3-{some(random, '3456', 4)}-{some(random, DIGITS, 4)}",
        "Berlin": lambda random: f"+4930{some(random, '123456789', 8)}",
    },
    "email": {
        "plain": lambda random: (
            f"{some(random, 'abcdefghij', 6)}{random.randrange(99)}@{random.choice(('qq', '163', 'gmail'))}.com"
        ),
        "long": lambda random: f"first.last+tag{random.randrange(99)}@mail-{random.randrange(9)}.cs.example.edu.cn",
        "capitals": lambda random: f"{some(random, 'ABCDEFG', 5)}_{random.randrange(99)}@Example.ORG",
        "full width": lambda random: full_width(f"user{random.randrange(999)}@126.com"),
        "of a phone": lambda random: f"{mobile(random)}@139.com",
    },
    "ip_address": {
        "plain": lambda random: f"8.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}",
        "high": lambda random: f"{random.randrange(193, 198)}.{random.randrange(169, 256)}.7.{random.randrange(256)}",
        "six, short": lambda random: f"2001:4860:4860::{random.randrange(1, 65536):x}",
        "six, long": lambda random: ":".join(["240e", *(f"{random.randrange(1, 65536):x}" for _ in range(7))]),
    },
    "api_key": {
        "sk-": lambda random: f"sk-{some(random, BASE64, 48)}",
        "ghp_": lambda random: f"ghp_{some(random, BASE64, 36)}",
        "AKIA": lambda random: f"AKIA{some(random, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', 16)}",
        "LTAI": lambda random: f"LTAI5t{some(random, BASE64, 18)}",
        "AIza": lambda random: f"AIza{some(random, BASE64 + '_-', 35)}",
        "three parts": lambda random: (
            f"eyJ{some(random, BASE64, 30)}.eyJ{some(random, BASE64, 300)}.{some(random, BASE64, 43)}"
        ),
        "long": lambda random: f"sk-{some(random, BASE64, 700)}",
    },
    "private_key": {
        "PKCS 8": armoured("PRIVATE KEY"),
        "RSA, encrypted": armoured("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0A1B2C3D4E5F\n\n"),
        "OpenSSH": armoured("OPENSSH PRIVATE KEY"),
        "PGP": armoured("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2.0.22 (GNU/Linux)\n\n"),
        "in JSON": lambda random: armoured("PRIVATE KEY")(random).replace("\n", "\\n"),
    },
}
LABELLED: dict[KindName, dict[str, tuple[str, Write, str]]] = {
    "identity_number": {"ID1101": ("ID", identity_number, ""), "身份证": ("身份证号码：", identity_number, "，")},
    "card": {"and three digits": ("", lambda random: card(random, ("4", 16), ("53", 16)), " 123")},
    "phone": {"Tel.": ("Tel.", mobile, ","), "Tel": ("Tel", mobile, "\n"), "微信同号": ("电话", mobile, "微信同号")},
    "email": {
        "E-mail:": ("E-mail:", lambda random: f"li{random.randrange(999)}@sina.cn", ";"),
        "dashes": ("", lambda random: f"li{random.randrange(999)}@sina.cn", "--李"),
    },
    "ip_address": {
        "and a port": ("http://", SPELLINGS["ip_address"]["plain"], ":8080/"),
        "IP:": ("IP:", SPELLINGS["ip_address"]["plain"], " "),
        "IP：": ("IP：", SPELLINGS["ip_address"]["plain"], "，"),
        "a net": ("", SPELLINGS["ip_address"]["plain"], "/24"),
        "six and a port": ("[", SPELLINGS["ip_address"]["six, short"], "]:443"),
        "IP:, six": ("IP:", SPELLINGS["ip_address"]["six, long"], " "),
    },
    "api_key": {
        name: (before, secret, after)
        for name, (before, after) in {
            "environment": ("export OPENAI_API_KEY=", "\n"),
            "environment, quoted": ('AWS_SECRET_ACCESS_KEY="', '"\n'),
            "password of a data base": ("DB_PASSWORD=", "\n"),
            "CamelCase": ("AppSecret=", "&x=1"),
            "YAML": ("client_secret: ", "\n"),
            "JSON": ('{"accessToken":"', '","n":3}'),
            "JSON in JSON": ('{\\"api_key\\": \\"', '\\"}'),
            "Python": ("password = '", "'\n"),
            "密码：": ("密码：", "，请"),
            "密码是": ("密码是", "。"),
            "密钥": ("访问密钥: ", "\n"),
            "header": ("Authorization: Bearer ", "\r\n"),
            "header, name and password": ("Authorization: Basic ", "\r\n"),
            "address": ("mysql://root:", "@db.example/x"),
            "English": ("The password is ", ", said Tom."),
        }.items()
    },
}


def wrong(make: Write, alphabet: str = DIGITS) -> Write:
    """The same with another check digit."""

    def of(random: Random) -> str:
        number = make(random)
        return number[:-1] + random.choice([one for one in alphabet if one != number[-1]])

    return of


def product_code(random: Random) -> str:
    """EAN-13: of goods from Germany or Japan, or of a book."""
    body = random.choice(("400", "450", "490", "690", "978")) + some(random, DIGITS, 9)
    return body + str(-sum(int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(body)) % 10)


def with_numbers(form: str, *ranges: tuple[int, ...]) -> Write:
    """The form with a random number of each range in its places."""
    return lambda random: form.format(*(random.randrange(*bounds) for bounds in ranges))


NEAR_MISSES: dict[str, Write] = {
    "identity number, wrong check digit": wrong(identity_number, DIGITS + "X"),
    "identity number, no such day": lambda random: f"{random.choice(AREAS)}19900230{some(random, DIGITS, 4)}",
    "credit code, wrong check sign": wrong(credit_code, "0123456789ABCDEFGHJKLMNPQRTUWXY"),
    "card, wrong check digit": wrong(lambda random: card(random, ("4", 16), ("53", 16), ("37", 15))),
    "card in groups, wrong check digit": lambda random: in_groups(
        wrong(lambda r: card(r, ("4", 16)))(random), (4, 4, 4), "-"
    ),
    "order number": lambda random: f"订单号：{card(random, ('4', 16), ('62', 19))}",
    "order number, English": lambda random: f"Order no. {card(random, ('53', 16))}",
    "code of goods": product_code,
    "ISBN": lambda random: f"ISBN 978-7-302-{some(random, DIGITS, 5)}-{random.randrange(10)}",
    "time in milliseconds": lambda random: f"1{random.randrange(6, 8)}{some(random, DIGITS, 11)}",
    "date and time": with_numbers("20{}-0{}-1{} 12:34:56", (10, 25), (1, 10), (10,)),
    "date in one piece": with_numbers("20{}0{}1{}123456", (10, 25), (1, 10), (10,)),
    "years of a table": with_numbers("168 {} {}", (1900, 2030), (1900, 2030)),
    "round numbers of a table": with_numbers("150 {}00 {}00", (10, 99), (10, 99)),
    "price": with_numbers("{},{}.{}", (1, 999), (100, 999), (10, 99)),
    "decimal": lambda random: f"0.{mobile(random)}",
    "decimal of a table": lambda random: in_groups(mobile(random), (random.choice((3, 5, 7)),), "."),
    "eleven digits of no phone": lambda random: f"12{some(random, DIGITS, 9)}",
    "phone within a longer number": lambda random: f"{some(random, '123456789', 3)}{mobile(random)}",
    "phone as a file's name": lambda random: f"/{mobile(random)}.html",
    "SHA-256": lambda random: some(random, "0123456789abcdef", 64),
    "Git commit": lambda random: some(random, "0123456789abcdef", 40),
    "UUID": lambda random: str(uuid.UUID(int=random.getrandbits(128), version=4)),
    "version": with_numbers("{}.{}.{}", (9,), (20,), (20,)),
    "version in four parts": with_numbers("v{}.{}.{}.{}", (1, 9), (20,), (20,), (99,)),
    "version of a package": with_numbers("tool-8.{}.{}.{}", (20,), (20,), (99,)),
    "address of a local net": with_numbers("192.168.{}.{}", (256,), (256,)),
    "time": with_numbers("{}:{}:{}", (10, 24), (10, 60), (10, 60)),
    "address of a network card": lambda random: ":".join(some(random, "0123456789abcdef", 2) for _ in range(6)),
    "coordinates": lambda random: f"39.{some(random, DIGITS, 6)}, 116.{some(random, DIGITS, 6)}",
    "picture at double size": with_numbers("icon-{}@2x.png", (99,)),
    "package of npm": with_numbers("@babel/core@7.{}.0-beta.rc", (30,)),
    "decorator": with_numbers("@app.route{}", (9,)),
    "repository": with_numbers("git@github.com:owner{}/name.git", (9,)),
    "a word for a password": lambda random: f"password: {random.choice(('something', 'required', 'authentication'))}",
    "a call for a password": with_numbers("api_key = os.environ['KEY_{}']", (9,)),
    "a place for a password": with_numbers("token: ${{TOKEN_{}_OF_CI}}", (9,)),
    "a key that opens nothing": lambda random: f"primary key: {some(random, 'abcdef', 6)}{random.randrange(10, 99)}",
    "words about keys": lambda random: "between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY----- it says",
}


@dataclass(frozen=True)
class Sample:
    """A text; `text[start:end]` is a datum of `kind`, or, where kind is None, the text holds none. `name` is of the
    spelling or of the near-miss."""

    text: str
    kind: KindName | None
    name: str
    start: int = 0
    end: int = 0


def samples(seed: int = SEED, of_each: int = OF_EACH) -> Iterator[Sample]:
    """As many of every spelling of every kind, and of every near-miss."""
    random = Random(seed)
    for kind in KINDS:
        for name, make in SPELLINGS[kind].items():
            for _ in range(of_each):
                before, after = random.choice(CONTEXTS)
                yield _sample(kind, name, before, make(random), after)
        for name, (before, make, after) in LABELLED.get(kind, {}).items():
            for _ in range(of_each):
                yield _sample(kind, name, before, make(random), after)
    for name, make in NEAR_MISSES.items():
        for _ in range(of_each):
            before, after = random.choice(CONTEXTS[:11])  # beside other numbers, one that is wrong may become another
            yield Sample(before + make(random) + after, None, name)


def _sample(kind: KindName, name: str, before: str, datum: str, after: str) -> Sample:
    return Sample(before + datum + after, kind, name, len(before), len(before) + len(datum))


@dataclass
class Tally:
    """Of one kind: data written, found exactly where they stand, and findings that are none."""

    written: int = 0
    found: int = 0
    false: int = 0
    missed: dict[str, int] = field(default_factory=dict)

    @property
    def recall(self) -> float:
        return self.found / max(self.written, 1)

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.false, 1)


def tallies(find: Callable[[str], tuple[Found, ...]]) -> tuple[dict[KindName, Tally], dict[str, int]]:
    """What `find` finds in all samples: a tally by kind, and of each near-miss how many were taken for a datum."""
    of_kind: dict[KindName, Tally] = {kind: Tally() for kind in KINDS}
    taken: dict[str, int] = {}
    for sample in samples():
        found = find(sample.text)
        wanted = Found(sample.kind, sample.start, sample.end) if sample.kind else None
        for one in found:
            of_kind[one.kind].false += one != wanted
        if sample.kind:
            tally = of_kind[sample.kind]
            tally.written += 1
            tally.found += wanted in found
            if wanted not in found:
                tally.missed[sample.name] = tally.missed.get(sample.name, 0) + 1
        elif found:
            taken[sample.name] = taken.get(sample.name, 0) + 1
    return of_kind, taken


def measured() -> dict[str, object]:
    """The result as it is stored: the same on every machine."""
    of_kind, taken = tallies(Privacy(KINDS).find)
    return {
        "command": "python -m tests.proofs.private_samples",
        "seed": SEED,
        "spellings": sum(len(SPELLINGS[kind]) + len(LABELLED.get(kind, {})) for kind in KINDS),
        "near_misses": {"kinds": len(NEAR_MISSES), "written": len(NEAR_MISSES) * OF_EACH, "taken": taken},
        "kinds": {
            kind: {
                "written": tally.written,
                "recall": round(tally.recall, 4),
                "precision": round(tally.precision, 4),
                "missed": tally.missed,
            }
            for kind, tally in of_kind.items()
        },
    }


if __name__ == "__main__":
    result = json.dumps(measured(), indent=1, ensure_ascii=False) + "\n"
    RESULT.write_text(result, encoding="utf-8")
    print(result)
