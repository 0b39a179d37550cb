"""`check_grads`: what is right passes, each kind of fault is found and named."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest

import mynn
from mynn import Tensor, check_grads, nn
from mynn.errors import ArgumentError, ArgumentTypeError, GradientError, UsageError
from tests.helpers import same_bits

X = np.array([[0.3, -1.2, 0.8], [1.1, 0.4, -0.6]])


class Pair(NamedTuple):
    first: Any
    second: Any


def spoilt(x: Tensor, order: int) -> Tensor:
    """(x - x0)^order, where x0 is x without its gradient: zero wherever it is taken, so that its
    derivatives of lower order are right, and the one of this order is not.
    """
    return (x - x.detach()) ** order


RIGHT: dict[str, tuple[Any, Any]] = {
    "array": (lambda x: x.tanh() * x, [X]),
    "float32": (lambda x: x.tanh() * x, [X.astype(np.float32)]),
    "number": (lambda x: x.exp(), [0.5]),
    "several": (lambda x, y: (x * y).sin(), [X, X[0]]),
    "tensors": (lambda x: x.exp().sum(), [Tensor(X, requires_grad=True)]),
    "others": (lambda x, n, name: x**n, [X, 3, "cube"]),
    "nested": (lambda d: {"y": [d["a"][0] * d["b"]]}, [{"a": (X, 2), "b": X}]),
    "named tuple": (lambda p: Pair(p.first * 2, p.second.exp()), [Pair(X, X)]),
    "not all of the arguments": (lambda x, y: x.sin(), [X, X]),
    "beside whole numbers": (lambda x: x.max(1), [X]),
    "constant": (lambda x: Tensor([1.0]), [X]),
    "grad": (mynn.grad(lambda x: (x * x * x.sin()).sum()), [X]),
    "in place": (lambda x: (x * 1).mul_(x).sin_(), [X]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    f, args = RIGHT[name]
    check_grads(f, args, order=3 if name != "float32" else 2)


def test_modules_and_what_they_hold() -> None:
    net = nn.Sequential(nn.Linear(3, 4, dtype="float64"), nn.BatchNorm1d(4, dtype="float64"))
    net[0].bias.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    check_grads(net, [X])
    check_grads(lambda x, inner: inner[0](x), [X, [net]])
    after = net.state_dict()
    for key, value in before.items():
        assert same_bits(after[key], value), key
    assert all(parameter.grad is None for parameter in net.parameters())


def test_arguments_are_left_as_they_are() -> None:
    array, tensor = X.copy(), Tensor(X, requires_grad=True)
    check_grads(lambda x, y: x * y, [array, tensor])
    assert same_bits(array, X)
    assert same_bits(tensor.numpy(), X)
    assert tensor.grad is None


@pytest.mark.parametrize("order", [1, 2, 3])
def test_each_order_is_looked_at(order: int) -> None:
    if order > 1:
        check_grads(lambda x: spoilt(x, order), [X], order=order - 1)
    with pytest.raises(GradientError, match=f"derivative {order} of f by argument 0"):
        check_grads(lambda x: spoilt(x, order), [X], order=order)


class Half(nn.Module):
    """Follows the first row of its weight alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = mynn.Parameter(X)

    def forward(self, x: Any) -> Any:
        return (self.weight[0] * x).sum() + (self.weight[1].detach() * x).sum()


FAULTS: dict[str, tuple[Any, Any, str]] = {
    "one element": (
        lambda x: (x[0] ** 2).sum() + (x[1, 2] * x.detach()[1, 2]),
        [np.full((2, 3), 2.0)],
        r"argument 0 at \[1, 2\] is 2 by its gradient, but 4 by differences of f",
    ),
    "one number": (lambda x: x * x.detach(), [3.0], "argument 0 is 3 by its gradient, but 6 by"),
    "deep": (
        lambda d: (d["a"][1] * d["a"][1].detach()).sum(),
        [{"a": [X, X]}],
        r"argument 0\['a'\]\[1\] at \[\d, \d\] is",
    ),
    "second argument": (lambda x, y: (x * y.detach()).sum(), [X, X], "by argument 1 at"),
    "opposite ones": (
        lambda x, y: (3 * x - x.detach() + y + y.detach()).sum(),
        [X, X],
        r"argument 0 at \[\d, \d\] is 3 by its gradient, but 2 by",
    ),
    "a small one among large ones": (
        lambda x, *others: sum(10 * y.sum() for y in others) + 0.01 * (x * x.detach()).sum(),
        [X, X, X],
        "by argument 0 at",
    ),
    "module": (
        Half(),
        [2.0],
        r"by parameter 'weight' at \[1, \d\] is 0 by its gradient, but 2 by differences",
    ),
    "module as argument": (
        lambda x, m: m(x),
        [2.0, Half()],
        "by argument 1, parameter 'weight' at",
    ),
    "step": (lambda x: x.relu().sum(), [np.array([1.0, 0.0])], r"at \[1\] is 0 .* but 0.5 by"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(name: str) -> None:
    f, args, message = FAULTS[name]
    with pytest.raises(GradientError, match=message):
        check_grads(f, args)


def test_many_arguments_are_moved_at_once() -> None:
    """They are moved one by one where that is not right alone."""
    calls = []

    def f(*args: Any) -> Any:
        calls.append(len(args))
        return sum((x.sin() ** 2).sum() for x in args)

    check_grads(f, [X] * 8, order=1)
    assert len(calls) == 3


def test_tolerances() -> None:
    """A gradient that is off by a thousandth."""

    def f(x: Any) -> Any:
        return (x * x.detach() * 0.001 + x * x * 0.999).sum()

    with pytest.raises(GradientError):
        check_grads(f, [X], order=1)
    check_grads(f, [X], order=1, rtol=0.1)
    check_grads(f, [X], order=1, rtol=0, atol=0.1)
    check_grads(f, [X], order=1, eps=1e-2, rtol=1e-2)
    with pytest.raises(GradientError):
        check_grads(lambda x: x.exp(), [X], order=1, eps=0.5)


REFUSALS: list[tuple[Any, type[Exception], str]] = [
    (lambda: check_grads(lambda x: x, [X], order=0), ArgumentError, "order must be at least 1"),
    (lambda: check_grads(lambda x: x, [X], modes=("fwd",)), ArgumentError, "reverse mode alone"),
    (lambda: check_grads(lambda x: x, [X], modes=()), ArgumentError, "reverse mode alone"),
    (lambda: check_grads(lambda x: x, [X], eps=0), ArgumentError, "eps is 0"),
    (lambda: check_grads(lambda x: x, [X], rtol=-1.0), ArgumentError, "rtol is -1"),
    (lambda: check_grads(lambda x: x, X), ArgumentTypeError, r"write check_grads\(f, \[x\]\)"),
    (lambda: check_grads(lambda x: x, [1]), UsageError, "no floats to differentiate by"),
    (lambda: check_grads(lambda x: 3.0, [X]), UsageError, "its result is 3.0"),
    (lambda: check_grads(lambda x: [x, "y"], [X]), UsageError, r"its result\[1\] is 'y'"),
    (lambda: check_grads(lambda x: x > 0, [X]), UsageError, "returns no floats"),
    (
        lambda: check_grads(nn.Dropout(0.5), [np.ones((8, 8))]),
        UsageError,
        r"other values.*eval\(\)",
    ),
    (
        lambda: mynn.compile(lambda x: check_grads(lambda y: y, [x]))(X),
        UsageError,
        "outside of compiled functions",
    ),
]


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refusals(number: int) -> None:
    call, error, message = REFUSALS[number]
    with pytest.raises(error, match=message):
        call()
