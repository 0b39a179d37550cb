"""Contractions: products summed over an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.errors import DTypeError, ShapeError
from mynn.graph import Primitive, Sample, Type
from mynn.ops.rules import FLOAT, require_kind, uniform


def _infer_matmul(a: Type, b: Type) -> Type:
    require_kind("matmul", a, FLOAT)
    if a.dtype != b.dtype:
        raise DTypeError(f"matmul: dtypes {a.dtype} and {b.dtype} differ")
    if len(a.shape) != len(b.shape) or len(a.shape) < 2 or a.shape[:-2] != b.shape[:-2]:
        raise ShapeError(f"matmul: {a.shape} @ {b.shape} do not have the same leading axes")
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the inner extents {a.shape[-1]} and "
            f"{b.shape[-2]} differ"
        )
    return a.with_shape((*a.shape[:-1], b.shape[-1]))


def _swap(x: Any) -> Any:
    ndim = len(x.shape)
    return x.transpose((*range(ndim - 2), ndim - 1, ndim - 2))


def _matmul_samples(rng: np.random.Generator) -> list[Sample]:
    shapes = (
        ((3, 4), (4, 5)),
        ((1, 25), (25, 2)),
        ((17, 3), (3, 33)),
        ((2, 3, 4), (2, 4, 2)),
        ((5, 1), (1, 1)),
    )
    return [Sample((uniform(rng, -2, 2, a), uniform(rng, -2, 2, b))) for a, b in shapes]


# y[..., m, n] = sum over k of a[..., m, k] b[..., k, n]
matmul = Primitive(
    "matmul",
    "contraction",
    _infer_matmul,
    np.matmul,
    lambda g, y, a, b: (g @ _swap(b), _swap(a) @ g),
    _matmul_samples,
)

PRIMITIVES = (matmul,)
