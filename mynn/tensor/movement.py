"""Movement: values at other places: reshape, transpose, slices, windows, take, scatter...

Each takes the tensor first, and is a method of `Tensor`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mynn import tracing
from mynn.errors import DTypeError, ShapeError
from mynn.indexing import plan as indexing_plan
from mynn.ops import indexing, movement
from mynn.ops.rules import normalize_axes
from mynn.tensor.operations import apply, as_tensor

if TYPE_CHECKING:
    from mynn.tensor.core import Tensor


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same values in row-major order under another shape; one extent may be -1."""
    target = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
    if target.count(-1) == 1:
        rest = math.prod(n for n in target if n != -1)
        if rest == 0 or x.size % rest:
            raise ShapeError(f"reshape: {x.shape} does not divide into {tuple(target)}")
        target[target.index(-1)] = x.size // rest
    if tuple(target) == x.shape:
        return x
    return apply(movement.reshape, x, shape=tuple(int(n) for n in target))


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes `start_dim`..`end_dim` merged into one."""
    if not x.shape:
        return x.reshape(1)
    start, end = (normalize_axes(axis, x.ndim, "flatten")[0] for axis in (start_dim, end_dim))
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim}")
    middle = math.prod(x.shape[start : end + 1])
    return x.reshape((*x.shape[:start], middle, *x.shape[end + 1 :]))


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """Axes in another order; without arguments, reversed."""
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    order = tuple(order) or tuple(reversed(range(x.ndim)))
    order = tuple(normalize_axes(axis, x.ndim, "transpose")[0] for axis in order)
    return apply(movement.transpose, x, axes=order)


def swapaxes(x: Tensor, a: int, b: int) -> Tensor:
    """Two axes exchanged."""
    order = list(range(x.ndim))
    a, b = (normalize_axes(axis, x.ndim, "swapaxes")[0] for axis in (a, b))
    order[a], order[b] = order[b], order[a]
    return x.transpose(order)


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeated along axes of extent 1, and along new leading axes, up to `shape`."""
    target = tuple(int(n) for n in shape)
    if target == x.shape:
        return x
    if len(target) < x.ndim:
        raise ShapeError(f"broadcast_to: {x.shape} cannot be repeated to {target}")
    x = x.reshape((1,) * (len(target) - x.ndim) + x.shape)
    return x if x.shape == target else apply(movement.broadcast_to, x, shape=target)


def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """A new axis of extent 1 at `axis`."""
    place = normalize_axes(axis, x.ndim + 1, "unsqueeze")[0]
    return x.reshape((*x.shape[:place], 1, *x.shape[place:]))


def squeeze(x: Tensor, axis: Any = None) -> Tensor:
    """Axes of extent 1 removed: all of them, or those named."""
    axes = normalize_axes(axis, x.ndim, "squeeze")
    kept = tuple(n for i, n in enumerate(x.shape) if not (n == 1 and i in axes))
    return x.reshape(kept)


def flip(x: Tensor, axes: Any) -> Tensor:
    """Order reversed along `axes`."""
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


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: numbers, slices, None, ... and at most one integer array or tensor."""
    steps = indexing_plan(index, x.shape)
    if any(steps.starts) or steps.stops != x.shape or any(n != 1 for n in steps.steps):
        x = apply(movement.slice_, x, starts=steps.starts, stops=steps.stops, steps=steps.steps)
    if steps.flips:
        x = x.flip(steps.flips)
    x = x.reshape(steps.shape)
    return x if steps.take_axis is None else x.take(steps.take_index, steps.take_axis)


def iterate(x: Tensor) -> Iterator[Tensor]:
    """The entries along the first axis."""
    return (x[i] for i in range(len(x)))


def take(x: Tensor, index: Any, axis: int = 0, clip: bool = False) -> Tensor:
    """Entries of `axis` picked by an integer tensor, whose axes stand in place of `axis`.

    Negative indices count from the end; with `clip` they are 0, as the primitive has it.
    """
    axis = normalize_axes(axis, x.ndim, "take")[0]
    picked = as_tensor(index) if clip else _checked_index(index, x.shape[axis])
    return apply(indexing.take, x, picked, axis=axis)


def scatter_add(x: Tensor, index: Any, axis: int, extent: int, clip: bool = False) -> Tensor:
    """Zeros of `extent` along `axis`, to which the entries are added at the places `index`."""
    picked = as_tensor(index) if clip else _checked_index(index, extent)
    return apply(indexing.scatter_add, x, picked, axis=axis, extent=extent)


def _checked_index(index: Any, extent: int) -> Tensor:
    """An integer index; negative ones count from the end, and known ones are held to the range."""
    picked = as_tensor(index)
    if picked.dtype.kind not in "iu":
        raise DTypeError(f"indices must be integers, they are {picked.dtype}")
    if picked.value is not None and tracing.active() is None and picked.size:
        low, high = int(picked.value.min()), int(picked.value.max())
        if low < -extent or high >= extent:
            raise IndexError(f"indices from {low} to {high} are out of range for extent {extent}")
    if picked.dtype.kind == "u":
        return picked
    return (picked < 0).where(picked + extent, picked)
