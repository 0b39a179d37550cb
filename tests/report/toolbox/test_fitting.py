"""`fit` of the report's constructor: what it leaves, what it measures, what it refuses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mynn.errors import ArgumentError, DataError, DTypeError, NotFiniteError, ShapeError, UsageError
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
)

QUANTITIES = ("x", "s", "w", "b", "dl_dw", "dl_db", "dl_ds", "dl_dx")


def network(sizes=(2, 6, 5, 2), kind=sigmoid, dtype=np.float64, seed=0, lr=0.05, freeze=()):
    net = model(dtype=dtype, seed=seed)
    criterion = criterion_mse(net)
    sequence = []
    for m, n in pairwise(sizes):
        sequence += [linear(m, n, net, criterion, init=normal(0.5)), kind(net)]
    return net, criterion, sequence, optimizer_sgd(lr, net, freeze)


def train_loop(net, criterion, sequence, optimizer, x, t, epochs, batch_size, order=None):
    """What `fit` does, by `train` and `update`."""
    order = np.arange(len(x)) if order is None else order
    losses, accuracies = [], []
    for _ in range(epochs):
        loss, hits = 0.0, 0
        for start in range(0, len(x), batch_size):
            rows = order[start] if batch_size == 1 else order[start : start + batch_size]
            output = net.train(sequence, x[rows], t[rows])
            loss += float(criterion.loss())
            hits += np.sum(output.argmax(-1) == t[rows].argmax(-1))
            optimizer.update()
        losses.append(loss)
        accuracies.append(hits / len(x))
    return losses, accuracies


def assert_same_record(net, other, **tolerance):
    for name in QUANTITIES:
        for k, (a, b) in enumerate(zip(getattr(net, name), getattr(other, name), strict=True)):
            assert (a is None) == (b is None), f"{name}[{k}]"
            if a is not None:
                assert a.shape == b.shape
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a, b, err_msg=f"{name}[{k}]", **tolerance)
    assert (net.ln, net.lt, net.ini) == (other.ln, other.lt, other.ini)
    np.testing.assert_array_equal(net.target, other.target)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("kind", "batch_size", "freeze"),
    [
        (sigmoid, 1, ()),
        (sigmoid, 1, "output"),
        (sigmoid, 7, (1,)),
        (relu, 8, ()),
        (logistic, 40, ()),
        (logistic, 100, "output"),
    ],
)
def test_fit_equals_a_train_loop(kind, batch_size, freeze):
    x, t = generate_disc_set(40, seed=1)
    ours = network(kind=kind, freeze=freeze)
    loop = network(kind=kind, freeze=freeze)
    net, _, sequence, optimizer = ours
    history = net.fit(sequence, x, t, epochs=3, batch_size=batch_size, optimizer=optimizer)
    losses, accuracies = train_loop(*loop, x, t, 3, batch_size)
    assert_same_record(net, loop[0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
    np.testing.assert_allclose(history.accuracy, accuracies, rtol=1e-9)
    assert history.seconds > 0
    assert history.setup_seconds > 0


def test_fit_in_single_precision():
    x, t = generate_disc_set(60, seed=1)
    net, _, sequence, optimizer = network(dtype=np.float32)
    loop = network(dtype=np.float32)
    net.fit(sequence, x, t, epochs=2, optimizer=optimizer)
    train_loop(*loop, x, t, 2, 1)
    assert_same_record(net, loop[0], rtol=1e-4, atol=1e-5)


def test_both_orders_of_arguments_and_repeated_calls():
    x, t = generate_disc_set(30, seed=1)
    net, _, sequence, optimizer = network()
    other, _, sequence2, optimizer2 = network()
    net.fit(x, t, sequence, epochs=2, optimizer=optimizer)
    net.fit(input=x, target=t, sequence=sequence, epochs=1, optimizer=optimizer)
    other.fit(sequence2, x, t, epochs=3, optimizer=optimizer2)
    assert_same_record(net, other, rtol=1e-10, atol=1e-12)


def test_shuffle_takes_every_sample_once():
    x, t = generate_disc_set(53, seed=1)
    still = network(lr=0.0)
    history = still[0].fit(
        still[2], x, t, epochs=3, batch_size=10, shuffle=True, optimizer=still[3]
    )
    np.testing.assert_allclose(history.loss, np.full(3, history.loss[0]), rtol=1e-12)
    net, _, sequence, optimizer = network()
    loop = network()
    loop[0].train(loop[2], x[0], forward_only=True)
    order = loop[0].generator.permutation(53)
    net.fit(sequence, x, t, epochs=1, shuffle=True, optimizer=optimizer)
    train_loop(*loop, x, t, 1, 1, order)
    assert_same_record(net, loop[0], rtol=1e-9, atol=1e-12)


def test_shuffle_repeats_from_the_seed():
    x, t = generate_disc_set(50, seed=1)
    runs = [network(seed=seed) for seed in (4, 4, 5)]
    for net, _, sequence, optimizer in runs:
        net.fit(sequence, x, t, epochs=4, batch_size=8, shuffle=True, optimizer=optimizer)
    assert_same_record(runs[0][0], runs[1][0], rtol=0, atol=0)
    assert np.abs(runs[0][0].w[1] - runs[2][0].w[1]).max() > 1e-3


def test_one_program_serves_other_weights_and_rates():
    x, t = generate_disc_set(30, seed=1)
    net, _, sequence, optimizer = network()
    net.fit(sequence, x, t, epochs=2, optimizer=optimizer)
    (plan,) = net._plans.values()
    programs = list(plan.step._programs.values())
    net.redraw(9)
    optimizer.lr = 0.2
    net.fit(sequence, x, t, epochs=2, optimizer=optimizer)
    assert list(plan.step._programs.values()) == programs
    other, _, sequence2, _ = network(seed=9)
    other.fit(sequence2, x, t, epochs=2, optimizer=optimizer_sgd(0.2, other))
    assert_same_record(net, other, rtol=1e-10, atol=1e-12)


def test_freezing_other_layers_makes_another_program():
    x, t = generate_disc_set(20, seed=1)
    net, _, sequence, optimizer = network()
    net.fit(sequence, x, t, epochs=1, optimizer=optimizer)
    before = np.array(net.w[3])
    optimizer.freeze = "output"
    net.fit(sequence, x, t, epochs=1, optimizer=optimizer)
    np.testing.assert_array_equal(net.w[3], before)


def test_attributes_of_the_users_tools_are_read_at_each_fit():
    class scaled(activation):
        factor = 1.0

        def operation(self, x):
            return x * self.factor

    x, t = generate_disc_set(10, seed=1)
    net, _, _, optimizer = network(lr=0.0)
    tool = scaled(net)
    sequence = [linear(2, 2, net), tool]
    first = net.fit(sequence, x, t, epochs=1, optimizer=optimizer)
    tool.factor = 5.0
    second = net.fit(sequence, x, t, epochs=1, optimizer=optimizer)
    output = 5 * (x @ net.w[1].T + net.b[1])
    assert second.loss[0] == pytest.approx(np.sum((output - t) ** 2))
    assert second.loss[0] != pytest.approx(first.loss[0])


def test_it_learns_the_disc():
    x, t = generate_disc_set(500, seed=1)
    net, _, sequence, optimizer = network((2, 25, 25, 2), dtype=np.float32, lr=0.1, freeze="output")
    history = net.fit(sequence, x, t, epochs=60, optimizer=optimizer)
    assert history.accuracy[-1] > 0.96
    assert history.loss[-1] < 0.3 * history.loss[0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ArgumentError, "epochs"),
        ({"epochs": -1}, ArgumentError, "epochs"),
        ({"epochs": 1.5}, ArgumentError, "epochs"),
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"batch_size": -4}, ArgumentError, "batch_size"),
        ({"optimizer": None}, UsageError, "optimizer"),
        ({"input": np.zeros((4, 3))}, ShapeError, r"linear\(2, 6\) \[layer 1\]"),
        ({"input": np.zeros(2), "target": np.zeros(2)}, ShapeError, r"\(N, m\)"),
        ({"input": np.zeros((0, 2)), "target": np.zeros((0, 2))}, DataError, "empty"),
        ({"input": np.full((4, 2), np.nan)}, DataError, "nan"),
        ({"input": np.zeros((4, 2), complex)}, DTypeError, "complex"),
        ({"target": np.zeros((4, 3))}, ShapeError, r"linear\(5, 2\) \[layer 3\]"),
        ({"target": np.zeros((3, 2))}, ShapeError, "each sample"),
        ({"target": None}, UsageError, "without a target"),
    ],
)
def test_fit_refuses_before_it_changes_anything(change, error, message):
    net, _, sequence, optimizer = network()
    net.train(sequence, [0.1, 0.2], [1.0, 0.0])
    before = [np.array(value) for value in (*net.w[1:], *net.b[1:], *net.x)]
    arguments = {
        "sequence": sequence,
        "input": np.full((4, 2), 0.5),
        "target": np.zeros((4, 2)),
        "epochs": 1,
        "optimizer": optimizer,
        **change,
    }
    with pytest.raises(error, match=message):
        net.fit(**arguments)
    for old, new in zip(before, (*net.w[1:], *net.b[1:], *net.x), strict=True):
        np.testing.assert_array_equal(old, new)


def test_fit_without_criterion_and_with_foreign_tools():
    x, t = generate_disc_set(4, seed=1)
    bare = model()
    sequence = [linear(2, 2, bare), sigmoid(bare)]
    net, _, _, optimizer = network()
    with pytest.raises(UsageError, match="without a criterion"):
        bare.fit(sequence, x, t, epochs=1, optimizer=optimizer_sgd(0.1, bare))
    with pytest.raises(UsageError, match="another constructor"):
        net.fit(sequence, x, t, epochs=1, optimizer=optimizer)
    criterion_mse(bare)
    with pytest.raises(UsageError, match="optimizer belongs to another"):
        bare.fit(sequence, x, t, epochs=1, optimizer=optimizer)
    with pytest.raises(ArgumentError, match="no layer 9"):
        bare.fit(sequence, x, t, epochs=1, optimizer=optimizer_sgd(0.1, bare, freeze=(9,)))


def test_a_loss_that_overflows_is_named():
    net = model(seed=0)
    criterion = criterion_mse(net)
    sequence = [linear(2, 6, net, criterion), linear(6, 2, net, criterion)]
    optimizer = optimizer_sgd(1e4, net)
    x, t = generate_disc_set(40, seed=1)
    with pytest.raises(NotFiniteError, match=r"step \d+.*criterion_mse"):
        net.fit(sequence, x, t, epochs=3, optimizer=optimizer)
    assert all(np.isfinite(net.w[k]).all() for k in (1, 2))
    before = np.array(net.w[1])
    with pytest.raises(NotFiniteError, match=r"last step of epoch 0.*criterion_mse"):
        net.fit(sequence, x[:1], t[:1], epochs=1, optimizer=optimizer)
    np.testing.assert_array_equal(net.w[1], before)


@pytest.mark.at_once("a first call and a later one have other last digits")
def test_strided_read_only_data():
    x, t = generate_disc_set(20, seed=1)
    wide = np.zeros((40, 4))
    wide[::2, 1:3] = x
    view = wide[::2, 1:3]
    view.flags.writeable = False
    net, _, sequence, optimizer = network()
    other, _, sequence2, optimizer2 = network()
    net.fit(sequence, view, np.asfortranarray(t), epochs=2, batch_size=6, optimizer=optimizer)
    other.fit(sequence2, x, t, epochs=2, batch_size=6, optimizer=optimizer2)
    assert_same_record(net, other, rtol=0, atol=0)
