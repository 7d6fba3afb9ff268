"""What `corpus_speed.py` measured, as the last section of `docs/results/speed.md` and as numbers of the stages' pages.

In: what `docs/results/corpus-speed.json` holds. Out: the section and the rows in both languages. Called by
`speed_page.py`. No number of them is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pins
from words import Words

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "corpus-speed.json"
SIDES = ("datatrove", "danlu")
STAGES = {
    "prepare": "prepare",
    "prepare_similar": "prepare, similar",
    "tokenizer": "tokenizer",
    "shard": "shard",
    "shard_reference": "shard",
}
LAST_ROW = {
    "prepare": "`stages.prepare.seconds`",
    "tokenizer": "`seconds.tokenizer`",
    "shard": "`stages.shard.seconds`",
}
"""After which number of a stage's page these numbers stand."""
HELD = {
    "prepare": ("MB of memory with `similar: true`", "带 `similar: true` 时的内存（MB）"),
    "tokenizer": (
        "MB of memory on the smaller of two corpora, with a sample of one size from either",
        "两份语料中较小的一份所用内存（MB），取样大小相同",
    ),
    "shard": ("MB of memory on the smaller of two corpora", "两份语料中较小的一份所用内存（MB）"),
}
"""What is told of the memory of two sizes of text; of the stages behind `prepare` where it was measured."""
Found = dict[str, Any]


def write_rows(found: Found) -> None:
    """The rows of six pages, in place of what stood there."""
    for chinese in (False, True):
        end = Words(chinese)("", ".zh") + ".md"
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
    commands = [found[part]["command"] for part in ("chain", "stages", "memory")]
    parts = [heading(say), *beside(found["chain"], say), *alone(found["stages"], say), *held(found["memory"], say)]
    return "\n\n".join([*parts, pins.block(commands)]) + "\n"


def beside(found: Found, say: Words) -> list[str]:
    """The chain of both sides."""
    date, versions = found["measured_at"], found["versions"]
    theirs = ", ".join(f"{name[7:]} {version}" for name, version in versions.items() if name.startswith("peers' "))
    ours = f"Python {versions['python']}, numpy {versions['numpy']}"
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
            f"datatrove: {total} MB of text, half of it Chinese, on one core; every part went through both sides in\n"
            f"turn. {found['machine']}; {date}; {state(found, say)}. Ours: {ours}; theirs: {theirs}.\n"
            "Where the machine does other work too, the clock tells little; the time of the processor hardly\n"
            "changes. The pages are cut from books, laws, manuals and Wikipedia, and every tenth comes again with\n"
            "two words put in.",
            "C4、Gopher、FineWeb 的质量规则，然后用 14 带、每带 8 个 MinHash 找近似重复，与 datatrove 相比：\n"
            f"{total} MB 文本，中文占一半，只用一个核，文本的每一份轮流经过双方。\n"
            f"{found['machine']}；{date}；{state(found, say)}。我们：{ours}；对方：{theirs}。\n"
            "机器还忙着别的工作时，时钟时间说明不了多少，处理器时间则几乎不变。\n"
            "文本取自书籍、法律、手册和维基百科，切成一页一页，每第十页添上两个词再出现一次。",
        ),
        say(
            "One thing the two do differently, and it is costly: datatrove cuts every text into words with spaCy and\n"
            "jieba; danlu does not, it takes what stands between spaces and, in Chinese, runs of characters. Limits\n"
            "were adapted on both sides so that they judge alike all the same; which, and why, stands at the head of\n"
            "[corpus_peer.py](../../benchmarks/corpus_peer.py). After the rules the two agree on\n"
            f"{english} of the English documents and on {zh} of the Chinese ones. Which rules dropped the rest, on\n"
            "either side, is in [corpus-speed.json](corpus-speed.json).",
            "双方有一处做法不同，而且费时：datatrove 用 spaCy 和 jieba 给每篇文本分词；\n"
            "danlu 不分词，只取空格之间的部分，中文则取连续的若干个字。双方的界限都作了调整，使判断仍然一致；\n"
            "调了什么、为什么，写在 [corpus_peer.py](../../benchmarks/corpus_peer.py) 开头。\n"
            f"规则之后，双方在 {english} 的英文文档和 {zh} 的中文文档上判断一致。\n"
            "其余的在双方各被哪些规则剔除，见 [corpus-speed.json](corpus-speed.json)。",
        ),
        say.table(heads, [chain_row(found[language], language) for language in ("en", "zh")]),
        say(
            "The two halves apart, in MB per second of the processor. danlu does both at once: its second half is "
            "what\n"
            "it takes longer than the quality rules alone.",
            "两半分开，处理器每秒 MB。danlu 两半同时做：它的后一半是比只做质量规则多用的时间。",
        ),
        say.table(
            [
                ("text", "文本"),
                ("quality: datatrove", "质量：datatrove"),
                ("danlu", "danlu"),
                ("ratio", "比"),
                ("near-duplicates: datatrove", "近似重复：datatrove"),
                ("danlu", "danlu"),
                ("ratio", "比"),
            ],
            [halves_row(found[language]["halves"], language) for language in ("en", "zh")],
        ),
    ]


def state(found: Found, say: Words) -> str:
    """Commit and load."""
    busy = say("the machine had other work too", "机器同时还忙着别的工作")
    told = [f"{say('commit', '提交')} {found['commit']}", f"{say('load before', '测量前负载')} {found['load_before']}"]
    return say("; ", "；").join([*told, *([busy] if found["busy"] else [])])


def halves_row(found: Found, language: str) -> list[str]:
    """Quality and near-duplicates of both sides; a dash where a difference of two runs was no time at all."""
    numbers = [
        number
        for half in ("quality", "near_duplicates")
        for number in (
            *((found[half]["mb_per_processor_second"][side], ".2f") for side in SIDES),
            (found[half]["ratio_of_processor_time"], ".1f"),
        )
    ]
    return [language, *("–" if number is None else f"{number:{form}}" for number, form in numbers)]


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
    total, date = found["text_bytes"] // 1_000_000, found["measured_at"]
    heads = [
        ("stage", "阶段"),
        ("MB read", "读入 MB"),
        ("MB/s", "MB/s"),
        ("MB per second of the processor", "处理器每秒 MB"),
        ("memory, MB", "内存（MB）"),
    ]
    return [
        say(
            f"The stages on {total} MB of the same text, with their default settings and on one core, on {date}; "
            "medians\n"
            f"of {found['rounds']} rounds, {state(found, say)}. Each is measured by the text that it reads: `prepare`"
            " by\n"
            "the raw text, `tokenizer` by the sample that it learns from, `shard` by what it encodes, with the "
            "encoder\n"
            "that is named.",
            f"各阶段处理 {total} MB 同样的文本，默认设置，只用一个核，{date}；{found['rounds']} 轮的中位数，"
            f"{state(found, say)}。\n"
            "各按它读入的文本计算：`prepare` 按原始文本，`tokenizer` 按它学习用的取样，`shard` 按它编码的文本，所用"
            "编码器已注明。",
        ),
        say.table(
            heads,
            [
                [
                    f"{name}, {found[key]['encoder']['name']}" if "encoder" in found[key] else name,
                    f"{found[key]['text_bytes'] / 1e6:.1f}",
                    f"{found[key]['mb_per_second']:.1f}",
                    f"{found[key]['mb_per_processor_second']:.1f}",
                    f"{found[key]['peak_mb']:,}",
                ]
                for key, name in STAGES.items()
            ],
        ),
    ]


def held(found: Found, say: Words) -> list[str]:
    """Memory of two sizes of text: of `prepare`, and of the stages behind it that were measured."""
    (_, small), _ = sizes(found)
    behind = [stage for stage in peaks(small) if stage != "prepare"]
    also = say(" and the stages behind it", "及其后各阶段") if behind else ""
    sample = ""
    if "tokenizer" in behind:
        megabytes = small["tokenizer"]["sample_bytes"] // 1_000_000
        sample = say(
            f";\n`tokenizer` learns from {megabytes} MB of either",
            f"；\n两种大小，`tokenizer` 都从其中 {megabytes} MB 学习",
        )
    heads = [("text", "文本"), ("documents", "文档"), ("memory, MB: prepare", "内存（MB）：prepare")]
    return [
        say(
            f"The most memory that `prepare` with near-duplicates{also} held, on {found['measured_at']}. A document\n"
            f"costs what tells its text and its id when they come again, some 70 bytes{sample}:",
            f"带近似去重的 `prepare` {also}所占的最大内存，{found['measured_at']}。\n"
            f"每个文档只占用来认出相同文本和相同标识的约 70 字节{sample}：",
        ),
        say.table(
            [*heads, *((stage, stage) for stage in behind)],
            [
                [size, f"{one['documents']:,}", *(f"{peak:,}" for peak in peaks(one).values())]
                for size, one in sizes(found)
            ],
        ),
    ]


def peaks(one: Found) -> dict[str, int]:
    """Of one size of text the most memory of each stage: `prepare`, and those behind it that were measured."""
    return {"prepare": one["peak_mb"], **{stage: one[stage]["peak_mb"] for stage in HELD if stage in one}}


def peak_path(size: str, stage: str) -> str:
    """Where the most memory of a stage is stored."""
    return f"memory.{size}.{'' if stage == 'prepare' else f'{stage}.'}peak_mb"


def sizes(found: Found) -> list[tuple[str, Found]]:
    """What was measured of each size, the smaller first."""
    return [(name, one) for name, one in found.items() if name.endswith(" MB")]


def rows(found: Found, stage: str, chinese: bool) -> list[str]:
    """The numbers of a stage's page: number, where it is stored, what it says."""
    say = Words(chinese)
    stages, ((few, small), (many, _)) = found["stages"], sizes(found["memory"])
    link = f"[{say('speed beside others', '与他人比速度')}](../results/speed{say('', '.zh')}.md)"
    speed = {
        "prepare": say("raw text that one core cleans in a second of its time", "一个核每秒处理器时间清理的原始文本"),
        "tokenizer": say(
            "text of the sample that one core learns from in a second of its time",
            "一个核每秒处理器时间学习的取样文本",
        ),
        "shard": say(
            f"text that one core turns into rows in a second of its time with {stages['shard']['encoder']['name']}",
            f"一个核每秒处理器时间变成行的文本，用 {stages['shard']['encoder']['name']}",
        ),
    }[stage]
    told = [
        (
            f"stages.{stage}.mb_per_processor_second",
            f"{say('**Speed**: ', '**速度**：')}{speed}{say(': ', '：')}{link}",
        ),
        (f"stages.{stage}.peak_mb", say("MB of memory that it held at the most", "所占的最大内存（MB）")),
    ]
    if stage == "shard":
        reference = stages["shard_reference"]["encoder"]["name"]
        path = "stages.shard_reference.mb_per_processor_second"
        told.append((path, say(f"the same with `{reference}`, the reference", f"用参照库 `{reference}`")))
    if stage == "prepare":
        told += [
            (
                "stages.prepare_similar.mb_per_processor_second",
                say("the same with `similar: true`", "加上 `similar: true`"),
            ),
        ]
    if stage in peaks(small):
        told += [
            (peak_path(few, stage), say(*HELD[stage])),
            (peak_path(many, stage), say("the same on ten times as much text", "文本多十倍时")),
        ]
    values = {
        **{
            f"stages.{key}.mb_per_processor_second": f"{stages[key]['mb_per_processor_second']:.1f} MB/s"
            for key in STAGES
        },
        **{f"stages.{key}.peak_mb": f"{stages[key]['peak_mb']:,}" for key in STAGES},
        **{
            peak_path(size, name): f"{peak:,}"
            for size, one in sizes(found["memory"])
            for name, peak in peaks(one).items()
        },
    }
    return [
        f"| {values[path]} | [{RESULTS.name}](../results/{RESULTS.name}) `{path}` | {text} |" for path, text in told
    ]
