"""Walks back on arrays, and rules by recipes, against rules that are applied to tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn
from mynn.base import recording
from mynn.core import autodiff
from mynn.core.graph import Node, topological
from mynn.core.primitive import Primitive, Sample
from mynn.core.rows import Rows
from mynn.core.types import Array
from mynn.errors import UsageError
from mynn.tensor import apply, graph_node, no_grad, wrap
from mynn.tensor.gradients import cotangents, walks
from mynn.tensor.gradients.history import leaf_requires_grad
from mynn.tensor.gradients.rules import by_recipe
from mynn.tensor.view import value_of
from tests.ops.cases import cases, with_float


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whole walks are programs from the third time on."""
    monkeypatch.setattr(walks, "OFTEN", 3)
    monkeypatch.setattr(walks, "_walks", {})
    monkeypatch.setattr(walks, "_vain", [0])
    with mynn.eager("at once"):
        yield


def programs() -> int:
    """How many walks are programs by now."""
    return sum(isinstance(one, walks.Walk) for one in walks._walks.values())


def bits(g: Any) -> Any:
    """What two cotangents have in common if they are the same, in memory too."""
    if isinstance(g, Rows):
        return bits(g.index), bits(g.values), g.extent
    array = g if isinstance(g, np.ndarray) else value_of(g)
    assert array is not None
    strides = array.strides if array.size > 1 else ()
    return array.dtype, array.shape, array.tobytes(), strides


def made(primitive: Primitive, arrays: tuple[Array, ...], which: int, params: Any) -> Any:
    """The primitive on tensors; those of `which` ask for a gradient."""
    xs = [
        Tensor(array, requires_grad=array.dtype.kind == "f" and bool(which >> i & 1))
        for i, array in enumerate(arrays)
    ]
    return xs, apply(primitive, *xs, **params)


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases(differentiable=True))
def test_the_rule_of_every_primitive(primitive: Primitive, sample: Sample) -> None:
    arrays = with_float(sample, np.float32)
    floats = [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]
    every = sum(1 << i for i in floats)
    for which in {every, *(1 << i for i in floats)}:
        for number in range(4):  # from some time on it is a program
            xs, y = made(primitive, arrays, which, sample.params)
            if not y.requires_grad:
                return
            seed = np.random.default_rng(number).normal(size=y.shape).astype(np.float32)
            end = graph_node(y)
            with no_grad():
                expected = autodiff.reverse({end: Tensor(seed)}, leaf_requires_grad, wrap)
                got = cotangents.reverse({end: seed}, leaf_requires_grad)
            leaves = [graph_node(x) for x in xs if x.requires_grad]
            assert [node in got for node in leaves] == [node in expected for node in leaves]
            for node in got:
                assert bits(got[node]) == bits(expected[node])


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize(("primitive", "sample"), cases(differentiable=True))
def test_the_rule_of_every_primitive_with_a_history(primitive: Primitive, sample: Sample) -> None:
    arrays = with_float(sample, np.float32)
    for number in range(4):
        xs, y = made(primitive, arrays, -1, sample.params)
        if not y.requires_grad:
            return
        seed = Tensor(np.random.default_rng(number).normal(size=y.shape).astype(np.float32))
        seed.requires_grad = True
        wanted = {graph_node(x) for x in xs if x.requires_grad}
        found = [
            autodiff.reverse({graph_node(y): seed}, wanted.__contains__, wrap, rule=rule)
            for rule in (autodiff.apply_rule, by_recipe)
        ]
        for node in wanted & found[0].keys():
            one, other = (each[node] for each in found)
            assert bits(one) == bits(other)
            assert one.requires_grad == other.requires_grad
            if one.requires_grad:
                assert asked(graph_node(one)) == asked(graph_node(other))


def asked(node: Node) -> list[tuple[str, Any]]:
    """The primitives that a walk back from a node passes, with the names of their functions."""
    order = topological((node,))
    active: set[Node] = set()
    for one in order:
        if leaf_requires_grad(one) or not active.isdisjoint(one.inputs):
            active.add(one)
    return [(one.primitive.name, getattr(one, "function", None)) for one in order if one in active]


def losses(x: Tensor) -> Iterator[Tensor]:
    """What is used more than once, in slices, in place, through views."""
    y = x.tanh()
    yield (y * y.exp() + y + y).sum()
    yield sum((y[i] * float(i + 1)).sum() for i in range(len(y)))  # type: ignore[misc]
    yield (y[:, 1:] * y[:, :-1]).sum() + y[0].max() + y.reshape(-1)[3]
    z = y * 2
    z[0] = z[1] * 3
    z += y
    yield (z * z).mean()
    yield (x.detach() * x).sum() + (x.T @ y).sum() + (x > 0).float().sum() * x.sum()
    yield mynn.cat([x, y, x.relu()], 1).softmax(1).log().sum()
    yield x[[0, 0, 1]].sum() + x.cumsum(1).prod() + x.var() + x.sort(1)[0][:, 0].sum()


def gradients(arrays: Array) -> list[Any]:
    found = []
    for number in range(7):
        x = Tensor(arrays, requires_grad=True)
        loss = list(losses(x))[number]
        loss.backward()
        assert x.grad is not None
        found.append(bits(x.grad))
    return found


def test_gradients_are_those_of_rules_on_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(size=(3, 4)).astype(np.float32)
    got = [gradients(values) for _ in range(5)]
    assert programs() >= 5

    def on_tensors(seeds: Any, wanted: Any, keep_rows: bool = False) -> Any:
        given = {node: Tensor.from_value(g) for node, g in seeds.items()}
        return autodiff.reverse(given, wanted, wrap, keep_rows=keep_rows)

    monkeypatch.setattr(cotangents, "reverse", on_tensors)
    monkeypatch.setattr(
        recording, "at_once", [lambda tried, args, kwargs: tried.plain(args, kwargs)]
    )
    assert got == [gradients(values)] * 5


def test_sparse_gradients_keep_their_rows() -> None:
    table = nn.Embedding(6, 2, sparse=True)
    for _ in range(4):
        table.weight.grad = None
        (table(mynn.tensor([1, 4, 1])) * 2).sum().backward()
        assert table.weight.grad is not None
        assert table.weight.grad[1].tolist() == [4, 4]
        optimizer = mynn.optim.SparseAdam(table.parameters())
        before = table.weight.numpy()
        optimizer.step()
        assert (table.weight.numpy() != before).any(1).tolist() == [0, 1, 0, 0, 1, 0]


def test_a_value_that_was_changed_is_missed_in_programs_too() -> None:
    for _ in range(6):
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x * 3
        z = y * y
        y += 1
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            z.sum().backward()
        assert x.grad is None
        w = x * 3
        v = w + 1  # the rule of a sum needs no values
        w += 1
        v.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [3, 3]


def test_walks_through_the_same_kinds_in_another_way() -> None:
    """Two graphs of the same nodes, joined otherwise, are two walks."""
    for _ in range(5):
        x, y = (Tensor(values, requires_grad=True) for values in ([1.0, 2.0], [3.0, 5.0]))
        u, v = x * y, y * x
        (u * u + v * x).sum().backward()
        assert x.grad is not None
        assert y.grad is not None
        assert (x.grad.tolist(), y.grad.tolist()) == ([24, 120], [7, 44])
        x, y = (Tensor(values, requires_grad=True) for values in ([1.0, 2.0], [3.0, 5.0]))
        u, v = x * y, y * x
        (v * v + u * x).sum().backward()
        assert x.grad is not None
        assert y.grad is not None
        assert (x.grad.tolist(), y.grad.tolist()) == ([24, 120], [7, 44])
    assert programs() == 2


def test_a_leaf_that_asks_no_more_is_another_walk() -> None:
    x, y = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    for number in range(12):
        y.requires_grad = number % 2 == 0
        x.grad = y.grad = None
        (x * y * y).sum().backward()
        assert x.grad is not None
        assert (y.grad is None) == bool(number % 2)
    assert programs() == 2


def test_a_leaf_that_no_gradient_reaches_has_none() -> None:
    for _ in range(5):
        x, y = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
        (x * (y * 2).detach()).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [2, 4]
        assert y.grad is None
    assert programs() == 1


def test_walks_that_never_come_again_are_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walks, "MOST", 8)
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(100):
        y = y * x
        y.sum().backward()
        assert len(walks._walks) <= 8
    assert not walks.is_worth()
    for _ in range(walks.RARELY * walks.OFTEN):  # and are looked for again
        (x * x).sum().backward()
    assert programs() == 1
    assert walks.is_worth()


def test_gradients_have_memory_of_their_own() -> None:
    for _ in range(6):
        a, b = (Tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
        seed = Tensor(np.ones((2, 3)))
        (a + b).backward(seed)
        assert a.grad is not None
        assert b.grad is not None
        a.grad += 1
        assert b.grad.tolist() == [[1, 1, 1]] * 2
        assert seed.tolist() == [[1, 1, 1]] * 2


def test_hooks_are_called_as_before() -> None:
    for _ in range(4):
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        handles = [y.register_hook(lambda g: g * 10), x.register_hook(lambda g: g + 1)]
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [21, 21]
        for handle in handles:
            handle.remove()


def test_functions_of_the_users_are_called_once() -> None:
    calls = []

    class Twice(mynn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            calls.append(mynn.is_grad_enabled())
            return g * 2

    for _ in range(4):
        x = Tensor([1.0, 2.0], requires_grad=True)
        (Twice.apply(x.exp()) * x).sum().backward()
        assert x.grad is not None
    assert calls == [False] * 4
