"""What is trained: data, networks, and Table 1 on fewer samples."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.errors import ArgumentError
from mynn.module import relu
from mynn.report.experiments.data import accuracy, draw
from mynn.report.experiments.networks import OurDefaults, Toolbox
from mynn.report.experiments.published import ACCURACY, FIGURE4_SIZES, LEARNING_RATES, LOSS, SIZES
from mynn.report.experiments.runs import (
    DESCRIBED,
    FIGURE4_VERSIONS,
    PUBLISHED,
    Settings,
    count_runs,
)


def test_samples_are_their_own_and_repeat():
    first, again, second, other = draw(0, 0), draw(0, 0), draw(0, 1), draw(1, 0)
    np.testing.assert_array_equal(first.train_input, again.train_input)
    drawn = [first.train_input, first.test_input, second.train_input, other.train_input]
    for k, a in enumerate(drawn):
        assert a.shape == (1000, 2)
        for b in drawn[k + 1 :]:
            assert (a != b).any()
    assert len({first.weights, second.weights, other.weights}) == 3


def test_accuracy():
    output = np.array([[1.0, 0.0], [0.2, 0.4], [0.5, 0.5], [0.0, -1.0]])
    target = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert accuracy(output, target) == 75.0


@pytest.mark.parametrize("bad", [{"samples": 0}, {"epochs": 0}, {"seed": -1}])
def test_settings_are_checked(bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        Settings(**bad)


def test_frozen_output_layer_stays_and_runs_repeat():
    sample = draw(3, 0)
    frozen, free = Toolbox(SIZES, freeze="output"), Toolbox(SIZES)
    first = frozen.train(sample, 0.1, 2)
    weights = np.array(frozen.model.w[3])
    assert frozen.train(sample, 0.1, 5).loss.shape == (5,)
    np.testing.assert_array_equal(frozen.model.w[3], weights)
    again = frozen.train(sample, 0.1, 2)
    np.testing.assert_array_equal(first.loss, again.loss)
    free.train(sample, 0.1, 1)
    assert np.abs(free.model.w[3] - weights).max() > 1e-3


def test_watching_changes_nothing():
    sample = draw(3, 1)
    network = Toolbox(SIZES, freeze="output")
    plain = network.train(sample, 0.1, 4)
    watched = network.train(sample, 0.1, 4, watch=True)
    np.testing.assert_allclose(plain.loss, watched.loss, rtol=1e-4)
    assert plain.test_accuracy.size == 0
    assert watched.test_accuracy.shape == watched.train_accuracy.shape == (4,)
    assert watched.test_accuracy[-1] == accuracy(
        network.predict(sample.test_input), sample.test_target
    )


@pytest.fixture(scope="module")
def table():
    """Mean loss and accuracy by version and learning rate, of four samples."""
    found = {}
    samples = [draw(0, index) for index in range(4)]
    for version, freeze in ((PUBLISHED, "output"), (DESCRIBED, ())):
        network = Toolbox(SIZES, freeze=freeze)
        for rate in LEARNING_RATES:
            runs = []
            for sample in samples:
                epochs = network.train(sample, rate, 100)
                output = network.predict(sample.test_input)
                runs.append((epochs.loss[-1], accuracy(output, sample.test_target)))
            found[version, rate] = np.mean(runs, axis=0)
    return found


# Four samples: the published deviation is widened by what the mean of four may be off. With a
# learning rate of 10 a run may end anywhere, so only its loss is held against the published one.
@pytest.mark.one_in(3)
@pytest.mark.parametrize("rate", LEARNING_RATES)
def test_table_1_as_published(table, rate):
    loss, percent = table[PUBLISHED, rate]
    assert abs(loss - LOSS[rate].mean) < LOSS[rate].deviation + (0.3 if rate == 10 else 0.15)
    if rate != 10:
        assert abs(percent - ACCURACY[rate].mean) < ACCURACY[rate].deviation + 1.2


def test_table_1_as_described(table):
    for rate in (10.0, 1.0):
        loss, percent = table[DESCRIBED, rate]
        assert loss > 2.6
        assert percent < 90
    for rate in (0.1, 0.01):
        loss, percent = table[DESCRIBED, rate]
        assert 1.4 < loss < 2
        assert 94 < percent < 99.5


def test_our_defaults_are_sound():
    network = OurDefaults(SIZES)
    found = []
    for index in range(2):
        sample = draw(0, index)
        epochs = network.train(sample, network.RATE, 400)
        assert epochs.loss[-1] < 1
        found.append(accuracy(network.predict(sample.test_input), sample.test_target))
    assert min(found) >= 98.5
    assert np.mean(found) >= 99.3
    group = network.optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0, abs=1e-9)
    repeated = network.train(draw(0, 1), network.RATE, 3)
    np.testing.assert_array_equal(repeated.loss, network.train(draw(0, 1), network.RATE, 3).loss)


def test_sound_initialisation_makes_figure_4_dependable():
    network = Toolbox(FIGURE4_SIZES, relu, "output", sound=True)
    for index in range(3):
        sample = draw(0, index)
        network.train(sample, 0.1, 100)
        assert accuracy(network.predict(sample.test_input), sample.test_target) > 94


def test_results_are_complete(tiny):
    assert len(tiny.runs) == 2 * (2 * 4 + 1)
    assert {run.sample for run in tiny.runs} == {0, 1}
    assert set(tiny.curves) == {(v, r) for v in (PUBLISHED, DESCRIBED) for r in (0.1, 0.001)}
    assert all(len(c.loss) == len(c.test_accuracy) == 3 for c in tiny.curves.values())
    assert set(tiny.figure4_runs) == set(tiny.figure4_curves) == set(FIGURE4_VERSIONS)
    assert all(len(runs) == 2 for runs in tiny.figure4_runs.values())
    assert tiny.figure2.test_output.shape == (1000, 2)
    for run in tiny.runs:
        assert np.isfinite(run.loss)
        assert 0 <= run.test_accuracy <= 100
        assert run.seconds > 0


def test_progress_is_reported_once_for_each_run(trained):
    results, told = trained
    assert len(told) == count_runs(results.settings) + 1
    assert told[-1] == ""
    assert all(told[:-1])
    assert told[0] == "as published, learning rate 10, sample 1"
