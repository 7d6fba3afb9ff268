"""`danlu.generate`: one prompt in, the new text out, for Python.

In: a model folder or what `danlu.load` returned; a text, or chat messages. Out: a string. Called by the package's
front door. One sequence at a time; for many at once use `infer.engine`, for a server `danlu serve`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.base.errors import ConfigError
from danlu.base.records import message_from_dict
from danlu.convert import Loaded, load
from danlu.infer.generate import generate as continue_ids
from danlu.infer.sampling import Sampling
from danlu.parallel.device import say_left_idle


def generate(
    model: Path | str | Loaded, prompt: str | list[dict[str, str]], *, max_tokens: int, **sampling: Any
) -> str:
    """Continue a text, or answer chat messages (`[{"role": "user", "content": …}]`); greedy unless told otherwise."""
    if isinstance(model, Loaded):
        loaded = model
    else:
        say_left_idle("danlu.generate", "to use it, pass danlu.load(folder, device='cuda') as the model")
        loaded = load(Path(model))
    if loaded.tokenizer is None:
        raise ConfigError("the model folder has no tokenizer", where=loaded.folder)
    if isinstance(prompt, str):
        start = [] if loaded.tokenizer.bos_id is None else [loaded.tokenizer.bos_id]
        ids = start + loaded.tokenizer.encode(prompt)
    elif loaded.template is None:
        raise ConfigError("the model folder has no chat template", where=loaded.folder, remedy="give a text instead")
    else:
        ids = loaded.template.prompt([message_from_dict(message) for message in prompt])
    settings = Sampling(
        **{"temperature": 0.0, "stop_ids": loaded.tokenizer.stop_ids, "max_tokens": max_tokens, **sampling}
    )
    new = continue_ids(loaded.model, ids, settings, vocabulary_limit=loaded.tokenizer.size)
    decoder = loaded.tokenizer.stream()
    decoder.push(ids[-1])  # with some foreign tokenizers a first space belongs to the text unless it begins one
    return "".join([*map(decoder.push, new), decoder.finish()])
