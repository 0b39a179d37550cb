"""Memory between pages that may be neither read nor written."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from mynn.core.types import Array
from mynn.target.storage import ALIGNMENT

AVAILABLE = sys.platform.startswith("linux")
_protect = ctypes.CDLL(None, use_errno=True).mprotect if AVAILABLE else None
if _protect is not None:
    _protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def guarded(nbytes: int, at_end: bool, alignment: int = ALIGNMENT) -> Array:
    """Bytes of 0xFF between two pages that may not be touched: directly behind the first, or before
    the second, as near as the alignment lets them be. What touches one ends the process.
    """
    page = mmap.PAGESIZE
    room = -(-max(nbytes, 1) // page) * page
    block = mmap.mmap(-1, room + 2 * page)
    raw = np.frombuffer(block, np.uint8)
    assert _protect is not None
    for start in (0, page + room):
        if _protect(raw.ctypes.data + start, page, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = page
    if at_end:
        first += room - -(-nbytes // alignment) * alignment
    raw[page : page + room] = 0xFF
    return raw[first : first + nbytes]
