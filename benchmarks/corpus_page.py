"""What `corpus_speed.py` measured, as the last section of `docs/results/speed.md` and as numbers of the stages' pages.

In: `docs/results/corpus-speed.json`. Out: the section and the rows in both languages. Called by `corpus_speed.py`, and
alone: python benchmarks/corpus_page.py. No number of them is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from words import Words

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "corpus-speed.json"
SIDES = ("datatrove", "danlu")
STAGES = {"prepare": "prepare", "prepare_similar": "prepare, similar", "tokenizer": "tokenizer", "shard": "shard"}
LAST_ROW = {
    "prepare": "`stages.prepare.seconds`",
    "tokenizer": "`seconds.tokenizer`",
    "shard": "`stages.shard.seconds`",
}
"""After which number of a stage's page these numbers stand."""
Found = dict[str, Any]


def write() -> None:
    """Both sections and the rows of six pages, in place of what stood there."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    for chinese in (False, True):
        say = Words(chinese)
        end = say("", ".zh") + ".md"
        page = DOCS / "results" / f"speed{end}"
        before = page.read_text(encoding="utf-8").partition(f"{heading(say)}\n")[0]
        page.write_text(before.rstrip("\n") + "\n\n" + section(found, chinese), encoding="utf-8")
        for stage, told in LAST_ROW.items():
            page = DOCS / "stages" / f"{stage}{end}"
            lines = [line for line in page.read_text(encoding="utf-8").split("\n") if f"[{RESULTS.name}]" not in line]
            (place,) = (number for number, line in enumerate(lines) if told in line and line.startswith("|"))
            lines[place + 1 : place + 1] = rows(found, stage, chinese)
            page.write_text("\n".join(lines), encoding="utf-8")


def heading(say: Words) -> str:
    """The section's first line."""
    return say("## Making a corpus", "## 整理语料")


def section(found: Found, chinese: bool) -> str:
    """The section of the page on speed, to its end."""
    say = Words(chinese)
    command = "python benchmarks/corpus_speed.py chain stages memory --text TEXT --peer PEER/bin/python"
    parts = [heading(say), *beside(found["chain"], say), *alone(found["stages"], say), *held(found["memory"], say)]
    return "\n\n".join([*parts, f"```bash\n{command}\n```"]) + "\n"


def beside(found: Found, say: Words) -> list[str]:
    """The chain of both sides."""
    date, peers = found["machine"]["date"], found["machine"]["peer"]
    versions = ", ".join(f"{name} {version}" for name, version in peers.items())
    ours = f"Python {found['machine']['python']}, numpy {found['machine']['numpy']}"
    total = found["text_bytes"] // 1_000_000
    english, zh = (f"{found[language]['after_quality']['agreement']:.1%}" for language in ("en", "zh"))
    heads = [
        ("text", "文本"),
        ("documents", "文档"),
        ("left by the rules: datatrove", "规则之后：datatrove"),
        ("danlu", "danlu"),
        ("near-duplicates: datatrove", "近似重复：datatrove"),
        ("danlu", "danlu"),
        ("pages judged alike", "判断一致的页"),
        ("MB/s: datatrove", "MB/s：datatrove"),
        ("danlu", "danlu"),
        ("ratio", "比"),
        ("ratio of processor time", "处理器时间之比"),
        ("memory, MB: datatrove", "内存（MB）：datatrove"),
        ("danlu", "danlu"),
    ]
    return [
        say(
            "The quality rules of C4, Gopher and FineWeb, then near-duplicates by 14 bands of 8 MinHashes, beside\n"
            f"datatrove: {total} MB of text, half of it Chinese, on {date}, with one thread each; every part went\n"
            f"through both sides in turn. Ours: {ours}; theirs: {versions}.\n"
            "Where the machine does other work too, the clock tells little; the time of the processor hardly\n"
            "changes. The pages are cut from books, laws, manuals and Wikipedia, and every tenth comes again with\n"
            "two words put in.",
            "C4、Gopher、FineWeb 的质量规则，然后用 14 带、每带 8 个 MinHash 找近似重复，与 datatrove 相比：\n"
            f"{total} MB 文本，中文占一半，{date}，各用一个线程，文本的每一份轮流经过双方。\n"
            f"我们：{ours}；对方：{versions}。\n"
            "机器还忙着别的工作时，时钟时间说明不了多少，处理器时间则几乎不变。\n"
            "文本取自书籍、法律、手册和维基百科，切成一页一页，每第十页添上两个词再出现一次。",
        ),
        say(
            "A ratio says something only where both do the same work. datatrove is set so that both sides read the\n"
            "papers alike; what was set, and why, stands at the head of\n"
            "[corpus_peer.py](../../benchmarks/corpus_peer.py). After the rules the two agree on\n"
            f"{english} of the English documents and on {zh} of the Chinese ones. Which rules dropped the rest, on\n"
            "either side, is in [corpus-speed.json](corpus-speed.json).",
            "双方做的事相同，比值才有意义。datatrove 的设置使双方对论文的理解一致；设了什么、为什么，写在\n"
            "[corpus_peer.py](../../benchmarks/corpus_peer.py) 开头。\n"
            f"规则之后，双方在 {english} 的英文文档和 {zh} 的中文文档上判断一致。\n"
            "其余的在双方各被哪些规则剔除，见 [corpus-speed.json](corpus-speed.json)。",
        ),
        say.table(heads, [chain_row(found[language], language) for language in ("en", "zh")]),
    ]


def chain_row(found: Found, language: str) -> list[str]:
    """What both sides did with the text of one language."""
    return [
        language,
        f"{found['documents']:,}",
        *(f"{found[kind][side]:,}" for kind in ("after_quality", "near_duplicates") for side in SIDES),
        f"{found['pages_kept']['agreement']:.1%}",
        *(f"{found['mb_per_second'][side]:.2f}" for side in SIDES),
        f"{found['ratio']:.1f}",
        f"{found['ratio_of_processor_time']:.1f}",
        *(f"{found['peak_mb'][side]:,}" for side in SIDES),
    ]


def alone(found: Found, say: Words) -> list[str]:
    """The stages one by one."""
    total, date = found["text_bytes"] // 1_000_000, found["machine"]["date"]
    heads = [
        ("stage", "阶段"),
        ("MB/s", "MB/s"),
        ("MB per second of the processor", "处理器每秒 MB"),
        ("memory, MB", "内存（MB）"),
    ]
    return [
        say(
            f"The stages on {total} MB of the same text, with their default settings and one thread, on {date}:",
            f"各阶段处理 {total} MB 同样的文本，默认设置，单线程，{date}：",
        ),
        say.table(
            heads,
            [
                [
                    name,
                    f"{found[key]['mb_per_second']:.1f}",
                    f"{found[key]['mb_per_processor_second']:.1f}",
                    f"{found[key]['peak_mb']:,}",
                ]
                for key, name in STAGES.items()
            ],
        ),
    ]


def held(found: Found, say: Words) -> list[str]:
    """Memory of two sizes of text."""
    heads = [("text", "文本"), ("documents", "文档"), ("memory, MB", "内存（MB）")]
    return [
        say(
            f"The most memory that `prepare` with near-duplicates held, on {found['machine']['date']}. A document\n"
            "costs what tells its text and its id when they come again, some 70 bytes:",
            f"带近似去重的 `prepare` 所占的最大内存，{found['machine']['date']}。\n"
            "每个文档只占用来认出相同文本和相同标识的约 70 字节：",
        ),
        say.table(heads, [[size, f"{one['documents']:,}", f"{one['peak_mb']:,}"] for size, one in sizes(found)]),
    ]


def sizes(found: Found) -> list[tuple[str, Found]]:
    """What was measured of each size, the smaller first."""
    return [(name, one) for name, one in found.items() if name.endswith(" MB")]


def rows(found: Found, stage: str, chinese: bool) -> list[str]:
    """The numbers of a stage's page: number, where it is stored, what it says."""
    say = Words(chinese)
    stages, (small, large) = found["stages"], (size for size, _ in sizes(found["memory"]))
    link = f"[{say('speed beside others', '与他人比速度')}](../results/speed{say('', '.zh')}.md)"
    speed = {
        "prepare": say("raw text that one core cleans in a second of its time", "一个核每秒处理器时间清理的原始文本"),
        "tokenizer": say(
            "corpus for which one core learns a vocabulary in a second of its time; it looks at a sample",
            "一个核每秒处理器时间为多少语料学成词表；看的是取样",
        ),
        "shard": say("text that one core turns into rows in a second of its time", "一个核每秒处理器时间变成行的文本"),
    }[stage]
    told = [
        (
            f"stages.{stage}.mb_per_processor_second",
            f"{say('**Speed**: ', '**速度**：')}{speed}{say(': ', '：')}{link}",
        ),
        (f"stages.{stage}.peak_mb", say("MB of memory that it held at the most", "所占的最大内存（MB）")),
    ]
    if stage == "prepare":
        told += [
            (
                "stages.prepare_similar.mb_per_processor_second",
                say("the same with `similar: true`", "加上 `similar: true`"),
            ),
            (f"memory.{small}.peak_mb", say("MB of memory with `similar: true`", "带 `similar: true` 时的内存（MB）")),
            (f"memory.{large}.peak_mb", say("the same on ten times as much text", "文本多十倍时")),
        ]
    values = {
        **{
            f"stages.{key}.mb_per_processor_second": f"{stages[key]['mb_per_processor_second']:.1f} MB/s"
            for key in STAGES
        },
        **{f"stages.{key}.peak_mb": f"{stages[key]['peak_mb']:,}" for key in STAGES},
        **{f"memory.{size}.peak_mb": f"{one['peak_mb']:,}" for size, one in sizes(found["memory"])},
    }
    return [
        f"| {values[path]} | [{RESULTS.name}](../results/{RESULTS.name}) `{path}` | {text} |" for path, text in told
    ]


if __name__ == "__main__":
    write()
