"""Our sides of the benchmarks still run: what they measure changes with the code they call."""

from __future__ import annotations

import json

import numpy as np
import torch

from tests.docs.pages import benchmark

TINY = {"width": 32, "layers": 1, "heads": 2, "mlp": 64, "vocabulary": 128, "length": 32, "rows": 2}


def test_our_side_of_training_makes_steps():
    steps = []

    def drive(step):
        steps.extend(step().loss for _ in range(3))

    benchmark("training_side").danlu(TINY, "float32", drive)
    assert len(steps) == 3
    assert np.isfinite(steps).all()


def test_held_out_pieces_are_judged_whole_and_by_halves_that_share_none(tmp_path):
    """A model that gives every id the same chance needs log2 of the vocabulary for each id but the first."""
    side = benchmark("learning_side")
    random = np.random.default_rng(0)
    pieces = [random.integers(0, 32, size).tolist() for size in (2, 3, 256, 257, 258, 700, 513, 5)]
    spelt = list(range(1, 33))
    (tmp_path / side.HELD_OUT).write_text(json.dumps({"token_bytes": spelt, "pieces": pieces}))
    found = side.judged(tmp_path, lambda ids: torch.zeros(*ids.shape, 32))
    bits, size = ([score(piece[1:]) for piece in pieces] for score in (lambda ids: 5 * len(ids), lambda ids: sum(ids)))
    size = [total + len(piece) - 1 for total, piece in zip(size, pieces, strict=True)]
    np.testing.assert_allclose(found["bits"], bits[1::2])
    np.testing.assert_allclose(found["bits_per_byte"], sum(bits[1::2]) / sum(size[1::2]), rtol=1e-6)
    np.testing.assert_allclose(found["bits_per_byte_to_choose_by"], sum(bits[::2]) / sum(size[::2]), rtol=1e-6)


def test_the_dials_fit_finds_a_rule_that_it_was_given():
    """Runs whose loss is a bowl around known powers of tokens and width."""
    rule = {"batch": (3000.0, 0.4, 0.1), "rate": (5e-3, -0.1, -0.7)}
    dial = benchmark("dial")

    def lowest(name, tokens, width):
        value, by_tokens, by_width = rule[name]
        return value * (tokens / dial.CENTRE["tokens"]) ** by_tokens * (width / dial.CENTRE["width"]) ** by_width

    runs = [
        {
            "width": width,
            "layers": 4,
            "tokens": tokens,
            "batch_tokens": batch,
            "learning_rate": rate,
            "bits_per_byte": 2
            + 0.02 * np.log(batch / lowest("batch", tokens, width)) ** 2
            + 0.05 * np.log(rate / lowest("rate", tokens, width)) ** 2,
        }
        for width in (96, 288)
        for tokens in (5e5, 4e6)
        for batch in (1024, 4096, 8192)
        for rate in (2e-3, 4e-3, 8e-3)
    ]
    found = dial.fit(runs)
    assert found["determined"]
    for name, wanted in rule.items():
        np.testing.assert_allclose(list(found[name].values()), wanted, rtol=1e-6)
        np.testing.assert_allclose(list(found[f"{name}_bounds"].values()), np.stack([wanted, wanted], 1), rtol=1e-5)
    assert found["missed"] < 1e-9


def test_every_variant_of_the_ablation_has_a_chinese_name():
    assert list(benchmark("learning").VARIANTS) == list(benchmark("learning_page").CHINESE)
