"""Sliding windows: a view with further axes, inside of which pooling and convolutions reduce."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mynn.core.batching import further
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops.movement import Axes
from mynn.ops.rules import uniform


def _infer_windows(x: Type, axes: Axes, sizes: Axes, strides: Axes, dilations: Axes) -> Type:
    if not len(axes) == len(sizes) == len(strides) == len(dilations):
        raise ShapeError(
            f"windows: axes {axes}, sizes {sizes}, strides {strides} and dilations {dilations} "
            "must be equally many"
        )
    if len(set(axes)) < len(axes) or any(not 0 <= axis < len(x.shape) for axis in axes):
        raise ShapeError(f"windows: axes {axes} are out of range or named twice for {x.shape}")
    if any(n < 1 for n in (*sizes, *strides, *dilations)):
        raise ShapeError(
            f"windows: sizes {sizes}, strides {strides} and dilations {dilations} must be at "
            "least 1"
        )
    extents = list(x.shape)
    for axis, k, s, d in zip(axes, sizes, strides, dilations, strict=True):
        span = d * (k - 1) + 1
        if span > x.shape[axis]:
            raise ShapeError(
                f"windows: a window that spans {span} values does not fit in axis {axis} of "
                f"{x.shape}; pad it, or take a smaller window"
            )
        extents[axis] = (x.shape[axis] - span) // s + 1
    return x.with_shape((*extents, *sizes))


def _numpy_windows(x: Array, axes: Axes, sizes: Axes, strides: Axes, dilations: Axes) -> Array:
    shape = _infer_windows(Type.of(x), axes, sizes, strides, dilations).shape
    steps = list(x.strides)
    for axis, s in zip(axes, strides, strict=True):
        steps[axis] *= s
    inner = (x.strides[axis] * d for axis, d in zip(axes, dilations, strict=True))
    return as_strided(x, shape, (*steps, *inner), writeable=False)


def _windows_vjp(
    g: Any, y: Any, x: Any, axes: Axes, sizes: Axes, strides: Axes, dilations: Axes
) -> tuple[Any]:
    """Windows side by side are put back in their place; overlapping ones are added up."""
    ndim = len(x.shape)
    places = range(len(axes))
    apart = [i for i in places if sizes[i] == strides[i] and (dilations[i] == 1 or sizes[i] == 1)]
    mixed = [i for i in places if i not in apart]
    if apart:
        order = []
        for axis in range(ndim):
            order += [axis, *(ndim + i for i in apart if axes[i] == axis)]
        order += [ndim + i for i in mixed]
        extents = list(y.shape[:ndim])
        for i in apart:
            extents[axes[i]] *= sizes[i]
        g = g.permute(tuple(order)).reshape((*extents, *(sizes[i] for i in mixed)))
    widths = [(0, n - m, 0) for n, m in zip(x.shape, g.shape, strict=False)]
    total = None
    for offset in itertools.product(*(range(sizes[i]) for i in mixed)):
        for i, j in zip(mixed, offset, strict=True):
            n, low, s = x.shape[axes[i]], j * dilations[i], strides[i]
            widths[axes[i]] = (low, n - low - (y.shape[axes[i]] - 1) * s - 1, s - 1)
        part = g[(..., *offset)] if offset else g
        part = part.pad(tuple(widths), 0) if any(map(any, widths)) else part
        total = part if total is None else total + part
    return (total,)


def _windows_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, Axes, Axes, Axes, Axes], ...] = (
        ((7,), (0,), (3,), (1,), (1,)),
        ((7,), (0,), (3,), (3,), (1,)),
        ((2, 3, 6, 8), (2, 3), (2, 2), (2, 2), (1, 1)),
        ((2, 5, 7), (1, 2), (3, 2), (2, 1), (1, 2)),
        ((2, 9, 3), (1,), (2,), (4,), (3,)),
        ((3, 4, 19), (2, 1), (2, 3), (1, 1), (1, 1)),
        ((1, 7, 6), (1, 2), (2, 3), (2, 1), (1, 1)),
        ((5, 4), (0,), (1,), (2,), (1,)),
        ((3, 2), (), (), (), ()),
    )
    return [
        Sample(
            (uniform(rng, -4, 4, shape),),
            {"axes": axes, "sizes": sizes, "strides": strides, "dilations": dilations},
        )
        for shape, axes, sizes, strides, dilations in cases
    ]


# Sliding windows, whose axes stand at the end in the order of `axes`. Along a listed axis of extent
# n, with window size k, stride s and dilation d, there are (n - d (k - 1) - 1) // s + 1 windows:
#     y[.., o.., j..] = x[.., o s + j d, ..]
windows = Primitive(
    "windows",
    _infer_windows,
    _numpy_windows,
    _windows_vjp,
    _windows_samples,
    view=True,
    batch={"axes": further},
)

PRIMITIVES = (windows,)
