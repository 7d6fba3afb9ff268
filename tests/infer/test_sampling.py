"""Sampling: filters equal transformers', the random number is a pure function, parameters mean what they say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.infer.sampling import Sampling, adjusted, choose, distribution, draw, uniform

TOLERANCE = 1e-9


def row(seed: int, size: int = 50) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"top_k": 7}, "TopKLogitsWarper", 7),
        ({"top_p": 0.8}, "TopPLogitsWarper", 0.8),
        ({"top_p": 0.05}, "TopPLogitsWarper", 0.05),
        ({"min_p": 0.1}, "MinPLogitsWarper", 0.1),
        ({"temperature": 0.6}, "TemperatureLogitsWarper", 0.6),
    ],
)
def test_filters_equal_those_of_transformers(seed, changes, name, value):
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits = row(seed).double()
    theirs = getattr(processors, name)(value)(torch.zeros(1, 1, dtype=torch.long), logits[None])[0].softmax(-1)
    ours = distribution(logits, Sampling(**changes))
    assert torch.allclose(ours, theirs, atol=TOLERANCE)


def test_repetition_penalty_equals_that_of_transformers():
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits, prompt, generated = row(3).double(), [1, 2, 3], [3, 7]
    ids = torch.tensor([prompt + generated])
    theirs = processors.RepetitionPenaltyLogitsProcessor(1.3)(ids, logits[None].clone())[0]
    assert torch.allclose(adjusted(logits, Sampling(repetition_penalty=1.3), prompt, generated), theirs)


def test_presence_and_frequency_count_generated_tokens_only():
    changed = adjusted(torch.zeros(6), Sampling(presence_penalty=0.5, frequency_penalty=0.25), [0, 1], [1, 2, 2])
    assert changed.tolist() == [0, -0.75, -1.0, 0, 0, 0]


def test_logit_bias_is_added_and_can_decide():
    logits = torch.tensor([0.0, 5.0, 0.0])
    assert choose(logits, Sampling(temperature=0, logit_bias=((2, 100.0),)), [0], [], 0).token == 2
    assert choose(logits, Sampling(temperature=0, logit_bias=((1, -100.0),)), [0], [], 0).token != 1


def test_logprobs_are_of_the_models_own_distribution():
    logits = row(1)
    choice = choose(logits, Sampling(temperature=0.3, top_k=1, logprobs=3, presence_penalty=1), [0], [], 0)
    expected = logits.double().log_softmax(-1)
    assert choice.logprob == pytest.approx(float(expected[choice.token]))
    assert [token for token, _ in choice.top] == expected.topk(3).indices.tolist()


def test_temperature_zero_is_the_argmax_and_tiny_temperatures_are_sound():
    logits = row(2) * 100
    best = int(logits.argmax())
    for temperature in (0.0, 1e-6, 5e-324):
        assert choose(logits, Sampling(temperature=temperature), [0], [], 1).token == best


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=20),
    st.floats(0, 1),
    st.integers(0, 30),
    st.floats(0, 1),
    st.floats(0.01, 2),
    st.floats(0, 1, exclude_max=True),
)
def test_there_is_always_a_token_and_it_is_one_that_the_filters_kept(values, top_p, top_k, min_p, temperature, number):
    probabilities = distribution(torch.tensor(values), Sampling(temperature, top_p, top_k, min_p))
    assert float(probabilities.sum()) == pytest.approx(1)
    assert probabilities[draw(probabilities, number)] > 0
    if top_k:
        assert int((probabilities > 0).sum()) <= top_k


def test_the_random_number_is_a_pure_function_and_uniform():
    numbers = torch.tensor([uniform(seed, position) for seed in range(40) for position in range(50)])
    assert uniform(7, 3) == uniform(7, 3)
    assert len(set(numbers.tolist())) == 2000
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / 2000)
    assert uniform(2**63 - 1, 0) != uniform(-(2**63), 0) != uniform(2**70, 0)


def test_draws_follow_the_probabilities():
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    draws = torch.tensor([draw(probabilities, uniform(0, position)) for position in range(4000)])
    shares = draws.bincount(minlength=4) / 4000
    assert shares[1] == 0
    assert torch.allclose(shares.double(), probabilities, atol=0.035)


@pytest.mark.parametrize(
    "values", [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 1.1}, {"top_k": -1}, {"max_tokens": -1}]
)
def test_impossible_values_are_refused_by_name(values):
    with pytest.raises(UserError, match=next(iter(values))):
        Sampling(**values)
