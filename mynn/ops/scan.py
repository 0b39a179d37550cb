"""Scans: running totals along an axis."""

from __future__ import annotations

import numpy as np

from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Shape, Type
from mynn.errors import ShapeError
from mynn.ops.rules import NUMBER, require_kind, uniform


def _infer_cumsum(x: Type, axis: int) -> Type:
    require_kind("cumsum", x, NUMBER)
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"cumsum: axis {axis} is out of range for {x}")
    return x


def _cumsum_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, int], ...] = (
        ((5,), 0),
        ((37,), 0),
        ((3, 17), 0),
        ((3, 17), 1),
        ((2, 3, 4), 1),
        ((1, 5), 0),
    )
    return [Sample((uniform(rng, -4, 4, shape),), {"axis": axis}) for shape, axis in cases]


# y[.., i, ..] = sum over j <= i of x[.., j, ..], along one axis
cumsum = Primitive(
    "cumsum",
    _infer_cumsum,
    lambda x, axis: np.cumsum(x, axis, dtype=x.dtype),
    lambda g, y, x, axis: (g.flip((axis,)).cumsum(axis).flip((axis,)),),
    _cumsum_samples,
)

PRIMITIVES = (cumsum,)
