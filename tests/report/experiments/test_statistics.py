"""Means, deviations and verdicts."""

from __future__ import annotations

import pytest

from mynn.report.experiments.published import ACCURACY, LOSS, Pair
from mynn.report.experiments.runs import DEFAULTS, PUBLISHED, Run
from mynn.report.experiments.statistics import Cell, explain, judge, values


def cell(*numbers, quantity="accuracy", rate=1.0, version=PUBLISHED):
    published = {"accuracy": ACCURACY, "loss": LOSS, "seconds": {rate: Pair(80, 2)}}[quantity]
    return Cell(version, rate, quantity, numbers, published[rate])


@pytest.mark.parametrize(
    ("mean", "deviation", "verdict"),
    [
        (98.0, 0.5, "within"),
        (98.8, 0.0, "within"),
        (97.2, None, "within"),
        (98.81, 0.5, "overlaps"),
        (96.0, 1.3, "overlaps"),
        (96.0, 1.1, "differs"),
        (96.0, None, "differs"),
        (float("nan"), 1.0, "differs"),
    ],
)
def test_judge(mean, deviation, verdict):
    assert judge(mean, deviation, Pair(98, 0.8)) == verdict


def test_mean_and_deviation():
    one = cell(1.0, 2.0, 4.0)
    assert one.mean == pytest.approx(7 / 3)
    assert one.deviation == pytest.approx(1.5275252)
    assert one.interval == (1.0, 4.0)
    assert cell(3.0).deviation is None


def test_explanations():
    assert explain(cell(98.0, 98.4)) == "within the published 97.2 to 98.8"
    assert explain(cell(80.0, 80.5)) == "differs from the published 97.2 to 98.8"
    assert "overlap" in explain(cell(94.0, 99.0, 98.9, 95.0))
    wide = explain(cell(20.0, 95.0, 96.0, rate=10.0))
    assert "published 81.0 to 93.0" in wide
    assert "spread from 20.0 to 96.0" in wide
    assert "spread from 86.0 to 88.0" in explain(cell(86.0, 88.0, rate=10.0))
    assert "spread" not in explain(cell(86.0, rate=10.0))
    assert "spread from" in explain(cell(80.0, 98.0))
    assert explain(cell(0.02, 0.02, quantity="seconds")) == "4,000 times faster"


def test_our_defaults_are_better_or_worse():
    assert cell(99.5, 99.7, version=DEFAULTS).verdict == "better"
    assert cell(97.5, 97.7, version=DEFAULTS).verdict == "worse"
    assert cell(0.5, 0.7, quantity="loss", version=DEFAULTS).verdict == "better"
    assert cell(1.5, 1.7, quantity="loss", version=DEFAULTS).verdict == "worse"
    assert explain(cell(99.5, 99.7, version=DEFAULTS)).startswith("better than")


def test_values_of_runs():
    runs = [Run(PUBLISHED, 1.0, i, 1.5 + i, 99.0, 98.0 + i, 0.02) for i in range(2)]
    assert values(runs, "loss") == (1.5, 2.5)
    assert values(runs, "accuracy") == (98.0, 99.0)
    assert values(runs, "seconds") == (0.02, 0.02)
