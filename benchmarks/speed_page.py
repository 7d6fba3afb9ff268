"""Write `docs/results/speed.md` and `speed.zh.md` from what the benchmarks stored; no number of them is typed by hand.

In: `training.json`, `decoding.json`, `tokenizers.json` and, once it was measured, `corpus-speed.json`. Out: both pages,
to which a test holds them. Called by each of those benchmarks at its end, and alone:

    python benchmarks/speed_page.py

A ratio is worked out from the stored speeds of the rounds. What only newer runs store (the line of danlu's own
optimizer, how near the logits are, load and commit) is told where it is there.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import corpus_page
import pins
import tokenizer_page
from rounds import paired
from words import Words

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PEERS = ("litgpt", "trainer")
WAYS = ("danlu", "danlu without the native decoder", "transformers")
WIDTH = 140
Found = dict[str, Any]


def write() -> None:
    """Both pages, and the rows of the stages' pages."""
    for chinese, name in ((False, "speed.md"), (True, "speed.zh.md")):
        (RESULTS / name).write_text(page(chinese), encoding="utf-8")
    if stored("corpus-speed"):
        corpus_page.write_rows(stored("corpus-speed"))


def write_after(result: Path) -> None:
    """The pages after a measurement, unless it was written elsewhere to be looked at."""
    if result.resolve().parent == RESULTS:
        write()


def stored(name: str) -> Found:
    """What a benchmark stored; nothing where it has never run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def page(chinese: bool) -> str:
    """The whole page in one of the two languages."""
    say = Words(chinese)
    top = [
        say("# Speed beside others\n\n[中文](speed.zh.md)", "# 与同类比速度\n\n[English](speed.md)"),
        paragraph(
            say,
            "In every section the sides take turns, so that what disturbs the machine disturbs all alike; a ratio "
            "is of one round, and the median of the rounds is told. Each section says where, when and with which "
            "versions it was measured. `python benchmarks/speed_page.py` writes this page from the results beside "
            "it.",
            "每一节中各方轮流，因此机器受到的干扰对各方一样；比值按轮计算，取各轮的中位数。\n"
            "每一节都写明测量的机器、日期和版本。本页由 `python benchmarks/speed_page.py` 从旁边的结果文件生成。",
        ),
    ]
    sections = [
        *training(stored("training"), say),
        *decoding(stored("decoding"), say),
        tokenizer_page.section(stored("tokenizers"), chinese=chinese).strip("\n"),
    ]
    corpus = stored("corpus-speed")
    return (
        "\n\n".join([*top, *sections, *([corpus_page.section(corpus, chinese).strip("\n")] if corpus else [])]) + "\n"
    )


def paragraph(say: Words, english: str, chinese: str) -> str:
    """A paragraph, the English one folded; Chinese lines end where a sentence does."""
    if say.chinese:
        return chinese
    return textwrap.fill(english, WIDTH, break_long_words=False, break_on_hyphens=False)


def distinct(entries: Iterable[Found], pick: Callable[[Found], object]) -> str:
    """What the entries say, each once, in their order."""
    return " / ".join(dict.fromkeys(str(pick(one)) for one in entries))


def where(found: Found, packages: tuple[str, ...], say: Words) -> str:
    """Machine, date, versions, and what newer runs store of the state they were measured in."""
    entries = list(found.values())
    told = [
        distinct(entries, lambda one: one["machine"]),
        distinct(
            entries, lambda one: say(f"{one['threads']} thread" + "s" * (one["threads"] > 1), f"{one['threads']} 线程")
        ),
        distinct(entries, lambda one: one["measured_at"]),
        f"Python {distinct(entries, lambda one: one['versions']['python'])}",
        *(
            f"{_whose(package, say)} {distinct(having, lambda one, package=package: one['versions'][package])}"
            for package in packages
            if (having := [one for one in entries if package in one["versions"]])
        ),
    ]
    if stamped := [one for one in entries if "commit" in one]:
        told.append(say("commit ", "提交 ") + distinct(stamped, lambda one: one["commit"]))
        told.append(say("load before ", "测量前负载 ") + distinct(stamped, lambda one: one["load_before"]))
        if any(one["busy"] for one in stamped):
            told.append(say("the machine had other work too", "机器同时还忙着别的工作"))
    return say("; ", "；").join(told) + say(".", "。")


def _whose(package: str, say: Words) -> str:
    return package.replace("peers' ", "对方的 ").replace("Trainer's ", "Trainer 的 ") if say.chinese else package


def commands(found: Found) -> str:
    """What was called, each once, behind what makes the environments that it names."""
    return pins.block(one["command"] for one in found.values())


def training(found: Found, say: Words) -> list[str]:
    """The section on training."""
    heads = [
        ("size, dtype", "规模，格式"),
        ("danlu", "danlu"),
        ("litgpt", "litgpt"),
        ("Trainer", "Trainer"),
        ("ratio to the faster", "与较快者之比"),
        ("least ratio", "最小比"),
        ("first step: danlu", "第一步：danlu"),
        ("litgpt", "litgpt"),
        ("Trainer", "Trainer"),
        ("memory: danlu", "内存：danlu"),
        ("litgpt", "litgpt"),
        ("Trainer", "Trainer"),
    ]
    return [
        say("## Training", "## 训练"),
        paragraph(
            say,
            "Tokens a second in steady state; seconds from the start of the process to the end of the first step, "
            "with cold caches; peak memory in MB. A process for each side, all alive at once, training in turn. "
            f"{_rounds(found, say)} The ratio is to the faster peer of the same round. "
            f"{where(found, _training_packages(found), say)}",
            "稳定状态下每秒词元数；从进程启动到第一步结束的秒数（缓存为空）；峰值内存（MB）。\n"
            f"每一方一个进程，同时存活，轮流训练。{_rounds(found, say)}比值是与同一轮中较快的一方相比。\n"
            f"{where(found, _training_packages(found), say)}",
        ),
        paragraph(
            say,
            "AdamW on all sides, with weights and states in fp32. Otherwise each side has its own defaults: litgpt "
            "compiles the model, the Trainer does not, danlu compiles from 20 million parameters on; danlu has "
            "torch's fused AdamW, which litgpt switches off on a CPU. danlu alone keeps packed documents apart; the "
            "others compute plain causal rows.",
            "各方都用 AdamW，权重与优化器状态都是 fp32；其余各用自己的默认设置：litgpt 编译模型，Trainer 不编译，"
            "danlu 从两千万参数起编译；\n"
            "danlu 用 torch 的融合 AdamW，litgpt 在 CPU 上把它关掉。只有 danlu 把打包的文档隔开；其他方计算普通的因"
            "果行。",
        ),
        say.table(heads, [training_row(name, one) for name, one in found.items()]),
        paragraph(
            say,
            "11m: width 288, 6 layers, 6 heads, MLP 768, vocabulary 8,192, untied, 16 rows of 256 a step. 110m: "
            "768, 12, 12, 2,048, 16,384, 4 rows of 512. A step of 110m has 2,048 tokens, and each pays for a whole "
            "pass of AdamW over the weights; in larger batches that is a smaller share. The fp32 ratios are those "
            "of AMD processors only: on others danlu leaves fp32 products to torch (`kernels/linear.py`).",
            "11m：宽 288，6 层，6 头，MLP 768，词表 8,192，嵌入与输出头不共享，每步 16 行、行长 256。110m：768，12，"
            "12，2,048，16,384，4 行、行长 512。\n"
            "110m 的一步只有 2,048 个词元，每一步都要让 AdamW 走遍全部权重；批更大时，这一份就更小。\n"
            "fp32 的比值只对 AMD 处理器成立：在别的处理器上，danlu 把 fp32 乘积留给 torch（`kernels/linear.py`）。",
        ),
        *own_default(found, say),
        commands(found),
        paragraph(
            say,
            "Where it comes from: oneDNN's fp32 products where torch would call MKL (`kernels/linear.py`), a loss "
            "that never holds all logits (`train/objectives.py`), plain attention products in bf16 ("
            "`model/attention.py`), freed memory kept from step to step (`parallel/allocator.py`), and torch's "
            "compiler without its trial builds (`parallel/place.py`).",
            "快在哪里：torch 会调用 MKL 之处改用 oneDNN 的 fp32 乘积（`kernels/linear.py`），从不保留全部 logits 的"
            "损失（`train/objectives.py`），\n"
            "bf16 下用普通乘积算注意力（`model/attention.py`），释放的内存留给下一步（`parallel/allocator.py`），\n"
            "以及省去 torch 编译器的试编译（`parallel/place.py`）。",
        ),
    ]


def _training_packages(found: Found) -> tuple[str, ...]:
    named = dict.fromkeys(name for one in found.values() for name in one["versions"] if "s' " in name or "'s " in name)
    return ("torch", *named)


def _rounds(found: Found, say: Words) -> str:
    """How often, and for how long, in the words of the form that was stored."""

    def of_one(one: Found) -> str:
        rounds = len(one["danlu"]["segments"])
        if "starts" not in one:
            steps = one["steps_of_a_segment"]
            return say(
                f"Medians of {rounds} turns of {steps} steps, one start.",
                f"取 {rounds} 轮、每轮 {steps} 步的中位数，启动一次。",
            )
        starts, seconds = one["starts"], f"{one['seconds_of_a_segment']:g}"
        return say(
            f"Medians of {starts} starts and of {rounds} rounds of at least {seconds} seconds a side.",
            f"取 {starts} 次启动、{rounds} 轮的中位数，每轮每方至少 {seconds} 秒。",
        )

    return distinct(found.values(), of_one)


def training_row(name: str, one: Found) -> list[str]:
    """A size and dtype of all three."""
    sides = [one[side] for side in ("danlu", *PEERS)]
    ratio = paired(*(side["segments"] for side in sides))
    return [
        name,
        *(f"{side['tokens_per_second']:,.0f}" for side in sides),
        *(f"{ratio[key]:.2f}" for key in ("ratio", "least_ratio")),
        *(f"{side['first_step_seconds']:.1f}" for side in sides),
        *(f"{side['peak_mb']:,.0f}" for side in sides),
    ]


def own_default(found: Found, say: Words) -> list[str]:
    """danlu with the optimizer that is its own default: apart from the others, where it was measured."""
    measured = {name: one for name, one in found.items() if "danlu_default" in one}
    if not measured:
        return []
    optimizer = distinct(measured.values(), lambda one: one["optimizers"]["danlu_default"].capitalize())
    heads = [
        ("size, dtype", "规模，格式"),
        (f"danlu with {optimizer}", f"danlu 用 {optimizer}"),
        ("ratio to the faster peer with AdamW", "与用 AdamW 的较快者之比"),
        ("least ratio", "最小比"),
        ("first step", "第一步"),
        ("memory", "内存"),
    ]
    rows = []
    for name, one in measured.items():
        own = one["danlu_default"]
        ratio = paired(own["segments"], *(one[peer]["segments"] for peer in PEERS))
        speeds = [f"{own['tokens_per_second']:,.0f}", *(f"{ratio[key]:.2f}" for key in ("ratio", "least_ratio"))]
        rows.append([name, *speeds, f"{own['first_step_seconds']:.1f}", f"{own['peak_mb']:,.0f}"])
    return [
        paragraph(
            say,
            f"danlu's own default optimizer is {optimizer}, whose step costs more. From the same rounds, beside the "
            "peers with AdamW:",
            f"danlu 自己的默认优化器是 {optimizer}，它的一步更贵。取自同样的各轮，对方仍用 AdamW：",
        ),
        say.table(heads, rows),
    ]


def decoding(found: Found, say: Words) -> list[str]:
    """The section on decoding."""
    heads = [
        ("size, dtype, batch", "规模，格式，批"),
        ("danlu", "danlu"),
        ("danlu in torch", "danlu 用 torch"),
        ("transformers.generate", "transformers.generate"),
        ("ratio", "比"),
        ("least ratio", "最小比"),
    ]
    return [
        say("## Decoding", "## 解码"),
        paragraph(
            say,
            "Tokens a second, greedy, prompts of 32 tokens and 64 new ones each, the computation of the prompts "
            f"included; the same random weights in one process, in which the three take turns. {_turns(found, say)} "
            "In the middle column the engine decodes in torch, as it does where there is no C compiler. "
            f"{where(found, ('torch', 'transformers'), say)}",
            "每秒词元数，贪心，每个提示 32 个词元、新生成 64 个，提示的计算计入；同样的随机权重，在一个进程里，三者"
            "轮流。\n"
            f"{_turns(found, say)}中间一列是引擎改用 torch 解码，没有 C 编译器时就是这样。\n"
            f"{where(found, ('torch', 'transformers'), say)}",
        ),
        say.table(heads, [decoding_row(name, batch, one) for name, batch, one in batches(found)]),
        commands(found),
        paragraph(
            say,
            "One call of C goes through all layers ([decision 11](../decisions/0011-native-decoding.md)). The share "
            f"of the tokens that are those of transformers: {_same_tokens(found, say)}.",
            "一次 C 调用走完所有层（[决定 11](../decisions/0011-native-decoding.md)）。\n"
            f"与 transformers 相同的词元所占的比例：{_same_tokens(found, say)}。",
        ),
        *logits(found, say),
    ]


def batches(found: Found) -> list[tuple[str, str, Found]]:
    """Size and dtype, batch, and what was found of it."""
    return [(name, key, one[key]) for name, one in found.items() for key in one if key.startswith("batch ")]


def _turns(found: Found, say: Words) -> str:
    def of_one(one: Found) -> str:
        rounds = len(next(part for key, part in one.items() if key.startswith("batch "))["segments"]["danlu"])
        if "seconds_of_a_segment" not in one:
            return say(f"Medians of {rounds} rounds of one call each.", f"取 {rounds} 轮、每轮一次的中位数。")
        seconds = f"{one['seconds_of_a_segment']:g}"
        return say(
            f"Medians of {rounds} rounds, in each of which each is repeated for at least {seconds} seconds.",
            f"取 {rounds} 轮的中位数，每轮中每一种至少重复 {seconds} 秒。",
        )

    return distinct(found.values(), of_one)


def decoding_row(name: str, batch: str, one: Found) -> list[str]:
    """A size, dtype and batch of all three ways."""
    ratio = paired(one["segments"]["danlu"], one["segments"]["transformers"])
    return [
        f"{name}, {batch}",
        *(f"{one['tokens_per_second'][way]:,}" for way in WAYS),
        *(f"{ratio[key]:.2f}" for key in ("ratio", "least_ratio")),
    ]


def _same_tokens(found: Found, say: Words) -> str:
    """Of each dtype, from the least to the greatest."""
    shares: dict[str, list[float]] = {}
    for name, _, one in batches(found):
        share = one["same_tokens"] if "same_tokens" in one else one["agreement"]["danlu"]["same_tokens"]
        shares.setdefault(name.split()[1], []).append(share)
    ranges = {dtype: dict.fromkeys(f"{share:.0%}" for share in (min(of), max(of))) for dtype, of in shares.items()}
    return say("; ", "；").join(f"{dtype} {say(' to ', ' 至 ').join(told)}" for dtype, told in ranges.items())


def logits(found: Found, say: Words) -> list[str]:
    """How near the ways' logits are along one sequence of tokens, where that was measured."""
    heads = [
        ("size, dtype, batch", "规模，格式，批"),
        ("compared", "比较"),
        ("same likeliest token", "最可能的词元相同"),
        ("greatest difference", "最大差"),
        ("mean difference", "平均差"),
    ]
    named = {
        "danlu": ("danlu", "danlu"),
        "danlu without the native decoder": ("danlu in torch", "danlu 用 torch"),
        "transformers": ("transformers", "transformers"),
    }
    rows = []
    for name, batch, one in batches(found):
        agreed = one.get("agreement", {})
        compared = [
            *((way, "transformers", agreed[way]["along_their_tokens"]) for way in WAYS[:2] if way in agreed),
            *((way, "fp32", near) for way, near in agreed.get("to_fp32", {}).items()),
        ]
        for way, reference, near in compared:
            differences = [f"{near[f'{kind}_difference']:.2g}" for kind in ("greatest", "mean")]
            pair = f"{say(*named[way])} – {reference}"
            rows.append([f"{name}, {batch}", pair, f"{near['same_likeliest']:.1%}", *differences])
    if not rows:
        return []
    return [
        paragraph(
            say,
            "One different token changes all that follow it. So each way was also led along the tokens that "
            "transformers chose, and its logits compared with those of transformers; in bf16 all three also with "
            "the same weights in fp32:",
            "一个词元不同，其后都可能不同。所以还让每一种方式沿着 transformers 选出的词元走，比较 logits；\n"
            "bf16 下，三者还都与同样权重的 fp32 相比：",
        ),
        say.table(heads, rows, named=2),
    ]


if __name__ == "__main__":
    write()
