"""Printed tensors are PyTorch's text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import ArgumentError

RNG = np.random.default_rng(0)
F = np.float32
ARRAYS: dict[str, Any] = {
    "number": np.float32(3.14159),
    "whole number": np.float32(3),
    "zero": np.float32(0),
    "row": np.array([1.0, 2.0, -3.5], F),
    "whole": np.array([1.0, -2.0, 100.0], F),
    "small": np.array([1e-5, 0.5], F),
    "large": np.array([1e9, 1.0], F),
    "large whole": np.array([123456.0, 1.0], F),
    "ratio": np.array([0.5, 999.75], F),
    "zeros": np.zeros((2, 3), F),
    "negative zero": np.array([-0.0, 0.25], F),
    "nan": np.array([math.nan, 1.0, math.inf, -math.inf], F),
    "only nan": np.array([math.nan, -math.inf], F),
    "nan and fractions": np.array([math.nan, 0.123456, -1.5], F),
    "two axes": RNG.normal(size=(3, 4)).astype(F),
    "three axes": RNG.normal(size=(2, 3, 2)).astype(F),
    "four axes": np.arange(16.0, dtype=F).reshape(2, 2, 2, 2),
    "long row": RNG.normal(size=40).astype(F),
    "long whole": np.arange(60.0, dtype=F),
    "much": RNG.normal(size=(40, 50)).astype(F),
    "many": np.arange(2000),
    "high and narrow": np.arange(2400.0, dtype=F).reshape(600, 2, 2),
    "cubes": np.arange(4096).reshape(16, 16, 16),
    "just whole": np.arange(1000),
    "float64": np.array([1.0, 2.5]),
    "many of float64": RNG.normal(size=(6, 7)),
    "int64": np.array([[1, -20], [300, 4]]),
    "int32": np.array([1, 2], np.int32),
    "uint8": np.array([1, 200], np.uint8),
    "bool": np.array([True, False]),
    "bool number": np.array(True),
    "empty": np.zeros(0, F),
    "empty integers": np.zeros(0, np.int64),
    "empty axes": np.zeros((0, 3), F),
    "empty axes of float64": np.zeros((2, 0, 3)),
    "int64 extremes": np.array([2**62, -(2**62)]),
    "tiny": np.array([1e-40, 1e-38], F),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "precision": {"precision": 2},
    "edges": {"threshold": 10, "edgeitems": 2},
    "narrow": {"linewidth": 40},
    "short": {"profile": "short"},
    "full": {"profile": "full"},
    "exponents": {"sci_mode": True},
    "no exponents": {"sci_mode": False},
    "no edges": {"threshold": 10, "edgeitems": 0},
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    mynn.set_printoptions(profile="default")
    torch = __import__("sys").modules.get("torch")
    if torch is not None:
        torch.set_printoptions(profile="default")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("option", OPTIONS)
def test_arrays(option: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if OPTIONS[option]:
        torch.set_printoptions(**OPTIONS[option])
        mynn.set_printoptions(**OPTIONS[option])
    for name, array in ARRAYS.items():
        if option == "full" and array.size > 2000:
            continue
        if option == "no edges" and array.ndim > 1 and array.size > 10:
            continue  # PyTorch fails
        ours, theirs = mynn.tensor(array), torch.tensor(array)
        assert str(ours) == str(theirs), name
        assert repr(ours) == repr(theirs), name
        if array.dtype.kind == "f":
            ours, theirs = (lib.tensor(array, requires_grad=True) for lib in (mynn, torch))
            assert repr(ours) == repr(theirs), name
            assert repr(ours * 2) == repr(theirs * 2), name


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_results(mode: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made: tuple[Callable[[Any, Any], Any], ...] = (
        lambda lib, x: (x + 1).sum(),
        lambda lib, x: (x * 1000).relu(),
        lambda lib, x: lib.nn.functional.mse_loss(x, x.detach() * 0.5),
        lambda lib, x: x.softmax(-1),
        lambda lib, x: x[0],
        lambda lib, x: lib.nn.Parameter(x.detach()),
        lambda lib, x: [x, (x > 0).sum(), {"a": x[0, 0]}],
        lambda lib, x: f"{(x + 1).sum()} {(x + 1).sum():.2f} {x[0].detach()}",
    )
    x = np.linspace(-1, 1, 12).reshape(3, 4).astype(F)
    with mynn.eager(mode):
        for _ in range(1 if mode == "at once" else 4):
            for make in made:
                ours, theirs = (
                    str(make(lib, lib.tensor(x, requires_grad=True))) for lib in (mynn, torch)
                )
                assert ours == theirs


def test_in_a_trace() -> None:
    def look(x: Any) -> Any:
        assert f"{x} {x.sum()}" == "tensor(traced f32[2,3]) tensor(traced f32[])"
        return x

    mynn.compile(look)(np.ones((2, 3), F))


def test_what_is_refused() -> None:
    with pytest.raises(ArgumentError, match="profile must be one of default, short, full"):
        mynn.set_printoptions(profile="long")
    with pytest.raises(ArgumentError, match="precision is -1"):
        mynn.set_printoptions(precision=-1)
