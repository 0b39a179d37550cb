"""Functions by recipes against the functions themselves: values, nodes, gradients, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn import functional as F
from mynn.base import recording
from mynn.core.graph import Node
from mynn.errors import DataError, IndexRangeError, ShapeError, UsageError
from mynn.tensor import graph_node
from mynn.tensor.at_once import recipes
from tests.registry import FUNCTIONS, MODULES
from tests.registry.entries import all_cases
from tests.registry.running import our_function, run_eager
from tests.subset import by_entry

CASES = all_cases(FUNCTIONS)
LAYERS = all_cases(MODULES)


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with mynn.eager("at once"):
        yield


def plain(tried: Any, args: Any, kwargs: Any) -> Any:
    return tried.plain(args, kwargs)


@pytest.fixture
def untried() -> None:
    """No function was found to have no recipes, whatever tests ran before in this process."""
    for function in (F.linear, F.gelu, F.cross_entropy, Tensor.__getitem__):
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        (tried,) = (one for one in cells if isinstance(one, recording.Tried))
        tried.worth, tried._in_vain = True, 0


def recipe_of(name: str) -> recipes.Recipe | None:
    """The latest recipe of a function."""
    found = [one for key, one in recipes._recipes.items() if key[0].name == name]
    return next((one for one in reversed(found) if isinstance(one, recipes.Recipe)), None)


def bits(results: list[Any]) -> list[Any]:
    return [(one.dtype, one.shape, one.tobytes()) for one in results]


@pytest.mark.one_in(3, each=by_entry)
@pytest.mark.parametrize("name", CASES)
def test_every_function(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = our_function(CASES[name])
    arrays = CASES[name].arrays(name, "float32")
    mynn.manual_seed(3)
    got = [bits(run_eager(call, arrays)) for _ in range(4)]
    monkeypatch.setattr(recording, "at_once", [plain])
    mynn.manual_seed(3)
    assert got == [bits(run_eager(call, arrays)) for _ in range(4)]


@pytest.mark.one_in(3, each=by_entry)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = LAYERS[name].arrays(name, "float32")

    def results() -> list[Any]:
        mynn.manual_seed(3)
        layer = LAYERS[name].call(mynn.nn)
        for number, parameter in enumerate(layer.parameters()):
            drawn = np.random.default_rng(number).uniform(0.5, 1.5, parameter.shape)
            parameter.data = drawn.astype(np.float32)
        return [bits(run_eager(layer, arrays, list(layer.parameters()))) for _ in range(4)]

    got = results()
    monkeypatch.setattr(recording, "at_once", [plain])
    assert got == results()


def history(node: Node, known: dict[Node, int]) -> Any:
    """What leads to a node, as far as it asks for a gradient."""
    if node in known:
        return known[node]
    known[node] = len(known)
    made = getattr(node, "function", None)
    return node.primitive.name, made, [history(one, known) for one in node.inputs]


@pytest.mark.usefixtures("untried")
def test_nodes_are_those_of_the_function() -> None:
    w, b = (Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 4), 3))
    x = Tensor(np.ones((2, 4)))
    made = [F.linear(x, w, b) for _ in range(4)]
    assert recipe_of("linear") is not None
    first, *others = [history(graph_node(one), {}) for one in made]
    assert others == [first] * 3
    names = [[one[0].name() for one in y.grad_fn.next_functions if one[0]] for y in made]
    assert names == [names[0]] * 4


@pytest.mark.usefixtures("untried")
def test_gradients_of_gradients_go_through_recipes() -> None:
    found = []
    for _ in range(4):
        x = Tensor([0.5, -1.0, 2.0], requires_grad=True)
        (slope,) = mynn.autograd.grad(F.gelu(x).sum(), x, create_graph=True)
        (bend,) = mynn.autograd.grad((slope * slope).sum(), x)
        found.append(bend.tolist())
    assert recipe_of("gelu") is not None
    assert found == [found[0]] * 4


@pytest.mark.usefixtures("untried")
def test_checks_are_held_to() -> None:
    logits = Tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    for _ in range(4):
        F.cross_entropy(logits, Tensor([0, 2]))
    assert recipe_of("cross_entropy") is not None
    with pytest.raises(DataError, match="cross_entropy"):
        F.cross_entropy(logits, Tensor([0, 3]))
    assert F.cross_entropy(logits, Tensor([0, 2])).item() == pytest.approx(np.log(3))
    rows = Tensor(np.arange(4.0))
    for _ in range(4):
        rows[Tensor([1])]
    with pytest.raises(IndexRangeError):
        rows[Tensor([4])]


def test_errors_are_those_of_the_function() -> None:
    for _ in range(4):
        with pytest.raises(ShapeError, match="linear"):
            F.linear(Tensor(np.ones((2, 3))), Tensor(np.ones((2, 4))))


def test_what_draws_draws_anew() -> None:
    x = Tensor(np.ones(64, np.float32))
    kept = {F.dropout(x, 0.5).numpy().tobytes() for _ in range(6)}
    assert len(kept) == 6


def test_equal_numbers_of_other_kinds() -> None:
    x = Tensor([1.0, -1.0])
    for _ in range(4):
        assert F.threshold(x, 0.0, 2.0).tolist() == [1.0, 2.0]
        assert np.signbit(F.threshold(x, 0.0, -0.0).numpy()).tolist() == [False, True]
        assert np.signbit(F.threshold(x, 0.0, 0.0).numpy()).tolist() == [False, False]
        assert Tensor([2]).pow(2).dtype == np.int64
        assert Tensor([2]).pow(2.0).dtype == np.float32


def test_results_look_at_what_they_are_made_of() -> None:
    for _ in range(4):
        x = Tensor(np.zeros((2, 3)))
        x.reshape(3, 2)[0, 1] = 5
        x.T[2, 1] = 7
        assert x.tolist() == [[0, 5, 0], [0, 0, 7]]
        y = x.T.reshape(-1)  # a copy: it has no strides
        y += 1
        assert x.tolist() == [[0, 5, 0], [0, 0, 7]]
        with pytest.raises(ShapeError, match="order in memory"):
            x.T.view(-1)
        assert x.astype(x.dtype) is x


def test_views_of_views() -> None:
    for _ in range(4):
        x = Tensor(np.arange(12.0), requires_grad=True)
        y = (x * 1).reshape(3, 4)
        part = y[1:].T
        part.reshape(4, 2, 1)[0, 1] = 50
        assert y.tolist()[2] == [50, 9, 10, 11]
        flat = part.reshape(-1)  # in this order in memory it is a copy
        flat += 1
        assert y.tolist()[2] == [50, 9, 10, 11]
        y[1:].reshape(8).reshape(2, 4)[0] *= 3
        assert y.tolist()[1] == [12, 15, 18, 21]
        (y * y).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0, 2, 4, 6, 72, 90, 108, 126, 0, 18, 20, 22]


def test_gradients_flow_through_results_that_look() -> None:
    for _ in range(4):
        x = Tensor(np.arange(6.0), requires_grad=True)
        y = (x * 1).reshape(2, 3)
        y[0] = y[1] * 2
        (y * y).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0, 0, 0, 30, 40, 50]


def test_copies_have_memory_of_their_own() -> None:
    x = Tensor([1.0, 2.0])
    for _ in range(4):
        for copied in (x.clone(), x.clone().reshape(1, 2)):
            copied[...] = 9.0
        assert x.tolist() == [1.0, 2.0]


def test_long_lists_are_data() -> None:
    for _ in range(4):
        assert F.relu([-1.0] * (recipes.LONG + 1)).sum().item() == 0
    assert not any(len(key) > recipes.LONG for key in recipes._recipes)


def test_one_tensor_twice() -> None:
    for _ in range(4):
        x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        F.linear(x, x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [[8, 12], [8, 12]]
        assert F.mse_loss(x, x).item() == 0
        assert F.mse_loss(x, x + 1).item() == 1


def test_modes_of_gradients_are_kept_apart() -> None:
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    for _ in range(4):
        with mynn.no_grad():
            assert not F.softmax(x, 1).requires_grad
        assert F.softmax(x, 1).requires_grad
        assert not F.softmax(x.detach(), 1).requires_grad


def test_another_default_dtype_is_another_call() -> None:
    x = Tensor([1, 2, 3])
    try:
        for _ in range(4):
            mynn.set_default_dtype("float32")
            assert x.mean(dtype=None).dtype == np.float32 if x.dtype.kind == "f" else True
            assert F.softmax(x, 0).dtype == np.float32
            mynn.set_default_dtype("float64")
            assert F.softmax(x, 0).dtype == np.float64
    finally:
        mynn.set_default_dtype("float32")


def test_changes_in_place_have_no_recipe() -> None:
    for _ in range(6):
        x = Tensor([-1.0, 2.0])
        assert F.relu_(x) is x
        assert x.tolist() == [0, 2]


def test_a_value_that_was_changed_is_missed() -> None:
    for _ in range(4):
        x = Tensor([[1.0, 2.0]], requires_grad=True)
        y = x * 2
        z = F.linear(y, y.detach().clone()) + (y.exp() * y).sum()
        y += 1
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            z.sum().backward()


def test_recipes_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "MOST", 8)
    monkeypatch.setattr(recipes, "_recipes", {})
    for size in range(1, 20):
        for _ in range(3):
            F.softmax(Tensor(np.ones(size)), 0)
            assert len(recipes._recipes) <= 8
