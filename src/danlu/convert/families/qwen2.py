"""Qwen2 and Qwen2.5 (https://arxiv.org/abs/2407.10671): Llama's parts with biases on query, key and value.

In: its `config.json`. Out: `FAMILY`, read by the table in `families`. Sliding windows are refused.
"""

from __future__ import annotations

from danlu.convert.families.family import TABLES, Family, foreign_name, read_sizes, write_sizes

FAMILY = Family(
    architecture="Qwen2ForCausalLM",
    model_type="qwen2",
    holds=lambda config: config.position == "rope" and config.attention_bias and not config.qk_norm,
    read=lambda values, where: read_sizes(values, where, fixed={"use_sliding_window": False}, attention_bias=True),
    write=lambda config: write_sizes(config, use_sliding_window=False),
    foreign_name=foreign_name,
    ignored=TABLES,
)
