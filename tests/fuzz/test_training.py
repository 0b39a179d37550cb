"""Whole trainings of random networks, a few of them; `make fuzz` runs more."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.networks import Network, network, output_shape, smaller
from tests.fuzz.training import training_problems, training_report
from tests.subset import count

FIRST = int(os.environ.get("MYNN_FUZZ_SEED", "0"))
COUNT = int(os.environ.get("MYNN_FUZZ_COUNT", count(200, 60))) // 60


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops are shared here that otherwise are not, which the keys of the cache do not say."""
    monkeypatch.setenv("MYNN_CACHE", "0")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_trainings(seed: int) -> None:
    drawn = network(seed)
    if training_problems(drawn):
        pytest.fail(training_report(drawn), pytrace=False)


def test_networks_print_as_programs() -> None:
    drawn = network(3)
    assert drawn == network(3)
    text = str(drawn).rpartition("print(")[0]
    scope: dict[str, Network] = {}
    exec(text, scope)
    assert scope["network"] == drawn


@pytest.mark.wide
def test_smaller_networks_still_fit() -> None:
    for seed in range(20):
        for one in smaller(network(seed)):
            assert output_shape(one)


def test_every_layer_occurs() -> None:
    seen = {name for seed in range(300) for name, _ in network(seed).layers}
    assert {"BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm", "Dropout"} <= seen
    assert {"MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d", "AdaptiveMaxPool2d"} <= seen
    assert {"Conv1d", "Conv2d", "ConvTranspose2d", "Linear", "Flatten", "GELU"} <= seen
