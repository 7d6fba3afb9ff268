"""The shapes in which the field keeps records, and what each becomes: a Document or a Conversation.

In: one dictionary from a JSON line, an array or a Parquet row, with the id and source it gets unless it brings its own.
Out: a record; `Misshapen` says what is wrong with it. Called by `readers`. Known: `text`; `messages` (OpenAI),
`conversations` (ShareGPT); `instruction`, `input`, `output`, `system`, `history` (Alpaca) or `instances`
(Self-Instruct); `prompt` with `replies` (OpenAssistant's trees). Judges form, not quality. A list of plain texts,
`turns`, is not read: in some sets two people speak in it, in others (MT-Bench) all are questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from danlu.base.records import Conversation, Document, Message, Role, Split, ToolCall
from danlu.corpus.units import Record, told
from danlu.corpus.values import loads

ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
}
CALL_ROLES = ("function_call", "tool_call")
"""ShareGPT's roles of an assistant whose content is nothing but a call."""
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
MAX_TASK_CHARACTERS = 40
MAX_TOOL_DEPTH = 100
"""Objects and lists in one another. Descriptions of functions need ten; what writes a record wraps them deeper, and the
JSON writer ends at 254."""
LANGUAGE_NAMES = {"zh": "zh", "cn": "zh", "chinese": "zh", "en": "en", "english": "en"}
SCRIPTS = {"hant": "Hant", "hans": "Hans", "tw": "Hant", "hk": "Hant", "mo": "Hant"}
"""Of Chinese; of other regions a label says too little."""


class Misshapen(Exception):
    """The record cannot be used; `reason` is a key of REASONS, `detail` names the field and what was found."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def to_record(fields: Any, made_id: str, path: str, text_field: str = "text") -> Record:
    """A record from one dictionary; its own `id`, `source`, `language`, `split`, `task` and `tools` are honoured.

    A source named in the record stands behind the path of the file, because both are needed to walk back to it.
    """
    if not isinstance(fields, Mapping):
        raise Misshapen("unknown_shape", f"a {type(fields).__name__} where an object is needed")
    own = _string(fields, "source")
    marks: dict[str, Any] = {
        "id": _identity(fields, made_id),
        "source": f"{path}: {own}" if own else path,
        "language": _language(fields),
        "split": _split(fields),
    }
    for key in ("messages", "conversations", "conversation"):
        if fields.get(key) is not None:
            turns = _turns(fields[key], key)
            return _conversation(fields, [*_system(fields, turns), *turns], marks)
    if fields.get("instruction") is not None and fields.get("output") is not None:
        return _conversation(fields, _alpaca(fields), marks)
    if fields.get("instruction") is not None and fields.get("instances") is not None:
        return _conversation(fields, _instances(fields), marks)
    if isinstance(fields.get("prompt"), Mapping) and "replies" in fields["prompt"]:
        return _conversation(fields, _branch(fields["prompt"]), marks)
    text = fields.get(text_field)
    if text is None:
        known = f"{text_field}, messages, conversations, instruction with output or instances, prompt with replies"
        raise Misshapen("unknown_shape", f"fields {', '.join(map(str, list(fields)[:8]))}; known: {known}")
    if not isinstance(text, str):
        raise Misshapen("bad_field", f"{text_field}: a {type(text).__name__} where text is needed")
    return Document(text=text, **marks)


def _string(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Misshapen("bad_field", f"{key}: a {type(value).__name__} where text is needed")
    return value


def _identity(fields: Mapping[str, Any], made_id: str) -> str:
    value = fields.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{made_id}:{value}"  # a row number of some table is not unique among files
    return value if isinstance(value, str) and value.strip() else made_id


def _language(fields: Mapping[str, Any]) -> str:
    """`zh`, `en`, another code as it stands, or nothing; `zh-CN` and `Chinese` are `zh`, and `zh-TW` is `zh-Hant`."""
    value = _string(fields, "language").strip().lower()
    name, *regions = value.replace("_", "-").split("-")
    known = LANGUAGE_NAMES.get(name, value)
    script = next((SCRIPTS[region] for region in regions if region in SCRIPTS), "") if known == "zh" else ""
    return f"{known}-{script}" if script else known


def _split(fields: Mapping[str, Any]) -> Split | None:
    value = _string(fields, "split").strip().lower()
    if value and value not in SPLIT_NAMES:
        raise Misshapen("bad_field", f"split: {told(value)}; known: {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES.get(value)


def _conversation(fields: Mapping[str, Any], turns: Sequence[Message], marks: Mapping[str, Any]) -> Conversation:
    if not any(turn.role == "assistant" for turn in turns):
        raise Misshapen("no_answer", f"{len(turns)} turns, none of the assistant")
    return Conversation(messages=tuple(turns), task=_task(fields), tools=_tools(fields), **marks)


def _task(fields: Mapping[str, Any]) -> str:
    """The name of a kind of task, by which the evaluation groups. A field that describes one errand at length, as
    CrossWOZ has it, names no kind: every conversation would be a group of its own."""
    value = _string(fields, "task").strip()
    return value if len(value) <= MAX_TASK_CHARACTERS and value.isprintable() else ""


def _tools(fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The functions on offer: a list, or the JSON text of one."""
    value = fields.get("tools")
    if isinstance(value, str) and value.strip():
        value = _parsed(value, "tools")
    if value is None or value == "":
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise Misshapen("bad_field", "tools: a list of objects is needed")
    if any(_is_deeper(tool, MAX_TOOL_DEPTH) for tool in value):
        raise Misshapen("bad_field", f"tools: nested more than {MAX_TOOL_DEPTH} deep")
    return tuple(_parsed(_json(tool, "tools"), "tools") for tool in value)


def _is_deeper(value: Any, depth: int) -> bool:
    """True where more objects and lists than `depth` stand in one another."""
    if not isinstance(value, Mapping | list | tuple):
        return False
    return depth == 0 or any(
        _is_deeper(one, depth - 1) for one in (value.values() if isinstance(value, Mapping) else value)
    )


def _json(value: Any, key: str) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError as error:  # a number beyond 64 bits, a key that is no text
        raise Misshapen("bad_field", f"{key}: {error}") from None


def _parsed(text: str, key: str) -> Any:
    try:
        return loads(text.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise Misshapen("bad_field", f"{key}: not valid JSON: {error}") from None


def _system(fields: Mapping[str, Any], turns: Sequence[Message]) -> list[Message]:
    """The `system` field as a turn, unless the turns begin with one of their own."""
    text = _string(fields, "system")
    return [Message("system", text)] if text and not (turns and turns[0].role == "system") else []


def _turns(listed: Any, key: str) -> list[Message]:
    turns = _listed(_parsed(listed, key) if isinstance(listed, str) else listed, key)
    if not turns:
        raise Misshapen("bad_field", f"{key}: no turn in it")
    return [_turn(turn, f"{key}[{number}]") for number, turn in enumerate(turns)]


def _turn(turn: Any, place: str) -> Message:
    """One turn under OpenAI's names (`role`, `content`) or ShareGPT's (`from`, `value`)."""
    if not isinstance(turn, Mapping):
        raise Misshapen("bad_field", f"{place}: a {type(turn).__name__} where a turn is needed")
    named = turn.get("role") if turn.get("role") is not None else turn.get("from")
    spelling = named.strip().lower() if isinstance(named, str) else ""
    role = ROLE_NAMES.get(spelling)
    if role is None:
        raise Misshapen("unknown_role", f"{place}: {told(named)}")
    content = _content(turn.get("content") if "content" in turn else turn.get("value"), place)
    calls = tuple(_call(call, place) for call in _listed(turn.get("tool_calls"), place))
    if spelling in CALL_ROLES:
        parsed = _parsed(content, place)
        calls = tuple(_call(call, place) for call in (parsed if isinstance(parsed, list) else [parsed]))
        content = ""
    reasoning = _string(turn, "reasoning_content") or _string(turn, "reasoning")
    return Message(role, content, reasoning, calls, _is_trainable(turn, place))


def _listed(value: Any, place: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise Misshapen("bad_field", f"{place}: a {type(value).__name__} where a list is needed")
    return value


def _content(value: Any, place: str) -> str:
    """Text, or the text parts of a list; what is not text (an image) cannot be learned from here."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        parts = [part.get("text", part.get("value")) for part in value if isinstance(part, Mapping)]
        if len(parts) == len(value) and all(isinstance(part, str) for part in parts):
            return "".join(parts)
    raise Misshapen("bad_field", f"{place}: content that is not text")


def _call(call: Any, place: str) -> ToolCall:
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise Misshapen("bad_field", f"{place}: a call without the name of a function")
    arguments = inner.get("arguments")
    text = arguments if isinstance(arguments, str) else _json({} if arguments is None else arguments, place)
    identity = call.get("id")
    return ToolCall(inner["name"], text, identity if isinstance(identity, str) else "")


def _is_trainable(turn: Mapping[str, Any], place: str) -> bool:
    """`trainable: false`, and the zero that others write as `weight` or `loss_weight`; nothing between is known."""
    for key in ("trainable", "weight", "loss_weight"):
        value = turn.get(key)
        if value is None:
            continue
        if value not in (0, 1):
            raise Misshapen("bad_field", f"{place}: {key} {told(value)}; 0 and 1 are known")
        return bool(value)
    return True


def _alpaca(fields: Mapping[str, Any]) -> list[Message]:
    """system, history (pairs), instruction with input, output: in that order."""
    turns = [Message("system", text)] if (text := _string(fields, "system")) else []
    for number, pair in enumerate(_listed(fields.get("history"), "history")):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise Misshapen("bad_field", f"history[{number}]: a pair of question and answer is needed")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return [*turns, *_exchange(_string(fields, "instruction"), fields)]


def _exchange(instruction: str, fields: Mapping[str, Any]) -> list[Message]:
    """A question, with its `input` below it, and the `output` that answers it."""
    question = "\n".join(part for part in (instruction, _string(fields, "input")) if part)
    return [Message("user", question), Message("assistant", _string(fields, "output"))]


def _instances(fields: Mapping[str, Any]) -> list[Message]:
    """Self-Instruct's seeds: the same instruction on one input after another."""
    listed = _listed(fields["instances"], "instances")
    if not all(isinstance(one, Mapping) for one in listed):
        raise Misshapen("bad_field", "instances: a list of objects is needed")
    return [turn for one in listed for turn in _exchange(_string(fields, "instruction"), one)]


def _branch(root: Mapping[str, Any]) -> list[Message]:
    """The way through a tree of messages that takes the best reply each time: the lowest `rank`, else the first."""
    turns: list[Message] = []
    node = root
    while True:
        place = f"prompt{'.replies' * len(turns)}"
        turns.append(_turn({"role": node.get("role"), "content": _string(node, "text")}, place))
        replies = [one for one in _listed(node.get("replies"), place) if isinstance(one, Mapping)]
        replies = [one for one in replies if one.get("deleted") is not True]
        if not replies:
            return turns
        node = min(replies, key=_rank)


def _rank(reply: Mapping[str, Any]) -> float:
    """Where people put a reply among its siblings; 0 is best, unranked ones come last and keep their order."""
    rank = reply.get("rank")
    return rank if isinstance(rank, int | float) and not isinstance(rank, bool) and rank == rank else float("inf")
