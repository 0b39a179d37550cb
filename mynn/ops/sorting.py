"""The order of values along an axis."""

from __future__ import annotations

import numpy as np

from mynn.core.batching import further
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops.rules import ANY, require_kind, uniform


def _infer_argsort(x: Type, axis: int, descending: bool) -> Type:
    require_kind("argsort", x, ANY)
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"argsort: axis {axis} is out of range for {x}")
    return x.with_dtype(np.int64)


def _numpy_argsort(x: Array, axis: int, descending: bool) -> Array:
    """Descending is ascending from the other end, so that equal values stay in their order."""
    if not descending:
        return np.argsort(x, axis, kind="stable")
    turned = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    return np.asarray(x.shape[axis] - 1 - turned)


def _argsort_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, int], ...] = (
        ((5,), 0),
        ((37,), 0),
        ((3, 17), 0),
        ((3, 17), 1),
        ((2, 3, 4), 1),
        ((1, 5), 0),
        ((300,), 0),
    )
    drawn = [(uniform(rng, -4, 4, shape), axis) for shape, axis in cases]
    drawn.append((np.round(uniform(rng, -4, 4, (2, 40))), 1))
    return [
        Sample((x,), {"axis": axis, "descending": descending})
        for x, axis in drawn
        for descending in (False, True)
    ]


# The indices that put the values along an axis in order. Equal values stay in their order, of which
# 0 and -0 are a case; NaN counts as the largest.
argsort = Primitive(
    "argsort",
    _infer_argsort,
    _numpy_argsort,
    None,
    _argsort_samples,
    batch={"axis": further},
)

PRIMITIVES = (argsort,)
