"""The dial: batch and rate by length and width, within bounds; what the page says wins."""

import dataclasses
import json

import pytest

from danlu.base.artifact import digest
from danlu.base.config import read_settings
from danlu.model.config import PRESETS
from danlu.stages import finetune, pretrain
from danlu.train import dial
from tests.docs.pages import ROOT, benchmark


@pytest.mark.parametrize("size", PRESETS)
def test_longer_runs_have_larger_batches_and_wider_models_lower_rates(size):
    width = PRESETS[size]["width"]
    paces = [dial.pace(width, tokens, 256, "muon") for tokens in (10**6, 10**8, 10**10)]
    batches = [pace.batch_rows for pace in paces]
    assert batches == sorted(set(batches))
    assert dial.pace(2 * width, 10**8, 256, "muon").learning_rate < paces[1].learning_rate


def test_nothing_leaves_the_bounds_and_a_row_is_the_least():
    for width, tokens in ((32, 1), (32, 10**16), (10**5, 1), (10**5, 10**16)):
        pace = dial.pace(width, tokens, 4, "muon")
        assert dial.BATCH_TOKENS.least <= pace.batch_rows * 4 <= dial.BATCH_TOKENS.most
        assert dial.RATE.least <= pace.learning_rate <= dial.RATE.most
    assert dial.pace(128, 1000, 100_000, "muon").batch_rows == 1


def test_sgd_has_a_rate_of_its_own():
    assert dial.pace(128, 10**6, 256, "sgd").learning_rate == dial.SGD_LEARNING_RATE


@pytest.mark.parametrize(("page", "rows", "rate"), [({"batch_rows": 3}, 3, None), ({"learning_rate": 0.5}, None, 0.5)])
def test_what_the_page_says_wins(page, rows, rate):
    config = read_settings(pretrain.Config, page, "a test")
    model = pretrain.architecture(config, 512, 256)
    chosen = dial.pace(model.width, 10**6, 256, "muon")
    found = pretrain.pace(config, model, 256, 10**6)
    assert found == dial.Pace(rows or chosen.batch_rows, rate or chosen.learning_rate)


def test_finetuning_keeps_its_two_numbers():
    config = read_settings(finetune.Config, {}, "a test")
    model = pretrain.architecture(read_settings(pretrain.Config, {}, "a test"), 512, 256)
    assert {finetune.pace(config, model, 256, tokens) for tokens in (1, 10**9)} == {
        dial.Pace(config.batch_rows, config.learning_rate)
    }


def test_another_rule_is_another_version_of_the_stage():
    """The rule is no setting, so that nothing but the version tells a model made by another one."""
    made_by = {4: "60c9a8f9be56"}
    powers = [dataclasses.astuple(power) for power in (dial.BATCH_TOKENS, dial.RATE)]
    assert digest([powers, dial.SGD_LEARNING_RATE, dial.TOKENS_PER_PARAMETER])[:12] == made_by[pretrain.VERSION]


def test_the_rule_is_the_fit_of_the_stored_runs():
    """Within what a run's noise moves the fit: ten per cent of a value, 0.03 of an exponent."""
    lines = (ROOT / "docs/results/dial.jsonl").read_text(encoding="utf-8").splitlines()
    found = benchmark("dial").fit([json.loads(line) for line in lines])
    assert found["determined"]
    for power, fitted in ((dial.BATCH_TOKENS, found["batch"]), (dial.RATE, found["rate"])):
        assert power.value == pytest.approx(fitted["at_centre"], rel=0.1)
        assert power.tokens == pytest.approx(fitted["tokens"], abs=0.03)
        assert power.width == pytest.approx(fitted["width"], abs=0.03)
