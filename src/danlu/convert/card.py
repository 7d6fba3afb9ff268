"""The model card: the `README.md` of a model folder, for people and for model hubs.

In: a title, the model's config, facts and numbers of its making. Out: Markdown with the header that hubs read. Called
by the stages that make models. States only what it is given; reads no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from danlu.base import console
from danlu.convert.families import exportable, family_for
from danlu.model.config import ModelConfig


def model_card(
    title: str,
    config: ModelConfig,
    facts: Mapping[str, object],
    *,
    about: str = "",
    languages: Sequence[str] = ("zh", "en"),
    chat: bool = False,
) -> str:
    """Markdown with a heading, the architecture, `facts` as a table, and how to use the folder."""
    reason = exportable(config)
    header = ["---", "language:", *(f"- {language}" for language in languages), "pipeline_tag: text-generation"]
    header += ["library_name: transformers"] if reason is None else []
    rows = {
        "Class": family_for(config).architecture,
        "Parameters": f"{config.parameters().total:,} ({console.size(config.parameters().total, '').strip()})",
        "Layers × width": f"{config.layers} × {config.width}",
        "Heads (query / key-value)": f"{config.heads} / {config.kv_heads}",
        "Vocabulary rows": f"{config.vocabulary_size:,}",
        "Context": f"{config.context_length:,} tokens",
        **facts,
    }
    table = ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows.items())]
    lines = [*header, "tags:", "- danlu", "---", "", f"# {title}", "", *([about, ""] if about else []), *table, ""]
    return "\n".join([*lines, *_usage(reason, chat)]) + "\n"


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _usage(reason: str | None, chat: bool) -> list[str]:
    ask = "danlu chat ." if chat else """python -c 'import danlu; print(danlu.generate(".", "…", max_tokens=64))'"""
    lines = ["## Use", "", "```", ask, "danlu serve .", "```", ""]
    if reason is not None:
        return [*lines, f"Only danlu reads this folder: {reason}."]
    return [
        *lines,
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained(".")',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        "```",
    ]
