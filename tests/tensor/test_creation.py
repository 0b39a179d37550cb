"""`mynn.tensor`, as `torch.tensor`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import ArgumentError

DATA: dict[str, Any] = {
    "floats": [1.0, 2.5],
    "ints": [1, 2],
    "bools": [True, False],
    "nested": [[1.0, 2.0], [3.0, 4.0]],
    "number": 3,
    "float64 array": np.array([1.0]),
    "uint8 array": np.array([1], np.uint8),
    "array scalar": np.float32(2.0),
}


@pytest.mark.parametrize("name", DATA)
def test_values_and_dtypes_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = mynn.tensor(DATA[name]), torch.tensor(DATA[name])
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert ours.shape == tuple(theirs.shape)
    assert ours.tolist() == theirs.tolist()


def test_it_is_a_copy() -> None:
    array = np.ones(2, np.float32)
    tensor = mynn.tensor(array, requires_grad=True)
    array[0] = 5
    assert tensor.tolist() == [1.0, 1.0]
    assert tensor.requires_grad


def test_device() -> None:
    assert mynn.tensor([1.0], device="cpu").tolist() == [1.0]
    with pytest.raises(ArgumentError, match=r"device.*cuda"):
        mynn.tensor([1.0], device="cuda")


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
@pytest.mark.parametrize("ends", [(0, 1.2), (0.7, 3.9), (-1.5, 2.5)])
@pytest.mark.parametrize("name", ["linspace", "logspace"])
def test_distances_between_whole_numbers_are_pytorchs(
    name: str, ends: tuple[float, float], dtype: str
) -> None:
    """The ends lose what stands behind the point before the values between are computed."""
    torch = pytest.importorskip("torch")
    for steps in (2, 5, 7):
        got = getattr(mynn, name)(*ends, steps, dtype=dtype)
        expected = getattr(torch, name)(*ends, steps, dtype=getattr(torch, dtype))
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2, 3), (0,)])
@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "new_zeros", "new_full", "expand"])
def test_filled_again_and_again_and_written(name: str, shape: tuple[int, ...]) -> None:
    """Each call has memory of its own, that of one element too."""
    x = mynn.zeros(shape)
    make = {
        "zeros_like": lambda: mynn.zeros_like(x),
        "ones_like": lambda: mynn.ones_like(x) - 1,
        "new_zeros": lambda: x.new_zeros(shape),
        "new_full": lambda: x.new_full(shape, 0.0),
        "expand": lambda: x.new_zeros(()).expand(shape).clone(),
    }[name]
    for _ in range(6):
        made = make()
        made.add_(1)
        made.mul_(3)
        made += 1
        np.testing.assert_array_equal(made.numpy(), np.full(shape, 4, np.float32))


@pytest.mark.parametrize("make", [mynn.zeros, mynn.ones, mynn.empty])
def test_extents_are_given_once(make: Any) -> None:
    assert make(size=(2, 3)).shape == make(2, 3).shape == (2, 3)
    with pytest.raises(ArgumentError, match=r"extents are given twice, .*size=.*leave one of them"):
        make(2, size=(3,))
