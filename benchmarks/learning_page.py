"""The page of `learning.py`: what was learnt beside two peers, what bought it, and the dial's rule (`dial_page`).

In: the stored runs. Out: `docs/results/learning.md` and `learning.zh.md`. No number of them is written by hand.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dial_page
import numpy as np
from dial import stored
from words import Words

from danlu.base import console

RESULTS = Path(__file__).parent.parent / "docs" / "results"
DIAL, SHAPES = RESULTS / "dial.jsonl", RESULTS / "shapes.jsonl"
NAMES = {"danlu": "danlu", "litgpt": "litgpt", "trainer": "transformers Trainer"}
CHINESE = {
    "all": "全部",
    "AdamW instead of Muon": "用 AdamW 而不用 Muon",
    "AdamW instead of Muon, rate halved": "用 AdamW 而不用 Muon，学习率减半",
    "cosine instead of warm-up, stable, decay": "用余弦而不用“预热、平稳、衰减”",
    "rows in the order of the files": "各行按文件的次序",
    "documents of a row see each other": "同一行里的文档互相可见",
    "every matrix begins with deviation 0.02": "所有矩阵初始标准差都取 0.02",
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
DRAWS = 2000
"""Of the held-out pieces, with replacement, for the bounds of a difference."""


def write(runs: Sequence[Run]) -> None:
    """The page in both languages."""
    for chinese, name in ((False, "learning.md"), (True, "learning.zh.md")):
        made = page(runs, stored(DIAL), stored(SHAPES), held_out(), chinese)
        (RESULTS / name).write_text(made, encoding="utf-8")
        console.say(f"written: {RESULTS / name}")


def held_out() -> dict[str, Any]:
    """The text: its digest, its bytes, and language and bytes of each held-out piece that is told of."""
    return json.loads((RESULTS / "learning-text.json").read_bytes())


def page(runs: Sequence[Run], fitted: Sequence[Run], shapes: Sequence[Run], text: dict[str, Any], chinese: bool) -> str:
    """All sections that there are runs of this text for."""
    say = Words(chinese)
    runs = [run for run in runs if run["text"] == text["text"]]
    parts = [
        *beginning(runs, text, say),
        *beside(runs, text, say),
        *bought(runs, say),
        *dial_page.sections(fitted, shapes, say),
    ]
    return "\n\n".join(parts) + "\n"


def of(runs: Sequence[Run], side: str, variant: str, minutes: float) -> list[Run]:
    return [run for run in runs if (run["side"], run["variant"], run["minutes"]) == (side, variant, minutes)]


def bits(runs: Sequence[Run]) -> float:
    """Their mean."""
    return statistics.mean(run["bits_per_byte"] for run in runs)


def longest(runs: Sequence[Run]) -> float:
    """The minutes of the longest whole comparison."""
    return max(run["minutes"] for run in runs if run["side"] != "danlu" and run["variant"] == "all")


def compared(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each side in the longest comparison, by seed; a side that lacks a seed of another is an error."""
    minutes = longest(runs)
    found = {side: sorted(of(runs, side, "all", minutes), key=lambda run: run["seed"]) for side in NAMES}
    seeds = {side: [run["seed"] for run in those] for side, those in found.items()}
    if len(set(map(tuple, seeds.values()))) != 1:
        raise SystemExit(f"the comparison is not whole: seeds {seeds}")
    return found


def pieces(runs: Sequence[Run]) -> np.ndarray:
    """Bits of each held-out piece, the mean over the seeds."""
    return np.mean([run["bits"] for run in runs], axis=0)


def above(theirs: Sequence[Run], ours: Sequence[Run]) -> tuple[float, float, float]:
    """How many per cent theirs lies above ours, and between what bounds in 95 of 100 draws of the held-out pieces."""
    pair = np.stack([pieces(theirs), pieces(ours)])
    draws = np.random.default_rng(0).integers(0, pair.shape[1], (DRAWS, pair.shape[1]))
    ratios = np.sort(np.divide(*pair[:, draws].sum(-1)))
    whole = float(np.divide(*pair.sum(-1)))
    return tuple(100 * (ratio - 1) for ratio in (whole, ratios[DRAWS // 40], ratios[-DRAWS // 40]))


def in_language(runs: Sequence[Run], text: dict[str, Any], language: str) -> float:
    """Bits per byte of the pieces of one language."""
    chosen = np.array([piece["language"] == language for piece in text["told"]])
    return float(
        pieces(runs)[chosen].sum() / sum(piece["bytes"] for piece in text["told"] if piece["language"] == language)
    )


def beginning(runs: Sequence[Run], text: dict[str, Any], say: Words) -> list[str]:
    ours, theirs = compared(runs)["danlu"][-1], compared(runs)["litgpt"][-1]
    versions = ", ".join(f"{name} {version}" for name, version in ours["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in theirs["versions"].items() if "peers'" in name)
    others = max(run["others_used_cores"] for run in runs)
    return [
        say("# How much is learnt", "# 学到了多少"),
        say("[中文](learning.zh.md)", "[English](learning.md)"),
        say(
            "The same text, the same ids, the same minutes on the same cores, models of the same class: which "
            "side has\n"
            "learnt more, and what bought it. The measure is bits per byte of pieces of text that no side trained on;\n"
            "less is better. Other pieces of the same books may have been trained on, by all sides alike. Each "
            "run is a\n"
            "process with empty caches; its minutes run from its start to the end of its last step, compiling and\n"
            "measuring included. Runs took turns, and every one that was made is in [learning.jsonl](learning.jsonl).",
            "文本相同，编号相同，同样的核，同样的几分钟，模型大小同一级别：哪一方学到更多，靠的又是什么。\n"
            "衡量标准是各方都没有用来训练的文本片段上的每字节比特数，越小越好；同一本书的其他片段可能训练过，"
            "各方一样。\n"
            "每次运行是一个进程，缓存是空的，时间从进程启动算到最后一步结束，编译和测速都在内。各方轮流运行，\n"
            "做过的每一次都在 [learning.jsonl](learning.jsonl) 里。",
        ),
        """```bash
python benchmarks/learning.py text SOURCE [SOURCE ...]
python benchmarks/learning.py tune --peers PEERS/bin/python --minutes 5 --rates 1e-3 2e-3 4e-3 8e-3 --rows 16 8 32
python benchmarks/learning.py compare --peers PEERS/bin/python --minutes 15 --seeds 1 2 3
python benchmarks/learning.py ablate --minutes 10 --seeds 1
python benchmarks/learning.py page
```""",
        say(
            f"Machine: {ours['machine']}, {ours['measured_at']}; beside a run others used at most {others:.2f} cores.\n"
            f"Versions: {versions}; {peers}.",
            f"机器：{ours['machine']}，{ours['measured_at']}；运行时别的程序最多用了 {others:.2f} 个核。\n"
            f"版本：{versions}；{peers}。",
        ),
        say(
            f"The text: {text['bytes'] / 1e6:.1f} MB, half Chinese and half English, of {', '.join(text['sources'])}; "
            f"{len(text['told'])} held-out pieces are told of,\nas many others were chosen by.",
            f"文本：{text['bytes'] / 1e6:.1f} MB，中英各半，来自 {'、'.join(text['sources'])}；"
            f"{len(text['told'])} 个留出片段用来报告，\n另外同样多的片段用来选择。",
        ),
    ]


def beside(runs: Sequence[Run], text: dict[str, Any], say: Words) -> list[str]:
    """The comparison, the settings, and the trials of the peers' rates."""
    minutes, sides = longest(runs), compared(runs)
    rows = []
    for side, found in sides.items():
        by, low, high = above(found, sides["danlu"])
        seconds = [run["seconds"] for run in found]
        rows.append(
            (
                NAMES[side],
                " ".join(f"{run['bits_per_byte']:.4f}" for run in found),
                f"{bits(found):.4f}",
                "" if side == "danlu" else f"{by:+.1f} % ({low:+.1f} to {high:+.1f})",
                f"{in_language(found, text, 'zh'):.3f}",
                f"{in_language(found, text, 'en'):.3f}",
                f"{statistics.mean(run['tokens'] for run in found) / 1e6:.2f} M",
                f"{found[0]['parameters'] / 1e6:.1f} M",
                f"{found[0]['learning_rate']:g}",
                found[0]["batch_rows"],
                f"{min(seconds) / 60:.1f}–{max(seconds) / 60:.1f}",
            )
        )
    heads = (
        ("side", "各方"),
        ("bits per byte, by seed", "每字节比特，按种子"),
        ("mean", "均值"),
        ("above ours", "高出我们"),
        ("Chinese", "中文"),
        ("English", "英文"),
        ("tokens", "词元"),
        ("parameters", "参数"),
        ("peak rate", "学习率峰值"),
        ("rows a step", "每步行数"),
        ("minutes", "分钟"),
    )
    tried = [
        (
            NAMES[run["side"]],
            f"{run['learning_rate']:g}",
            run["batch_rows"],
            f"{run['minutes']:g}",
            f"{run['bits_per_byte_to_choose_by']:.4f}",
        )
        for run in runs
        if run["variant"] == "trial"
    ]
    trial_heads = (
        ("side", "各方"),
        ("rate", "学习率"),
        ("rows a step", "每步行数"),
        ("minutes", "分钟"),
        ("bits per byte", "每字节比特"),
    )
    return [
        say(f"## Beside two peers, {minutes:g} minutes", f"## 与两个对手并列，{minutes:g} 分钟"),
        say.table(heads, rows),
        say(
            "In brackets: between what bounds the difference lies in 95 of 100 draws of the held-out pieces. Minutes: "
            "of the\nshortest and of the longest run. Every side plans its steps by the speed of the first ones (the "
            "peers for 97 %\nof the time that is left, ours as `minutes` of a recipe does), and its speed may change.",
            "括号里：对留出片段重新抽样，一百次里有九十五次差距落在这两个数之间。分钟：最短和最长的一次。\n"
            "各方都按最初几步的速度计划步数（对手按剩余时间的 97 %，我们按配方里 `minutes` 的做法），"
            "之后的速度可能变化。",
        ),
        say(
            "What was made fair: one tokenizer of 8,192 cuts the text for all sides. The peers read the ids as one\n"
            "stream in rows of 256, drawn in an order from the seed; both keep their own defaults (litgpt: AdamW\n"
            "0.9/0.95, decay 0.1, cosine; the Trainer: AdamW, no decay, linear) except what makes no sense in "
            "a run of\n"
            "minutes: litgpt's batch of 512 rows and warm-up of 2,000 steps, the Trainer's rate of 5e-5. Both get a\n"
            "warm-up of a twentieth of the steps, and the rate and the rows a step that did best in trials of "
            "their own,\n"
            "judged by the other half of the held-out pieces. Neither has a shape for models so small; theirs "
            "is that of\n"
            "[the comparison of speed](speed.md). All are judged in fp32, by the first 768 ids of each "
            "piece\nin windows of 256.",
            "如何做到公平：由同一个 8,192 词元的分词器替各方切词元。对手把词元当作一条流，按 256 一行读，"
            "次序由种子决定；\n"
            "各自保留默认设置（litgpt：AdamW 0.9/0.95、衰减 0.1、余弦；Trainer：AdamW、无衰减、线性），"
            "只换掉几分钟的运行里\n"
            "没有意义的部分：litgpt 的 512 行批量和 2,000 步预热、Trainer 的 5e-5 学习率。"
            "两者都用占全程二十分之一的预热，\n"
            "学习率和每步行数取它们各自试验中最好的，按另一半留出片段评判。两者都没有这么小的现成形状，\n"
            "用的是[速度比较](speed.zh.md)里的那个。各方都用 fp32 评判：每个片段开头的 768 个词元，\n以 256 为窗口。",
        ),
        say.table(trial_heads, tried, named=1),
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
            " ".join(f"{line['bits_per_byte']:.4f}" for line in lines),
            f"{100 * (bits(lines) / bits(ours) - 1):+.1f} %" if ours and name != "all" else "",
            f"{statistics.mean(line['tokens'] for line in lines) / 1e6:.2f} M",
        )
        for name, lines in found.items()
        if lines
    ]
    heads = (
        ("what is changed", "改变了什么"),
        ("bits per byte, by seed", "每字节比特，按种子"),
        ("against nothing", "与不变相比"),
        ("tokens", "词元"),
    )
    return [
        say(f"## What bought it, {minutes:g} minutes", f"## 靠的是什么，{minutes:g} 分钟"),
        say(
            "Ours with one decision changed; above zero means that the decision as it stands was worth so much in this "
            "run.\nWhat the seeds of an unchanged run differ by is noise, and a row within it says nothing. "
            "Batch and rate "
            "are\nthose that the dial has for Muon, so AdamW stands with two rates. The files hold pieces in "
            "the order of "
            "their\ndigests, so the row of the order shows what is left to gain behind such a shuffle.",
            "我们的设置每次只改一处；大于零，说明现在的选择在这次运行里值这么多。不变的运行换种子后的差异就是噪声，\n"
            "落在噪声之内的行说明不了什么。批量和学习率是旋钮按 Muon 定的，所以 AdamW 用了两个学习率。\n"
            "文件里的片段已按摘要排列，因此“次序”一行显示的是打乱之后还能再得到多少。",
        ),
        say.table(heads, rows),
    ]
