"""Methods that are functions of modules above this one: `x.det()` is `mynn.linalg.det(x)`.

The module is imported when such a method is first called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_LINALG, _DRAWING, _DIFFERENCES = (
    *("mynn.linalg", "mynn.functional.drawing", "mynn.functional.differences"),
)


def _method(name: str, home: str) -> Callable[..., Any]:
    """The method that is the function of that name."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(home), name)(self, *args, **kwargs)

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"`{home}.{name}` of this tensor, with the same further arguments."
    return method


class Forwarded:
    """Methods of linear algebra, of random numbers, of differences."""

    __slots__ = ()

    det, inverse, logdet, slogdet, matrix_exp = (
        _method(name, _LINALG) for name in ("det", "inverse", "logdet", "slogdet", "matrix_exp")
    )
    cholesky, cholesky_inverse, cholesky_solve, cross, pinverse, qr, svd = (
        _method(name, "mynn.linalg.top")
        for name in (
            *("cholesky", "cholesky_inverse", "cholesky_solve", "cross", "pinverse"),
            *("qr", "svd"),
        )
    )
    bernoulli, multinomial = (_method(name, _DRAWING) for name in ("bernoulli", "multinomial"))
    diff, cov, corrcoef, renorm = (
        _method(name, _DIFFERENCES) for name in ("diff", "cov", "corrcoef", "renorm")
    )
    prelu, hardshrink = (_method(name, "mynn.functional") for name in ("prelu", "hardshrink"))
