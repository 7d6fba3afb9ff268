"""Model folders in and out: `load`, `save`, `model_card`, `exportable`, `Loaded`.

`exportable` is asked when a recipe is read and must not import torch, so the rest is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from danlu.convert.families import exportable

if TYPE_CHECKING:
    from danlu.convert.card import model_card
    from danlu.convert.reader import Loaded, load
    from danlu.convert.writer import save

__all__ = ["Loaded", "exportable", "load", "model_card", "save"]

_HOMES = {"load": "reader", "Loaded": "reader", "save": "writer", "model_card": "card"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
