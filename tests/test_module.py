"""The report's toolbox: its two snippets, its formulas against NumPy, and what it refuses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import mynn.module
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.module import (
    activation,
    criterion_mse,
    generate_disc_set,
    lecun,
    linear,
    logistic,
    model,
    normal,
    optimizer_sgd,
    relu,
    sigmoid,
    tanh,
)
from mynn.toolbox.programs import CALLS_BEFORE_COMPILING

MANUAL = """
from mynn.module import *
mynn = model()

lin = linear(2, 25, mynn)
sig = sigmoid(mynn)
lin.forward(train_input)
sig.forward(train_input)
sig.backward(train_input)
lin.backward(train_input)
"""

AUTOMATIC = """
seq = [ linear(2, 25, mynn),
        sigmoid(mynn) ]
mynn.train(seq, input)

mynn.x
"""


def network(sizes=(2, 5, 4, 2), kind=sigmoid, dtype=np.float64, seed=0, init=None):
    """A constructor, its criterion, and `linear` and activation for each pair of sizes."""
    net = model(dtype=dtype, seed=seed)
    criterion = criterion_mse(net)
    sequence = []
    for m, n in pairwise(sizes):
        sequence += [linear(m, n, net, criterion, init=init or normal(0.7)), kind(net)]
    return net, criterion, sequence


def formulas(net, input, target, f, df):
    """Section 1.2 of the report, in NumPy, for one sample."""
    x, s = [np.asarray(input, float)], [None]
    for k in range(1, net.lt + 1):
        s.append(net.w[k] @ x[k - 1] + net.b[k])
        x.append(f(s[k]))
    dl_dx, dl_ds, dl_dw, dl_db = ([None] * (net.lt + 1) for _ in range(4))
    for k in range(net.lt, 0, -1):
        dl_dx[k] = 2 * (x[k] - target) if k == net.lt else net.w[k + 1].T @ dl_ds[k + 1]
        dl_ds[k] = df(s[k]) * dl_dx[k]
        dl_dw[k] = np.outer(dl_ds[k], x[k - 1])
        dl_db[k] = dl_ds[k]
    return {"x": x, "s": s, "dl_dx": dl_dx, "dl_ds": dl_ds, "dl_dw": dl_dw, "dl_db": dl_db}


FUNCTIONS = {
    sigmoid: (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
    tanh: (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
    logistic: (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
    relu: (lambda s: np.maximum(s, 0), lambda s: (s > 0).astype(float)),
}


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
    assert names["mynn"].w[1] is names["seq"][0].weight.data
    names["mynn"].train([names["lin"], names["sig"]], data)
    assert names["mynn"].w[1] is names["lin"].weight.data


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
    train_input, train_target = generate_disc_set(40)
    net = model()
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
    assert net.b[1] is sequence[0].bias.data
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


# -- bad input -----------------------------------------------------------------------------------


def snapshot(net):
    return [[None if v is None else np.array(v) for v in values] for values in (net.w, net.x)]


def assert_unchanged(net, before):
    for old, new in zip(before, snapshot(net), strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)


BAD_DATA = [
    ([0.1, 0.2, 0.3], [1.0, 0.0], ShapeError, r"linear\(2, 5\) \[layer 1\] takes 2 features"),
    (np.zeros((4, 3)), np.zeros((4, 2)), ShapeError, r"linear\(2, 5\) \[layer 1\]"),
    (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), ShapeError, r"\(2, 2, 2\)"),
    ([[0.1], [0.2]], [1.0, 0.0], ShapeError, r"\(2, 1\)"),
    ([0.1, 0.2], [1.0], ShapeError, r"output of linear\(4, 2\) \[layer 3\]"),
    (np.zeros((4, 2)), np.zeros((3, 2)), ShapeError, "each sample"),
    ([0.1, np.nan], [1.0, 0.0], DataError, r"the input holds nan at index \(1,\)"),
    ([0.1, 0.2], [np.inf, 0.0], DataError, "the target holds inf"),
    (np.array([1e300, 0.0]), [1.0, 0.0], DataError, "holds inf"),
    (np.zeros((0, 2)), np.zeros((0, 2)), DataError, "empty"),
    ([], [1.0, 0.0], DataError, "empty"),
    (np.array([1j, 0]), [1.0, 0.0], DTypeError, "complex128"),
    (np.array([object(), 0]), [1.0, 0.0], DTypeError, "object"),
    ([0.1, 0.2], ["a", "b"], DTypeError, "the target"),
    ([[0.1, 0.2], [0.3]], [1.0, 0.0], DTypeError, "regular array"),
]


@pytest.mark.parametrize(("x", "t", "error", "message"), BAD_DATA)
def test_train_refuses_bad_data(x, t, error, message):
    net, _, sequence = network(dtype=np.float32)
    net.train(sequence, [0.5, 0.5], [0.0, 1.0])
    before = snapshot(net)
    with pytest.raises(error, match=message):
        net.train(sequence, x, t)
    assert_unchanged(net, before)


def test_refused_data_initialises_nothing():
    net, _, sequence = network()
    with pytest.raises(ShapeError):
        net.train(sequence, [0.5, 0.5, 0.5], [0.0, 1.0])
    assert (net.lt, net.ini, net.x) == (0, False, [None])
    assert sequence[0].weight is None


def test_layers_that_do_not_fit_together():
    net = model()
    criterion = criterion_mse(net)
    sequence = [linear(2, 3, net, criterion), tanh(net), linear(4, 2, net, criterion)]
    with pytest.raises(
        ShapeError, match=r"linear\(4, 2\) \[layer 2\] takes 4.*linear\(2, 3\) \[layer 1\] gives 3"
    ):
        net.train(sequence, [0.1, 0.2], [0.0, 1.0])
    lin, following = sequence[0], sequence[2]
    lin.forward([0.1, 0.2])
    with pytest.raises(ShapeError, match=r"linear\(4, 2\) takes 4 features"):
        following.forward([0.1, 0.2])
    assert net.lt == 1


def test_training_without_target_or_criterion():
    net, _, sequence = network()
    with pytest.raises(UsageError, match="without a target"):
        net.train(sequence, [0.1, 0.2])
    bare = model()
    plain = [linear(2, 2, bare), sigmoid(bare)]
    with pytest.raises(UsageError, match="without a criterion"):
        bare.train(plain, [0.1, 0.2], [0.0, 1.0])
    with pytest.raises(UsageError, match="no gradients yet"):
        optimizer_sgd(0.1, bare).update()
    bare.train(plain, [0.1, 0.2])
    with pytest.raises(UsageError, match="no gradients yet"):
        optimizer_sgd(0.1, bare).update()
    with pytest.raises(UsageError, match="without a target"):
        criterion_mse(bare).loss()


def test_tools_of_two_constructors():
    net, criterion, sequence = network()
    other = model()
    with pytest.raises(UsageError, match=r"linear\(2, 5\).* another constructor"):
        other.train(sequence, [0.1, 0.2], [0.0, 1.0])
    with pytest.raises(UsageError, match=r"sigmoid\(\) belongs to another"):
        net.train([sequence[0], sigmoid(other)], [0.1, 0.2])
    with pytest.raises(UsageError, match="criterion belongs to another"):
        linear(2, 2, other, criterion)
    assert other.lt == 0


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda net: linear(0, 2, net), ArgumentError),
        (lambda net: linear(2, -1, net), ArgumentError),
        (lambda net: linear(2.5, 1, net), ArgumentError),
        (lambda net: linear(2, 2, None), UsageError),
        (lambda net: linear(2, 2, net, "mse"), UsageError),
        (lambda net: sigmoid(3), UsageError),
        (lambda net: criterion_mse(None), UsageError),
        (lambda net: optimizer_sgd(-0.1, net), ArgumentError),
        (lambda net: optimizer_sgd(float("nan"), net), ArgumentError),
        (lambda net: optimizer_sgd(float("inf"), net), ArgumentError),
        (lambda net: optimizer_sgd("fast", net), ArgumentError),
        (lambda net: optimizer_sgd(0.1, None), UsageError),
        (lambda net: optimizer_sgd(0.1, net, freeze="input"), ArgumentError),
        (lambda net: optimizer_sgd(0.1, net, freeze=(0,)), ArgumentError),
        (lambda net: model(dtype=np.int32), DTypeError),
    ],
)
def test_bad_arguments_of_constructors(make, error):
    with pytest.raises(error):
        make(model())


def test_learning_rate_stays_when_a_new_one_is_refused():
    optimizer = optimizer_sgd(0.5, model())
    with pytest.raises(ArgumentError, match="learning rate"):
        optimizer.lr = -1
    assert optimizer.lr == 0.5


def test_frozen_layer_that_does_not_exist():
    net, _, sequence = network()
    net.train(sequence, [0.1, 0.2], [1.0, 0.0])
    with pytest.raises(ArgumentError, match="no layer 7"):
        optimizer_sgd(0.1, net, freeze=(7,)).update()


def test_bad_sequences():
    net, _, sequence = network()
    x = [0.1, 0.2]
    for bad, message in [
        ([], "list of tools"),
        ([sequence[1]], "begin with a linear"),
        ([sequence[0], 3], "list of tool modules"),
        ([*sequence[:2], linear(5, 2, net), sequence[0]], "takes|twice"),
    ]:
        with pytest.raises((UsageError, ShapeError), match=message):
            net.train(bad, x, [0.0, 1.0])
    square = linear(2, 2, net)
    with pytest.raises(UsageError, match="twice"):
        net.train([square, square], x, [0.0, 1.0])
    with pytest.raises(UsageError, match="two sequences"):
        net.train(sequence, sequence)
    with pytest.raises(ArgumentError, match="input is needed"):
        net.train(sequence)


def test_manual_calls_out_of_order():
    _, _, sequence = network()
    with pytest.raises(UsageError, match="follows a linear"):
        sequence[1].forward([0.1, 0.2])
    with pytest.raises(UsageError, match="without a forward pass"):
        sequence[0].backward()
    for tool in sequence:
        tool.forward([0.1, 0.2])
    with pytest.raises(UsageError, match=r"reverse order; the next one is sigmoid"):
        sequence[4].backward()
    with pytest.raises(UsageError, match="out of order"):
        sequence[2].forward([0.1, 0.2])
    sequence[5].backward()
    with pytest.raises(UsageError, match="without a target"):
        sequence[4].backward()


def test_strided_and_read_only_arrays_work():
    net, _, sequence = network()
    data = np.random.default_rng(0).normal(size=(4, 9))
    view = data.T[::2, ::2][1:4]
    view.flags.writeable = False
    target = np.asfortranarray(np.zeros((3, 2)))
    net.train(sequence, view, target)
    expected = np.array(net.dl_dw[1])
    net.train(sequence, np.ascontiguousarray(view), np.zeros((3, 2)))
    np.testing.assert_array_equal(net.dl_dw[1], expected)
    net.train(sequence, np.array([1, 0]), np.array([True, False]))
    assert net.x[0].dtype == np.float64


def test_recorded_input_is_a_copy():
    net, _, sequence = network()
    sample = np.array([0.5, 0.25])
    net.train(sequence, sample, forward_only=True)
    sample[0] = 9
    np.testing.assert_array_equal(net.x[0], [0.5, 0.25])


def test_predict_records_nothing():
    net, _, sequence = network()
    batch = np.random.default_rng(0).normal(size=(6, 2))
    net.train(sequence, [0.1, 0.2], [0.0, 1.0])
    before = snapshot(net)
    output = net.predict(sequence, batch)
    assert_unchanged(net, before)
    net.train(sequence, batch, forward_only=True)
    np.testing.assert_array_equal(net.x[3], output)
    np.testing.assert_array_equal(net.predict(batch, sequence), output)
