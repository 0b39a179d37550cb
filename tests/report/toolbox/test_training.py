"""The report's toolbox: parameters, the optimizer, repeated passes, data."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.errors import ArgumentError, DataError, ShapeError
from mynn.module import activation, generate_disc_set, lecun, linear, model, optimizer_sgd
from mynn.report.toolbox.programs import CALLS_BEFORE_COMPILING
from tests.report.toolbox.harness import FUNCTIONS, formulas, network

# -- parameters and optimizer ----------------------------------------------------------------------


def test_parameters_are_drawn_from_the_reports_distribution():
    net = model(seed=3)
    layer = linear(200, 300, net)
    layer.ini()
    assert net.w[1].shape == (300, 200)
    assert net.b[1].shape == (300,)
    assert net.w[1].dtype == np.float32
    assert np.std(net.w[1]) == pytest.approx(0.1, rel=0.02)
    assert abs(np.mean(net.w[1])) < 0.002
    assert np.std(net.b[1]) == pytest.approx(0.1, rel=0.15)


def test_seeds_and_initialisers():
    first, second = (network(seed=5)[0:3:2] for _ in range(2))
    for net, sequence in (first, second):
        net.train(sequence, [0.1, 0.2], forward_only=True)
    np.testing.assert_array_equal(first[0].w[1], second[0].w[1])
    net, _, sequence = network(init=lecun, sizes=(400, 300, 2))
    net.train(sequence, np.zeros(400), forward_only=True)
    assert np.std(net.w[1]) == pytest.approx(0.05, rel=0.05)
    assert not net.b[1].any()


def test_redraw_is_in_place_and_repeats():
    net, _, sequence = network(seed=5)
    net.train(sequence, [0.1, 0.2], forward_only=True)
    live, drawn = net.w[1], np.array(net.w[1])
    net.redraw(6)
    assert net.w[1] is live
    assert np.abs(live - drawn).max() > 0.1
    net.redraw(5)
    np.testing.assert_array_equal(live, drawn)


def test_parameters_are_live():
    net, _, sequence = network(sizes=(2, 3))
    net.train(sequence, [0.1, 0.2], forward_only=True)
    net.w[1][...] = 0
    net.b[1] = np.array([1.0, 2.0, 3.0])
    net.train(sequence, [0.1, 0.2], forward_only=True)
    np.testing.assert_allclose(net.x[1], np.tanh([1, 2, 3]))
    assert np.shares_memory(net.b[1], sequence[0].bias.value)
    net.b[1] = np.zeros(4)
    with pytest.raises(ShapeError, match=r"linear\(2, 3\) \[layer 1\].*b\[1\].*\(3,\).*\(4,\)"):
        net.train(sequence, [0.1, 0.2], forward_only=True)


@pytest.mark.parametrize("freeze", [(), "output", (1,), (1, 3), 2])
def test_sgd_updates_every_layer_but_frozen_ones(freeze):
    net, _, sequence = network()
    optimizer = optimizer_sgd(0.25, net, freeze=freeze)
    net.train(sequence, [0.1, 0.2], [1.0, 0.0])
    before = [None, *((np.array(net.w[k]), np.array(net.b[k])) for k in (1, 2, 3))]
    optimizer.update()
    frozen = {(): (), "output": (3,), 2: (2,)}.get(freeze, freeze)
    for k in (1, 2, 3):
        rate = 0.0 if k in frozen else 0.25
        np.testing.assert_allclose(net.w[k], before[k][0] - rate * net.dl_dw[k], rtol=1e-12)
        np.testing.assert_allclose(net.b[k], before[k][1] - rate * net.dl_db[k], rtol=1e-12)
        assert (np.abs(net.b[k] - before[k][1]).max() == 0) == (k in frozen)


def test_sgd_reads_the_recorded_gradients():
    net, _, sequence = network(sizes=(2, 2))
    optimizer = optimizer_sgd(1.0, net)
    net.train(sequence, [0.1, 0.2], [1.0, 0.0])
    before = np.array(net.b[1])
    net.dl_db[1] = np.array([0.5, -0.5])
    optimizer.lr = 0.1
    optimizer.update()
    np.testing.assert_allclose(net.b[1], before - [0.05, -0.05])


# -- many calls become programs --------------------------------------------------------------------

MANY = CALLS_BEFORE_COMPILING + 8


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_many_calls_fill_the_attributes_alike(kind):
    net, criterion, sequence = network(kind=kind)
    optimizer = optimizer_sgd(0.05, net, freeze=(2,))
    rng = np.random.default_rng(3)
    for _ in range(MANY):
        x, t = rng.normal(size=2), rng.normal(size=2)
        output = net.train(sequence, x, t)
        expected = formulas(net, x, t, *FUNCTIONS[kind])
        for name, values in expected.items():
            for k in (1, 2, 3):
                np.testing.assert_allclose(getattr(net, name)[k], values[k], atol=1e-10)
        np.testing.assert_allclose(net.dl_dx[0], net.w[1].T @ expected["dl_ds"][1], atol=1e-10)
        np.testing.assert_array_equal(net.x[0], x)
        assert output is net.x[3]
        assert (net.ln, net.target.tolist()) == (0, t.tolist())
        assert criterion.loss() == pytest.approx(np.sum((output - t) ** 2))
        before = [np.array(value) for value in net.w[1:]]
        optimizer.update()
        for k in (1, 2, 3):
            step = 0 if k == 2 else 0.05 * expected["dl_dw"][k]
            np.testing.assert_allclose(net.w[k], before[k - 1] - step, atol=1e-10)


def test_programs_see_new_parameters_and_rates():
    net, _, sequence = network(sizes=(2, 2))
    optimizer = optimizer_sgd(0.5, net)
    for _ in range(MANY):
        net.train(sequence, [0.1, 0.2], [1.0, 0.0])
        optimizer.update()
    net.w[1] = np.eye(2)
    net.b[1][...] = [0.25, 0.5]
    net.train(sequence, [0.1, 0.2], [1.0, 0.0])
    np.testing.assert_allclose(net.x[1], np.tanh([0.35, 0.7]))
    optimizer.lr = 2.0
    net.dl_db[1] = np.array([0.25, 0.25])
    optimizer.update()
    np.testing.assert_allclose(net.b[1], [-0.25, 0.0])
    net.dl_db[1][0] = np.nan
    with pytest.raises(DataError, match=r"dl_db\[1\] of linear.* nan"):
        optimizer.update()
    np.testing.assert_allclose(net.b[1], [-0.25, 0.0])


def test_many_forward_passes_and_a_backward_by_hand():
    net, _, sequence = network()
    batch, target = np.random.default_rng(0).normal(size=(2, 4, 2))
    for _ in range(MANY):
        net.train(sequence, batch, target, forward_only=True)
        assert net.ln == 3
    recorded = [np.array(value) for value in net.x]
    for tool in reversed(sequence):
        tool.backward(target)
    by_hand = [np.array(value) for value in net.dl_dw[1:]]
    net.train(sequence, batch, target)
    for k in (1, 2, 3):
        np.testing.assert_allclose(net.dl_dw[k], by_hand[k - 1])
        np.testing.assert_allclose(net.x[k], recorded[k])


def test_attributes_of_the_users_tools_are_read_at_each_call():
    class scaled(activation):
        factor = 1.0

        def operation(self, x):
            return x * self.factor

    net, _, _ = network()
    tool = scaled(net)
    sequence = [linear(2, 2, net), tool]
    for factor in range(MANY):
        tool.factor = float(factor)
        net.train(sequence, [0.1, 0.2], [1.0, 0.0])
        np.testing.assert_allclose(net.x[1], factor * net.s[1])


# -- data ----------------------------------------------------------------------------------------


def test_disc_set():
    input, target = generate_disc_set(5000, seed=1)
    assert (input.shape, target.shape) == ((5000, 2), (5000, 2))
    assert input.dtype == target.dtype == np.float32
    assert input.min() >= 0
    assert input.max() < 1
    inside = input[:, 0].astype(float) ** 2 + input[:, 1].astype(float) ** 2 < 0.25
    np.testing.assert_array_equal(target[:, 0], inside)
    np.testing.assert_array_equal(target.sum(1), 1)
    assert inside.mean() == pytest.approx(np.pi / 16, abs=0.02)
    np.testing.assert_array_equal(generate_disc_set(5000, seed=1)[0], input)
    assert (generate_disc_set(10)[0] != generate_disc_set(10)[0]).any()


@pytest.mark.parametrize("bad", [0, -3, 2.5, "ten", None, True])
def test_disc_set_of_no_points(bad):
    with pytest.raises(ArgumentError, match="number of points"):
        generate_disc_set(bad)
