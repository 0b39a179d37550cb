from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn import Tensor
from mynn.core import interpreter
from mynn.errors import DTypeError, ShapeError, UsageError
from tests.helpers import graph_of

X = np.arange(2 * 5 * 7, dtype=np.float64).reshape(2, 5, 7)
s = np.s_

INDICES: tuple[Any, ...] = (
    s[0],
    s[-1],
    s[1, 2],
    s[1, -2, 3],
    s[:],
    s[...],
    s[:, 1:4],
    s[:, :, 2],
    s[..., 2],
    s[0, ..., -1],
    s[1, ...],
    s[..., 1:3, :],
    s[:, ::2],
    s[:, 1::3, 5:1:-2],
    s[::-1],
    s[:, ::-1, ::-1],
    s[:, -3:-1],
    s[:, 3:100],
    s[:, -100:2],
    s[:, 4:1],
    s[:, 4:1:-1],
    s[:, 1:4:-1],
    s[5:],
    s[None],
    s[:, None],
    s[None, 0, None, :, None],
    s[..., None],
    s[0, None, ..., 1:2],
    s[1:2, 3, None],
    s[np.int64(1), np.int32(-1)],
    s[[1, 0]],
    s[[-1, 1]],
    s[:, [4, 0, 0]],
    s[:, :, np.array([[0, 6], [3, -7]])],
    s[:, np.array(2)],
    s[::-1, [1, 2], None],
    s[..., np.array([1, 2], np.uint8)],
    s[:, np.zeros((0,), np.int64)],
    s[0:0],
    s[()],
)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_matches_numpy(index: Any) -> None:
    expected = X[index]
    got = Tensor(X)[index].numpy()
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)
    traced = interpreter.evaluate(graph_of(lambda x: x[index], X), [X])[0]
    np.testing.assert_array_equal(traced, expected)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_gradient_goes_back_to_the_places_taken(index: Any) -> None:
    x = Tensor(X, requires_grad=True)
    y = x[index]
    c = np.random.default_rng(0).normal(size=y.shape)
    y.backward(c)
    expected = np.zeros_like(X)
    np.add.at(expected, index, c)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-13, atol=1e-13)


def test_random_indices_match_numpy() -> None:
    rng = np.random.default_rng(0)

    def entry(extent: int) -> Any:
        kind = rng.integers(4)
        if kind == 0:
            return int(rng.integers(-extent, extent))
        if kind == 1:
            return None
        low, high = (int(n) for n in rng.integers(-extent - 2, extent + 3, 2))
        step = int(rng.choice([-3, -2, -1, 1, 2, 3]))
        return slice(
            low if rng.random() < 0.7 else None, high if rng.random() < 0.7 else None, step
        )

    for _ in range(300):
        index: list[Any] = []
        for extent in X.shape[: int(rng.integers(1, 4))]:
            one = entry(extent)
            index += [None, entry(extent)] if one is None else [one]
        if rng.random() < 0.3:
            index.insert(int(rng.integers(len(index) + 1)), Ellipsis)
        key = tuple(index)
        try:
            expected = X[key]
        except IndexError:
            continue
        np.testing.assert_array_equal(Tensor(X)[key].numpy(), expected, err_msg=repr(key))


def test_tensor_as_index() -> None:
    x = Tensor(X)
    assert x[Tensor(1)].shape == (5, 7)
    np.testing.assert_array_equal(x[Tensor([1, 0]), 2].numpy(), X[[1, 0], 2])


def test_traced_index_counts_from_the_end() -> None:
    index = np.array([-1, 0, -2])
    graph = graph_of(lambda x, i: x.gather_rows(i, 1), X, index)
    np.testing.assert_array_equal(interpreter.evaluate(graph, [X, index])[0], np.take(X, index, 1))


def test_scatter_add_sums_what_meets() -> None:
    x = Tensor(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    y = x.scatter_rows([1, -1, 1], axis=0, extent=4)
    assert y.tolist() == [[0, 0], [6, 8], [0, 0], [3, 4]]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (s[2], IndexError, "index 2 is out of range for axis 0 of extent 2"),
        (s[0, -6], IndexError, "index -6 is out of range for axis 1 of extent 5"),
        (
            s[[0, 2]],
            IndexError,
            r"x\[index\]: index 2 at \(1,\) is out of range for axis 0 of extent 2",
        ),
        (s[0, 0, 0, 0], ShapeError, "has 4 entries for 3 axes"),
        (s[..., ...], ShapeError, r"more than one '\.\.\.'"),
        (s[[0], [1]], UsageError, "only one axis can be indexed by an array"),
        (s[1.5], DTypeError, "indices must be integers"),
        (s["a"], DTypeError, "not supported"),
        (s[::0], ValueError, "slice step cannot be zero"),
        (s[True], DTypeError, "indices must be integers"),
        (s[np.array([True, False])], DTypeError, "indices must be integers"),
    ],
)
def test_errors(index: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Tensor(X)[index]


def test_empty_axes_cannot_be_taken_from() -> None:
    with pytest.raises(ShapeError, match="axis 0 of f32\\[0\\] is empty"):
        Tensor(np.zeros(0, np.float32)).gather_rows(np.zeros(0, np.int64))
