"""The arrays of a data set, and the forms of data that `fit` takes."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.compiler.host import gather
from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.train_loop import Loop, training_loop
from mynn.compiler.loop_ir.format import format_function
from mynn.core.types import Array
from mynn.data.arrays import checked, first_not_finite, to_single
from mynn.errors import DataError
from tests.train.reference import Problem, assert_same_state, backends


def memory_mapped(array: Array, folder: Path) -> Array:
    path = folder / "data.npy"
    np.save(path, array)
    mapped: Array = np.load(path, mmap_mode="r")
    return mapped


WAYS: dict[str, Callable[[Array, Path], Any]] = {
    "array": lambda x, _: x,
    "tensor": lambda x, _: Tensor(x),
    "read-only": lambda x, _: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "fortran": lambda x, _: np.asfortranarray(x),
    "strided": lambda x, _: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda x, _: x[::-1].copy()[::-1],
    "big endian": lambda x, _: x.astype(x.dtype.newbyteorder(">")),
    "memory-mapped": memory_mapped,
    "float64": lambda x, _: x.astype(np.float64),
    "masked": lambda x, _: np.ma.masked_array(x),
}


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("way", WAYS)
def test_arrays(backend: str, way: str, tmp_path: Path) -> None:
    """All these hold the same numbers, and none is changed."""
    one, two = Problem(20), Problem(20)
    x = WAYS[way](one.x, tmp_path)
    history = mynn.fit(one.compiled(backend), (x, one.t), epochs=2, batch_size=8, seed=0)
    other = mynn.fit(two.compiled(backend), two.data, epochs=2, batch_size=8, seed=0)
    assert_same_state(one.state(), two.state())
    np.testing.assert_array_equal(history["loss"], other["loss"])
    np.testing.assert_array_equal(np.asarray(x.value if isinstance(x, Tensor) else x), two.x)


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    one, two = Problem(20), Problem(20)
    mynn.fit(one.step, [torch.tensor(one.x), torch.tensor(one.t)], batch_size=8, seed=0)
    mynn.fit(two.step, two.data, batch_size=8, seed=0)
    assert_same_state(one.state(), two.state())


@pytest.mark.one_in(5)
@backends
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint32", "bool", "float64"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (3, 5, 2), (70, 2), (2, 1)])
def test_samples_of_any_shape(backend: str, dtype: str, shape: tuple[int, ...]) -> None:
    """The rows arrive as they are, gathered in any order."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (11, *shape)).astype(dtype) * rng.integers(0, 200, (11, *shape))
    x = x.astype(dtype)
    total = Tensor(np.zeros(shape, np.float64))
    weighted = Tensor(np.zeros(shape, np.float64))

    def step(x: Any, i: Any) -> Any:
        values = x.astype("float64")
        factor = i.astype("float64").reshape(-1, *([1] * len(shape)))
        total.assign(total + values.sum(0))
        weighted.assign(weighted + (values * factor).sum(0))
        return values.mean()

    data = (x, np.arange(11))
    history = mynn.fit(mynn.compile(step, backend=backend), data, batch_size=4)
    np.testing.assert_allclose(total.value, x.astype(float).sum(0))
    expected = np.tensordot(np.arange(11), x.astype(float), 1)
    np.testing.assert_allclose(weighted.value, expected)
    np.testing.assert_allclose(history["loss"], x.astype(float).mean())


@contextmanager
def guarded(values: Array) -> Iterator[Array]:
    """The same array in pages that can only be read, at the end of the last one; the page after it
    cannot be touched.
    """
    pages = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    bytes_ = np.frombuffer(memory, np.uint8)
    array = bytes_[pages - values.nbytes : pages].view(values.dtype).reshape(values.shape)
    array[...] = values
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    start = bytes_.ctypes.data
    assert not protect(start, pages, mmap.PROT_READ)
    assert not protect(start + pages, mmap.PAGESIZE, 0)
    yield array
    assert not protect(start, pages + mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


@pytest.mark.one_in(3)
@pytest.mark.skipif(os.name != "posix", reason="pages are protected by mprotect")
@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        *(((40, 16), 1), ((41, 16), 4), ((41, 16), 23), ((23, 4), 23), ((64, 1), 4), ((9, 64), 4)),
        *(((5, 3, 32), 1), ((5, 3, 32), 4)),
    ],
)
def test_rows_are_read_where_they_lie(
    shape: tuple[int, ...], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are as a step wants them: the same results as of a copy, nothing is written, and
    nothing behind the data is read.
    """
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weight = Tensor(np.linspace(-1, 1, shape[-1], dtype=np.float32))

    def step(x: Any) -> Any:
        weight.assign(weight * 0.5 + x.sum(tuple(range(x.ndim - 1))))
        return (x * weight).tanh().mean()

    found = []
    for least in (1 << 60, 0):
        monkeypatch.setattr(gather, "_DIRECT_BYTES", least)
        mynn.programs().clear()
        for threads in (1, 3):
            weight.data = np.zeros(shape[-1])
            run = mynn.compile(step, threads=threads)
            double = mynn.compile(lambda x: x * 2, threads=threads)
            with guarded(values) as x:
                history = mynn.fit(run, x, epochs=3, batch_size=batch, shuffle=False)
                np.testing.assert_array_equal(mynn.predict(double, x, batch_size=batch), 2 * x)
            last = run(values[:batch])
            found.append((history["loss"].tolist(), float(last), weight.numpy().tolist()))
    assert all(other == found[0] for other in found[1:])


def test_samples_without_values() -> None:
    def step(x: Any, y: Any) -> Any:
        return x.sum() + y.sum()

    data = (np.zeros((6, 0), np.float32), np.ones((6, 2), np.float32))
    assert mynn.fit(step, data, batch_size=4)["loss"] == pytest.approx((4 * 8 + 2 * 4) / 6)


@backends
def test_nested_data(backend: str) -> None:
    """Tuples and dicts of arrays arrive as the step's arguments in the same form."""

    def step(batch: Any, pair: Any) -> Any:
        return (batch["x"] * pair[0] + batch["more"]["y"] * pair[1]).sum()

    x = np.arange(6, dtype=np.float32)
    data = ({"x": x, "more": {"y": x + 1}}, [x, x * 0])
    run = mynn.compile(step, backend=backend)
    assert mynn.fit(run, data, batch_size=6)["loss"] == (x * x).sum()
    single = mynn.fit(lambda batch: batch["x"].mean(), {"x": x}, batch_size=4)
    assert single["loss"] == 2.5


def test_an_argument_that_is_not_read() -> None:
    x = np.arange(6, dtype=np.float32)
    assert mynn.fit(lambda x, t: x.sum(), (x, x + 1), batch_size=6)["loss"] == 15


def test_many_rows_in_an_image() -> None:
    """Padded rows are copied one by one."""
    x = np.arange(3 * 40 * 50 * 3, dtype=np.float32).reshape(3, 40, 50, 3)
    step = mynn.compile(lambda x: x.astype("float64").sum())
    history = mynn.fit(step, x, batch_size=2, shuffle=False, verbose=False)
    first, second = x[:2].sum(dtype=float), x[2:].sum(dtype=float)
    np.testing.assert_allclose(history["loss"], (2 * first + second) / 3)


def test_the_loop_has_no_line_for_each_row() -> None:
    lengths = []
    for rows in (9, 4000):
        x = ArgumentLayout(0, "f32", 4, (32, rows, 3), (16 * rows, 16, 4))
        loop = Loop(StepLayout(32, (x,), (ArgumentLayout(1, "f32", 4, (), ()),)))
        functions = training_loop(loop, sleeps=False)
        lengths.append(sum(len(format_function(f).splitlines()) for f in functions))
    assert lengths[0] == lengths[1] < 200


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "there is no data"),
        ([np.zeros(())], "data array 0 has no axis of samples"),
        ([np.zeros(3), np.zeros(4)], "different numbers of samples: 3, 4; they must be equal$"),
        ([np.zeros((0, 2))], "the data holds no samples"),
        ([np.zeros(3), np.array([0.0, np.nan, 1.0])], "data array 1 holds nan at \\(1,\\)"),
    ],
)
def test_what_is_refused(arrays: list[Array], message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked(arrays, check_finite=True)


def test_the_first_value_that_is_not_finite_is_found_in_any_block() -> None:
    values = np.zeros((140_000, 2), np.float32)
    assert first_not_finite(values) is None
    values[131_080, 1] = np.inf
    assert first_not_finite(values) == (131_080, 1)
    assert first_not_finite(np.zeros(3, np.int64)) is None


def test_float64_that_float32_cannot_hold() -> None:
    large, whole = np.array([1.0, 1e300]), np.arange(2)
    single, same = to_single([large, whole])
    assert (single.dtype, same is whole) == (np.float32, True)
    with pytest.raises(DataError, match="data array 0 holds 1e\\+300 at \\(1,\\), too large"):
        to_single([large], check_finite=True)
