"""Our sides of the benchmarks still run: what they measure changes with the code they call."""

from __future__ import annotations

import numpy as np

from tests.docs.pages import benchmark

TINY = {"width": 32, "layers": 1, "heads": 2, "mlp": 64, "vocabulary": 128, "length": 32, "rows": 2}


def test_our_side_of_training_makes_steps():
    steps = []

    def drive(step):
        steps.extend(step().loss for _ in range(3))

    benchmark("training_side").danlu(TINY, "float32", drive)
    assert len(steps) == 3
    assert np.isfinite(steps).all()


def test_the_halves_of_what_is_held_out_share_no_row():
    halves = benchmark("learning_side").halves(101)
    assert sorted(np.concatenate(list(halves.values())).tolist()) == list(range(101))
    assert min(len(half) for half in halves.values()) >= 40


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
    assert found["missed"] < 1e-9
