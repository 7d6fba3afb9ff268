"""The strict door: units, all problems at once, nearest names."""

import pytest
from pydantic import Field

from danlu.base.config import Bytes, Count, Seconds, Settings, read_settings
from danlu.base.errors import ConfigError


class Inner(Settings):
    learning_rate: float = Field(1e-3, gt=0, description="rate")


class Outer(Settings):
    tokens: Count = Field(1, description="tokens")
    memory: Bytes = Field(1, description="memory")
    time: Seconds = Field(1.0, description="time")
    optimizer: Inner = Inner()


@pytest.mark.parametrize(
    ("written", "meant"),
    [("20M", 20_000_000), ("1.5B", 1_500_000_000), ("4k", 4000), (7, 7), ("7", 7), ("1_000", 1000), ("2e3", 2000)],
)
def test_counts(written, meant):
    assert read_settings(Outer, {"tokens": written}, "here").tokens == meant


def test_bytes_and_seconds():
    read = read_settings(Outer, {"memory": "4GB", "time": "2h"}, "here")
    assert (read.memory, read.time) == (4_000_000_000, 7200.0)
    assert read_settings(Outer, {"memory": "512MiB"}, "here").memory == 512 * 2**20


def test_all_problems_come_together_with_path_finding_and_nearest_name():
    with pytest.raises(ConfigError) as caught:
        read_settings(
            Outer,
            {"tokens": "20X", "memroy": 1, "time": "soon", "optimizer": {"learning_rat": 1, "learning_rate": -1}},
            "recipe.yaml",
            "pretrain",
        )
    text = str(caught.value)
    for piece in (
        "recipe.yaml",
        "pretrain.tokens",
        "'20X'",
        "pretrain.memroy",
        "did you mean 'memory'?",
        "pretrain.time",
        "pretrain.optimizer.learning_rat:",
        "did you mean 'learning_rate'?",
        "pretrain.optimizer.learning_rate",
    ):
        assert piece in text, piece
    assert text.count("pretrain.") == 5


def test_a_fraction_of_a_token_is_refused():
    with pytest.raises(ConfigError, match="tokens"):
        read_settings(Outer, {"tokens": 1.5}, "here")
