"""Llama (https://arxiv.org/abs/2302.13971): rotary positions, grouped key-value heads, no biases, no QK-norm.

In: its `config.json`. Out: `FAMILY`, read by the table in `families`. Also what Mistral-like files are saved as.
Llama 3's stretched rotary positions are refused, because danlu does not compute them yet.
"""

from __future__ import annotations

from danlu.convert.families.family import TABLES, Family, foreign_name, read_sizes, write_sizes

FAMILY = Family(
    architecture="LlamaForCausalLM",
    model_type="llama",
    holds=lambda config: config.position == "rope" and not config.attention_bias and not config.qk_norm,
    read=lambda values, where: read_sizes(values, where, fixed={"attention_bias": False, "mlp_bias": False}),
    write=lambda config: write_sizes(config, attention_bias=False, mlp_bias=False),
    foreign_name=foreign_name,
    ignored=TABLES,
)
