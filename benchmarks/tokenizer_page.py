"""The section on tokenizers of `docs/results/speed.md` and `speed.zh.md`, from what `tokenizer_speed.py` measured.

In: what `docs/results/tokenizers.json` holds. Out: the section. Called by `speed_page.py`; a test holds the pages
against it.
"""

from __future__ import annotations

from typing import Any

import pins

DECISION = "../decisions/0012-fast-tokenizers.md"
INSTALL = "pip install -r benchmarks/peers-tokenizers.txt"


def encoding_rows(found: dict[str, Any]) -> str:
    """A line for each library: cold and warm on one core and on all, by processor time, memory."""
    lines = []
    for name, one in found["one core"].items():
        speeds = [side[turn]["mb_per_second"] for side in (one, found["all cores"][name]) for turn in ("cold", "warm")]
        cells = [f"{speed:.1f}" for speed in (*speeds, one["cold"]["mb_per_processor_second"])]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {one['peak_mb']:,.0f} |")
    return "\n".join(lines)


def learning_rows(found: dict[str, Any]) -> str:
    """A line for each trainer: speed by the clock and by processor time, memory."""
    return "\n".join(
        f"| {name} | {one['mb_per_second']:.2f} | {one['mb_per_processor_second']:.2f} | {one['peak_mb']:,.0f} |"
        for name, one in found["learning"].items()
    )


def measured_at(found: dict[str, Any]) -> str:
    """The day."""
    return found["measured_at"] if "measured_at" in found else found["date"]


def state(found: dict[str, Any], *, chinese: bool) -> str:
    """What else the machine did; a run that stored no load was one beside other work."""
    if found.get("busy", True):
        return "机器同时还忙着别的工作" if chinese else "while the machine had other work too"
    load, commit = found["load_before"], found["commit"]
    return f"测量前负载 {load}，提交 {commit}" if chinese else f"load before {load}, commit {commit}"


def section(found: dict[str, Any], *, chinese: bool) -> str:
    """The whole section in one of the two languages."""
    versions = (", ", "，")[chinese].join(f"{name} {version}" for name, version in found["versions"].items())
    encoded = found["one core"]["tokenizers"]["bytes"] / 1e6
    learnt = found["learning"]["danlu"]["bytes"] / 1e6
    times = found.get("learning_rounds", 1)
    if chinese:
        rounds = "一轮，按表中顺序" if times == 1 else f"{times} 轮的中位数"
        return f"""## 分词

`shard` 阶段编码时每秒处理的文本（MB）：共 {encoded:.0f} MB，中英文各半，用 danlu 自己的 {found["vocabulary"]:,} 词表；
各库轮流，取 {found["rounds"]} 轮中位数；{found["machine"]}，{measured_at(found)}，{state(found, chinese=True)}。
Python {found["python"]}；{versions}。
“冷”是第一遍，“热”是同一文本的第二遍；倒数第二列除以处理器秒数（单核，冷），而不是时钟秒数。
内存是单核时的峰值（MB），含全部文本。**各库给出的编号完全相同。**

| 编码用 | 单核，冷 | 热 | 全部核心，冷 | 热 | 每处理器秒 | 内存 |
|---|---:|---:|---:|---:|---:|---:|
{encoding_rows(found)}

`shard.encoder: auto` 取已安装的最快的一个（`pip install 'danlu[fast]'`），
前提是它在样本上给出的编号与参照库相同（[决定 12]({DECISION})）。用哪一个，各行的字节都一样。

从同样文本的 {learnt:.0f} MB 中学 {found["vocabulary"]:,} 个词元，{rounds}：

| 学习用 | MB/s | 每处理器秒 | 内存 |
|---|---:|---:|---:|
{learning_rows(found)}

`danlu` 是 `tokenizers` 的训练器配 Qwen2 的切分；`tokenizers` 和 `gigabpe` 两行用 GPT-2 的切分，学到的合并相同。
gigabpe 不会别的切分，sentencepiece 合并的是字符，所以都替代不了现在的训练器。

{pins.block([found["command"]], INSTALL)}
"""
    rounds = "one round in the order of the table" if times == 1 else f"medians of {times} rounds"
    return f"""## Tokenizers

MB of text a second through the encoding of the `shard` stage: {encoded:.0f} MB, half English and half Chinese, with
danlu's own vocabulary of {found["vocabulary"]:,}; medians of {found["rounds"]} rounds in which the libraries took
turns; {found["machine"]}, {measured_at(found)}, {state(found, chinese=False)}. Python {found["python"]}; {versions}.
Cold is the first pass over the text and warm the second; the last column but one divides by processor seconds
(one core, cold) instead of seconds of the clock. Memory is the peak in MB on one core, with all of the text.
**All of them give the same ids.**

| encoding by | one core, cold | warm | all cores, cold | warm | per processor second | memory |
|---|---:|---:|---:|---:|---:|---:|
{encoding_rows(found)}

`shard.encoder: auto` takes the fastest of those that are installed (`pip install 'danlu[fast]'`) once it has given the
reference's ids on a sample ([decision 12]({DECISION})). The rows are the same bytes with any of them.

Learning {found["vocabulary"]:,} tokens from {learnt:.0f} MB of the same text, {rounds}:

| learning by | MB/s | per processor second | memory |
|---|---:|---:|---:|
{learning_rows(found)}

`danlu` is the trainer of `tokenizers` with the split of Qwen2; `tokenizers` and `gigabpe` have the split of GPT-2 here
and learn the same merges. gigabpe knows no other split and sentencepiece joins characters, so neither takes the
trainer's place.

{pins.block([found["command"]], INSTALL)}
"""
