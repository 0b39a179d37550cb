"""`mynn.compile`: structures of arguments and results, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
import mynn.jit.compile
from mynn import Tensor, nn, optim
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from tests.jit.harness import Point, backends, ramp, step_of

# -- structures ------------------------------------------------------------------------------------


@backends
def test_structures_of_results(backend: str) -> None:
    def function(x: Any) -> Any:
        return {"sum": x.sum(), "parts": (x + 1, [x * 2, None]), "point": Point(x, 3.0), "n": 5}

    got = mynn.compile(function, backend=backend)(ramp(3))
    assert list(got) == ["sum", "parts", "point", "n"]
    assert got["sum"].shape == ()
    assert got["sum"].item() == 6
    assert isinstance(got["parts"], tuple)
    assert isinstance(got["parts"][1], list)
    assert got["parts"][1][1] is None
    np.testing.assert_array_equal(got["parts"][1][0], [2, 4, 6])
    assert isinstance(got["point"], Point)
    np.testing.assert_array_equal(got["point"].x, ramp(3))
    assert got["point"].y.dtype == np.float32
    assert got["n"].item() == 5


@backends
def test_structures_of_arguments(backend: str) -> None:
    def function(batch: Any, weights: Any, scale: Any) -> Any:
        first, second = weights
        return batch["x"] * first + batch["more"]["y"] * second.x * scale

    run = mynn.compile(function, backend=backend)
    batch = {"x": ramp(2), "more": {"y": ramp(2)}}
    np.testing.assert_array_equal(run(batch, (10.0, Point(100.0, None)), 2), [210, 420])
    np.testing.assert_array_equal(run(batch, [1.0, Point(0.0, None)], 2), [1, 2])


@backends
def test_same_leaves_in_other_structures_are_other_programs(backend: str) -> None:
    run = mynn.compile(lambda d: d["a"] - d["b"], backend=backend)
    assert run({"a": 5.0, "b": 3.0}) == 2
    assert run({"b": 5.0, "a": 3.0}) == -2


@backends
@pytest.mark.parametrize("result", [(), None, {}, [], (None,)])
def test_no_results(backend: str, result: Any) -> None:
    assert mynn.compile(lambda x: result, backend=backend)(1.0) == result


@backends
def test_results_are_fresh_arrays(backend: str) -> None:
    x = ramp(3)
    run = mynn.compile(lambda x: x, backend=backend)
    first = run(x)
    first += 1
    second = run(x)
    np.testing.assert_array_equal(x, ramp(3))
    np.testing.assert_array_equal(second, ramp(3))
    assert first.flags.writeable
    assert first.flags.c_contiguous or first.ndim > 1


@backends
def test_results_that_are_arguments_state_and_numbers(backend: str) -> None:
    weight = Tensor([1.0, 2.0])

    def function(x: Any) -> Any:
        old = weight + 0.0
        weight.assign(weight * 2.0)
        return x, weight, old, 1.5, np.float64(2.5), True, np.arange(2), x

    got = mynn.compile(function, backend=backend)(ramp(2))
    expected = [[1, 2], [2, 4], [1, 2], 1.5, 2.5, True, [0, 1], [1, 2]]
    for value, wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert [v.dtype.name for v in got[3:7]] == ["float32", "float64", "bool", "int64"]
    np.testing.assert_array_equal(weight.value, [2, 4])


# -- arguments -------------------------------------------------------------------------------------


ARGUMENTS: dict[str, Any] = {
    "array": ramp(3, 4),
    "fortran": np.asfortranarray(ramp(3, 4)),
    "strided": ramp(6, 8)[::2, ::2],
    "reversed": ramp(3, 4)[::-1, ::-1],
    "broadcast": np.broadcast_to(ramp(4), (3, 4)),
    "big endian": ramp(3, 4).astype(">f4"),
    "tensor": Tensor(ramp(3, 4)),
    "tensor that trains": Tensor(ramp(3, 4), requires_grad=True),
    "list": ramp(3, 4).tolist(),
    "number": 2.5,
    "numpy number": np.float32(2.5),
    "float64": ramp(3, 4, dtype=np.float64),
    "no elements": np.zeros((0, 4), np.float32),
    "one": ramp(1, 1),
}


@backends
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(backend: str, name: str) -> None:
    value = ARGUMENTS[name]
    run = mynn.compile(lambda x: x * 2.0 + 1.0, backend=backend)
    if name == "list":
        with pytest.raises(TypeError):  # a list is a structure of numbers
            run(value)
        return
    array = np.asarray(value.value if isinstance(value, Tensor) else value)
    for _ in range(2):
        got = run(value)
        np.testing.assert_array_equal(got, array * 2 + 1)
        assert got.dtype == ("float64" if name == "float64" else "float32")


@backends
def test_read_only_arguments_work_and_stay(backend: str) -> None:
    x = ramp(5)
    x.flags.writeable = False
    run = mynn.compile(lambda x: x.flip(0), backend=backend)
    np.testing.assert_array_equal(run(x), x[::-1])
    np.testing.assert_array_equal(x, ramp(5))


def test_numbers_are_arguments_not_constants() -> None:
    run = mynn.compile(lambda x, a: x * a)
    program = run.program(ramp(3), 2.0)
    np.testing.assert_array_equal(run(ramp(3), 5.0), ramp(3) * 5)
    assert run.program(ramp(3), 7.0) is program
    assert run.program(ramp(3), 7) is not program
    assert run(ramp(3), True).dtype == np.float32


@backends
def test_named_arguments(backend: str) -> None:
    run = mynn.compile(lambda x, y=1.0, z=10.0: x - y + z, backend=backend)
    assert run(5.0, y=2.0) == 13
    assert run(y=2.0, x=5.0) == 13
    assert run(5.0, 2.0, z=0.0) == 3
    assert run(5.0, z=0.0) == 4
    with pytest.raises(TypeError, match="x"):
        run(y=5.0)
    with pytest.raises(TypeError, match="w"):
        run(5.0, 2.0, w=1.0)


def test_keyword_only_arguments_are_refused() -> None:
    def function(x: Any, *, scale: Any) -> Any:
        return x * scale

    with pytest.raises(ArgumentError, match=r"scale.*keyword"):
        mynn.compile(function)(1.0, scale=2.0)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["text", object(), {1, 2}, 1j, lambda: 0])
def test_what_cannot_be_returned(value: Any) -> None:
    with pytest.raises((UsageError, DTypeError), match=f"{type(value).__name__}|complex"):
        mynn.compile(lambda x: (x, value))(ramp(2))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: float(x.sum()),
        lambda x: x * int(x[0]),
        lambda x: x.item(),
        lambda x: x.numpy(),
        lambda x: np.asarray(x) + 1,
        lambda x: x.numpy() + 1,
        lambda x: x.tolist(),
        lambda x: [i for i in range(10) if i < x.max()],
    ],
)
def test_values_are_not_known_while_tracing(use: Any) -> None:
    """Whatever asks a traced tensor for its value is told what it is."""
    with pytest.raises(UsageError, match="trac"):
        mynn.compile(use)(ramp(2))


@pytest.mark.parametrize("value", ["text", object(), 1j, np.array(["a"]), np.zeros(2, complex)])
def test_arguments_that_are_no_data(value: Any) -> None:
    with pytest.raises(DTypeError, match="not supported"):
        mynn.compile(lambda x: x)(value)


def test_wrong_use_of_compile() -> None:
    no_function: Any = [1, 2]
    with pytest.raises(ArgumentError, match=r"backend.*'numba'"):
        mynn.compile(lambda x: x, backend="numba")
    with pytest.raises(ArgumentError, match="list"):
        mynn.compile(no_function)
    with pytest.raises(TypeError, match="argument"):
        mynn.compile(lambda x: x)(1.0, 2.0)


def test_errors_name_the_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(ShapeError, match=r"1.*Linear.*5"):
        mynn.compile(net)(ramp(2, 3))


@backends
def test_labels_out_of_range(backend: str) -> None:
    net = nn.Linear(2, 3)
    run = mynn.compile(
        step_of(net, optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss()), backend=backend
    )
    x = ramp(4, 2)
    run(x, np.array([0, 1, 2, 0]))
    before = net.weight.numpy()
    for bad in (3, -1, 2**40):
        with pytest.raises(DataError, match=f"{bad}"):
            run(x, np.array([0, 1, bad, 0]))
    np.testing.assert_array_equal(before, net.weight.value)
