"""The dirty part of the little world: what real folders hold besides good text, each item counted.

In: the folder, a seeded `random.Random`, the clean training documents. Out: files under `unsorted/` and a table
`{kind of dirt: items}`. Called by `world.write`. Cleans nothing; `FATES` says what a cleaner should do with each kind.
All of it belongs to the training side: where it is text of the world at all, it keeps to that side's sentences. The
folder's name comes last in the alphabet, so that of two equal texts the clean one is read first and kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from danlu.corpus.world_text import LANGUAGES, tale
from danlu.corpus.world_words import PEOPLE

FATES = {
    "exact duplicates": ("rejected", "duplicate"),
    "near duplicates": ("rejected", "near_duplicate"),
    "broken UTF-8 lines": ("rejected", "broken_characters"),
    "empty records": ("rejected", "empty"),
    "over-long lines": ("rejected", "long_line"),
    "ID numbers": ("masked", "identity_number"),
    "phone numbers": ("masked", "phone"),
    "e-mail addresses": ("masked", "email"),
    "documents with HTML remains": ("kept", "without the remains"),
    "GBK documents": ("kept", "decoded"),
    "Big5 documents": ("kept", "decoded"),
}
"""Kind of dirt: what becomes of it, and the name under which `prepare` counts it."""
OVERLONG_CHARACTERS = 200_000
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
"""GB 11643-1999: the weighted sum of 17 digits modulo 11 names the 18th."""
ID_CHECKS = "10X98765432"
BIG5_PARAGRAPHS = (
    "鎮上的人都認得這條河。春天的時候，河水漲得很高，孩子們站在橋上看船，老人坐在岸邊釣魚，說起從前的故事。",
    "茶館的老闆每天很早起床，先掃地，再燒水。客人們來了，喝一壺熱茶，談談天氣和莊稼，然後各自去做自己的事。",
    "學校後面有一棵大樹，據說已經活了三百年。夏天的下午，學生們在樹下讀書，風吹過來，書頁輕輕地響。",
    "冬天下雪以後，鎮裡變得很安靜。家家戶戶點起燈籠，廚房裡飄出飯菜的香味，遠處傳來鐘聲。",
    "郵差騎著一輛舊自行車，把信送到每一個門口。他記得所有人的名字，也記得誰家的狗會叫。",
)
"""Written for this file in traditional characters: the world's own words are simplified, which Big5 cannot hold."""

Record = dict[str, Any]


def write_dirt(folder: Path, random: Random, clean: Sequence[Record]) -> dict[str, int]:
    """Write the dirty files and return how many items of each kind of `FATES` they hold."""
    place = folder / "unsorted"
    (place / "train").mkdir(parents=True, exist_ok=True)
    count = min(max(len(clean) // 100, 3), len(clean))
    dirt = dict.fromkeys(FATES, 0)
    dirt["exact duplicates"] = _write(place / "copies.jsonl", _copies(random, clean, count))
    dirt["near duplicates"] = _write(place / "reposts.jsonl", _reposts(random, clean, count))
    dirt["documents with HTML remains"] = _write(place / "web.jsonl", _web_pages(random, count))
    for kind in ("ID numbers", "phone numbers", "e-mail addresses"):
        dirt[kind] = count
    _write(place / "register.jsonl", _register(random, count))
    dirt["empty records"] = _write(place / "empty.jsonl", [_record(f"empty-{n}", " \n" * n) for n in range(3)])
    dirt["over-long lines"] = _write(place / "dump.jsonl", _dumps(random, 2))
    dirt["broken UTF-8 lines"] = _write_broken(place / "broken.jsonl", random, count)
    dirt["GBK documents"] = _write_encoded(place / "train", "gb18030", [_page(random) for _ in range(3)])
    dirt["Big5 documents"] = _write_encoded(place / "train", "big5", [_traditional(random) for _ in range(3)])
    return dirt


def expected(dirt: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """`{rejected: {reason: items}, masked: {...}, kept: {...}}` for the table that `write_dirt` returned."""
    fates: dict[str, dict[str, int]] = {"rejected": {}, "masked": {}, "kept": {}}
    for kind, items in dirt.items():
        fate, name = FATES[kind]
        fates[fate][name] = fates[fate].get(name, 0) + items
    return fates


def id_number(random: Random) -> str:
    """A mainland ID number of nobody: region, day of birth, sequence, valid check digit."""
    birth = f"{random.randint(1950, 2005)}{random.randint(1, 12):02d}{random.randint(1, 28):02d}"
    body = f"110101{birth}{random.randint(0, 999):03d}"
    total = sum(int(digit) * weight for digit, weight in zip(body, ID_WEIGHTS, strict=True))
    return body + ID_CHECKS[total % 11]


def phone_number(random: Random) -> str:
    """A mainland mobile number."""
    return f"138{random.randint(0, 99_999_999):08d}"


def _record(name: str, text: str) -> Record:
    return {"id": name, "text": text, "split": "train"}


def _copies(random: Random, clean: Sequence[Record], count: int) -> list[Record]:
    """The same texts under other names."""
    return [_record(f"copy-{n}", record["text"]) for n, record in enumerate(random.sample(clean, count))]


def _reposts(random: Random, clean: Sequence[Record], count: int) -> list[Record]:
    """The same words with other signs, case and spacing; of texts that have any."""
    changed = [(text, text.replace("。", "！ ").replace("，", ",").upper()) for text in (one["text"] for one in clean)]
    others = [other for text, other in changed if other != text]
    texts = random.sample(others, min(count, len(others)))
    return [_record(f"repost-{n}", text) for n, text in enumerate(texts)]


def _web_pages(random: Random, count: int) -> list[Record]:
    records = []
    for n in range(count):
        text = tale(random, "train", LANGUAGES[n % 2])
        records.append(_record(f"web-{n}", f'<div class="post"><h1>&nbsp;{n}</h1><p>{text}</p><br/>&copy;</div>'))
    return records


def _register(random: Random, count: int) -> list[Record]:
    """Each entry holds one ID number, one phone number and one address."""
    records = []
    for n in range(count):
        person = random.choice(PEOPLE)
        address = f"{person.en.lower()}{n}@example.com"
        numbers = (id_number(random), phone_number(random), address)
        if n % 2:
            entry = "{} has the ID {}, the phone {} and the address {}".format(person.en, *numbers)
        else:
            entry = "{}的身份证号：{}，电话：{}，邮箱：{}".format(person.zh, *numbers)
        records.append(_record(f"register-{n}", tale(random, "train", LANGUAGES[n % 2]) + "\n" + entry))
    return records


def _dumps(random: Random, count: int) -> list[Record]:
    """Lines that no person wrote: hexadecimal digits without an end."""
    return [_record(f"dump-{n}", random.randbytes(OVERLONG_CHARACTERS // 2).hex()) for n in range(count)]


def _page(random: Random) -> str:
    """Five stories in Chinese, long enough for an encoding to be told from the others."""
    return "\n".join(tale(random, "train", "zh") for _ in range(5))


def _traditional(random: Random) -> str:
    return "\n".join(random.sample(BIG5_PARAGRAPHS, 4))


def _write(path: Path, records: Sequence[Record]) -> int:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8", newline="\n")
    return len(records)


def _write_broken(path: Path, random: Random, count: int) -> int:
    """Lines with a byte that no UTF-8 text holds, each between two good lines (which are new stories)."""
    lines = []
    for n in range(count):
        good = [json.dumps(_record(f"beside-{n}-{m}", tale(random, "train", "zh")), ensure_ascii=False) for m in (0, 1)]
        bad = good[0].replace("beside", "broken").encode()
        cut = bad.index("。".encode())
        lines += [good[0].encode(), bad[: cut + 1] + b"\xff" + bad[cut + 1 :], good[1].encode()]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return count


def _write_encoded(place: Path, encoding: str, texts: Sequence[str]) -> int:
    """One document a file."""
    for number, text in enumerate(texts):
        (place / f"{encoding}-{number}.txt").write_bytes((text + "\n").encode(encoding))
    return len(texts)
