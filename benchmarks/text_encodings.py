"""Measure how often the encoding of 200 bytes is decided right, refused, or decided wrong, on real text.

In: files or folders of text in simplified and traditional Chinese, Japanese and English. Out: the file
`docs/results/encodings.json` and the rows of `prepare`'s pages. Samples begin anywhere in the lines that are written in
the script, are written anew in one encoding after another, and are read by danlu's own reader, each in a file of its
own; the samples of a mixture are lines of one file. Right is a sample whose text comes out, by whatever name its
encoding goes. Nothing depends on the clock. Proof RD3 counts the same on texts that ship with the project:

    python benchmarks/text_encodings.py --simplified TEXT --traditional TEXT --japanese TEXT --english TEXT

In English with Chinese words every tenth word or so is one of ten, or only a single one is: little else tells how it is
written. The file is not called `encodings.py`, because Python would find it in the place of its own package.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from machine import add_options, stamp
from texts import texts
from words import Words

from danlu.base import artifact, console
from danlu.base.records import Document
from danlu.corpus.encodings import is_utf8
from danlu.corpus.readers import FileReader
from danlu.corpus.sources import Source, source_files
from danlu.corpus.units import Rejection

DOCS = Path(__file__).parents[1] / "docs"
RESULT = DOCS / "results" / "encodings.json"
SAMPLES, SIZE_BYTES, SEED = 1_000, 200, 0
LETTERS = {
    "simplified": re.compile("[一-鿿]"),
    "traditional": re.compile("[一-鿿]"),
    "japanese": re.compile("[ぁ-ヿ]"),
    "english": re.compile("[A-Za-z]"),
}
LEAST_LETTERS = 0.3
"""Share of a script's letters in the lines that are taken; of Japanese its own syllables alone are counted."""
WRITTEN_IN = {
    "simplified": ("utf-8", "gb18030", "utf-16-le", "utf-16-be"),
    "traditional": ("utf-8", "big5", "gb18030", "utf-16-le", "utf-16-be"),
    "japanese": ("utf-8", "shift_jis", "utf-16-le", "utf-16-be"),
    "english": ("utf-8", "utf-16-le", "utf-16-be"),
    "with Chinese words": ("utf-8", "gb18030"),
    "with one Chinese word": ("gb18030",),
}
MIXTURES = {
    "UTF-8 and GBK": (("simplified", "utf-8"), ("simplified", "gb18030")),
    "GBK and English with Chinese words in UTF-8": (("simplified", "gb18030"), ("with Chinese words", "utf-8")),
    "Chinese words in English, UTF-8 and GBK": (("with Chinese words", "gb18030"), ("with Chinese words", "utf-8")),
    "five hands": (
        *(("simplified", "utf-8"), ("simplified", "gb18030"), ("traditional", "big5"), ("japanese", "shift_jis")),
        ("with Chinese words", "utf-8"),
    ),
}
"""Name -> the text and encoding of each hand that wrote some of the lines."""
CHINESE_WORDS = ("你好", "炉子", "春天", "模型", "中文", "谢谢", "人工智能", "老人与海", "分词", "天气")
CHINESE_SHARE = 0.1
OUTCOMES = ("right", "refused", "wrong")
HEADS = {".md": "| right / refused / wrong |", ".zh.md": "| 读对 / 拒绝 / 读错 |"}
"""How the table begins that holds the rows, by the end of a page's name."""
NAMES = {
    "utf-8": "UTF-8",
    "gb18030": "GB18030",
    "big5": "Big5",
    "shift_jis": "Shift JIS",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
}
TOLD = {
    "simplified": ("simplified Chinese", "简体中文"),
    "traditional": ("traditional Chinese", "繁体中文"),
    "japanese": ("Japanese", "日文"),
    "english": ("English", "英文"),
    "with Chinese words": ("English, of which every tenth word or so is Chinese", "英文，约每十个词有一个中文词"),
    "with one Chinese word": ("English with a single Chinese word", "英文，只有一个中文词"),
    "UTF-8 and GBK": ("one file, its lines in UTF-8 or GBK", "一个文件，各行为 UTF-8 或 GBK"),
    "GBK and English with Chinese words in UTF-8": (
        "one file, lines of Chinese in GBK and of English with Chinese words in UTF-8",
        "一个文件，GBK 的中文行，UTF-8 的夹中文词的英文行",
    ),
    "Chinese words in English, UTF-8 and GBK": (
        "one file, lines of English with Chinese words in UTF-8 or GBK",
        "一个文件，夹中文词的英文行，为 UTF-8 或 GBK",
    ),
    "five hands": (
        "one file, lines in UTF-8, GBK, Big5, Shift JIS and of English with Chinese words",
        "一个文件，各行为 UTF-8、GBK、Big5、Shift JIS，以及夹中文词的英文",
    ),
}


def main() -> None:
    """Draw, judge, store, and tell it on the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind in LETTERS:
        parser.add_argument(f"--{kind}", nargs="+", type=Path, required=True, help="files or folders of such text")
    add_options(parser, RESULT)
    options = parser.parse_args()
    stamped = stamp(options)
    paths = {kind: list(listed(getattr(options, kind))) for kind in LETTERS}
    given = {kind: taken(paths[kind], letters) for kind, letters in LETTERS.items()}
    result = {
        **stamped,
        "versions": artifact.versions(),
        "seed": SEED,
        "samples": SAMPLES,
        "size_bytes": SIZE_BYTES,
        "texts": {
            kind: {"files": [path.name for path in paths[kind]], "characters": len(text)}
            for kind, text in given.items()
        },
        **measured(given),
    }
    options.result.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.result.resolve() == RESULT:
        write_rows(result)
    console.say(json.dumps(result, indent=1, ensure_ascii=False))


def listed(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that are named, and those of the folders that are."""
    for path in paths:
        yield from sorted(path.iterdir()) if path.is_dir() else [path]


def taken(paths: Iterable[Path], letters: re.Pattern[str]) -> str:
    """The lines that are written in the script, without marks of byte order and what was lost already."""
    lines = (line.strip().replace("\ufeff", "") for path in paths for text in texts(path) for line in text.split("\n"))
    whole = (line for line in lines if line and "\ufffd" not in line)
    return "\n".join(line for line in whole if len(letters.findall(line)) > LEAST_LETTERS * len(line))


def measured(given: Mapping[str, str], samples: int = SAMPLES) -> dict[str, dict[str, Any]]:
    """What became of so many samples of each kind of text in each encoding, and of each hand of the mixtures."""
    english = given["english"].encode("ascii", "ignore").decode()
    given = {**given, "with Chinese words": with_words(english), "with one Chinese word": english}
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            kind: {encoding: of_kind(given, kind, encoding, samples, Path(folder)) for encoding in encodings}
            for kind, encodings in WRITTEN_IN.items()
        }
        mixtures = {name: of_mixture(given, name, samples, Path(folder)) for name in MIXTURES}
    return {"kinds": kinds, "mixtures": mixtures}


def of_kind(given: Mapping[str, str], kind: str, encoding: str, samples: int, folder: Path) -> dict[str, int]:
    """Each sample in a file of its own; `wrong_but_utf8` counts those of the wrong ones whose bytes are valid UTF-8."""
    counts: Counter[str] = Counter()
    for text in drawn(given, kind, encoding, samples):
        data = text.encode(encoding)
        found = judged(folder, "a.txt", data, [text])
        counts += found
        counts["wrong_but_utf8"] += found["wrong"] * is_utf8(data)
    return {name: counts[name] for name in (*OUTCOMES, "wrong_but_utf8")}


def of_mixture(given: Mapping[str, str], name: str, samples: int, folder: Path) -> dict[str, int]:
    """The samples of all hands as lines of one file, in a random order."""
    pairs = [(text, encoding) for kind, encoding in MIXTURES[name] for text in drawn(given, kind, encoding, samples)]
    Random(SEED).shuffle(pairs)
    lines = [json.dumps({"text": text}, ensure_ascii=False).encode(encoding) for text, encoding in pairs]
    found = judged(folder, "a.jsonl", b"\n".join(lines), [text for text, _ in pairs])
    return {outcome: found[outcome] for outcome in OUTCOMES}


def drawn(given: Mapping[str, str], kind: str, encoding: str, samples: int) -> list[str]:
    """So many samples of a kind of text for one encoding."""
    draw = Random(f"{SEED} {kind} {encoding}")
    found = pieces(given[kind], encoding, samples, SIZE_BYTES, draw)
    return [with_one_word(text, draw) for text in found] if kind == "with one Chinese word" else found


def pieces(text: str, encoding: str, count: int, size_bytes: int, draw: Random) -> list[str]:
    """Pieces of a text that are so many bytes in an encoding, or a character less, and begin anywhere; what the
    encoding cannot write is left out."""
    starts = (draw.randrange(len(text) - size_bytes) for _ in range(count))
    cut = (" ".join(text[start : start + size_bytes].split()).encode(encoding, "ignore") for start in starts)
    return [piece[:size_bytes].decode(encoding, "ignore") for piece in cut]


def with_words(english: str) -> str:
    """The text with Chinese words in the place of some of its own."""
    draw = Random(0)
    return " ".join(draw.choice(CHINESE_WORDS) if draw.random() < CHINESE_SHARE else word for word in english.split())


def with_one_word(english: str, draw: Random) -> str:
    """The text with a Chinese word in the place of one of its own."""
    words = english.split()
    words[draw.randrange(len(words))] = draw.choice(CHINESE_WORDS)
    return " ".join(words)


def judged(folder: Path, name: str, data: bytes, wanted: list[str]) -> Counter[str]:
    """How many of the texts in a file are read right, refused or read wrong by the reader of files."""
    (folder / name).write_bytes(data)
    (file,) = source_files([Source(str(folder / name))])
    reader = FileReader(file)
    units = [unit.content for unit in reader]
    found = [unit.text if isinstance(unit, Document) else "\ufffd" for unit in units]
    assert len(found) == len(wanted)
    assert reader.encoding or all(isinstance(unit, Rejection) for unit in units)
    return Counter(
        "right" if text == one else "refused" if "\ufffd" in text else "wrong"
        for text, one in zip(found, wanted, strict=True)
    )


def write_rows(found: dict[str, Any]) -> None:
    """The rows of both pages, in place of what stood there."""
    for end, head in HEADS.items():
        page = DOCS / "stages" / f"prepare{end}"
        lines = [line for line in page.read_text(encoding="utf-8").split("\n") if f"[{RESULT.name}]" not in line]
        (place,) = (number for number, line in enumerate(lines) if line.startswith(head))
        lines[place + 2 : place + 2] = rows(found, chinese=end == ".zh.md")
        page.write_text("\n".join(lines), encoding="utf-8")


def rows(found: dict[str, Any], *, chinese: bool) -> list[str]:
    """The three numbers of each kind of text in each encoding and of each mixture, where they are stored, what was
    read; before them how many samples there are."""
    say = Words(chinese)
    told = [
        (
            f"{found['samples']:,}",
            "samples",
            say("samples of a row, and of each hand of a mixture", "每行的样本数；几手合写的文件里，每一手都是这么多"),
        ),
        (f"{found['size_bytes']}", "size_bytes", say("bytes of a sample", "一个样本的字节数")),
    ]
    for kind, encodings in found["kinds"].items():
        for encoding, one in encodings.items():
            text = say(", ", "，").join((say(*TOLD[kind]), NAMES[encoding]))
            told.append((three(one), f"kinds.{kind}.{encoding}.{{{','.join(OUTCOMES)}}}", text))
    for mixture, one in found["mixtures"].items():
        told.append((three(one), f"mixtures.{mixture}.{{{','.join(OUTCOMES)}}}", say(*TOLD[mixture])))
    link = f"[{RESULT.name}](../results/{RESULT.name})"
    return [f"| {number} | {link} `{path}` | {text} |" for number, path, text in told]


def three(one: Mapping[str, int]) -> str:
    """Right, refused and wrong."""
    return " / ".join(f"{one[outcome]:,}" for outcome in OUTCOMES)


if __name__ == "__main__":
    main()
