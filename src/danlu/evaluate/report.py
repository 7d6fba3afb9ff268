"""Marks gathered into the evaluation: by language and task, beside the baselines, as a table and as JSON.

In: marked answers of the model and of each baseline, scores of texts. Out: plain dictionaries that become
`evaluation.json`, and rows for the console. Called by `stages.evaluate`; `commands.report` reads the JSON. Computes
means only, weighted by cases; every mean carries its n and its standard error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from danlu.base import console
from danlu.evaluate.metrics import mean

if TYPE_CHECKING:
    from danlu.evaluate.answers import Marked
    from danlu.evaluate.score import Score

CORE = ("who", "where", "when", "mood", "translate")
"""Tasks that are answered from the prompt; they are pooled into the one number by which a model is judged."""
POOLED = "core"
LANGUAGE_NAMES = {"zh": "中文", "en": "English"}
LEAKED = "in\u00a0training text"
"""Title of the column that says of how many cases a long run of words stands in the training text."""


def group(marked: Sequence[Marked]) -> dict[tuple[str, str], list[Marked]]:
    """Marked answers by (language, task), core tasks first and as they stand in `CORE`, then the others by name."""
    groups: dict[tuple[str, str], list[Marked]] = {}
    for one in marked:
        groups.setdefault((one.language, one.task), []).append(one)
    rank = {task: index for index, task in enumerate(CORE)}
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], rank.get(item[0][1], len(CORE)), item[0][1])))


def summarise(marked: Sequence[Marked]) -> dict[str, Any]:
    """n, exact match and F1 with their standard errors."""
    exact, f1 = mean([one.exact_match for one in marked]), mean([one.f1 for one in marked])
    return {
        "n": len(marked),
        "exact_match": exact.value,
        "exact_match_error": exact.error,
        "f1": f1.value,
        "f1_error": f1.error,
    }


def tabulate(
    marked: Sequence[Marked], baselines: Mapping[str, Sequence[Marked]], leaked: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """One row for each language and task, before them one row a language that pools the core tasks.

    `baselines`: name -> marks on the same conversations; each row has their summaries under the same names. `leaked`:
    ids of the conversations found in the training text; None where nobody looked.
    """
    rows = []
    theirs = {name: group(answers) for name, answers in baselines.items()}
    ours = group(marked)
    for language in dict.fromkeys(language for language, _ in ours):
        tasks = [task for spoken, task in ours if spoken == language]
        pools = {POOLED: [task for task in tasks if task in CORE]} if set(tasks) & set(CORE) else {}
        for label, members in [*pools.items(), *((task, [task]) for task in tasks)]:
            keys = [(language, task) for task in members]
            rows.append(
                {
                    "language": language,
                    "task": label,
                    **summarise([one for key in keys for one in ours[key]]),
                    "leaked": None if leaked is None else sum(one.id in leaked for key in keys for one in ours[key]),
                    "baselines": {
                        name: summarise([one for key in keys for one in table[key]]) for name, table in theirs.items()
                    },
                }
            )
    return rows


def language_model(scores: Mapping[str, Sequence[Score]]) -> dict[str, dict[str, Any]]:
    """Loss, perplexity and bits per byte by language, and under `all` over everything; weighted by tokens or bytes.

    `unknown` counts the tokens that stand for what the vocabulary cannot write; where there are any, the bits per byte
    are None.
    """
    table = {}
    everything = [score for part in scores.values() for score in part]
    for name, part in [*sorted(scores.items()), ("all", everything)]:
        total = reduce(add, part) if part else None
        if total is not None and total.tokens:
            table[name] = {
                "documents": len(part),
                "tokens": total.tokens,
                "unknown": total.unknown,
                "bytes": total.bytes,
                "loss": total.loss,
                "perplexity": total.perplexity,
                "bits_per_byte": total.bits_per_byte,
            }
    return table


def bits(row: Mapping[str, Any]) -> Any:
    """A row's bits per byte; a dash where they are not defined."""
    return console.Quantity("–", None) if row["bits_per_byte"] is None else row["bits_per_byte"]


def undefined_bits(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence for each row of the language model that has no bits per byte because of unknown tokens."""
    return [
        f"{LANGUAGE_NAMES.get(name, name)}: bits per byte are not defined where {row['unknown']:,} of "
        f"{row['tokens']:,} tokens are unknown to the vocabulary: the model need not tell what they stand for"
        for name, row in table.items()
        if row.get("unknown")
    ]


def percent(value: float, error: float | None = None) -> str:
    """`0.813, 0.012` → `81.3 ±1.2`, in one piece that no table breaks."""
    spread = f"\u00a0±{100 * error:.1f}" if error is not None else ""
    return console.in_percent(value, f"{100 * value:.1f}{spread}", **({} if error is None else {"error": 100 * error}))


def leaks(row: Mapping[str, Any]) -> Any:
    """How many of a row's cases leaked; a dash where nobody looked."""
    return "–" if row.get("leaked") is None else row["leaked"]


def answer_columns(baselines: Sequence[str]) -> list[str]:
    return ["language", "task", "n", LEAKED, "exact\u00a0match\u00a0%", "F1\u00a0%", *baselines]


def answer_rows(rows: Sequence[Mapping[str, Any]], baselines: Sequence[str]) -> list[list[Any]]:
    """Rows of `tabulate` for a table: how many leaked, the marks with their errors, each baseline's exact match."""
    return [
        [
            LANGUAGE_NAMES.get(row["language"], row["language"]),
            row["task"] or "–",
            row["n"],
            leaks(row),
            percent(row["exact_match"], row["exact_match_error"]),
            percent(row["f1"], row["f1_error"]),
            *(percent(row["baselines"][name]["exact_match"]) for name in baselines),
        ]
        for row in rows
    ]
