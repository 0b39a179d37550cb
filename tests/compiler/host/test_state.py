"""State is copied, and looked at for what is not finite: natively and as the loop IR means it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.host.state import COPY_STATE, IS_FINITE, PIECE, copy_state, is_finite
from mynn.compiler.loop_ir.machine import Machine
from mynn.core.types import Array
from mynn.runtime.llvm_jit import build
from mynn.target.target import host

Run = Callable[..., int]


def native(arrays: Sequence[Array]) -> tuple[Run, Run]:
    text = emit_functions(Module(host()), [copy_state(), is_finite()]).text()
    code, address, number = build(text, host()), ctypes.c_void_p, ctypes.c_int64
    return (
        code.function(COPY_STATE, address, address, number, address),
        code.function(IS_FINITE, address, address, number, result=number),
    )


def evaluated(arrays: Sequence[Array]) -> tuple[Run, Run]:
    machine = Machine([copy_state(), is_finite()], {})
    for array in arrays:
        machine.share(array)
    return lambda *args: machine.run(COPY_STATE, *args), lambda *args: machine.run(IS_FINITE, *args)


@pytest.mark.parametrize("way", [native, evaluated])
def test_state_is_copied_and_looked_at(way: Callable[..., tuple[Run, Run]]) -> None:
    draw = np.random.default_rng(0)
    single = draw.normal(size=24).astype(np.float32)
    double, whole = draw.normal(size=12), draw.integers(-1, 1, 8)
    state = [single, double, whole]
    assert all(array.nbytes % PIECE == 0 for array in state)
    tensors = np.array([array.ctypes.data for array in state], np.uint64)
    kinds = [array.itemsize * (array.dtype.kind == "f") for array in state]
    sizes = np.array([[array.nbytes for array in state], kinds], np.int64).T.copy()
    memory = np.zeros(int(sizes[:, 0].sum()), np.uint8)
    copied, finite = way([*state, tensors, sizes, memory])
    told = tensors.ctypes.data, sizes.ctypes.data, len(state)
    copied(*told, memory.ctypes.data)
    assert memory.tobytes() == b"".join(array.tobytes() for array in state)
    whole[:] = -1  # all bits
    assert finite(*told) == 1
    for array in (single, double):
        largest = np.finfo(array.dtype).max
        for place in (0, 1, 5, len(array) - 1):
            kept = array[place]
            for value in (largest, -largest, 0.0, -0.0, np.finfo(array.dtype).tiny):
                array[place] = value
                assert finite(*told) == 1
            for value in (np.inf, -np.inf, np.nan, -np.nan):
                array[place] = value
                assert finite(*told) == 0
            array[place] = kept
    assert finite(*told) == 1
