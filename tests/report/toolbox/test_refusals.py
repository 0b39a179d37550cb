"""The report's toolbox: what it refuses, and what that leaves unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.module import criterion_mse, linear, model, optimizer_sgd, sigmoid, tanh
from tests.report.toolbox.harness import network

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


@pytest.mark.at_once("a first call and a later one have other last digits")
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
