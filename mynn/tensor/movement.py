"""Movement: values at other places: reshape, transpose, slices, windows, take, scatter...

Each takes the tensor first, and is a method of `Tensor`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.base.arguments import explained
from mynn.core.types import Shape
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.ops import gather, movement
from mynn.ops.rules import normalize_axes
from mynn.tensor.checks import require_range
from mynn.tensor.indexing import Plan
from mynn.tensor.indexing import plan as indexing_plan
from mynn.tensor.promotion import alias, apply, as_tensor
from mynn.tensor.spelling import one_of, required
from mynn.tensor.view import can_view, own_memory

if TYPE_CHECKING:
    from mynn.tensor.tensor import Tensor


@explained
def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same values in row-major order under another shape; one extent may be -1."""
    target = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
    if not all(isinstance(n, int | np.integer) for n in target) or target.count(-1) > 1:
        raise ShapeError(
            f"reshape: a shape must be whole numbers with at most one -1, it is {shape}"
        )
    if target.count(-1) == 1:
        rest = math.prod(n for n in target if n != -1)
        if rest == 0 or x.numel() % rest:
            raise ShapeError(f"reshape: {x.shape} does not divide into {tuple(target)}")
        target[target.index(-1)] = x.numel() // rest
    shape = tuple(int(n) for n in target)
    if shape == x.shape:
        return alias(x)
    y = apply(movement.reshape, x, shape=shape)
    if not can_view(x, shape):
        own_memory(y, x)
    return y


@explained
def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes `start_dim`..`end_dim` merged into one."""
    if not x.shape:
        return x.reshape(1)
    start, end = (normalize_axes(axis, x.ndim, "flatten")[0] for axis in (start_dim, end_dim))
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim}")
    if start == end:
        return x
    middle = math.prod(x.shape[start : end + 1])
    return x.reshape((*x.shape[:start], middle, *x.shape[end + 1 :]))


@explained
def transpose(x: Tensor, *dims: int, dim0: int | None = None, dim1: int | None = None) -> Tensor:
    """Two axes exchanged; without arguments all axes reversed. `permute` takes a whole order."""
    given = [*dims, *(one for one in (dim0, dim1) if one is not None)]
    if not given:
        return permute(x, tuple(reversed(range(x.ndim))))
    if len(given) != 2 or not all(isinstance(one, int | np.integer) for one in given):
        raise ArgumentError(
            f"transpose: it exchanges two axes, transpose(dim0, dim1), and was given "
            f"{', '.join(map(repr, given))}; permute takes a whole order of the {x.ndim} axes"
        )
    return _exchanged(x, "transpose", int(given[0]), int(given[1]))


@explained
def swapaxes(x: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two axes exchanged."""
    return _exchanged(x, "swapaxes", axis0, axis1)


def _exchanged(x: Tensor, name: str, dim0: int, dim1: int) -> Tensor:
    if not x.ndim:
        normalize_axes(dim0, 0, name), normalize_axes(dim1, 0, name)
        return x
    order = list(range(x.ndim))
    a, b = (normalize_axes(dim, x.ndim, name)[0] for dim in (dim0, dim1))
    order[a], order[b] = order[b], order[a]
    return permute(x, order)


@explained
def permute(x: Tensor, *dims: Any) -> Tensor:
    """The axes in another order, each named once: `permute(2, 0, 1)` or `permute((2, 0, 1))`."""
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    order = tuple(normalize_axes(dim, x.ndim, "permute")[0] for dim in order)
    return apply(movement.transpose, x, axes=order)


@explained
def broadcast_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Repeated along axes of extent 1, and along new leading axes, up to `size`."""
    target = tuple(int(n) for n in size)
    if target == x.shape:
        return alias(x)
    if len(target) < x.ndim:
        raise ShapeError(f"broadcast_to: {x.shape} cannot be repeated to {target}")
    if len(target) > x.ndim:
        x = x.reshape((1,) * (len(target) - x.ndim) + x.shape)
    return x if x.shape == target else apply(movement.broadcast_to, x, shape=target)


@explained
def unsqueeze(x: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """A new axis of extent 1 at `dim`."""
    place = normalize_axes(required("unsqueeze", dim, axis), x.ndim + 1, "unsqueeze")[0]
    return x.reshape((*x.shape[:place], 1, *x.shape[place:]))


@explained
def squeeze(x: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Axes of extent 1 removed: all of them, or those named; named longer ones stay."""
    axes = normalize_axes(one_of("squeeze", dim, axis), x.ndim, "squeeze")
    kept = tuple(n for i, n in enumerate(x.shape) if not (n == 1 and i in axes))
    return x.reshape(kept)


@explained
def flip(x: Tensor, *dims: Any, axis: Any = None) -> Tensor:
    """Order reversed along the axes: `flip(0, 1)` or `flip((0, 1))`."""
    named = dims[0] if len(dims) == 1 else dims or None
    axes = required("flip", named, axis)
    return apply(movement.flip, x, axes=normalize_axes(axes, x.ndim, "flip"))


def pad(x: Tensor, widths: Sequence[Sequence[int]], value: float = 0) -> Tensor:
    """`value` put before and after the values of each axis: one `(before, after)` an axis."""
    if len(widths) != x.ndim:
        raise ShapeError(f"pad: {len(widths)} widths were given for the axes of {x.shape}")
    full = tuple((int(w[0]), int(w[1]), int(w[2]) if len(w) > 2 else 0) for w in widths)
    number = float(value) if x.dtype.kind == "f" else value
    return apply(movement.pad, x, widths=full, value=number)


def windows(
    x: Tensor,
    axes: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Tensor:
    """Sliding windows along `axes`; the window axes stand at the end."""
    params = {"sizes": sizes, "strides": strides, "dilations": dilations}
    counts = {name: tuple(int(n) for n in values) for name, values in params.items()}
    places = tuple(normalize_axes(axis, x.ndim, "windows")[0] for axis in axes)
    return apply(movement.windows, x, axes=places, **counts)


def concatenate(x: Tensor, others: Sequence[Tensor], axis: int) -> Tensor:
    """The tensor and others of its dtype, one after the other along an axis."""
    place = normalize_axes(axis, x.ndim, "concatenate")[0]
    return apply(movement.concatenate, x, *others, axis=place)


def update_slice(
    x: Tensor, new: Any, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
) -> Tensor:
    """x with other values at starts, starts + steps... before stops, of each axis."""
    place = {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)}
    part = tuple(-(-(b - a) // s) for a, b, s in zip(starts, stops, steps, strict=True))
    values = as_tensor(new, like=x).astype(x.dtype).broadcast_to(part)
    return apply(movement.update_slice, x, values, **place)


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: numbers, slices, None, ... and at most one integer array or tensor."""
    steps = indexing_plan(index, x.shape)
    part = basic_part(x, steps)
    if steps.take_axis is None:
        return part
    return part.gather_rows(steps.take_index, steps.take_axis, name="x[index]")


def basic_part(x: Tensor, steps: Plan) -> Tensor:
    """The view of x that the slices and numbers of an index choose."""
    start = x
    if any(steps.starts) or steps.stops != x.shape or any(n != 1 for n in steps.steps):
        x = apply(movement.slice_, x, starts=steps.starts, stops=steps.stops, steps=steps.steps)
    if steps.flips:
        x = x.flip(steps.flips)
    if x is start or steps.shape != x.shape:
        x = x.reshape(steps.shape)
    return x


def iterate(x: Tensor) -> Iterator[Tensor]:
    """The entries along the first axis."""
    return (x[i] for i in range(len(x)))


def gather_rows(
    x: Tensor, index: Any, axis: int = 0, clip: bool = False, name: str = "gather_rows"
) -> Tensor:
    """Entries of `axis` picked by an integer tensor, whose axes stand in place of `axis`.

    Negative indices count from the end; with `clip` they are 0, as the primitive has it. Errors
    speak of the function `name`.
    """
    axis = normalize_axes(axis, x.ndim, name)[0]
    picked = as_tensor(index) if clip else checked_index(index, x.shape[axis], name, axis)
    return apply(gather.take, x, picked, axis=axis)


def scatter_rows(x: Tensor, index: Any, axis: int, extent: int, clip: bool = False) -> Tensor:
    """Zeros of `extent` along `axis`, to which the entries are added at the places `index`."""
    picked = as_tensor(index) if clip else checked_index(index, extent, "scatter_rows", axis)
    return apply(gather.scatter_add, x, picked, axis=axis, extent=extent)


@explained
def index_select(
    x: Tensor, dim: int | None = None, index: Any = None, *, axis: int | None = None
) -> Tensor:
    """The entries of axis `dim` at the places `index` [K], in that order."""
    place = normalize_axes(required("index_select", dim, axis), x.ndim, "index_select")
    picked = as_tensor(index)
    if picked.ndim > 1:
        raise ShapeError(f"index_select: index must be [K], its shape is {picked.shape}")
    if not place:
        return x.reshape(1).gather_rows(picked.reshape(-1), name="index_select").reshape(())
    return x.gather_rows(picked.reshape(-1), place[0], name="index_select")


@explained
def take(x: Tensor, index: Any) -> Tensor:
    """The values at the places `index` of the flattened tensor, in the shape of `index`."""
    return x.reshape(-1).gather_rows(index, name="take")


@explained
def scatter_add(
    x: Tensor,
    dim: int | None = None,
    index: Any = None,
    src: Any = None,
    *,
    axis: int | None = None,
) -> Tensor:
    """x with `src` added along `dim` at the places `index`.

    y = x; y[.., index[.., i, ..], ..] += src[.., i, ..]. `index` and `src` have as many axes as x;
    `index` may be smaller than `src`, and than x in the other axes.
    """
    if index is None or src is None:
        raise ArgumentError("scatter_add: give dim, index and src, as x.scatter_add(0, index, src)")
    place = normalize_axes(required("scatter_add", dim, axis), x.ndim, "scatter_add")
    if not place:
        single = as_tensor(index).reshape(1), as_tensor(src).reshape(1)
        return scatter_add(x.reshape(1), 0, *single).reshape(())
    picked, added, axis = as_tensor(index), as_tensor(src), place[0]
    if added.dtype != x.dtype:
        raise DTypeError(f"scatter_add: src is {added.dtype}, it must be {x.dtype} as the tensor")
    _check_scatter(x, picked, added, axis)
    added = added[tuple(slice(n) for n in picked.shape)]
    flat = x.reshape(-1)
    at = _flat_index(picked, x.shape, axis).reshape(-1)
    if not at.numel():
        return x
    return (flat + added.reshape(-1).scatter_rows(at, 0, flat.numel(), clip=True)).reshape(x.shape)


def _check_scatter(x: Tensor, index: Tensor, src: Tensor, axis: int) -> None:
    fits = index.ndim == src.ndim == x.ndim and all(
        i <= s and (i <= n or place == axis)
        for place, (i, s, n) in enumerate(zip(index.shape, src.shape, x.shape, strict=True))
    )
    if not fits:
        raise ShapeError(
            f"scatter_add: index {index.shape} and src {src.shape} do not fit {x.shape}; index "
            f"must reach no further than src, nor than the tensor in the axes other than {axis}"
        )
    _require_integers("scatter_add", index)
    require_range(index, "scatter_add", "index", 0, x.shape[axis] - 1, axis=axis)


def _flat_index(index: Tensor, shape: Shape, axis: int) -> Tensor:
    """Where the entries of `index` along `axis` lie in the flattened tensor of `shape`."""
    result = index.astype(np.int64) * math.prod(shape[axis + 1 :])
    for place in range(len(shape)):
        stride = math.prod(shape[place + 1 :])
        if place != axis and index.shape[place] > 1:
            along = np.arange(index.shape[place]) * stride
            trailing = (1,) * (len(shape) - place - 1)
            result = result + along.reshape(-1, *trailing)
    return result


def _require_integers(name: str, index: Tensor) -> None:
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{name}: indices must be integers, they are {index.dtype}")


def checked_index(index: Any, extent: int, name: str, axis: int) -> Tensor:
    """An integer index that is held to its range; negative ones count from the end."""
    picked = as_tensor(index)
    _require_integers(name, picked)
    require_range(picked, name, "index", -extent, extent - 1, axis=axis)
    if picked.dtype.kind == "u":
        return picked
    return (picked < 0).choose(picked + extent, picked)
