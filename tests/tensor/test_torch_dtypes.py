"""Dtypes of results and exact arithmetic of integers, against PyTorch, eager and compiled."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn import functional as F
from mynn.errors import ArgumentError, DataError, DTypeError
from tests.tensor.parity import assert_parity

DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
SCALARS: dict[str, Any] = {
    "bool": True,
    "int": 1,
    "float": 1.5,
    "numpy.float64": np.sqrt(2),
    "numpy.int64": np.int64(1),
    "numpy.bool": np.bool_(True),
}


def _operand(dtype: str, shape: tuple[int, ...]) -> Any:
    return np.ones(shape, dtype)


def _torch_type(*operands: Any) -> str:
    torch = pytest.importorskip("torch")
    made = [torch.from_numpy(x) if isinstance(x, np.ndarray) else _plain(x) for x in operands]
    return str(torch.result_type(*made)).removeprefix("torch.")


def _plain(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) else x


SHAPES = (((), ()), ((), (2,)), ((2,), ()), ((2,), (2,)), ((2, 3), (3,)), ((2, 3), ()), ((0,), ()))


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_result_of_two_tensors(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = _operand(a, left), _operand(b, right)
        expected = _torch_type(x, y)
        condition = np.ones(np.broadcast_shapes(left, right), bool)
        assert (Tensor(x) + Tensor(y)).dtype == expected, (a, b)
        assert (Tensor(x) + y).dtype == expected, (a, b)
        assert (x + Tensor(y)).dtype == expected, (a, b)
        assert mynn.where(condition, x, y).dtype == expected, (a, b)


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize(("dtype", "shape"), list(itertools.product(DTYPES, [(), (2,)])))
def test_result_with_a_number(dtype: str, shape: tuple[int, ...], name: str) -> None:
    x, number = _operand(dtype, shape), SCALARS[name]
    expected = _torch_type(x, number)
    assert (Tensor(x) + number).dtype == expected
    assert (number + Tensor(x)).dtype == expected


WHOLE: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: x.relu(),
    "floor": lambda x: x.floor(),
    "abs": lambda x: x.abs(),
    "sign": lambda x: x.sign(),
    "neg": lambda x: -x,
    "complement": lambda x: ~x,
    "sum": lambda x: x.sum(),
    "prod": lambda x: x.prod(),
    "cumsum": lambda x: x.cumsum(0),
    "square": lambda x: x**2,
    "power 20": lambda x: x**20,
    "power 0": lambda x: x**0,
    "power float": lambda x: x**2.0,
    "powers of it": lambda x: 3**x,
    "power of itself": lambda x: x**x,
    "clamp": lambda x: x.clamp(1, 100),
    "divided": lambda x: x / 3,
    "mod": lambda x: x % 7,
    "wrapping": lambda x: x * 200 + 300,
    "minus 1": lambda x: x * -1,
    "root": lambda x: x.sqrt(),
    "argmin": lambda x: x.argmin(),
    "argmax": lambda x: x.argmax(),
    "max": lambda x: x.max(0),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("name", WHOLE)
def test_integers(name: str, dtype: str) -> None:
    low = 0 if dtype == "uint8" else -5
    x = np.array([7, low, 3, 100, 1, 0, 255 if dtype == "uint8" else 2**31 - 1]).astype(dtype)
    assert_parity(WHOLE[name], (x,))


def test_numbers_out_of_the_range_are_compared_as_they_are() -> None:
    """PyTorch wraps them around: 100 < 300 is false there for uint8."""
    x = Tensor(np.array([100, 255], np.uint8))
    assert (x < 300).numpy().all()
    assert (x > -1).numpy().all()
    assert not (x == 100 + 256).numpy().any()
    assert (Tensor(np.array([-5], np.int32)) > -(2**40)).numpy().all()


def test_negative_powers_of_integers() -> None:
    x = np.array([2, 1, -1, -1, 0, 5, -3], np.int64)
    y = np.array([-1, -3, -2, -3, 4, 0, 39], np.int64)
    assert_parity(lambda x, y: x**y, (x, y))
    with pytest.raises(ArgumentError, match="no negative powers"):
        Tensor(x) ** -1


BOOLS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "maximum": lambda x, y: x.maximum(y),
    "minimum": lambda x, y: x.minimum(y),
    "max": lambda x, y: x.max(),
    "amin": lambda x, y: x.amin(0),
    "square": lambda x, y: x**2,
    "sign-free": lambda x, y: ~x,
    "sum": lambda x, y: x.sum(0),
    "prod": lambda x, y: x.prod(0),
    "cumsum": lambda x, y: x.cumsum(0),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", BOOLS)
def test_bools(name: str) -> None:
    x = np.array([True, True, False, False])
    assert_parity(BOOLS[name], (x, np.array([True, False, True, False])))


@pytest.mark.parametrize("call", [lambda x: x - x, lambda x: -x, lambda x: x.floor(), abs])
def test_what_bools_have_not(call: Callable[[Any], Any]) -> None:
    with pytest.raises(DTypeError):
        call(Tensor([True, False]))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize(
    ("a", "b"), [((3, 5), (5, 2)), ((2, 3, 5), (5, 2)), ((5,), (5, 2)), ((1, 200), (200, 1))]
)
def test_products_of_integers(dtype: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    high = {"uint8": 256, "int32": 2**31 - 1, "int64": 2**62}[dtype]
    x, y = rng.integers(0, high, a).astype(dtype), rng.integers(0, high, b).astype(dtype)
    assert_parity(lambda x, y: x @ y, (x, y))


def test_linear_of_integers() -> None:
    torch = pytest.importorskip("torch")
    x, w = np.full((2, 3), 2**40 + 1), np.arange(12).reshape(4, 3)
    expected = torch.nn.functional.linear(torch.tensor(x), torch.tensor(w)).numpy()
    np.testing.assert_array_equal(F.linear(x, w).numpy(), expected)
    np.testing.assert_array_equal(mynn.compile(F.linear)(x, w), expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.conv1d(x, x),
        lambda x: F.conv_transpose1d(x, x),
        lambda x: F.avg_pool1d(x, 2),
        lambda x: F.adaptive_avg_pool1d(x, 1),
    ],
)
def test_what_integers_have_not(call: Callable[[Any], Any]) -> None:
    with pytest.raises(DTypeError, match=r"int64.*astype"):
        call(np.ones((2, 2, 4), np.int64))


# -- conversions -----------------------------------------------------------------------------------

EDGES = [0.0, -0.5, 0.99, -0.99, 254.9, 255.0, 256.0, -1.0, 2.0**31, -(2.0**31), 2.0**32, 2.0**63]
EDGES += [-(2.0**63), 1e30, -1e30, np.inf, -np.inf, np.nan, 2.0**31 - 128, 2147483583.0]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", ["uint8", "int32", "int64", "uint32", "bool", "float32"])
def test_conversions_saturate(source: str, target: str) -> None:
    x = np.array(EDGES * 5, source)
    got = Tensor(x).astype(target).numpy()
    compiled = mynn.compile(lambda x: x.astype(target))(x)
    np.testing.assert_array_equal(got, compiled)
    if target in ("uint8", "int32", "int64", "uint32"):
        bounds = np.iinfo(target)
        assert got.dtype == target
        for value, converted in zip(x.tolist(), got.tolist(), strict=True):
            whole = 0 if np.isnan(value) else value
            nearest = max(bounds.min, min(bounds.max, int(max(-1e30, min(1e30, whole)))))
            assert converted == nearest
        np.testing.assert_array_equal(Tensor(x, dtype=target).numpy(), got)


def test_float_conversions_within_range_match_pytorch() -> None:
    x = np.array([0.9, -0.9, 3.5, -3.5, 100.0], np.float32)
    torch = pytest.importorskip("torch")
    for target in ("int32", "int64"):
        expected = torch.tensor(x).to(getattr(torch, target)).numpy()
        np.testing.assert_array_equal(Tensor(x).astype(target).numpy(), expected)


# -- arrays that are none --------------------------------------------------------------------------

MASKED = np.ma.array([1.0, 2.0], mask=[False, True])


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (MASKED, DataError, r"a masked array.*filled.*compressed"),
        (np.array([("a", 1)], [("name", "U3"), ("n", "i4")]), DTypeError, "structured.*fields"),
        (np.array([None, 1.0], object), DTypeError, "object.*Python objects"),
        ([[1.0], [1.0, 2.0]], DataError, "rows must be equally long"),
        (np.array(["a"]), DTypeError, "the array holds text"),
        (np.array([b"a"]), DTypeError, "the array holds bytes"),
        (["a"], DTypeError, "the array holds text"),
    ],
)
def test_arrays_that_would_lose_something(value: Any, error: type[Exception], message: str) -> None:
    for call in (Tensor, F.relu, lambda x: Tensor([1.0, 2.0]) + x):
        with pytest.raises(error, match=message):
            call(value)
    if isinstance(value, np.ndarray):
        with pytest.raises(error, match=message):
            mynn.compile(lambda y: y)(value)
        with pytest.raises((DataError, DTypeError), match=message):
            mynn.fit(lambda y: (y * 0.0).sum(), (value,), epochs=1)


def test_a_matrix_is_refused() -> None:
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1.0]])
    with pytest.raises(DataError, match=r"numpy.matrix.*asarray"):
        Tensor(matrix)


def test_a_masked_array_without_masked_places_is_an_array() -> None:
    assert Tensor(np.ma.array([1.0, 2.0], mask=[False, False])).tolist() == [1.0, 2.0]


def test_masked_on_the_left_and_in_state_dicts() -> None:
    total = MASKED + Tensor([1.0, 2.0])  # NumPy's own addition, which keeps the mask
    assert type(total) is np.ma.MaskedArray
    assert total.mask.tolist() == np.ma.getmaskarray(MASKED).tolist()
    layer = mynn.nn.Linear(2, 1, bias=False)
    with pytest.raises(DataError, match="masked"):
        layer.load_state_dict({"weight": MASKED.reshape(1, 2)})


# -- sigmoid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "ulps"), [("float32", 4), ("float64", 4)])
def test_sigmoid_is_exact_far_out(dtype: str, ulps: int) -> None:
    x = np.concatenate([np.linspace(-80, 40, 1201), [-0.0, 0.0, -np.inf, np.inf]]).astype(dtype)
    wide = x.astype(np.longdouble)
    exact = (1 / (1 + np.exp(-wide))).astype(np.float64)
    for got in (Tensor(x).sigmoid().numpy(), mynn.compile(lambda x: x.sigmoid())(x)):
        error = np.abs(got.astype(np.float64) - exact) / np.spacing(
            np.maximum(exact.astype(dtype), np.finfo(dtype).tiny)
        )
        assert error.max() <= ulps
    assert np.isnan(Tensor([np.nan]).sigmoid().numpy()).all()
