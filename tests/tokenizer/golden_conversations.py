"""Fifty conversations with their text and ids, fixed: the same through training, serving and every exported folder.

In: nothing. Out: `golden_cases()`, read from `golden/conversations.jsonl`; ids by the small tokenizer in `golden/`.
Text and ids there were made by transformers' `apply_chat_template` from the exported folder, not by danlu's own
renderer. Running this file as a program makes them anew, which only a wanted change of the template justifies:
`python -m tests.tokenizer.golden_conversations`
"""

from __future__ import annotations

import json
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from danlu.base.records import Message, ToolCall
from danlu.tokenizer.chat import JINJA
from danlu.tokenizer.tokenizer import Tokenizer

FOLDER = Path(__file__).parent / "golden"

SYSTEMS = ("You are a helpful assistant.", "你是一个乐于助人的助手。", "", "Answer briefly.\n\n- be kind\n- be right\n")
QUESTIONS = (
    "Hello!",
    "你好，请介绍一下北京。",
    "What is 12 + 30?",
    "Who went to the park on Monday? 谁去了公园？",
    " \n",
)
ANSWERS = (
    "Hi, how can I help?",
    "北京是中国的首都。",
    "42",
    "",
    "小明 went to the park. 😀\n\n```python\nprint('hi')\n```",
)
THOUGHTS = ("The user says hello.", "先想一想：\n12 + 30 = 42。", "a < b && c > d")
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a city: 城市的天气 <today>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "add", "description": "a + b & more", "parameters": {}}},
)
CALLS = (
    ToolCall("weather", '{"city": "北京"}'),
    ToolCall("add", '{"a": 12,"b":30}'),
    ToolCall("add", "{}"),
)


def conversations() -> list[tuple[str, tuple[Message, ...], tuple[dict[str, Any], ...]]]:
    """Fifty times (kind, messages, tools)."""
    questions, answers, thoughts = cycle(QUESTIONS), cycle(ANSWERS), cycle(THOUGHTS)

    def ask() -> Message:
        return Message("user", next(questions))

    def say(**more: Any) -> Message:
        return Message("assistant", next(answers), **more)

    cases: list[tuple[str, tuple[Message, ...], tuple[dict[str, Any], ...]]] = []
    cases += [("single", (ask(), say()), ()) for _ in range(8)]
    cases += [("system", (Message("system", system), ask(), say()), ()) for system in islice(cycle(SYSTEMS), 8)]
    cases += [("multi-turn", tuple(turn for _ in range(n) for turn in (ask(), say())), ()) for n in range(2, 8)]
    cases += [("open", (Message("system", SYSTEMS[n % 4]), ask(), say(), ask()), ()) for n in range(4)]
    cases += [
        ("empty", (Message("user", ""), Message("assistant", "")), ()),
        ("system only", (Message("system", SYSTEMS[0]),), ()),
    ]
    cases += [("thinking", (ask(), say(reasoning=next(thoughts))), ()) for _ in range(6)]
    cases += [("thinking twice", (ask(), say(reasoning=next(thoughts)), ask(), say(reasoning=next(thoughts))), ())]
    cases += [("tools on offer", (ask(), say()), TOOLS[:n]) for n in (1, 2)]
    cases += [("tools and system", (Message("system", system), ask(), say()), TOOLS) for system in SYSTEMS]
    for number in range(9):
        calls = tuple(islice(cycle(CALLS), number % 3, number % 3 + 1 + number % 2))
        content = "" if number % 3 else "Let me look."
        reasoning = THOUGHTS[number % 3] if number % 4 == 1 else ""
        results = tuple(Message("tool", '{"degrees": 21}' if n == 0 else "42") for n in range(len(calls)))
        turns = (ask(), Message("assistant", content, reasoning, calls), *results, say())
        cases.append(("tool calls", (Message("system", SYSTEMS[number % 4]), *turns) if number % 2 else turns, TOOLS))
    return cases


def golden_cases() -> list[dict[str, Any]]:
    """The stored cases: `kind, messages, tools, text, ids, prompt_ids` (with the generation prompt)."""
    with (FOLDER / "conversations.jsonl").open("rb") as file:
        return [json.loads(line) for line in file]


def golden_tokenizer() -> Tokenizer:
    """The stored vocabulary with the present template."""
    stored = Tokenizer.load(FOLDER)
    return Tokenizer(stored.backend, {**stored.settings, "chat_template": JINJA})


def export(folder: Path) -> Path:
    """Write what an exported folder holds of the tokenizer."""
    golden_tokenizer().save(folder, context_length=4096)
    return folder


def main() -> None:
    from transformers import AutoTokenizer

    if not (FOLDER / "tokenizer.json").exists():
        from danlu.tokenizer.train import train
        from tests.small import CHINESE, CODE, ENGLISH

        train([ENGLISH, CHINESE, CODE] * 10, vocabulary_size=384).save(FOLDER)
    golden_tokenizer().save(FOLDER)
    foreign = AutoTokenizer.from_pretrained(FOLDER)
    lines = []
    for kind, messages, tools in conversations():
        record = {"kind": kind, "messages": [message.to_dict() for message in messages], "tools": list(tools)}
        told = {"conversation": record["messages"], "tools": record["tools"] or None}
        record["text"] = foreign.apply_chat_template(**told, tokenize=False)
        record["ids"] = foreign(record["text"], add_special_tokens=False)["input_ids"]
        prompt = foreign.apply_chat_template(**told, tokenize=False, add_generation_prompt=True)
        record["prompt_ids"] = foreign(prompt, add_special_tokens=False)["input_ids"]
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    (FOLDER / "conversations.jsonl").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
