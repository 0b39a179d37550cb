"""Leaves: where gradients are collected, also through operations that have nothing to do."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import mynn
from mynn import Parameter, Tensor, nn, optim
from mynn import functional as F
from mynn.core.graph import INPUT, Node
from mynn.errors import ShapeError, UsageError

NOTHING: dict[str, Callable[[Any], Any]] = {
    "itself": lambda p: p,
    "reshape": lambda p: p.reshape(2),
    "squeeze": lambda p: p.squeeze(),
    "flatten": lambda p: p.flatten(),
    "broadcast_to": lambda p: p.broadcast_to((2,)),
    "slice": lambda p: p[:],
    "ellipsis": lambda p: p[...],
    "dropout of none": lambda p: F.dropout(p, 0.0, True),
    "dropout at evaluation": lambda p: F.dropout(p, 0.5, False),
    "cast": lambda p: p.astype(np.float32),
}


@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("name", NOTHING)
def test_backward_of_a_leaf_that_went_through_nothing(name: str, backend: str) -> None:
    p = Parameter(np.array([1.0, 2.0], np.float32))
    optimizer = optim.SGD([p], lr=0.5)

    @mynn.compile(backend=backend)
    def step(g: Any) -> Any:
        NOTHING[name](p).backward(g)
        gradient = p.grad
        optimizer.step()
        return gradient

    g = np.array([3.0, -1.0], np.float32)
    np.testing.assert_array_equal(step(g), g)
    np.testing.assert_array_equal(p.numpy(), [-0.5, 2.5])
    NOTHING[name](p).backward(g)
    np.testing.assert_array_equal(p.grad.numpy(), g)


SAME = ("reshape", "squeeze", "flatten", "broadcast_to", "slice", "ellipsis")


@pytest.mark.parametrize("name", SAME)
def test_what_does_nothing_returns_what_pytorch_returns(name: str) -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn.Parameter(torch.ones(2))
    p = Parameter(np.ones(2, np.float32))
    ours, theirs = NOTHING[name](p), NOTHING[name](t)
    assert (ours is p) == (theirs is t)
    assert (ours.requires_grad, ours.is_leaf) == (theirs.requires_grad, theirs.is_leaf)
    with mynn.no_grad(), torch.no_grad():
        ours, theirs = NOTHING[name](p), NOTHING[name](t)
        ours += 1
        theirs += 1
    np.testing.assert_array_equal(p.numpy(), t.detach().numpy())


def test_gradients_of_a_leaf_before_and_after_a_write() -> None:
    """Both uses of a parameter are found, that of the old value too."""
    p = Parameter(np.ones(2, np.float32))

    @mynn.compile
    def step(x: Any) -> Any:
        first = (p * x).sum()
        with mynn.no_grad():
            p.add_(1)
        (first + (p * p).sum()).backward()
        return p.grad

    x = np.array([2.0, 3.0], np.float32)
    np.testing.assert_array_equal(step(x), x + 4)


def test_gradients_have_memory_of_their_own() -> None:
    a, b = (Parameter(np.ones(2, np.float32)) for _ in "ab")
    (a + b).sum().backward()
    a.grad.zero_()
    assert b.grad.tolist() == [1, 1]
    seed = Tensor([1.0, 2.0])
    a.grad = b.grad = None
    (a + b).backward(seed)
    a.grad.zero_()
    assert (seed.tolist(), b.grad.tolist()) == ([1, 2], [1, 2])

    @mynn.compile
    def step(x: Any) -> Any:
        (a + b).backward(x)
        a.grad.zero_()
        return a.grad, b.grad

    assert [g.tolist() for g in step(np.array([1.0, 2.0], np.float32))] == [[0, 0], [1, 2]]


# -- memory that programs work on ------------------------------------------------------------------


def _assign_value(p: Any) -> None:
    p.value = np.full((5, 7), 3.0, np.float32)


def _assign_data(p: Any) -> None:
    p.data = np.full((5, 7), 3.0)


def _shape_of_data(p: Any) -> None:
    array = p.value
    array[...] = 3
    array.shape = (1, 5, 7)


@pytest.mark.parametrize("change", [_assign_value, _assign_data, _shape_of_data])
def test_new_values_reach_programs(change: Callable[[Any], None]) -> None:
    p = Parameter(np.zeros((5, 7), np.float32), order=(1, 0))
    before = mynn.compile(lambda x: (p * x).sum())
    x = np.ones((5, 7), np.float32)
    assert before(x) == 0
    change(p)
    assert p.shape == (5, 7)
    assert before(x) == 105
    assert mynn.compile(lambda x: (p + x).sum())(x) == 140
    with pytest.raises(ShapeError, match=r"new data has shape \(2, 2\)"):
        p.value = np.ones((2, 2), np.float32)


def test_the_array_of_a_tensor_cannot_be_resized() -> None:
    p = Parameter(np.zeros((5, 7), np.float32))
    for array in (p.value, np.asarray(p)):
        with pytest.raises(ValueError, match="resize"):
            array.resize((50, 70))


def test_copies_do_not_share_memory() -> None:
    import copy
    import pickle

    p = Parameter(np.ones((2, 3), np.float32))
    row = p[0]
    for other in (copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p)), copy.copy(row)):
        with mynn.no_grad():
            other.add_(5)
        assert p.numpy().max() == 1


def test_views_follow_a_tensor_to_native_memory() -> None:
    b = Tensor(np.zeros((2, 3), np.float32))
    row, column, flat, alias = b[1], b.T[2], b.reshape(6), b.detach()

    @mynn.compile
    def step(x: Any) -> Any:
        b.add_(x)
        row.mul_(2)
        return flat * 1, alias * 1

    flat_value, whole = step(np.ones((2, 3), np.float32))
    assert flat_value.tolist() == [1, 1, 1, 2, 2, 2]
    assert whole.tolist() == [[1, 1, 1], [2, 2, 2]]
    step(np.ones((2, 3), np.float32))
    assert (row.tolist(), column.tolist()) == ([6, 6, 6], [2, 6])
    assert (flat.tolist(), alias.tolist()) == ([2, 2, 2, 6, 6, 6], b.tolist())
    row += 1
    assert b.tolist() == [[2, 2, 2], [7, 7, 7]]


def test_a_program_that_writes_a_parameter_is_noticed() -> None:
    p, q = (Parameter(np.ones(2, np.float32)) for _ in "pq")

    @mynn.compile
    def step(x: Any) -> Any:
        with mynn.no_grad():
            p.mul_(x)
        return p.sum()

    two = np.float32(2)
    for _ in range(2):
        loss, linear = (p * p * q).sum(), (p * 3).sum()
        step(two)
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            loss.backward()
        linear.backward()
    assert (p.grad.tolist(), q.grad) == ([6, 6], None)
    p.grad = None
    (p * p * q).sum().backward()
    assert (p.grad.tolist(), q.grad.tolist()) == ([8, 8], [16, 16])


def test_a_value_of_another_leaf_is_no_path_to_it() -> None:
    online, target = (Parameter(np.full(2, 3, np.float32)) for _ in "ot")
    target.requires_grad_(False)

    def step(x: Any) -> Any:
        target.assign(online)
        ((online - target * 2) * x).sum().backward()
        return online.grad * 1

    x = np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(mynn.compile(step)(x), x)
    online.grad = None
    np.testing.assert_array_equal(step(x).numpy(), x)


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_steps_leave_no_leaves_of_earlier_steps(mode: Literal["at once", "tape"]) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def leaves_after(steps: int) -> int:
        for _ in range(steps):
            loss = F.mse_loss(net(np.ones((5, 3), np.float32)), np.zeros((5, 2), np.float32))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gc.collect()
        return sum(type(one) is Node and one.primitive is INPUT for one in gc.get_objects())

    with mynn.eager(mode):
        before = leaves_after(5)
        assert leaves_after(10) == before


VIEWS = {
    "reshape": lambda x: x.reshape(2, 2),
    "slice": lambda x: x[1:],
    "broadcast": lambda x: x.broadcast_to((3, 4)),
    "twice": lambda x: x.reshape(2, 2).transpose(0, 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_a_leaf_that_was_detached(name: str) -> None:
    """Their gradient goes to the leaf, which looks at the memory of another tensor."""
    a = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    x = (Tensor(a) * 2).detach().requires_grad_()
    y = VIEWS[name](x)
    (y * y).sum().backward()
    assert x.grad is not None
    times = {"slice": [0, 1, 1, 1], "broadcast": [3] * 4}.get(name, [1] * 4)
    np.testing.assert_array_equal(x.grad.numpy(), 4 * a * times)
