"""The page of `learning.py` and `dial.py`: what was learnt beside two peers, what bought it, and the dial's rule.

In: the stored runs. Out: `docs/results/learning.md` and `learning.zh.md`. No number of them is written by hand.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from words import Words

from danlu.base import console
from danlu.train import dial

RESULTS = Path(__file__).parent.parent / "docs" / "results"
NAMES = {"danlu": "danlu", "litgpt": "litgpt", "trainer": "transformers Trainer"}
CHINESE = {
    "all": "全部",
    "AdamW instead of Muon": "用 AdamW 而不用 Muon",
    "AdamW instead of Muon, rate halved": "用 AdamW 而不用 Muon，学习率减半",
    "cosine instead of warm-up, stable, decay": "用余弦而不用“预热、平稳、衰减”",
    "rows in the order of the files": "各行按文件的次序",
    "documents of a row see each other": "同一行里的文档互相可见",
    "every weight begins as in GPT-2": "所有权重按 GPT-2 初始化",
    "batches four times as large": "批量大四倍",
    "batches half as large": "批量减半",
    "rate doubled": "学习率加倍",
    "rate halved": "学习率减半",
    "deeper and narrower": "更深更窄",
    "shallower and wider": "更浅更宽",
    "the peers' shape": "与对手同样的形状",
    "fp32": "fp32",
}
Run = dict[str, Any]


def write(runs: Sequence[Run]) -> None:
    """The page in both languages."""
    for chinese, name in ((False, "learning.md"), (True, "learning.zh.md")):
        (RESULTS / name).write_text(page(runs, dial_runs(), chinese), encoding="utf-8")
        console.say(f"written: {RESULTS / name}")


def dial_runs() -> list[Run]:
    """The runs that the dial's rule was fitted to."""
    return [json.loads(line) for line in (RESULTS / "dial.jsonl").read_text(encoding="utf-8").splitlines()]


def page(runs: Sequence[Run], fitted: Sequence[Run], chinese: bool) -> str:
    """All sections that there are runs for."""
    say = Words(chinese)
    return "\n\n".join([*beginning(runs, say), *beside(runs, say), *bought(runs, say), *rule(fitted, say)]) + "\n"


def of(runs: Sequence[Run], side: str, variant: str, minutes: float) -> list[Run]:
    return [run for run in runs if (run["side"], run["variant"], run["minutes"]) == (side, variant, minutes)]


def bits(runs: Sequence[Run]) -> float:
    """Their mean."""
    return statistics.mean(run["bits_per_byte"] for run in runs)


def longest(runs: Sequence[Run]) -> float:
    """The minutes of the longest whole comparison."""
    return max(run["minutes"] for run in runs if run["side"] != "danlu" and run["variant"] == "all")


def beginning(runs: Sequence[Run], say: Words) -> list[str]:
    newest = runs[-1]
    ours, theirs = newest["versions"], next(run["versions"] for run in runs if run["side"] != "danlu")
    versions = ", ".join(f"{name} {version}" for name, version in ours.items() if "peers'" not in name)
    peers = ", ".join(f"{name} {version}" for name, version in theirs.items() if "peers'" in name)
    return [
        say("# How much is learnt", "# 学到了多少"),
        say("[中文](learning.zh.md)", "[English](learning.md)"),
        say(
            "The same text, the same ids, the same minutes on the same two cores, models of the same class: "
            "which side\n"
            "has learnt more, and what bought it. The measure is bits per byte of documents that nobody "
            "trained on; less\n"
            "is better. Each run is a process; its minutes run from its start to the end of its last step, compiling\n"
            "and measuring included. Runs took turns, and every one that was made is in "
            "[learning.jsonl](learning.jsonl).",
            "文本相同，编号相同，同样的两个核，同样的几分钟，模型大小同一级别：哪一方学到更多，靠的又是什么。\n"
            "衡量标准是各方都没有用来训练的文档上的每字节比特数，越小越好。每次运行是一个进程，\n"
            "时间从进程启动算到最后一步结束，编译和测速都在内。各方轮流运行，\n"
            "做过的每一次都在 [learning.jsonl](learning.jsonl) 里。",
        ),
        """```bash
python benchmarks/learning.py text SOURCE [SOURCE ...]
python benchmarks/learning.py tune --peers PEERS/bin/python --minutes 3 --rates 1e-3 2e-3 4e-3
python benchmarks/learning.py compare --peers PEERS/bin/python --minutes 15 --seeds 1 2 3
python benchmarks/learning.py ablate --minutes 10
python benchmarks/learning.py page
```""",
        say(
            f"Machine: {newest['machine']}, {newest['measured_at']}. Versions: {versions}; {peers}.",
            f"机器：{newest['machine']}，{newest['measured_at']}。版本：{versions}；{peers}。",
        ),
    ]


def beside(runs: Sequence[Run], say: Words) -> list[str]:
    """The comparison, the settings, and the trials of the peers' rates."""
    minutes = longest(runs)
    ours = of(runs, "danlu", "all", minutes)
    rows = []
    for side, name in NAMES.items():
        found = of(runs, side, "all", minutes)
        if not found:
            continue
        seeds = " ".join(f"{run['bits_per_byte']:.4f}" for run in sorted(found, key=lambda run: run["seed"]))
        above = f"{100 * (bits(found) / bits(ours) - 1):+.1f} %" if ours and side != "danlu" else ""
        rows.append(
            (
                name,
                seeds,
                f"{bits(found):.4f}",
                above,
                f"{statistics.mean(run['tokens'] for run in found) / 1e6:.2f} M",
                f"{found[0]['parameters'] / 1e6:.1f} M",
                f"{found[0]['learning_rate']:g}",
                f"{max(run['seconds'] for run in found) / 60:.1f}",
            )
        )
    heads = (
        ("side", "各方"),
        ("bits per byte, by seed", "每字节比特，按种子"),
        ("mean", "均值"),
        ("above ours", "高出我们"),
        ("tokens", "词元"),
        ("parameters", "参数"),
        ("peak rate", "学习率峰值"),
        ("longest, min", "最长，分钟"),
    )
    trials = [run for run in runs if run["variant"].startswith("rate ") and run["side"] != "danlu"]
    tried = [
        (
            NAMES[run["side"]],
            f"{run['learning_rate']:g}",
            f"{run['minutes']:g}",
            f"{run['bits_per_byte_to_choose_by']:.4f}",
        )
        for run in trials
    ]
    return [
        say(f"## Beside two peers, {minutes:g} minutes", f"## 与两个对手并列，{minutes:g} 分钟"),
        say.table(heads, rows),
        say(
            "What was made fair: the text is 40 MB, half Chinese and half English, cut into ids by one "
            "tokenizer of 8,192.\n"
            "The peers read the ids as one stream in rows of 256, drawn in an order from the seed; both keep "
            "their own\n"
            "defaults (litgpt: AdamW 0.9/0.95, decay 0.1, cosine; the Trainer: AdamW, no decay, linear) except "
            "what makes no\n"
            "sense in a run of minutes: litgpt's batch of 512 rows and warm-up of 2,000 steps, the Trainer's "
            "rate of 5e-5.\n"
            "Both get batches of 16 rows, a warm-up of a twentieth, and the rate that did best in trials of their own:",
            "如何做到公平：文本 40 MB，中英各半，由同一个 8,192 词元的分词器切成词元。对手把词元当作一条流，\n"
            "按 256 一行读，次序由种子决定；各自保留默认设置（litgpt：AdamW 0.9/0.95、衰减 0.1、余弦；\n"
            "Trainer：AdamW、无衰减、线性），只换掉几分钟的运行里没有意义的部分：litgpt 的 512 行批量和 2,000 "
            "步预热、\n"
            "Trainer 的 5e-5 学习率。两者都用 16 行的批量、占全程二十分之一的预热，学习率取它们各自试验中最好的：",
        ),
        say.table((("side", "各方"), ("rate", "学习率"), ("minutes", "分钟"), ("bits per byte", "每字节比特")), tried),
        say(
            "Ours is the recipe's `size: small` and `minutes`, nothing else: shape, batch, rate and course are "
            "the dial's.",
            "我们这一方只有配方里的 `size: small` 和 `minutes`：形状、批量、学习率和调度都由旋钮决定。",
        ),
    ]


def bought(runs: Sequence[Run], say: Words) -> list[str]:
    """The ablation: one decision taken back or pushed further at a time."""
    minutes = next(
        (run["minutes"] for run in runs if run["side"] == "danlu" and run["variant"] in list(CHINESE)[1:]), None
    )
    if minutes is None:
        return []
    ours = of(runs, "danlu", "all", minutes)
    found = {name: of(runs, "danlu", name, minutes) for name in CHINESE}
    rows = [
        (
            say(name, CHINESE[name]) if name != "all" else say("nothing", "什么都不变"),
            len(lines),
            f"{bits(lines):.4f}",
            f"{100 * (bits(lines) / bits(ours) - 1):+.1f} %" if ours and name != "all" else "",
            f"{statistics.mean(line['tokens'] for line in lines) / 1e6:.2f} M",
        )
        for name, lines in found.items()
        if lines
    ]
    heads = (
        ("what is changed", "改变了什么"),
        ("seeds", "种子数"),
        ("bits per byte", "每字节比特"),
        ("against nothing", "与不变相比"),
        ("tokens", "词元"),
    )
    return [
        say(f"## What bought it, {minutes:g} minutes", f"## 靠的是什么，{minutes:g} 分钟"),
        say(
            "Ours with one decision changed; above zero means that the decision as it stands is worth so much.",
            "我们的设置每次只改一处；大于零，说明现在的选择值这么多。",
        ),
        say.table(heads, rows),
    ]


def rule(fitted: Sequence[Run], say: Words) -> list[str]:
    """What the dial's rule was fitted to, and the rule."""
    from dial import fit

    cells = sorted({(run["width"], run["layers"], run["tokens"]) for run in fitted})
    rows = []
    for width, layers, tokens in cells:
        runs = [run for run in fitted if (run["width"], run["layers"], run["tokens"]) == (width, layers, tokens)]
        best = min(runs, key=lambda run: run["bits_per_byte"])
        chosen = dial.pace(width, tokens, 256, "muon")
        rows.append(
            (
                f"{width} × {layers}",
                f"{tokens / 1e6:g} M",
                len(runs),
                f"{best['batch_tokens']:,}",
                f"{best['learning_rate']:g}",
                f"{best['bits_per_byte']:.4f}",
                f"{chosen.batch_rows * 256:,}",
                f"{chosen.learning_rate:g}",
            )
        )
    heads = (
        ("width × layers", "宽 × 层"),
        ("tokens", "词元"),
        ("runs", "次数"),
        ("best batch", "最好的批量"),
        ("best rate", "最好的学习率"),
        ("bits per byte", "每字节比特"),
        ("the dial's batch", "旋钮的批量"),
        ("the dial's rate", "旋钮的学习率"),
    )
    found = fit(list(fitted))
    batch, rate = dial.BATCH_TOKENS, dial.RATE
    return [
        say("## The dial", "## 旋钮"),
        say(
            "Batch and rate follow the tokens of the run and the width of the model. They were fitted to runs "
            "whose result\n"
            "depends on tokens and not on the clock ([dial.jsonl](dial.jsonl), `benchmarks/dial.py`). The best "
            "of each\n"
            "group, and what the dial says there:",
            "批量和学习率随运行的词元数和模型的宽度而定，由一组结果只取决于词元数、与时钟无关的运行拟合而来\n"
            "（[dial.jsonl](dial.jsonl)，`benchmarks/dial.py`）。每组里最好的一次，以及旋钮在那里的取值：",
        ),
        say.table(heads, rows),
        say(
            f"The surface through all {found['runs']} runs misses them by {found['missed']:.4f} bits per byte "
            "(root mean "
            "square). Its lowest point:",
            f"穿过全部 {found['runs']} 次运行的曲面与它们相差 {found['missed']:.4f} 每字节比特（均方根）。它的最低点：",
        ),
        say.table(
            (
                ("", ""),
                ("at 2 M tokens, width 192", "2 M 词元、宽 192 处"),
                ("grows with tokens to the", "随词元数的幂"),
                ("with width to the", "随宽度的幂"),
            ),
            [
                (
                    say(name, chinese),
                    f"{one['at_centre']:{form}}",
                    f"{one['tokens']:.2f}",
                    f"{one['width']:.2f}",
                )
                for name, chinese, one, form in (
                    ("batch in tokens, fitted", "批量（词元），拟合", found["batch"], ",.0f"),
                    ("batch in tokens, the dial's", "批量（词元），旋钮", as_fit(batch), ",.0f"),
                    ("rate, fitted", "学习率，拟合", found["rate"], ".2g"),
                    ("rate, the dial's", "学习率，旋钮", as_fit(rate), ".2g"),
                )
            ],
        ),
    ]


def as_fit(power: dial.Power) -> dict[str, float]:
    """A rule of the dial in the form of the fit."""
    return {"at_centre": power.value, "tokens": power.tokens, "width": power.width}
