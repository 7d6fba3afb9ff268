"""Qwen3 (https://arxiv.org/abs/2505.09388): Llama's parts with a norm on each head's query and key.

In: its `config.json`. Out: `FAMILY`, read by the table in `families`. Sliding windows and biases are refused.
"""

from __future__ import annotations

from danlu.convert.families.family import TABLES, Family, foreign_name, read_sizes, write_sizes

FAMILY = Family(
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    holds=lambda config: config.position == "rope" and config.qk_norm and not config.attention_bias,
    read=lambda values, where: read_sizes(
        values, where, fixed={"use_sliding_window": False, "attention_bias": False}, qk_norm=True
    ),
    write=lambda config: write_sizes(config, use_sliding_window=False, attention_bias=False),
    foreign_name=foreign_name,
    ignored=TABLES,
)
