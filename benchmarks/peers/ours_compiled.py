"""Us, where a compiled function is called directly, by a user who has made it before.

What `fit` and `predict` take longer than these calls is what they cost themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mynn
from benchmarks.loops import LOOPS, Program
from benchmarks.ours import LIBRARY
from benchmarks.works import Array


def _fitter(step: Callable[..., Any], batch: int) -> Callable[[tuple[Array, ...], int], float]:
    """One batch, one epoch."""
    call = mynn.compile(step)
    return lambda data, epochs: float(call(*data))


COMPILED = replace(LIBRARY, fitter=_fitter, predictor=lambda net: mynn.compile(net.eval()))


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """A loop around a compiled call."""
    return LOOPS[name].make(COMPILED, compared)
