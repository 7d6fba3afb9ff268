"""Weights by their own names: what wrappers add goes, what does not fit is named."""

from __future__ import annotations

import pytest
import torch

from danlu.model.weights import load_state, plain_name, plain_state
from tests.model import material


def test_names_without_wrappers():
    assert plain_name("module._orig_mod.blocks.0.mlp.up.weight") == "blocks.0.mlp.up.weight"
    assert plain_name("blocks.0._orig_mod.mlp.up.weight") == "blocks.0.mlp.up.weight"


def test_state_goes_from_one_model_to_another():
    one, other = material.model(0), material.model(1)
    load_state(other, plain_state(one))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_what_does_not_fit_is_named():
    state = plain_state(material.model())
    state["blocks.7.extra"] = state.pop("norm.weight")
    state["output.weight"] = state["output.weight"][:5]
    with pytest.raises(
        ValueError, match=r"norm\.weight is missing.*blocks\.7\.extra is not.*output\.weight has shape \(5,"
    ):
        load_state(material.model(), state)
