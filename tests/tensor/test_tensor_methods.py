"""Methods of tensors against NumPy, eager and traced."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn import functional as F
from mynn.core import interpreter
from mynn.errors import ArgumentError, DTypeError, ShapeError
from tests.helpers import graph_of

X = np.array([[0.3, -1.2, 2.0], [1.7, 0.0, -0.4]])
Y = np.array([[1.5, 0.7, -2.0], [0.2, 3.0, 0.9]])

METHODS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "neg": (lambda x: -x, lambda x: -x),
    "pos": (lambda x: +x, lambda x: x),
    "abs": (abs, np.abs),
    "radd": (lambda x: 2 + x, lambda x: 2 + x),
    "rsub": (lambda x: 2 - x, lambda x: 2 - x),
    "rdiv": (lambda x: 2 / (x + 5), lambda x: 2 / (x + 5)),
    "rpow": (lambda x: 2**x, lambda x: 2**x),
    "array_left": (lambda x: Y - x, lambda x: Y - x),
    "array_matmul": (lambda x: Y.T @ x, lambda x: Y.T @ x),
    "mod": (lambda x: x % 0.7, lambda x: x % 0.7),
    "pow0": (lambda x: x**0, lambda x: x**0),
    "pow1": (lambda x: x**1, lambda x: x),
    "pow2": (lambda x: x**2, lambda x: x**2),
    "pow3": (lambda x: x**3, lambda x: x**3),
    "pow4": (lambda x: x**4, lambda x: x**4),
    "pow_half": (lambda x: (x * x) ** 0.5, np.abs),
    "pow_minus": (lambda x: (x + 5) ** -1, lambda x: (x + 5) ** -1),
    "clip": (lambda x: x.clip(-0.5, 1), lambda x: x.clip(-0.5, 1)),
    "clip_low": (lambda x: x.clip(min=0), lambda x: x.clip(0)),
    "maximum": (lambda x: x.maximum(Y), lambda x: np.maximum(x, Y)),
    "where": (lambda x: x.where(x > 0, 7), lambda x: np.where(x > 0, x, 7)),
    "invert": (lambda x: ~(x > 0), lambda x: ~(x > 0)),
    "logic": (lambda x: ((x > 0) & (x < 1)) | (x == 2), lambda x: ((x > 0) & (x < 1)) | (x == 2)),
    "ne": (lambda x: (x != 0) ^ (x >= 1), lambda x: (x != 0) ^ (x >= 1)),
    "le": (lambda x: x <= 0, lambda x: x <= 0),
    "sum": (lambda x: x.sum(), np.sum),
    "sum_0": (lambda x: x.sum(0), lambda x: x.sum(0)),
    "sum_keep": (lambda x: x.sum(-1, keepdims=True), lambda x: x.sum(-1, keepdims=True)),
    "sum_bool": (lambda x: (x > 0).sum(), lambda x: (x > 0).sum()),
    "prod": (lambda x: x.prod(), np.prod),
    "prod_keep": (lambda x: x.prod(0, keepdims=True), lambda x: x.prod(0, keepdims=True)),
    "cumsum": (lambda x: x.cumsum(1), lambda x: x.cumsum(1)),
    "mean": (lambda x: x.mean((0, 1)), np.mean),
    "var": (lambda x: x.var(1), lambda x: x.var(1, ddof=1)),
    "var_0": (lambda x: x.var(0, correction=0), lambda x: x.var(0)),
    "std": (lambda x: x.std(0, unbiased=False), lambda x: x.std(0)),
    "amax": (lambda x: x.amax(1), lambda x: x.max(1)),
    "amin": (lambda x: x.amin(keepdims=True), lambda x: x.min(keepdims=True)),
    "argmax": (lambda x: x.argmax(1), lambda x: x.argmax(1)),
    "argmax_all": (lambda x: x.argmax(), np.argmax),
    "argmax_keep": (lambda x: x.argmax(keepdims=True), lambda x: x.argmax(keepdims=True)),
    "argmin": (lambda x: x.argmin(0), lambda x: x.argmin(0)),
    "reshape": (lambda x: x.reshape(3, -1), lambda x: x.reshape(3, -1)),
    "reshape_tuple": (lambda x: x.reshape((6,)), lambda x: x.reshape(6)),
    "flatten": (lambda x: x.flatten(), lambda x: x.reshape(-1)),
    "flatten_1": (lambda x: x.reshape(2, 3, 1).flatten(1), lambda x: x.reshape(2, 3)),
    "T": (lambda x: x.T, lambda x: x.T),
    "permute": (lambda x: x.permute(1, 0), lambda x: x.T),
    "swapaxes": (lambda x: x.swapaxes(-1, 0), lambda x: x.T),
    "unsqueeze": (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    "squeeze": (lambda x: x.reshape(1, 6, 1).squeeze(0), lambda x: x.reshape(6, 1)),
    "squeeze_all": (lambda x: x.reshape(1, 6, 1).squeeze(), lambda x: x.reshape(6)),
    "flip": (lambda x: x.flip(0), lambda x: np.flip(x, 0)),
    "flip_both": (lambda x: x.flip((0, -1)), np.flip),
    "pad": (
        lambda x: x.pad(((1, 0), (0, 2)), 5),
        lambda x: np.pad(x, ((1, 0), (0, 2)), "constant", constant_values=5),
    ),
    "rows": (lambda x: x.gather_rows([2, 0, -1], 1), lambda x: x.take([2, 0, -1], 1)),
    "rows_2d": (
        lambda x: x.gather_rows(np.array([[1, 0], [0, 0]])),
        lambda x: x[[[1, 0], [0, 0]]],
    ),
    "take": (lambda x: x.take([[1, 5], [0, -1]]), lambda x: x.take([[1, 5], [0, -1]])),
    "broadcast_to": (lambda x: x.broadcast_to((2, 2, 3)), lambda x: np.broadcast_to(x, (2, 2, 3))),
    "astype": (lambda x: x.astype(np.int32), lambda x: x.astype(np.int32)),
    "sign": (lambda x: x.sign(), np.sign),
    "floor": (lambda x: x.floor(), np.floor),
    "expm1": (lambda x: x.expm1(), np.expm1),
    "log1p": (lambda x: x.abs().log1p(), lambda x: np.log1p(np.abs(x))),
    "sigmoid": (lambda x: x.sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    "sin_cos": (lambda x: x.sin() * x.cos(), lambda x: np.sin(x) * np.cos(x)),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_match_numpy(name: str) -> None:
    ours, theirs = METHODS[name]
    expected = np.asarray(theirs(X))
    eager = ours(Tensor(X)).numpy()
    graph = graph_of(ours, X)
    traced = interpreter.evaluate(graph, [X])[0]
    for got in (eager, traced):
        assert got.shape == expected.shape
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        *itertools.product([(3,), (2, 3), (4, 2, 3), (1, 4, 2, 3)], [(3,), (3, 5), (4, 3, 5)]),
        ((5, 1, 2, 3), (4, 3, 2)),
        ((2, 3), (2, 3)),
        ((4, 2, 3), (5, 3, 2)),
        ((), (3,)),
        ((0, 3), (3, 2)),
    ],
)
def test_matmul_matches_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = np.asarray(rng.normal(size=a)), np.asarray(rng.normal(size=b))
    try:
        expected = np.matmul(x, y)
    except ValueError:
        with pytest.raises(ShapeError, match="matmul"):
            Tensor(x) @ Tensor(y)
        return
    got = (Tensor(x) @ Tensor(y)).numpy()
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


WHOLE: dict[str, Callable[[Any], Any]] = {
    "repeat": lambda k: mynn.ones(2, 3).repeat(k, 1).shape,
    "zeros": lambda k: mynn.zeros(k).shape,
    "zeros of a tuple": lambda k: mynn.zeros((k, 3)).shape,
    "reshape": lambda k: mynn.ones(6).reshape(k, 3).shape,
    "view": lambda k: mynn.ones(6).view(-1, k).shape,
    "expand": lambda k: mynn.ones(1, 3).expand(k, 3).shape,
    "split": lambda k: [part.shape for part in mynn.ones(6).split(k)],
    "chunk": lambda k: len(mynn.ones(6).chunk(k)),
    "narrow": lambda k: mynn.arange(6).narrow(0, k, k).tolist(),
    "select": lambda k: mynn.arange(6).select(0, k).item(),
    "tril": lambda k: mynn.ones(4, 4).tril(k).tolist(),
    "transpose": lambda k: mynn.ones(1, 2, 3).transpose(0, k).shape,
    "linspace": lambda k: mynn.linspace(0, 1, k).tolist(),
    "randperm": lambda k: len(mynn.randperm(k)),
    "interpolate": lambda k: F.interpolate(mynn.ones(1, 1, 4), size=k).shape,
    "linear": lambda k: mynn.nn.Linear(k, 3).weight.shape,
}


@pytest.mark.parametrize("name", WHOLE)
def test_integers_of_tensors_as_whole_numbers(name: str) -> None:
    """As in PyTorch, an integer tensor of one element counts where a whole number is asked for."""
    call = WHOLE[name]
    assert call(mynn.tensor(2)) == call(2) == call(np.array(2)) == call(np.int32(2))
    for wrong in (mynn.tensor(2.0), mynn.tensor(True), mynn.tensor([[2, 3]]), 2.0):
        with pytest.raises((ArgumentError, ShapeError, DTypeError)):
            call(wrong)
