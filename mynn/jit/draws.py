"""Random bits of calls that run at once, by native code: NumPy takes 200 operations for each draw.

They are the same bits; the code is made after a few draws, as are programs.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

import numpy as np

from mynn.base import forks
from mynn.core.types import Array
from mynn.jit import native_available
from mynn.target.storage import address_of

# So many draws are made by NumPy.
FEW = 24
_lock = forks.register(threading.RLock())
_drawn = [0]


def words(seed: int, counter: int, count: int) -> Array | None:
    """The words of a draw, `random_bits` of the key; None where NumPy is to make them."""
    if _drawn[0] < FEW:
        _drawn[0] += 1
        return None
    function = _function()
    if function is None:
        return None
    found = np.empty(count, np.uint32)
    function(seed, counter, count, address_of(found))
    return found


def _function() -> Any:
    with _lock:
        return _made()


@functools.cache
def _made() -> Any:
    if not native_available():
        return None
    from mynn.compiler.codegen.function import Module
    from mynn.compiler.codegen.host import emit_functions
    from mynn.compiler.host.draw import DRAW, draw
    from mynn.runtime.llvm_jit import build
    from mynn.target.target import host

    native = build(emit_functions(Module(host()), [draw()]).text(), host())
    number, address = ctypes.c_int64, ctypes.c_void_p
    return native.function(DRAW, number, number, number, address)
