"""Gradients that add up: in place, so that who holds `p.grad` sees it, as in PyTorch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn
from mynn.base import recording
from mynn.tensor.gradients import history

X = np.array([[1.0, -2.0, 0.5], [0.5, 3.0, -1.0]], np.float32)


def steps(w: Any, b: Any, x: Any, no_grad: Any) -> list[Any]:
    """What is kept of gradients on the way, as it is at the end."""
    kept = []
    for number in range(4):
        loss = ((x @ w + b + b) ** 2).sum() * (number + 1.0)
        loss.backward()
        kept += [w.grad, w.grad * 1.0]
        if number == 0:
            row = w.grad[1]
            kept += [row, b.grad]
        if number == 1:
            with no_grad():
                w.grad.mul_(0.5)
        if number == 2:
            w.grad = None
    return [*kept, w.grad, b.grad]


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_gradients_that_are_kept(mode: Any) -> None:
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    weight, bias = draw.normal(size=(3, 2)).astype(np.float32), np.ones(2, np.float32)
    theirs = [torch.tensor(one, requires_grad=True) for one in (weight, bias)]
    expected = [one.detach().numpy() for one in steps(*theirs, torch.tensor(X), torch.no_grad)]
    with mynn.eager(mode):
        for _ in range(3):  # later times are programs
            ours = [Tensor(one, requires_grad=True) for one in (weight, bias)]
            found = steps(*ours, Tensor(X), mynn.no_grad)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one.numpy(), other, rtol=1e-4, atol=1e-5)


def test_gradients_that_are_kept_in_a_compiled_function() -> None:
    w = nn.Parameter([1.0, 2.0])

    @mynn.compile
    def program(x: Tensor) -> Any:
        (w * x).sum().backward()
        first = w.grad
        before = first * 1.0  # type: ignore[operator]
        (w * x * x).sum().backward()
        return first, before, w.grad

    first, before, last = program(np.array([2.0, 3.0], np.float32))
    np.testing.assert_array_equal(before, [2, 3])
    np.testing.assert_array_equal(first, [6, 12])
    np.testing.assert_array_equal(last, [6, 12])


@pytest.mark.parametrize("mode", ["at once", "tape"])
@pytest.mark.parametrize("owner", ["module", "optimizer"])
def test_zeros_are_put_where_the_gradient_is(mode: Any, owner: str) -> None:
    with mynn.eager(mode):
        net = nn.Linear(3, 2)
        optimizer = mynn.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            net(Tensor(X)).sum().backward()
            kept: Any = net.weight.grad
            waits = kept * 2.0
            (net if owner == "module" else optimizer).zero_grad(set_to_none=False)
            assert net.weight.grad is kept
            assert not kept.numpy().any()
            assert waits.numpy().any()


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_two_parameters_with_equal_gradients(mode: Any) -> None:
    """Each has memory of its own."""
    with mynn.eager(mode):
        a, b = (nn.Parameter([1.0, 2.0]) for _ in range(2))
        for _ in range(4):
            a.grad = b.grad = None
            ((a + b) * 3.0).sum().backward()
            assert a.grad is not None
            assert b.grad is not None
            a.grad.mul_(2.0)
            np.testing.assert_array_equal(b.grad.numpy(), [3, 3])
            np.testing.assert_array_equal(a.grad.numpy(), [6, 6])


def test_threads_that_add_to_one_parameter() -> None:
    """With tapes of their own: no gradient is lost, and nobody waits for ever."""
    w = nn.Parameter(np.ones(4, np.float32))
    rounds, count = 30, 4

    def work() -> None:
        for _ in range(rounds):
            (w * 2.0).sum().backward()

    with mynn.eager("tape"):
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        recording.settle()
        assert w.grad is not None
        np.testing.assert_array_equal(w.grad.numpy(), 2.0 * rounds * count)
    assert not history.gradients._is_owned()
