"""`mynn.compile`: a program for each signature, state, methods and nesting."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.jit.compile
from mynn import Tensor, nn, optim
from mynn.errors import ShapeError, UsageError
from mynn.jit import compile
from tests.jit.harness import backends, ramp, step_of

# -- one program for each signature ----------------------------------------------------------------


@backends
@pytest.mark.filterwarnings("ignore:the list traces")
def test_shapes_and_dtypes_are_compiled_once(backend: str) -> None:
    traces = []

    @mynn.compile(backend=backend)
    def double(x: Any) -> Any:
        traces.append((x.shape, x.dtype.name))
        return x + x

    for _ in range(2):
        for x in (ramp(3), ramp(4), ramp(3, dtype=np.float64), ramp(1, 3), ramp(3, dtype=np.int32)):
            np.testing.assert_array_equal(double(x), x + x)
    assert len(traces) == 5
    assert double.program(ramp(3)) is double.program(ramp(3) + 1)
    assert len(traces) == 5


@backends
@pytest.mark.filterwarnings("ignore:the list traces")
def test_modes_have_programs_of_their_own(backend: str) -> None:
    traces = []
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    @mynn.compile(backend=backend)
    def forward(x: Any) -> Any:
        traces.append(net.training)
        return net(x)

    x = ramp(8, 4)
    mynn.manual_seed(0)
    one, two = forward(x), forward(x)
    assert (one == 0).any()
    assert not np.array_equal(one, two)
    net.eval()
    still = forward(x)
    np.testing.assert_allclose(still, net(x).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(still, forward(x))
    net.train()
    assert (forward(x) == 0).any()
    net.eval()
    np.testing.assert_array_equal(still, forward(x))
    assert traces == [True, False]


@backends
def test_frozen_parameters(backend: str) -> None:
    net = nn.Linear(3, 2)
    assert net.bias is not None
    run = mynn.compile(step_of(net, optim.SGD(net.parameters(), lr=0.1)), backend=backend)
    x, t = ramp(4, 3), ramp(4, 2)
    for frozen in (False, True, False):
        net.weight.requires_grad = not frozen
        weight, bias = net.weight.numpy(), net.bias.numpy()
        run(x, t)
        assert np.array_equal(net.weight.value, weight) == frozen
        assert not np.array_equal(net.bias.value, bias)


@backends
def test_parameters_that_are_replaced(backend: str) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    run = mynn.compile(net, backend=backend)
    x = ramp(2, 3) / 10
    run(x)
    net[0].weight = mynn.Parameter(np.ones((2, 3), np.float32))
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-6)
    net[0] = nn.Linear(3, 5)
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-6)
    net[1] = nn.ReLU()
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-6)
    net.append(nn.Linear(5, 1))
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-5)


# -- state -----------------------------------------------------------------------------------------


@backends
def test_closures_see_later_values(backend: str) -> None:
    scale = Tensor([2.0, 3.0])
    run = mynn.compile(lambda x: x * scale, backend=backend)
    np.testing.assert_array_equal(run(ramp(2)), [2, 6])
    scale.data = [10.0, 10.0]
    np.testing.assert_array_equal(run(ramp(2)), [10, 20])
    scale.value[0] = 0.0
    np.testing.assert_array_equal(run(ramp(2)), [0, 20])
    scale.assign(scale + 1)
    np.testing.assert_array_equal(run(ramp(2)), [1, 22])


@backends
def test_state_is_written(backend: str) -> None:
    count = Tensor(0, name="count")
    total = Tensor(np.zeros((2, 3)), name="total")

    @mynn.compile(backend=backend)
    def add(x: Any) -> Any:
        count.assign(count + 1)
        total.assign(total + x * count)
        return total.sum()

    values = [add(ramp(2, 3, dtype=np.float64)).item() for _ in range(3)]
    assert values == [21, 63, 126]
    assert count.item() == 3
    assert count.dtype == np.int64
    np.testing.assert_array_equal(total.value, 6 * ramp(2, 3))
    total.data = np.zeros((2, 3))
    assert add(np.zeros((2, 3))).item() == 0


@backends
def test_programs_share_state(backend: str) -> None:
    weight = Tensor([1.0])

    def function(x: Any) -> Any:
        weight.assign(weight * x.sum())
        return weight

    one, two = (mynn.compile(function, backend=b) for b in (backend, "native"))
    one(ramp(1) + 1)
    two(ramp(2))
    one(np.full((3, 3), 2.0, np.float32))
    assert weight.item() == 2 * 3 * 18


@pytest.mark.at_once(
    "a program's update counts for all that programs write with it", first_calls=True
)
@backends
@pytest.mark.parametrize("change", ["statistics", "optimizer", "state dict"])
def test_backward_after_a_change_of_other_state_of_a_program(backend: str, change: str) -> None:
    """What was recorded stays valid where the values that it needs are the same."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    other = nn.Linear(3, 2)
    optimizers = [optim.SGD(one.parameters(), lr=0.1) for one in (net, other)]

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).sum() + other(x).sum()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss

    compiled = mynn.compile(step, backend=backend)
    x = ramp(5, 3)
    compiled(x)
    loss = (net(x) ** 2).sum()  # writes the statistics after it read the weights
    if change == "optimizer":
        other(x).sum().backward()
        optimizers[1].step()
    elif change == "state dict":
        other.load_state_dict(other.state_dict())
    loss.backward()
    assert net[0].weight.grad is not None
    loss = (net(x) ** 2).sum()
    compiled(x)
    with pytest.raises(UsageError, match="changed after the forward pass"):
        loss.backward()


@backends
@pytest.mark.at_once(
    "while an array of a tensor is held, its memory is reached through another one"
)
def test_state_with_an_axis_order(backend: str) -> None:
    """A weight stored input-major stays where it is, and reads as its logical shape."""
    net = nn.Linear(3, 5)
    run = mynn.compile(step_of(net, optim.SGD(net.parameters(), lr=0.01)), backend=backend)
    x, t = ramp(2, 3), ramp(2, 5)
    twin = copy.deepcopy(net)
    eager = step_of(twin, optim.SGD(twin.parameters(), lr=0.01))
    for _ in range(3):
        view = net.weight.value
        got, expected = run(x, t), eager(x, t)
        twin.zero_grad()
        np.testing.assert_allclose(got, expected.item(), rtol=1e-5)
        np.testing.assert_allclose(net.weight.value, twin.weight.value, rtol=1e-5)
    assert view.base is net.weight.value.base
    assert net.weight.shape == (5, 3)


@backends
def test_copies_train_apart(backend: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    mynn.compile(net, backend=backend)(ramp(2, 3))
    twin = copy.deepcopy(net)
    before = [p.numpy() for p in twin.parameters()]
    run = mynn.compile(step_of(net, optim.SGD(net.parameters(), lr=0.1)), backend=backend)
    run(ramp(4, 3), ramp(4, 2))
    for old, same, new in zip(before, twin.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(old, same.value)
        assert not np.array_equal(old, new.value)
    other = mynn.compile(step_of(twin, optim.SGD(twin.parameters(), lr=0.1)), backend=backend)
    other(ramp(4, 3), ramp(4, 2))
    for a, b in zip(twin.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@backends
def test_an_error_while_tracing_changes_nothing(backend: str) -> None:
    weight = Tensor([1.0, 2.0], requires_grad=True)

    @mynn.compile(backend=backend)
    def bad(x: Any) -> Any:
        loss = (weight * x).sum()
        loss.backward()
        weight.assign(weight * 0.0)
        return weight @ np.ones((5, 5), np.float32)

    with pytest.raises(ShapeError):
        bad(ramp(2))
    np.testing.assert_array_equal(weight.value, [1, 2])
    assert weight.grad is None
    np.testing.assert_array_equal((weight * 2).numpy(), [2, 4])  # no trace is left open


# -- methods and nesting ---------------------------------------------------------------------------


class Trainer:
    def __init__(self, lr: float) -> None:
        self.net = nn.Linear(2, 1)
        self.optimizer = optim.SGD(self.net.parameters(), lr=lr)

    @mynn.compile
    def step(self, x: Any, t: Any) -> Any:
        """One step."""
        return step_of(self.net, self.optimizer)(x, t)


def test_methods() -> None:
    one, two = Trainer(0.1), Trainer(0.0)
    x, t = ramp(4, 2), ramp(4, 1)
    before = two.net.weight.numpy()
    first = one.step(x, t)
    assert one.step(x, t) != first
    assert two.step(x, t) == two.step(x, t)
    np.testing.assert_array_equal(before, two.net.weight.value)
    assert one.step is one.step
    assert one.step is not two.step
    assert isinstance(Trainer.step, compile.Compiled)
    assert Trainer.step.__doc__ == "One step."
    history = mynn.fit(one.step, (x, t), epochs=2, batch_size=2)
    assert history.steps == 4


def test_methods_do_not_keep_their_object_alive() -> None:
    one = Trainer(0.1)
    one.step(ramp(4, 2), ramp(4, 1))
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_copied_objects_have_methods_of_their_own() -> None:
    one = Trainer(0.1)
    one.step(ramp(4, 2), ramp(4, 1))
    two = copy.deepcopy(one)
    before = one.net.weight.numpy()
    two.step(ramp(4, 2), ramp(4, 1))
    np.testing.assert_array_equal(one.net.weight.value, before)
    assert not np.array_equal(two.net.weight.value, before)


@backends
def test_compiled_functions_call_each_other(backend: str) -> None:
    inner = mynn.compile(lambda x: x * x, backend=backend)
    outer = mynn.compile(lambda x: inner(x).sum() + inner(x=x)[0], backend=backend)
    assert outer(ramp(3)) == 15
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    forward = mynn.compile(net, backend=backend)
    before = net.weight.numpy()
    forward(ramp(4, 2))
    mynn.compile(step_of(forward, optimizer), backend=backend)(ramp(4, 2), ramp(4, 1))
    assert not np.array_equal(net.weight.value, before)


@backends
def test_derivatives(backend: str) -> None:
    def function(x: Any) -> Any:
        return (x * x * x + x.sin()).sum()

    x = np.linspace(-1, 1, 7)
    first = mynn.compile(mynn.grad(function), backend=backend)
    second = mynn.compile(mynn.grad(lambda x: mynn.grad(function)(x).sum()), backend=backend)
    third = mynn.compile(
        mynn.grad(lambda x: mynn.grad(lambda y: mynn.grad(function)(y).sum())(x).sum()),
        backend=backend,
    )
    np.testing.assert_allclose(first(x), 3 * x**2 + np.cos(x), rtol=1e-12)
    np.testing.assert_allclose(second(x), 6 * x - np.sin(x), rtol=1e-12)
    np.testing.assert_allclose(third(x), 6 - np.cos(x), rtol=1e-12)


@backends
def test_gradient_of_a_gradient_through_parameters(backend: str) -> None:
    """A penalty on the gradient with respect to the input, differentiated by the weights."""
    wide = np.float64
    net = nn.Sequential(nn.Linear(3, 4, dtype=wide), nn.Tanh(), nn.Linear(4, 1, dtype=wide))
    weights = list(net.parameters())

    def penalty(x: Any) -> Any:
        slope = mynn.grad(lambda x: net(x).sum())(x)
        value = (slope * slope).sum()
        value.backward()
        return (value, *(p.grad for p in weights if p.grad is not None))

    x = np.random.default_rng(0).normal(size=(5, 3))
    value, *gradients = mynn.compile(penalty, backend=backend)(x)
    assert len(gradients) == 3
    step = 1e-6
    first = weights[0].value
    first[1, 2] += step
    above = mynn.compile(penalty, backend=backend)(x)[0]
    np.testing.assert_allclose((above - value) / step, gradients[0][1, 2], rtol=1e-4)
