"""The page of `your_text.py`, from the stored numbers alone, in either language.

In: the table of `docs/results/your-text.json`. Out: Markdown. Called by `your_text.py page` and by the test that holds
the stored pages to the stored numbers. Measures nothing.
"""

from __future__ import annotations

import json
from typing import Any

from words import Words

ANSWERS_SHOWN, ANSWER_CHARACTERS = 6, 160
SLOWER = 0.9
"""Of the speed that was measured first; below it others used the machine meanwhile."""
SOURCES = "'prepare.sources=[../shared/data/pretrain, ../shared/data/instruct]'"


def page(table: dict[str, Any], chinese: bool) -> str:
    """All sections, each made of the stored numbers alone."""
    say = Words(chinese)
    parts = [*beginning(table, say), *text(table, say), *training(table, say), *conversations(table, say)]
    return "\n\n".join([*parts, *evaluation(table, say), *client(table, say), *times(table, say)]) + "\n"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s" if seconds >= 60 else f"{seconds:.0f} s"


def verbatim(words: str, most: int = ANSWER_CHARACTERS) -> str:
    """What a model said, on one line and as code, so that nothing of it is read as Markdown."""
    shown = json.dumps(words if len(words) <= most else words[:most] + "…", ensure_ascii=False)
    return f"`` {shown.replace('|', '&#124;')} ``"


def beginning(table: dict[str, Any], say: Words) -> list[str]:
    plan, made = table["plan"]["pretrain"], table["stages"]["pretrain"]
    parameters, tokens = table["stages"]["export"]["metrics"]["parameters"], made["metrics"]["tokens"]
    day = made["finished_at"][:10]
    versions = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    machine, memory = table["machine"], table["machine"]["memory_bytes"] / 2**30
    took, cores = minutes(made["seconds"]), machine["cores"]
    device, peak = table["device"], plan["peak_flops"] / 1e9
    return [
        say("# Once on real text", "# 真实文本上的一次完整运行"),
        say("[中文](your-text.zh.md)", "[English](your-text.md)"),
        say(
            "`recipes/your-text.yaml` on two folders as they are: Chinese and English books, poems, laws and\n"
            "documentation, then instructions and conversations. "
            f"One run, {day}; every number below is from it\n([your-text.json](your-text.json)), "
            "and nothing was chosen among several. "
            f"A model of {parameters:,} parameters\nthat has read {tokens:,} tokens in {took} on {cores} cores "
            "writes sentences that look like its text\nand knows next to nothing. "
            "What this page shows is that the whole way holds on text that nobody prepared for it.",
            "`recipes/your-text.yaml` 用于两个原样的目录：中英文书籍、诗词、法律条文、百科与技术文档，\n"
            f"然后是指令和对话。只运行一次（{day}），下面的每个数字都出自这一次（[your-text.json](your-text.json)），\n"
            f"没有从多次运行里挑选。一个 {parameters:,} 参数的模型，在 {cores} 个核上用 {took} "
            f"读过 {tokens:,} 个词元，\n"
            "能写出像样的句子，但几乎什么都不懂。本页要说明的是：整条路在没有为它准备过的文本上走得通。",
        ),
        say("## Commands", "## 命令"),
        f"""```bash
danlu run recipes/your-text.yaml {SOURCES}
danlu serve runs/your-text/export --port 8000
python benchmarks/your_text.py collect runs/your-text
python benchmarks/your_text.py ask http://127.0.0.1:8000/v1
python benchmarks/your_text.py page
```""",
        say(
            "The folders hold public data beside the repository; name your own in their place.",
            "两个目录是仓库旁的公开数据；换成自己的目录即可。",
        ),
        say(
            f"Machine: {machine['processor']}, {cores} cores, {memory:.0f} GiB of memory, no accelerator. "
            f"Products in {device['dtype']}, {device['threads']} threads;\nthe matrix peak measured beside it was "
            f"{peak:,.0f} GFLOP/s. Versions:\n{versions}.",
            f"机器：{machine['processor']}，{cores} 核，内存 {memory:.0f} GiB，无加速器。\n"
            f"乘积用 {device['dtype']}，{device['threads']} 个线程；同时测得的矩阵峰值为 {peak:,.0f} GFLOP/s。\n"
            f"版本：{versions}。",
        ),
    ]


def text(table: dict[str, Any], say: Words) -> list[str]:
    """What came in, what stayed, what went and why."""
    corpus, shards = table["corpus"], table["shards"]
    counts = ("in", "written", "duplicates", "rejected")
    files = [
        (f"`{name}`", *(f"{one[key]:,}" for key in counts), megabytes(one["bytes"]))
        for name, one in corpus["files"].items()
    ]
    documents = corpus["documents"]
    total = (
        say("**all**", "**合计**"),
        *(f"{documents[key]:,}" for key in counts),
        megabytes(corpus["bytes"]["in"]),
    )
    gone = [
        (f"`{reason}`", f"{one['documents']:,}", megabytes(one["bytes"])) for reason, one in corpus["reasons"].items()
    ]
    gone += [
        (say(f"`shard`, {name}: {reason}", f"`shard`，{name}：{reason}"), f"{count:,}", "")
        for name, one in shards.items()
        for reason, count in one["rejected"].items()
    ]
    languages = [
        (language, f"{one.get('documents', 0):,}", f"{one.get('conversations', 0):,}", megabytes(one["bytes"]))
        for language, one in corpus["languages"].items()
    ]
    sides = [
        (name, *(f"{corpus['sides'][kind].get(side, 0):,}" for side in ("train", "validation", "test")))
        for name, kind in ((say("documents", "文档"), "documents"), (say("conversations", "对话"), "conversations"))
    ]
    rows = [
        (
            f"`{name}`",
            *(f"{one[key]:,}" for key in ("documents", "conversations", "tokens_out", "rows")),
            f"{100 * one['filled']:.1f} %",
            f"{one['targets']:,}",
        )
        for name, one in shards.items()
    ]
    masked = ", ".join(f"{count} {kind}" for kind, count in corpus["masked"].items())
    spelt = table["tokenizer"]
    return [
        say("## The text", "## 文本"),
        say.table(
            (
                ("file", "文件"),
                ("records", "记录"),
                ("kept", "保留"),
                ("duplicates", "重复"),
                ("rejected", "拒绝"),
                ("size", "大小"),
            ),
            [*files, total],
        ),
        say.table((("left out", "剔除原因"), ("records", "记录"), ("size", "大小")), gone),
        say.table(
            (("kept, by language", "保留，按语言"), ("documents", "文档"), ("conversations", "对话"), ("text", "文本")),
            languages,
        ),
        say(f"Masked in it: {masked}.", f"其中遮盖：{masked}。"),
        say.table((("", ""), ("training", "训练"), ("validation", "验证"), ("test", "测试")), sides),
        say(
            f"A token of held-out text stands for {spelt['en']['bytes_per_token']:.2f} bytes of English and "
            f"{spelt['zh']['bytes_per_token']:.2f} of Chinese.",
            f"留出文本上，每个词元合英文 {spelt['en']['bytes_per_token']:.2f} 字节、"
            f"中文 {spelt['zh']['bytes_per_token']:.2f} 字节。",
        ),
        say.table(
            (
                ("row set", "行集"),
                ("documents", "文档"),
                ("conversations", "对话"),
                ("tokens", "词元"),
                ("rows", "行数"),
                ("filled", "填充率"),
                ("targets", "目标词元"),
            ),
            rows,
        ),
    ]


def course(table: dict[str, Any], name: str, say: Words) -> str:
    """What a length in minutes became."""
    plan, made = table["plan"][name], table["stages"][name]
    rows = table["shards"]["pretrain-train" if name == "pretrain" else "chat-train"]
    share = plan["total_samples"] / rows["rows"]
    speed, took = made["metrics"]["tokens_per_second"], minutes(made["seconds"])
    tokens, updates, rate = f"{plan['tokens']:,}", f"{plan['steps']:,}", f"{plan['learning_rate']:g}"
    slower = speed < SLOWER * plan["tokens_per_second"]
    return say(
        f"Measured {plan['tokens_per_second']:,.0f} tokens a second, therefore {tokens} tokens: {updates} updates of "
        f"{plan['batch_rows']} rows at a peak rate of {rate},\n{100 * share:.0f} % of the rows at hand. "
        f"It took {took}, {speed:,.0f} tokens a second{': the machine had other work too' if slower else ''}.",
        f"测得每秒 {plan['tokens_per_second']:,.0f} 个词元，由此定为 {tokens} 个词元：{updates} 次更新，"
        f"每次 {plan['batch_rows']} 行，学习率峰值 {rate}，\n为现有各行的 {100 * share:.0f} %。"
        f"实际用时 {took}，每秒 {speed:,.0f} 个词元{'：机器同时还有别的工作' if slower else ''}。",
    )


def losses(curve: dict[str, Any], say: Words) -> str:
    """Every validation, and the training loss nearest to it."""
    nearest = [min(curve["training"], key=lambda point: abs(point[0] - tokens)) for tokens, _ in curve["validation"]]
    rows = [
        (f"{tokens:,}", f"{near:.3f}", f"{loss:.3f}", f"{bits:.3f}")
        for (tokens, loss), (_, bits), (_, near) in zip(
            curve["validation"], curve["bits_per_byte"], nearest, strict=True
        )
    ]
    heads = (
        ("tokens", "词元"),
        ("training loss", "训练损失"),
        ("validation loss", "验证损失"),
        ("bits per byte", "每字节比特"),
    )
    return say.table(heads, rows, named=0)


def training(table: dict[str, Any], say: Words) -> list[str]:
    """The curve, and what the model wrote on the way."""
    beginnings: dict[str, list[dict[str, Any]]] = {}
    for sample in table["samples"]:
        beginnings.setdefault(sample["prompt"], []).append(sample)
    samples = []
    for prompt, said in beginnings.items():
        steps = sorted({0, len(said) // 3, 2 * len(said) // 3, len(said) - 1})
        rows = [(f"{said[place]['step']:,}", verbatim(said[place]["text"])) for place in steps]
        samples += [verbatim(prompt) + " …", say.table((("step", "步"), ("it went on", "续写")), rows, named=2)]
    return [
        say("## Training", "## 训练"),
        course(table, "pretrain", say),
        say(
            "![training and validation loss over tokens](your-text.svg)",
            "![训练与验证损失随词元数的变化](your-text.svg)",
        ),
        losses(table["curves"]["pretrain"], say),
        say(
            "Red: training, the mean of neighbouring steps. Blue: validation.",
            "红：训练，为相邻若干步的均值；蓝：验证。",
        ),
        say("Samples on the way, temperature 0.7, verbatim:", "途中的样本，温度 0.7，原样照录："),
        *samples,
    ]


def conversations(table: dict[str, Any], say: Words) -> list[str]:
    """Fine-tuning, and answers before and after it."""
    asked: dict[str, list[dict[str, Any]]] = {}
    for sample in table["before_and_after"]:
        asked.setdefault(sample["prompt"], []).append(sample)
    rows = [
        tuple(
            verbatim(words)
            for words in (question[-ANSWER_CHARACTERS:], told[0]["text"], told[-1]["text"], told[0].get("wanted", ""))
        )
        for question, told in list(asked.items())[:ANSWERS_SHOWN]
    ]
    heads = (("question", "问题"), ("before", "之前"), ("after", "之后"), ("wanted", "参考"))
    return [
        say("## Conversations", "## 对话"),
        course(table, "finetune", say),
        losses(table["curves"]["finetune"], say),
        say("Held-out questions before and after, greedy:", "留出的问题，之前与之后，贪心解码："),
        say.table(heads, rows, named=4),
    ]


def evaluation(table: dict[str, Any], say: Words) -> list[str]:
    """On the test side: text, then answers beside baselines without a model."""
    found = table["evaluation"]
    judged = [
        (
            language,
            f"{one['documents']:,}",
            f"{one['tokens']:,}",
            f"{one['loss']:.3f}",
            f"{one['perplexity']:,.1f}",
            f"{one['bits_per_byte']:.3f}",
        )
        for language, one in found["language_model"].items()
    ]
    names = list(found["answers"][0]["baselines"])
    answers = [
        (
            one["language"],
            f"{one['n']:,}",
            f"{100 * one['exact_match']:.1f} ± {100 * one['exact_match_error']:.1f}",
            f"{100 * one['f1']:.1f} ± {100 * one['f1_error']:.1f}",
            *(
                f"{100 * one['baselines'][name]['exact_match']:.1f} / {100 * one['baselines'][name]['f1']:.1f}"
                for name in names
            ),
        )
        for one in found["answers"]
    ]
    heads = [("language", "语言"), ("n", "n"), ("exact match %", "完全匹配 %"), ("F1 %", "F1 %")]
    return [
        say("## Evaluation", "## 评估"),
        say("Test documents that neither tokenizer nor training saw:", "分词器和训练都没有见过的测试文档："),
        say.table(
            (
                ("language", "语言"),
                ("documents", "文档"),
                ("tokens", "词元"),
                ("loss", "损失"),
                ("perplexity", "困惑度"),
                ("bits per byte", "每字节比特"),
            ),
            judged,
        ),
        say(
            "Test conversations, the last answer asked for, greedy; beside it baselines that need no model "
            "(exact match / F1 %). ± is one standard error.",
            "测试对话，问最后一个回答，贪心解码；旁边是不需要模型的基线（完全匹配 / F1 %）。± 为一个标准误。",
        ),
        say.table([*heads, *((name, name) for name in names)], answers),
    ]


def client(table: dict[str, Any], say: Words) -> list[str]:
    """What the served model said to the official client."""
    rows = [
        (
            one["kind"],
            verbatim(one["prompt"]),
            verbatim(one["answer"]),
            one["tokens"],
            f"`{one['finish_reason']}`",
            one["streamed_pieces"],
            say("yes", "是") if one["stream_is_equal"] else say("no", "否"),
        )
        for one in table["client"]
    ]
    heads = (
        ("kind", "类型"),
        ("asked", "提问"),
        ("answer", "回答"),
        ("tokens", "词元"),
        ("ended by", "结束"),
        ("pieces streamed", "流式段数"),
        ("stream is equal", "流式一致"),
    )
    return [
        say("## The served model, asked", "## 向服务中的模型提问"),
        say(
            "`danlu serve` on the exported folder, asked with the official `openai` client, greedy, each question\n"
            "whole and as a stream:",
            "对导出的目录运行 `danlu serve`，用官方 `openai` 客户端提问，贪心解码，\n"
            "每个问题各问一次完整的和一次流式的：",
        ),
        say.table(heads, rows, named=3),
    ]


def times(table: dict[str, Any], say: Words) -> list[str]:
    """How long each stage took."""
    rows = [(f"`{name}`", minutes(stage["seconds"])) for name, stage in table["stages"].items()]
    return [say("## Time", "## 用时"), say.table((("stage", "阶段"), ("time", "用时")), rows)]
