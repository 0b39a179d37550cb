"""NumPy's functions on tensors: what they give on arrays, at once and in traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.errors import UsageError
from mynn.functional import numpy_protocol
from tests.helpers import assert_close

X = np.array([[0.3, 1.2, 2.0], [1.7, 0.5, 0.4]])
CALLS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "sin": np.sin,
    "absolute": lambda x: np.absolute(-x),
    "negative": np.negative,
    "add": lambda x: np.add(x, 1.5),
    "array + x": lambda x: X + x,
    "array - x": lambda x: X - x,
    "array / x": lambda x: np.ones(3) / x,
    "scalar * x": lambda x: np.float64(2) * x,
    "array < x": lambda x: np.ones(3) < x,
    "array @ x": lambda x: X.T @ x,
    "x @ array": lambda x: np.matmul(x, X.T),
    "maximum": lambda x: np.maximum(x, X[::-1]),
    "array maximum": lambda x: np.maximum(X[::-1], x),
    "power": lambda x: np.power(x, 2.0),
    "dtype": lambda x: np.add(x, 1, dtype=np.float32),
    "add.reduce": lambda x: np.add.reduce(x),
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=1),
    "add.accumulate": lambda x: np.add.accumulate(x, axis=1),
    "sum": np.sum,
    "sum axis": lambda x: np.sum(x, axis=1, keepdims=True),
    "mean": lambda x: np.mean(x, 0),
    "prod": np.prod,
    "std": np.std,
    "var ddof": lambda x: np.var(x, axis=1, ddof=1),
    "max": lambda x: np.max(x, axis=0),
    "amin": np.amin,
    "argmax": lambda x: np.argmax(x, axis=1),
    "cumsum": lambda x: np.cumsum(x, axis=1),
    "cumsum flat": np.cumsum,
    "sort": np.sort,
    "argsort": lambda x: np.argsort(x, axis=0),
    "concatenate": lambda x: np.concatenate([x, X], axis=1),
    "concatenate flat": lambda x: np.concatenate([x, X[0]], axis=None),
    "stack": lambda x: np.stack([X, x], axis=1),
    "hstack": lambda x: np.hstack([x, x]),
    "vstack": lambda x: np.vstack([x, X[0]]),
    "column_stack": lambda x: np.column_stack([x, x[:, 0]]),
    "where": lambda x: np.where(x > 1, x, 0.0),
    "where array": lambda x: np.where(X > 1, x, X),
    "reshape": lambda x: np.reshape(x, (3, 2)),
    "ravel": np.ravel,
    "transpose": np.transpose,
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "squeeze": lambda x: np.squeeze(x[:1]),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "broadcast_to": lambda x: np.broadcast_to(x[:1], (4, 3)),
    "tile": lambda x: np.tile(x, (2, 1)),
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "roll": lambda x: np.roll(x, 1, axis=1),
    "flip": np.flip,
    "rot90": np.rot90,
    "tril": np.tril,
    "triu": lambda x: np.triu(x, 1),
    "diag": np.diag,
    "trace": np.trace,
    "clip": lambda x: np.clip(x, 0.4, 1.5),
    "take": lambda x: np.take(x, [2, 0], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[1], [0]]), axis=1),
    "dot": lambda x: np.dot(x, X[0]),
    "outer": lambda x: np.outer(x[0], x[1]),
    "tensordot": lambda x: np.tensordot(x, X, axes=(1, 1)),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, X),
    "kron": lambda x: np.kron(x, x),
    "split": lambda x: np.split(x, 3, axis=1)[1],
    "zeros_like": np.zeros_like,
    "full_like": lambda x: np.full_like(x, 3.0),
    "searchsorted": lambda x: np.searchsorted(np.sort(x[0]), x[1]),
    "meshgrid": lambda x: np.meshgrid(x[0], x[1])[0],
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CALLS)
def test_tensors_give_what_arrays_give(name: str) -> None:
    expected = CALLS[name](X)
    got = CALLS[name](Tensor(X))
    assert isinstance(got, Tensor)
    assert got.shape == expected.shape
    assert_close([got.numpy()], [np.asarray(expected)], what=name)
    traced = mynn.compile(lambda x: CALLS[name](x), backend="interpreter")(X)
    assert_close([np.asarray(traced)], [np.asarray(expected)], what=name)


def test_gradients_flow_through_numpy() -> None:
    x = Tensor(X, requires_grad=True)
    np.sum(np.exp(x) * np.float64(2)).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(X), rtol=1e-12)


def test_results_go_where_out_says() -> None:
    x, y, a = Tensor(X), Tensor(np.zeros_like(X)), np.zeros_like(X)
    assert np.exp(x, out=y) is y
    np.testing.assert_allclose(y.numpy(), np.exp(X))
    a += x
    np.testing.assert_array_equal(a, X)
    with pytest.raises(UsageError, match="write y = y"):
        mynn.compile(lambda x: np.add(x, 1, out=a), backend="interpreter")(X)


def test_what_is_not_there_is_numpys_on_values() -> None:
    x = Tensor(X)
    assert isinstance(np.fft.fft(x), np.ndarray)
    assert np.allclose(x, X)
    assert np.array_equal(np.nextafter(x, 1.0), np.nextafter(X, 1.0))
    np.testing.assert_array_equal(x, X)
    for call, name in (
        (np.fft.fft, "np.fft"),
        (lambda x: np.nextafter(x, 1.0), r"np\.nextafter"),
        (lambda x: np.add.at(x, 0, 1), r"np\.add\.at"),
    ):
        with pytest.raises(UsageError, match=f"{name}.* inside a traced function.*; use "):
            mynn.compile(call, backend="interpreter")(X)


def test_every_function_is_called() -> None:
    """One that nobody calls may be wrong."""
    called = " ".join(CALLS)
    missing = {
        one.__name__
        for one in numpy_protocol._FUNCTIONS
        if one.__name__ not in called and one.__name__ not in OTHERS
    }
    assert not missing


# Alike to others that are called.
OTHERS = {
    *("any", "all", "min", "argmin", "cumprod", "dstack", "atleast_1d", "atleast_2d"),
    *("broadcast_arrays", "fliplr", "flipud", "diagonal", "inner", "array_split", "ones_like"),
    *("amax", "copy", "shape", "ndim", "size", "nonzero"),
}


def test_shapes_are_known_without_values() -> None:
    def sizes(x: Any) -> Any:
        assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1)) == ((2, 3), 2, 6, 3)
        return np.copy(x)

    np.testing.assert_array_equal(mynn.compile(sizes, backend="interpreter")(X), X)
