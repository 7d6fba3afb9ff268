"""The section of the page of `learning.py` on the dial: what its rules were fitted to, and what they say.

In: the stored runs of `dial.py` and `shapes.py`. Out: Markdown. No number is written by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapes as shape_runs
from dial import fit
from words import Words

from danlu.model.config import PRESETS, preset
from danlu.train import dial

Run = dict[str, Any]


def sections(fitted: Sequence[Run], shapes: Sequence[Run], say: Words) -> list[str]:
    """Batch and rate, then width and depth, then the horizon; of the last two what was run."""
    return [*rule(fitted, say), *shape(shapes, say), *horizon(shapes, say)]


def rule(fitted: Sequence[Run], say: Words) -> list[str]:
    """What the dial's rule was fitted to, and the rule."""
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
                (say(name, chinese), *numbers)
                for name, chinese, numbers in (
                    ("batch in tokens, fitted", "批量（词元），拟合", with_bounds(found, "batch", ",.0f")),
                    ("batch in tokens, the dial's", "批量（词元），旋钮", of_dial(dial.BATCH_TOKENS, ",.0f")),
                    ("rate, fitted", "学习率，拟合", with_bounds(found, "rate", ".2g")),
                    ("rate, the dial's", "学习率，旋钮", of_dial(dial.RATE, ".2g")),
                )
            ],
        ),
        say(
            "In brackets: nine of ten fits to surfaces whose misses are dealt out anew. The runs are of an earlier cut "
            "of\nthis text, one seed each. What is longer than two million tokens or wider than 288 is "
            "extrapolated, the\n"
            "comparison above included.",
            "括号里：把残差重新分配后再拟合，十次里有九次落在其间。这些运行用的是同一文本较早的切法，各一个种子。\n"
            "超过两百万词元或宽于 288 的都是外推，上面的比较也在内。",
        ),
    ]


def with_bounds(found: dict[str, Any], name: str, form: str) -> list[str]:
    """Fitted numbers of batch or rate, each with its bounds."""
    forms = {"at_centre": form, "tokens": ".2f", "width": ".2f"}
    shown = {key: [found[name][key], *found[f"{name}_bounds"][key]] for key in forms}
    return ["{} ({} to {})".format(*(f"{one:{forms[key]}}" for one in those)) for key, those in shown.items()]


def of_dial(power: dial.Power, form: str) -> list[str]:
    """The same numbers as the dial has them."""
    return [f"{power.value:{form}}", f"{power.tokens:.2f}", f"{power.width:.2f}"]


def groups(shapes: Sequence[Run], question: str) -> list[list[Run]]:
    """The runs of a question that are compared with one another; narrow ones first in each."""
    lines = [run for run in shapes if run["question"] == question]
    found = {one: [run for run in lines if shape_runs.group(run) == one] for one in map(shape_runs.group, lines)}
    return [sorted(found[one], key=lambda run: run["width"]) for one in sorted(found)]


def tried(runs: Sequence[Run], told: str) -> str:
    """The runs of a group in one cell, the best of them in bold."""
    best = min(run["bits_per_byte"] for run in runs)
    cells = []
    for run in runs:
        bits = f"{run['bits_per_byte']:.4f}"
        cells.append(f"{told.format(**run)}: " + (f"**{bits}**" if run["bits_per_byte"] == best else bits))
    return "; ".join(cells)


def rule_of(found: Run, form: str, names: dict[str, str]) -> str:
    """A fitted rule: its value at the centre of the runs and its powers, each with its bounds."""
    if not found["determined"]:
        return ""
    return "; ".join(
        "{}: {} ({} to {})".format(
            told,
            *(f"{one:{form if name == 'value' else '.2f'}}" for one in (found["rule"][name], *found["bounds"][name])),
        )
        for name, told in names.items()
    )


def shape(shapes: Sequence[Run], say: Words) -> list[str]:
    """Which of the shapes that cost alike learnt most, the rule, and where the presets lie."""
    found = shape_runs.fit(shapes, "shape")
    if not found["runs"]:
        return []
    rows = [
        (
            f"{runs[0]['flops_per_token'] / 1e6:.0f} M",
            f"{runs[0]['tokens'] / 1e6:g} M",
            tried(runs, "{width} × {layers}"),
            f"{shape_runs.chosen_at(found, 'shape', runs[0]):.0f}" if found["determined"] else "",
        )
        for runs in groups(shapes, "shape")
    ]
    presets = ", ".join(
        f"`{name}` {one.width / one.layers:.0f}"
        for name, one in ((name, preset(name, shape_runs.VOCABULARY)) for name in PRESETS)
    )
    names = {
        "value": say("width over layers at the centre", "中心处的宽与层数之比"),
        "tokens": say("its power of the tokens", "随词元数的幂"),
        "flops_per_token": say("of the operations for a token", "随每词元运算量的幂"),
    }
    return [
        say("### Width and depth", "### 宽与深"),
        say(
            "Models that cost alike for a token saw as many tokens, from narrow and deep to wide and shallow\n"
            "([shapes.jsonl](shapes.jsonl), `benchmarks/shapes.py`); bits per byte, the best of a line in bold:",
            "每个词元的计算量相同的模型看同样多的词元，从窄而深到宽而浅\n"
            "（[shapes.jsonl](shapes.jsonl)，`benchmarks/shapes.py`）；每字节比特，每行最好的用粗体：",
        ),
        say.table(
            (
                ("operations for a token", "每词元运算量"),
                ("tokens", "词元"),
                ("width × layers: bits per byte", "宽 × 层：每字节比特"),
                ("fitted width over layers", "拟合的宽与层数之比"),
            ),
            rows,
            3,
        ),
        _said(found, rule_of(found, ".0f", names), say),
        say(
            f"The sizes of the dial have the field's usual shapes, width over layers: {presets}.\n"
            "They are for runs longer than these.",
            f"旋钮的各规模取领域里常用的形状，宽与层数之比为：{presets}。\n它们是为比这里更长的运行准备的。",
        ),
    ]


def horizon(shapes: Sequence[Run], say: Words) -> list[str]:
    """How many tokens for how many parameters, where all operations are given."""
    found = shape_runs.fit(shapes, "horizon")
    if not found["runs"]:
        return []
    rows = []
    for runs in groups(shapes, "horizon"):
        operations = runs[0]["operations"]
        best = shape_runs.chosen_at(found, "horizon", runs[0]) if found["determined"] else float("nan")
        rows.append(
            (
                f"{operations:.1e}",
                tried(runs, "{width} × {layers}"),
                f"{best / 1e6:.2f} M",
                f"{operations / 6 / best**2:.1f}",
            )
        )
    names = {
        "value": say("parameters at the centre", "中心处的参数个数"),
        "operations": say("their power of the operations", "随总运算量的幂"),
    }
    return [
        say("### Horizon", "### 训练多长"),
        say(
            "As many operations in all, from small models that see much text to large ones that see little. The best\n"
            "number of parameters in products, and the tokens for each of them:",
            "总运算量相同，从看得多的小模型到看得少的大模型。最好的（参与矩阵乘法的）参数个数，以及每个参数对应的词元数：",
        ),
        say.table(
            (
                ("operations", "总运算量"),
                ("width × layers: bits per byte", "宽 × 层：每字节比特"),
                ("best parameters", "最好的参数个数"),
                ("tokens per parameter", "每参数词元数"),
            ),
            rows,
            2,
        ),
        _said(found, rule_of(found, ".3g", names), say),
        say(
            f"The dial trains for {dial.TOKENS_PER_PARAMETER} tokens per parameter where nothing is said, as "
            "[Chinchilla](https://arxiv.org/abs/2203.15556)\nfound for models a thousand times as large.",
            f"什么都没说时，旋钮按每个参数 {dial.TOKENS_PER_PARAMETER} 个词元训练，这是"
            " [Chinchilla](https://arxiv.org/abs/2203.15556)\n在大上千倍的模型上得到的。",
        ),
    ]


def _said(found: Run, rule: str, say: Words) -> str:
    if not found["determined"]:
        return say("These runs determine no rule.", "这些运行定不出规律。")
    return say(
        f"The surface through all {found['runs']} runs misses them by {found['missed']:.4f} bits per byte. Its lowest "
        f"point:\n{rule}.",
        f"穿过全部 {found['runs']} 次运行的曲面与它们相差 {found['missed']:.4f} 每字节比特。它的最低点：\n{rule}。",
    )
