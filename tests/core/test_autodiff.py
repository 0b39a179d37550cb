from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mynn import Tensor, no_grad
from mynn.core import autodiff, interpreter
from mynn.core.graph import Graph, input_node
from mynn.core.types import Type
from mynn.errors import ShapeError, UsageError
from mynn.tensor import graph_node, wrap
from mynn.trace import tracing
from tests.helpers import f32


def gradient_of(function: Callable[..., Any], *arrays: Any) -> list[Any]:
    """Gradients of a scalar function through `backward`."""
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    function(*tensors).backward()
    return [None if x.grad is None else x.grad.numpy() for x in tensors]


def test_shared_values_add_up() -> None:
    x = np.array([1.0, 2.0])
    (gradient,) = gradient_of(lambda x: (x * x + x * 3 + x).sum(), x)
    np.testing.assert_array_equal(gradient, 2 * x + 4)


def test_diamond() -> None:
    def f(x: Any) -> Any:
        y = x.tanh()
        return (y * y.exp() + y).sum()

    x = np.array([0.3, -1.0])
    t = np.tanh(x)
    (gradient,) = gradient_of(f, x)
    np.testing.assert_allclose(gradient, (np.exp(t) * (1 + t) + 1) * (1 - t * t), rtol=1e-14)


def test_gradients_accumulate_and_can_be_cleared() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for expected in (1, 2, 3):
        x.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [expected, expected]
    x.grad = None
    x.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1]


def test_backward_twice_through_one_graph() -> None:
    x = Tensor([3.0], requires_grad=True)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [12]


def test_only_leaves_that_ask_get_a_gradient() -> None:
    x = Tensor([1.0], requires_grad=True)
    y, z = Tensor([2.0]), x * 2
    (z * y).backward()
    assert x.grad is not None
    assert y.grad is None
    assert z.grad is None
    assert not x.grad.requires_grad


def test_cotangent_is_given_for_arrays() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.backward(np.array([1.0, 10.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [3, 30]
    assert x.grad.dtype == np.float32


def test_errors() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(UsageError, match=r"shape \(2,\) needs a gradient of that shape.*\.sum\(\)"):
        (x * 2).backward()
    with pytest.raises(ShapeError, match=r"the gradient has shape \(3,\), it must be \(2,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(UsageError, match="nothing that this tensor was computed from requires"):
        Tensor(1.0).backward()
    with pytest.raises(UsageError, match="nothing"):
        x.detach().sum().backward()
    with no_grad():
        y = x.sum()
    with pytest.raises(UsageError, match="nothing"):
        y.backward()


def test_gradient_ends_at_integers() -> None:
    x = Tensor([1.5, 2.5], requires_grad=True)
    y = x.astype(np.int32).astype(np.float32) + x
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1]


def test_mixed_dtypes_return_their_own() -> None:
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    y = Tensor(np.ones(2, np.float64), requires_grad=True)
    (x * y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (lambda x: x.relu(), 0.0, 0.0),
        (lambda x: x.abs(), 0.0, 0.0),
        (lambda x: x.maximum(1.0), 1.0, 0.5),
        (lambda x: x.maximum(x), 1.0, 1.0),
        (lambda x: x.clip(0.0, 1.0), 2.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x ** Tensor(2.0), 0.0, 0.0),
        (lambda x: x ** Tensor(2.0), -3.0, -6.0),
        (lambda x: x.sqrt(), 0.0, np.inf),
        (lambda x: (x > 0).choose(x.log(), 0), 2.0, 0.5),
        (lambda x: x.floor() + x, 0.5, 1.0),
    ],
)
def test_values_at_kinks(function: Callable[[Any], Any], at: float, expected: float) -> None:
    (gradient,) = gradient_of(lambda x: function(x), np.float64(at))
    assert gradient == expected


def test_ties_of_max_share() -> None:
    (gradient,) = gradient_of(lambda x: x.max(), np.array([1.0, 3.0, 3.0, 2.0]))
    np.testing.assert_array_equal(gradient, [0, 0.5, 0.5, 0])


# -- traced ----------------------------------------------------------------------------------------


def test_traced_backward_equals_eager() -> None:
    rng = np.random.default_rng(0)
    w, x = Tensor(rng.normal(size=(3, 2)), requires_grad=True), rng.normal(size=(4, 3))

    def loss() -> Tensor:
        y = (Tensor(x) @ w).tanh()
        return (y * y).mean()

    loss().backward()
    assert w.grad is not None
    with tracing.tracing() as trace:
        assert w.grad is None
        loss().backward()
        traced = w.grad
        assert traced is not None
        assert traced.value is None
        node = graph_node(traced)
    value = interpreter.evaluate_nodes([node], {trace.reads[w]: w.value})[0]
    np.testing.assert_allclose(value, w.grad.numpy(), rtol=1e-13)


def test_traced_gradient_is_of_the_present_value() -> None:
    """After an assignment within the trace, backward reaches the new value."""
    w = Tensor([2.0], requires_grad=True)
    with tracing.tracing() as trace:
        with no_grad():
            w.assign(w * 3)
        (w * w).sum().backward()
        assert w.grad is not None
        node = graph_node(w.grad)
    assert interpreter.evaluate_nodes([node], {trace.reads[w]: w.value})[0].tolist() == [12]


def test_no_grad_in_a_trace_stops_the_flow() -> None:
    w = Tensor([2.0], requires_grad=True)
    with tracing.tracing() as trace:
        with no_grad():
            scale = w * 10
        (w * scale).sum().backward()
        assert w.grad is not None
        node = graph_node(w.grad)
    assert interpreter.evaluate_nodes([node], {trace.reads[w]: w.value})[0].tolist() == [20]


def test_reverse_goes_only_where_something_is_wanted() -> None:
    """Integers and comparisons off the path are not asked for gradients that they do not have."""
    x, k = input_node(f32(3), "x"), input_node(Type((3,), np.dtype(np.int64)), "k")
    with tracing.tracing():
        tx, tk = Tensor.from_node(x), Tensor.from_node(k)
        y = ((tk % 2 == 0).choose(tx, 0) * tx).sum()
        seed = Tensor(np.float32(1))
        reached = autodiff.reverse({graph_node(y): seed}, {x}.__contains__, wrap)
        output = graph_node(reached[x])
        assert k not in reached
    graph = Graph((x, k), (output,))
    value = interpreter.evaluate(graph, [np.float32([1, 2, 3]), np.array([0, 1, 2])])[0]
    assert value.tolist() == [2, 0, 6]


def test_cotangents_are_kept_for_recording() -> None:
    w = Tensor([2.0], requires_grad=True)
    with tracing.tracing() as trace:
        hidden = w * 3
        (hidden * hidden).sum().backward()
        assert hidden.node in trace.observer.cotangents
        node = graph_node(trace.observer.cotangents[hidden.node])
    assert interpreter.evaluate_nodes([node], {trace.reads[w]: w.value})[0].tolist() == [12]
