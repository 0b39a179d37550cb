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
from mynn.core.types import Array
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


@pytest.mark.one_in(3)
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


@pytest.mark.wide
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


LEAVES: dict[str, Callable[[Any], Any]] = {
    "a result": lambda a: (a * 2).requires_grad_(),
    "detached": lambda a: (a * 2).detach().requires_grad_(),
    "detached argument": lambda a: a.detach().requires_grad_(),
    "detached part": lambda a: (a * 2)[2:].detach().requires_grad_(),
    "slice": lambda a: (a * 2)[:].requires_grad_(),
    "reshape": lambda a: (a * 2).reshape(2, 4).requires_grad_(),
    "of a parameter": lambda a: (a * a.detach().requires_grad_()).detach().requires_grad_(),
}
USES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x * 1,
    "reshape": lambda x: x.reshape(2, -1),
    "same shape": lambda x: x.reshape(x.shape),
    "slice": lambda x: x[1:],
    "everything": lambda x: x[...],
    "broadcast": lambda x: x.broadcast_to((3, *x.shape)),
    "twice": lambda x: x.reshape(2, -1).transpose(0, 1),
    "later asked": lambda x: x.detach().requires_grad_(False) * x,
}
WAYS = ["at once", "tape", "tape again", "native", "interpreter"]


def gradient_of_leaf(a: Any, leaf: str, use: str) -> Any:
    x = LEAVES[leaf](a)
    assert x.is_leaf
    y = USES[use](x)
    (y * y).sum().backward()
    return x.grad


def in_way(function: Callable[[Any], Any], way: str, a: Array) -> Any:
    if way in ("native", "interpreter"):
        return mynn.compile(function, backend=way)(Tensor(a))
    with mynn.eager("at once" if way == "at once" else "tape"):
        for _ in range(30 if way == "tape again" else 1):
            gradient = function(Tensor(a))
        return gradient


@pytest.mark.one_in(5)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_that_were_results(leaf: str, use: str, way: str) -> None:
    """Gradients are collected where somebody asked for them, whatever that was made from."""
    torch = pytest.importorskip("torch")
    a = np.arange(1.0, 9.0, dtype=np.float32)
    if use == "broadcast":
        expected = 3 * gradient_of_leaf(torch.tensor(a), leaf, "itself")
    else:
        expected = gradient_of_leaf(torch.tensor(a), leaf, use)
    gradient = in_way(lambda a: gradient_of_leaf(a, leaf, use), way, a)
    assert gradient is not None
    np.testing.assert_array_equal(np.asarray(gradient), expected.numpy())


def descent(a: Any, package: Any) -> Any:
    x = package.zeros(8).requires_grad_()
    for _ in range(3):
        ((x - a) ** 2).sum().backward()
        with package.no_grad():
            x -= 0.125 * x.grad
        x.grad = None
    return x.detach()


@pytest.mark.parametrize("way", WAYS)
def test_descent_on_a_leaf_of_its_own(way: str) -> None:
    """It begins anew in each call of a compiled function."""
    torch = pytest.importorskip("torch")
    a = np.arange(1.0, 9.0, dtype=np.float32)
    function = lambda a: descent(a, mynn)  # noqa: E731
    if way in ("native", "interpreter"):
        function = mynn.compile(function, backend=way)
        way = "at once"
    for sign in (1, -1):
        expected = descent(torch.tensor(sign * a), torch).numpy()
        found = in_way(function, way, np.float32(sign) * a)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_tensor_that_asks_begins_anew(way: str) -> None:
    """What was computed from it before leads to it no more, as in PyTorch."""
    torch = pytest.importorskip("torch")

    def gradients(a: Any, w: Any) -> Any:
        x = a * 2
        y = x * w
        x.requires_grad_()
        (y * x.detach() + x).sum().backward()
        return x.grad

    a, w = np.array([3.0, 5.0], np.float32), np.array([2.0, 7.0], np.float32)
    wanted = gradients(torch.tensor(a), torch.tensor(w, requires_grad=True))
    weight = Tensor(w, requires_grad=True)
    gradient = in_way(lambda a: gradients(a, weight), way, a)
    np.testing.assert_array_equal(np.asarray(gradient), wanted.numpy())


@pytest.mark.parametrize("way", WAYS)
def test_views_of_a_leaf_that_was_detached_share_its_memory(way: str) -> None:
    def written(a: Any) -> Any:
        x = (a * 2).detach().requires_grad_()
        y = x[1:]
        with mynn.no_grad():
            y.zero_()
        (x * x).sum().backward()
        return x.detach(), x.grad

    x, gradient = in_way(written, way, np.array([1.0, 2.0], np.float32))
    assert np.asarray(x).tolist() == [2, 0]
    assert np.asarray(gradient).tolist() == [4, 0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["itself", "slice"])
def test_leaves_that_were_detached_are_not_changed_in_place(part: str, way: str) -> None:
    def changed(a: Any) -> Any:
        x = (a * 2).detach().requires_grad_()
        (x if part == "itself" else x[1:]).add_(1.0)
        return x * 1

    what = "a leaf" if part == "itself" else "a view of a leaf"
    with pytest.raises(UsageError, match=f"{what} Variable that requires grad"):
        in_way(changed, way, np.array([1.0, 2.0], np.float32))


def test_what_a_program_has_written_is_refused_where_another_leaf_stands_for_it() -> None:
    p = Parameter(np.array([1.0, 2.0], np.float32))

    @mynn.compile
    def step() -> None:
        with mynn.no_grad():
            p.add_(1.0)

    with mynn.eager("at once"):
        y = p * p
        step()
        (p * 2).sum().backward()
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            y.sum().backward()
