"""Random numbers of calls that run at once, by native code: NumPy takes 200 operations for each.

They are the same bits; the code is made after a few draws, as are programs.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base import forks
from mynn.core.types import Array
from mynn.jit import native_available
from mynn.target.storage import address_of

# So many draws are made by NumPy.
FEW = 24
# What the native code keeps while it runs, in words of 64 bits.
RECORD_WORDS = 4
_lock = forks.register(threading.RLock())
_drawn = [0]
_SHORT = {np.dtype(np.uint32): "u32", np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
# The function for a dtype: seed, counter, how many draws, numbers of each, where they go.
_Draw = Callable[[Any, int, int, int, int, int], None]


def numbers(seed: int, counter: int, draws: int, count: int, dtype: np.dtype[Any]) -> Array | None:
    """What some draws give, `[draws, count]`: the words of a key, or numbers in [0, 1); None where
    NumPy is to make them.
    """
    if _drawn[0] < FEW:
        _drawn[0] += 1
        return None
    function = _function(dtype)
    if function is None:
        return None
    found = np.empty((draws, count), dtype)
    record = np.empty(RECORD_WORDS, np.uint64)
    function(address_of(record), seed, counter, draws, count, address_of(found))
    return found


def _function(dtype: np.dtype[Any]) -> _Draw | None:
    with _lock:
        return _made(dtype)


@functools.cache
def _made(dtype: np.dtype[Any]) -> _Draw | None:
    if not native_available():
        return None
    from mynn.compiler.codegen.function import Module
    from mynn.compiler.codegen.host import emit_function
    from mynn.compiler.codegen.kernel import emit_kernel
    from mynn.compiler.host.draw import DRAWS, block, draw
    from mynn.runtime.llvm_jit import build
    from mynn.target.target import host

    short = _SHORT[dtype]
    module = Module(host())
    kernel, buffers = block(short)
    emit_kernel(module, kernel, {buffer: slot for slot, buffer in enumerate(buffers)})
    emit_function(module, draw(short))
    number, address = ctypes.c_int64, ctypes.c_void_p
    function: _Draw = build(module.text(), host()).function(
        DRAWS[short], address, number, number, number, number, address
    )
    return function
