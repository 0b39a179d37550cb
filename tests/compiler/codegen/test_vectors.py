"""Shuffles: what they give on this machine."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from mynn.compiler.codegen import memory
from mynn.compiler.codegen.function import Function, Module, index
from mynn.compiler.codegen.values import Value
from mynn.compiler.codegen.vectors import transpose
from mynn.runtime.llvm_jit import build
from mynn.target.target import host


@pytest.mark.parametrize(
    ("type", "dtype"), [("f32", np.float32), ("f64", np.float64), ("i32", np.int32)]
)
@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_transpose(type: str, dtype: type[np.generic], n: int) -> None:
    """A square of vectors; wide ones of floats in two parts, which LLVM does not look at as one."""
    given, found = Value("%given", "ptr"), Value("%found", "ptr")
    f = Function(Module(host()), "mynn_transpose", [given, found], internal=False)
    places = [
        [memory.offset(f, type, base, index(n * i)) for i in range(n)] for base in (given, found)
    ]
    rows = [memory.load(f, type, place, n) for place in places[0]]
    for place, column in zip(places[1], transpose(f, rows), strict=True):
        memory.store(f, column, place, n)
    f.give()
    f.finish()
    text = f.module.text()
    wide = n * np.dtype(dtype).itemsize > 16
    assert text.count("= call") == (n if wide and type[0] == "f" else 0)
    x = np.arange(n * n, dtype=dtype).reshape(n, n)
    y = np.zeros_like(x)
    function = build(text, host()).function("mynn_transpose", ctypes.c_void_p, ctypes.c_void_p)
    function(x.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y, x.T)
