"""danlu · 丹炉: from raw text to your own large language model.

`danlu.run(recipe)`, `danlu.load(folder)`, `danlu.generate(folder, prompt)` and `danlu.Recipe` are the whole surface for
Python; each is imported when first used, so that `import danlu` stays quick and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from danlu.convert import Loaded, load
    from danlu.recipe import Recipe
    from danlu.running import run

__version__ = "0.1.0"
__all__ = ["Recipe", "__version__", "generate", "load", "run"]


def __getattr__(name: str) -> Any:
    """Import `run`, `Recipe` and `load` when they are first asked for."""
    if name == "run":
        from danlu import running

        return running.run
    if name == "Recipe":
        from danlu import recipe

        return recipe.Recipe
    if name == "load":
        from danlu import convert

        return convert.load
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")


def generate(
    model: Path | str | Loaded, prompt: str | list[dict[str, str]], *, max_tokens: int = 128, **sampling: Any
) -> str:
    """Continue a text, or answer a list of chat messages; returns the new text only.

    `model` is a folder or what `load` returned; `sampling` are the fields of `infer.sampling.Sampling`
    (`temperature=0` decodes greedily, which is the default here).
    """
    from danlu.commands.generate import generate as answer

    return answer(model, prompt, max_tokens=max_tokens, **sampling)
