"""Movement: values change their place, not their value."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mynn.core.batching import further, with_first
from mynn.core.graph import Node, apply, constant
from mynn.core.placed import Placed
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops.elementwise import where
from mynn.ops.rules import slices, uniform

Axes = tuple[int, ...]
Widths = tuple[tuple[int, int, int], ...]


def _infer_reshape(x: Type, shape: Shape) -> Type:
    result = x.with_shape(shape)
    if result.size != x.size:
        raise ShapeError(
            f"reshape: {x.shape} has {x.size} values, {shape} has {result.size}; give extents "
            "whose product is the same"
        )
    return result


def _cases(*cases: tuple[Shape, dict[str, Any]]) -> Any:
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [Sample((uniform(rng, -4, 4, shape),), params) for shape, params in cases]

    return samples


reshape: Primitive = Primitive(
    "reshape",
    _infer_reshape,
    lambda x, shape: x.reshape(shape),
    lambda g, y, x, shape: (g.reshape(x.shape),),
    _cases(
        ((6,), {"shape": (2, 3)}),
        ((2, 3, 4), {"shape": (6, 4)}),
        ((3, 10), {"shape": (5, 6)}),
        ((1,), {"shape": ()}),
        ((), {"shape": (1, 1)}),
        ((4, 1, 5), {"shape": (4, 5, 1)}),
    ),
    view=True,
    put=lambda x, new, shape: apply(reshape, new, shape=x.shape),
    batch={"shape": with_first(None)},
    bound=lambda type, shape: operator.methodcaller("reshape", shape),
)


def _infer_transpose(x: Type, axes: Axes) -> Type:
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(
            f"permute: {axes} is no permutation of the axes of {x.shape}; name each axis once"
        )
    return x.with_shape(x.shape[axis] for axis in axes)


def _transpose_vjp(g: Any, y: Any, x: Any, axes: Axes) -> tuple[Any]:
    return (g.permute(_inverse(axes)),)


def _inverse(axes: Axes) -> Axes:
    return tuple(axes.index(axis) for axis in range(len(axes)))


def _put_transpose(x: Node, new: Node, axes: Axes) -> Node:
    return apply(transpose, new, axes=_inverse(axes))


transpose = Primitive(
    "transpose",
    _infer_transpose,
    lambda x, axes: x.transpose(axes),
    _transpose_vjp,
    _cases(
        ((3, 5), {"axes": (1, 0)}),
        ((2, 3, 4), {"axes": (2, 0, 1)}),
        ((2, 3), {"axes": (0, 1)}),
        ((), {"axes": ()}),
        ((18, 20), {"axes": (1, 0)}),
    ),
    view=True,
    put=_put_transpose,
    batch={"axes": lambda axes, size: (0, *further(axes, size))},
    bound=lambda type, axes: operator.methodcaller("transpose", axes),
)


def _infer_broadcast(x: Type, shape: Shape) -> Type:
    fits = len(x.shape) == len(shape) and all(
        old in (1, new) for old, new in zip(x.shape, shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"broadcast_to: {x.shape} cannot be repeated to {shape}")
    return x.with_shape(shape)


def _numpy_broadcast(x: Array, shape: Shape) -> Array:
    """`np.broadcast_to`, which takes its time, for arrays in one piece."""
    if not x.size or not x.flags.c_contiguous or len(shape) != x.ndim:
        return np.broadcast_to(x, shape)
    strides = [0 if extent == 1 else step for extent, step in zip(x.shape, x.strides, strict=True)]
    y: Array = np.ndarray(shape, x.dtype, x, 0, strides)
    y.flags.writeable = False
    return y


def _broadcast_vjp(g: Any, y: Any, x: Any, shape: Shape) -> tuple[Any]:
    axes = tuple(
        axis for axis, (old, new) in enumerate(zip(x.shape, shape, strict=True)) if old != new
    )
    return (g.sum(axes, keepdims=True) if axes else g,)


# Axes of extent 1 are repeated; the number of axes stays (Tensor reshapes first).
broadcast_to = Primitive(
    "broadcast_to",
    _infer_broadcast,
    _numpy_broadcast,
    _broadcast_vjp,
    _cases(
        ((1, 5), {"shape": (3, 5)}),
        ((3, 1), {"shape": (3, 5)}),
        ((1, 1), {"shape": (2, 3)}),
        ((2, 3), {"shape": (2, 3)}),
    ),
    view=True,
    batch={"shape": with_first(None)},
)


def _infer_slice(x: Type, starts: Axes, stops: Axes, steps: Axes) -> Type:
    extents = []
    for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        if not (0 <= start <= stop <= x.shape[axis] and step >= 1):
            raise ShapeError(f"slice: {start}:{stop}:{step} does not lie in axis {axis} of {x}")
        extents.append(-(-(stop - start) // step))
    return x.with_shape(extents)


def _numpy_slice(x: Array, starts: Axes, stops: Axes, steps: Axes) -> Array:
    return x[slices(starts, stops, steps)]


def _slice_vjp(g: Any, y: Any, x: Any, starts: Axes, stops: Axes, steps: Axes) -> tuple[Placed]:
    return (Placed(g, x.shape, starts, steps),)


def _put_slice(x: Node, new: Node, starts: Axes, stops: Axes, steps: Axes) -> Node:
    return apply(update_slice, x, new, starts=starts, stops=stops, steps=steps)


# The first axis is taken whole.
_BATCH_OF_SLICES = {"starts": with_first(0), "stops": with_first(None), "steps": with_first(1)}

slice_ = Primitive(
    "slice",
    _infer_slice,
    _numpy_slice,
    _slice_vjp,
    _cases(
        ((7,), {"starts": (2,), "stops": (6,), "steps": (1,)}),
        ((7,), {"starts": (1,), "stops": (7,), "steps": (2,)}),
        ((3, 20), {"starts": (1, 0), "stops": (3, 18), "steps": (1, 1)}),
        ((6, 5), {"starts": (0, 1), "stops": (6, 5), "steps": (3, 2)}),
    ),
    view=True,
    put=_put_slice,
    batch=_BATCH_OF_SLICES,
    bound=lambda type, starts, stops, steps: operator.itemgetter(
        tuple(map(slice, starts, stops, steps))
    ),
)


def _infer_update(x: Type, new: Type, starts: Axes, stops: Axes, steps: Axes) -> Type:
    part = _infer_slice(x, starts, stops, steps)
    if new != part:
        raise ShapeError(f"update_slice: {new} does not fit the slice {part} of {x}")
    return x


def _numpy_update(x: Array, new: Array, starts: Axes, stops: Axes, steps: Axes) -> Array:
    y = np.array(x)
    y[tuple(map(slice, starts, stops, steps))] = new
    return y


def _update_vjp(
    g: Any, y: Any, x: Any, new: Any, starts: Axes, stops: Axes, steps: Axes
) -> tuple[Any, Any]:
    part = g[tuple(map(slice, starts, stops, steps))]
    return (g.update_slice(0, starts, stops, steps), part)


def _expand_update(x: Node, new: Node, starts: Axes, stops: Axes, steps: Axes) -> Node:
    """Where the slice is, its values amid a padding; elsewhere x."""
    if new.shape == x.shape or 0 in new.shape:
        return x if 0 in new.shape else new
    widths = tuple(
        (start, extent - start - (taken - 1) * step - 1, step - 1)
        for extent, taken, start, step in zip(x.shape, new.shape, starts, steps, strict=True)
    )
    one = constant(np.ones((1,) * len(x.shape), bool))
    inside = apply(pad, apply(broadcast_to, one, shape=new.shape), widths=widths, value=False)
    zero = 0.0 if x.dtype.kind == "f" else 0
    return apply(where, inside, apply(pad, new, widths=widths, value=zero), x)


def _update_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, Axes, Axes, Axes], ...] = (
        ((7,), (2,), (6,), (1,)),
        ((7,), (1,), (7,), (2,)),
        ((3, 20), (1, 0), (3, 18), (1, 1)),
        ((6, 5), (0, 1), (6, 5), (3, 2)),
        ((2, 3), (0, 0), (2, 3), (1, 1)),
    )
    samples = []
    for shape, starts, stops, steps in cases:
        x = uniform(rng, -4, 4, shape)
        part = _numpy_slice(x, starts, stops, steps).shape
        params = {"starts": starts, "stops": stops, "steps": steps}
        samples.append(Sample((x, uniform(rng, -4, 4, part)), params))
    return samples


# x with new values at starts, starts + steps... of each axis.
update_slice = Primitive(
    "update_slice",
    _infer_update,
    _numpy_update,
    _update_vjp,
    _update_samples,
    _expand_update,
    batch=_BATCH_OF_SLICES,
)


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return value == int(value) and limits.min <= value <= limits.max


def _infer_pad(x: Type, widths: Widths, value: float) -> Type:
    if x.dtype.kind != "f" and not _fits(value, x.dtype):
        raise DTypeError(f"pad: the value {value} is no {x.dtype}")
    extents = []
    for extent, (low, high, interior) in zip(x.shape, widths, strict=True):
        if low < 0 or high < 0 or interior < 0:
            raise ShapeError(f"pad: widths {widths} hold a negative number")
        extents.append(low + high + extent + max(extent - 1, 0) * interior)
    return x.with_shape(extents)


def _numpy_pad(x: Array, widths: Widths, value: float) -> Array:
    y = np.full(_infer_pad(Type.of(x), widths, value).shape, value, x.dtype)
    if x.size:
        y[
            tuple(
                slice(low, low + (extent - 1) * (interior + 1) + 1, interior + 1)
                for extent, (low, _, interior) in zip(x.shape, widths, strict=True)
            )
        ] = x
    return y


def _pad_vjp(g: Any, y: Any, x: Any, widths: Widths, value: float) -> tuple[Any]:
    index = tuple(
        slice(low, low + (extent - 1) * (interior + 1) + 1, interior + 1)
        for extent, (low, _, interior) in zip(x.shape, widths, strict=True)
    )
    return (g[index],)


# `value` before, after and (as the gradient of a strided slice needs) between the values of each
# axis.
pad = Primitive(
    "pad",
    _infer_pad,
    _numpy_pad,
    _pad_vjp,
    _cases(
        ((5,), {"widths": ((1, 2, 0),), "value": 0.0}),
        ((3, 16), {"widths": ((0, 0, 0), (3, 1, 0)), "value": -1.5}),
        ((4, 3), {"widths": ((1, 0, 2), (0, 2, 1)), "value": 0.0}),
    ),
    batch={"widths": with_first((0, 0, 0))},
)


def _infer_flip(x: Type, axes: Axes) -> Type:
    if any(not 0 <= axis < len(x.shape) for axis in axes):
        raise ShapeError(f"flip: axes {axes} are out of range for {x.shape}")
    return x


def _put_flip(x: Node, new: Node, axes: Axes) -> Node:
    return apply(flip, new, axes=axes)


flip = Primitive(
    "flip",
    _infer_flip,
    lambda x, axes: np.flip(x, axes),
    lambda g, y, x, axes: (g.flip(axes),),
    _cases(((5,), {"axes": (0,)}), ((3, 19), {"axes": (0, 1)}), ((2, 3, 4), {"axes": (1,)})),
    view=True,
    put=_put_flip,
    batch={"axes": further},
)


def _infer_concatenate(*types: Type, axis: int) -> Type:
    first = types[0]
    for other in types[1:]:
        if other.dtype != first.dtype:
            raise DTypeError(f"concatenate: dtypes {first.dtype} and {other.dtype} differ")
        same_rank = len(other.shape) == len(first.shape)
        if not same_rank or any(
            a != b
            for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True))
            if i != axis
        ):
            raise ShapeError(
                f"concatenate: {first.shape} and {other.shape} differ outside axis {axis}; all "
                "other extents must be equal"
            )
    extents = list(first.shape)
    extents[axis] = sum(x.shape[axis] for x in types)
    return first.with_shape(extents)


def _concatenate_vjp(g: Any, y: Any, *xs: Any, axis: int) -> tuple[Any, ...]:
    pieces = []
    start = 0
    for x in xs:
        index = [slice(None)] * len(x.shape)
        index[axis] = slice(start, start + x.shape[axis])
        pieces.append(g[tuple(index)])
        start += x.shape[axis]
    return tuple(pieces)


def _concatenate_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[tuple[Shape, ...], int], ...] = (
        (((3,), (4,)), 0),
        (((2, 3), (2, 17), (2, 1)), 1),
        (((1, 5), (4, 5)), 0),
        (((2, 3),), 1),
    )
    return [
        Sample(tuple(uniform(rng, -4, 4, shape) for shape in shapes), {"axis": axis})
        for shapes, axis in cases
    ]


concatenate = Primitive(
    "concatenate",
    _infer_concatenate,
    lambda *xs, axis: np.concatenate(xs, axis),
    _concatenate_vjp,
    _concatenate_samples,
    batch={"axis": further},
)


def _infer_iota(shape: Shape, axis: int, dtype: Any) -> Type:
    return Type(shape, np.dtype(dtype))


def _numpy_iota(shape: Shape, axis: int, dtype: Any) -> Array:
    column = [1] * len(shape)
    column[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis], dtype=dtype).reshape(column), shape)


# The position along `axis`: 0, 1, 2...
iota = Primitive(
    "iota",
    _infer_iota,
    _numpy_iota,
    None,
    lambda rng: [
        Sample((), {"shape": (3, 20), "axis": axis, "dtype": dtype})
        for axis in (0, 1)
        for dtype in (np.dtype(np.int64), np.dtype(np.float32))
    ],
    batch={"shape": with_first(None), "axis": further},
)


PRIMITIVES = (
    reshape,
    transpose,
    broadcast_to,
    slice_,
    update_slice,
    pad,
    flip,
    concatenate,
    iota,
)
