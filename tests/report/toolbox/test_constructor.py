"""The report's toolbox: its two snippets, its formulas against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import mynn.module
from mynn.module import (
    activation,
    criterion_mse,
    generate_disc_set,
    linear,
    logistic,
    model,
    normal,
    optimizer_sgd,
    relu,
    sigmoid,
    tanh,
)
from tests.report.toolbox.harness import AUTOMATIC, FUNCTIONS, MANUAL, formulas, network

# -- section 1.1 ---------------------------------------------------------------------------------


def test_manual_snippet_runs_as_printed():
    names = {"train_input": np.array([0.25, 0.5])}
    exec(MANUAL, names)
    net = names["mynn"]
    assert (net.lt, net.ln, net.ini) == (1, 0, True)
    np.testing.assert_allclose(net.x[1], np.tanh(net.w[1] @ net.x[0] + net.b[1]), rtol=1e-6)
    # Without a criterion the gradient is that of the sum of the outputs.
    np.testing.assert_allclose(net.dl_db[1], 1 - net.x[1] ** 2, rtol=1e-5)
    assert net.dl_dw[1].shape == (25, 2)


def test_automatic_snippet_runs_as_printed():
    names = {"input": np.random.default_rng(0).random((10, 2))}
    exec("from mynn.module import *\nmynn = model()\n" + AUTOMATIC, names)
    net = names["mynn"]
    assert [value.shape for value in net.x] == [(10, 2), (10, 25)]
    assert net.ln == net.lt == 1
    assert net.dl_dw[1] is None


def test_both_snippets_run_one_after_the_other():
    data = np.random.default_rng(0).random((10, 2))
    names = {"train_input": data, "input": data}
    exec(MANUAL + AUTOMATIC, names)
    assert names["mynn"].lt == 1
    assert np.shares_memory(names["mynn"].w[1], names["seq"][0].weight.value)
    names["mynn"].train([names["lin"], names["sig"]], data)
    assert np.shares_memory(names["mynn"].w[1], names["lin"].weight.value)


def test_star_import_brings_the_names_of_the_report():
    names = {}
    exec("from mynn.module import *", names)
    wanted = "model linear sigmoid tanh logistic relu criterion_mse optimizer_sgd generate_disc_set"
    assert set(wanted.split()) <= set(names)
    assert set(mynn.module.__all__) == set(names) - {"__builtins__"}


def test_manual_way_through_several_layers_equals_train():
    net, _, sequence = network()
    sample, target = np.array([0.3, 0.9]), np.array([0.0, 1.0])
    net.train(sequence, sample, target)
    expected = [np.array(net.dl_dw[k]) for k in (1, 2, 3)]
    for tool in sequence:
        tool.forward(sample)
    assert net.ln == 3
    for tool in reversed(sequence):
        tool.backward(target)
    assert net.ln == 0
    for k in (1, 2, 3):
        np.testing.assert_array_equal(net.dl_dw[k], expected[k - 1])


# -- the reference program's signatures ------------------------------------------------------------


def test_reference_program_runs_unchanged():
    train_input, train_target = generate_disc_set(40, seed=0)
    net = model(seed=0)  # other seeds may draw a dead relu
    criterion = criterion_mse(net)
    optimizer = optimizer_sgd(0.1, net)
    sequence = [linear(2, 8, net, criterion), sigmoid(net), linear(8, 2, net, criterion), relu(net)]
    losses = []
    for _ in range(3):
        total = 0.0
        for i in range(40):
            net.train(train_input[i], train_target[i], sequence)
            total += criterion.loss(net.x[net.lt]).item()
            optimizer.update()
        losses.append(total)
    assert losses[-1] < losses[0]
    errors = 0
    for i in range(40):
        net.train(train_input[i], train_target[i], sequence, forward_only=True)
        if net.x[-1].argmax().item() != train_target[i].argmax().item():
            errors += 1
    assert 0 <= errors < 40
    assert net.ln == net.lt == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda net, q, x, t: net.train(q, x, t),
        lambda net, q, x, t: net.train(x, t, q),
        lambda net, q, x, t: net.train(x, t, q, False),
        lambda net, q, x, t: net.train(x, t, tuple(q), forward_only=False),
        lambda net, q, x, t: net.train(input=x, target=t, sequence=q),
        lambda net, q, x, t: net.train(q, input=x, target=t),
        lambda net, q, x, t: net.train(q, x.tolist(), t.tolist()),
    ],
)
def test_orders_of_arguments(call):
    net, _, sequence = network()
    x, t = np.array([0.1, 0.7]), np.array([1.0, 0.0])
    output = call(net, sequence, x, t)
    expected = formulas(net, x, t, *FUNCTIONS[sigmoid])
    np.testing.assert_allclose(net.dl_dw[2], expected["dl_dw"][2])
    assert output is net.x[3]


def test_reference_order_without_target():
    net, _, sequence = network()
    net.train(np.array([0.1, 0.7]), None, sequence, forward_only=True)
    assert net.ln == 3


def test_one_activation_may_stand_twice():
    net, criterion, _ = network()
    shared = sigmoid(net)
    sequence = [linear(2, 3, net, criterion), shared, linear(3, 2, net, criterion), shared]
    x, t = np.array([0.1, 0.7]), np.array([1.0, 0.0])
    net.train(sequence, x, t)
    expected = formulas(net, x, t, *FUNCTIONS[sigmoid])
    np.testing.assert_allclose(net.dl_dw[1], expected["dl_dw"][1])


# -- section 1.2 ---------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_formulas_for_one_sample(kind):
    net, _, sequence = network(kind=kind)
    rng = np.random.default_rng(1)
    for _ in range(5):
        x, t = rng.normal(size=2), rng.normal(size=2)
        net.train(sequence, x, t)
        for name, values in formulas(net, x, t, *FUNCTIONS[kind]).items():
            for k, value in enumerate(values):
                if value is not None:
                    np.testing.assert_allclose(
                        getattr(net, name)[k], value, atol=1e-12, err_msg=f"{name}[{k}]"
                    )
    assert net.dl_ds[0] is None
    assert net.s[0] is None


def test_formulas_for_a_batch():
    net, _, sequence = network()
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    net.train(sequence, x, t)
    rows = [formulas(net, a, b, *FUNCTIONS[sigmoid]) for a, b in zip(x, t, strict=True)]
    for k in (1, 2, 3):
        for name in ("x", "s", "dl_dx", "dl_ds"):
            np.testing.assert_allclose(getattr(net, name)[k], [row[name][k] for row in rows])
        for name in ("dl_dw", "dl_db"):
            np.testing.assert_allclose(getattr(net, name)[k], sum(row[name][k] for row in rows))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_gradients_against_finite_differences(kind):
    net, criterion, sequence = network(kind=kind)
    x, t = np.array([0.4, -0.8]), np.array([0.3, 0.1])
    net.train(sequence, x, t)

    def loss():
        net.train(sequence, x, t, forward_only=True)
        return criterion.loss()

    for k in (1, 2, 3):
        for values, gradient in ((net.w[k], net.dl_dw[k]), (net.b[k], net.dl_db[k])):
            for index in np.ndindex(values.shape):
                old = values[index]
                values[index] = old + 1e-6
                above = loss()
                values[index] = old - 1e-6
                below = loss()
                values[index] = old
                assert gradient[index] == pytest.approx((above - below) / 2e-6, abs=1e-7)
    above, below = (
        criterion.loss(net.train(sequence, x + shift, t, forward_only=True))
        for shift in (np.array([1e-6, 0]), np.array([-1e-6, 0]))
    )
    assert net.dl_dx[0][0] == pytest.approx((above - below) / 2e-6, abs=1e-7)


def test_layers_without_activation_and_with_two():
    net = model(dtype=np.float64, seed=0)
    criterion = criterion_mse(net)
    wide = normal(0.7)
    sequence = [
        linear(2, 4, net, criterion, init=wide),
        linear(4, 3, net, criterion, init=wide),
        tanh(net),
        logistic(net),
    ]
    x, t = np.array([0.2, 0.5]), np.array([0.1, 0.2, 0.3])
    net.train(sequence, x, t)
    a = net.w[1] @ x + net.b[1]
    s = net.w[2] @ a + net.b[2]
    y = 1 / (1 + np.exp(-np.tanh(s)))
    ds = 2 * (y - t) * y * (1 - y) * (1 - np.tanh(s) ** 2)
    np.testing.assert_allclose(net.x[2], y)
    np.testing.assert_allclose(net.s[2], s)
    np.testing.assert_allclose(net.dl_ds[2], ds)
    np.testing.assert_allclose(net.dl_ds[1], net.w[2].T @ ds)
    np.testing.assert_allclose(net.dl_dx[1], net.dl_ds[1])


def test_an_activation_of_the_users():
    class square(activation):
        def operation(self, x):
            return x * x

    net, _, sequence = network(kind=square)
    x, t = np.array([0.2, 0.5]), np.array([0.1, 0.2])
    net.train(sequence, x, t)
    expected = formulas(net, x, t, np.square, lambda s: 2 * s)
    np.testing.assert_allclose(net.dl_dw[1], expected["dl_dw"][1])


def test_criterion():
    net = model()
    criterion = criterion_mse(net)
    x, t = np.array([1.0, -2.0]), np.array([0.5, 1.0])
    loss = criterion.loss(x, t)
    assert isinstance(loss, np.float32)
    assert loss.item() == pytest.approx(9.25)
    np.testing.assert_allclose(criterion.dloss(x, t), [1.0, -6.0])
    assert criterion.loss(np.stack([x, x]), np.stack([t, t])) == pytest.approx(18.5)


def test_layer_without_criterion_uses_the_constructors():
    net = model(dtype=np.float64, seed=0)
    criterion_mse(net)
    sequence = [linear(2, 2, net), sigmoid(net)]
    x, t = np.array([0.5, 0.2]), np.array([1.0, 0.0])
    net.train(sequence, x, t)
    np.testing.assert_allclose(net.dl_dx[1], 2 * (net.x[1] - t))
