"""What `x[index]` means, as a plan of primitives: slice, flip, reshape, and `take` along axes.

As in PyTorch numbers and slices choose first; arrays and masks then pick along the axes that are
left. Arrays are broadcast to one shape; its axes stand where the first of theirs stood, or before
all others where something stands between them.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.graph import CONSTANT
from mynn.core.types import Array, Shape
from mynn.errors import DTypeError, IndexRangeError, ShapeError, UsageError
from mynn.tensor.gradients.history import graph_node
from mynn.tensor.value import Value
from mynn.tensor.view import value_of
from mynn.trace import tracing


@dataclass(frozen=True)
class Pick:
    """Indices along an axis of what the slices leave; `named` is the axis as the user knows it."""

    axis: int
    index: Any
    named: int


@dataclass(frozen=True)
class Plan:
    """Slices with positive steps, flips, a reshape (integers and None), then picks along axes."""

    starts: Shape
    stops: Shape
    steps: Shape
    flips: Shape
    shape: Shape
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Merged:
    """How the picked axes become one.

    `order` of the axes first, which puts them side by side from `axis` on; `shape` with those
    merged; `strides` of each of them within the merged one.
    """

    order: Shape
    axis: int
    shape: Shape
    strides: Shape


def _expand(index: Any, ndim: int) -> list[Any]:
    """The index as a list of entries, `...` written out, lists as arrays."""
    entries = [
        np.asarray(entry) if isinstance(entry, list | tuple | range) else _number(entry)
        for entry in (index if isinstance(index, tuple) else (index,))
    ]
    used = sum(_axes_of(entry) for entry in entries)
    if used > ndim:
        raise ShapeError(
            f"index {index!r} has {used} entries for {ndim} axes; give at most one for each axis"
        )
    ellipses = [i for i, entry in enumerate(entries) if entry is Ellipsis]
    if len(ellipses) > 1:
        raise ShapeError(f"index {index!r} has more than one '...'")
    at = ellipses[0] if ellipses else len(entries)
    after = entries[at + 1 :]
    return [*entries[:at], *([slice(None)] * (ndim - used)), *after]


def _number(entry: Any) -> Any:
    """A known integer without axes as a number, among several entries."""
    if not isinstance(entry, Value | np.ndarray) or entry.ndim or entry.dtype.kind not in "iu":
        return entry
    if isinstance(entry, np.ndarray):
        return int(entry)
    pending = entry.pending
    if tracing.active() is not None or (pending is not None and pending.tape is not None):
        return entry
    value = value_of(entry)
    return entry if value is None else int(value)


def with_numbers(index: Any) -> Any:
    """An index whose slices have numbers in place of tensors, the values of which are looked at."""
    if type(index) is tuple:
        return tuple(map(with_numbers, index))
    if type(index) is not slice:
        return index
    ends = (index.start, index.stop, index.step)
    if not any(isinstance(one, Value) for one in ends):
        return index
    known = [operator.index(one) if isinstance(one, Value) else one for one in ends]  # type: ignore[arg-type]
    return slice(*known)


def is_mask(entry: Any) -> bool:
    """Whether an entry of an index says for each place whether it is chosen."""
    if isinstance(entry, Value | np.ndarray):
        return entry.dtype.kind == "b"
    return isinstance(entry, bool | np.bool_)


def is_known(entry: Any) -> bool:
    """Whether the values of an index are known: outside a trace, or as a constant in it."""
    if not isinstance(entry, Value) or tracing.active() is None:
        return True
    return entry._value is None and entry.node is not None and entry.node.primitive is CONSTANT


def _axes_of(entry: Any) -> int:
    """How many axes an entry is for."""
    if entry is None or entry is Ellipsis:
        return 0
    return getattr(entry, "ndim", 0) if is_mask(entry) else 1


def _true_places(mask: Any, shape: Shape, axis: int) -> tuple[Array, ...]:
    """The indices of the true places, an array for each axis of a mask that is known."""
    if not is_known(mask):
        raise UsageError(
            "x[mask] in a traced function: how many values it has depends on the mask, which "
            "is not known while tracing; use mynn.where(mask, x, 0), or call it outside"
        )
    value = mask
    if isinstance(mask, Value):
        value = value_of(mask) if tracing.active() is None else graph_node(mask).value
    value = np.asarray(value)
    if value.shape != shape[axis : axis + value.ndim]:
        raise IndexRangeError(
            f"a mask of shape {value.shape} does not fit the axes from {axis} on of {shape}; it "
            "must have their extents"
        )
    if not value.ndim:
        return (np.zeros(int(value), np.int64),)
    return np.nonzero(value)


def plan(index: Any, shape: Shape) -> Plan:
    """The plan for `x[index]` where x has `shape`.

    Entries: integers, slices, None, `...`, arrays or tensors of integers, masks.
    """
    starts: list[int] = []
    stops: list[int] = []
    steps: list[int] = []
    flips: list[int] = []
    result: list[int] = []
    picks: list[Pick] = []
    axis = 0
    for entry in _expand(index, len(shape)):
        if entry is None:
            result.append(1)
            continue
        if is_mask(entry):
            found = _true_places(entry, shape, axis)
            picks += [Pick(len(result) + i, one, axis + i) for i, one in enumerate(found)]
            covered = shape[axis : axis + _axes_of(entry)]
            result += covered or [1]
            starts += [0] * len(covered)
            stops += covered
            steps += [1] * len(covered)
            axis += len(covered)
            continue
        extent = shape[axis]
        if isinstance(entry, slice):
            start, stop, step = entry.indices(extent)
            count = len(range(start, stop, step))
            if step < 0:
                flips.append(axis)
                start, step = start + (count - 1) * step, -step
            start = start if count else 0
            stop = start + (count - 1) * step + 1 if count else start
            result.append(count)
        elif isinstance(entry, int | np.integer):
            start, stop, step = _one(int(entry), axis, extent)
        else:
            start, stop, step = 0, extent, 1
            picks.append(Pick(len(result), entry, axis))
            result.append(extent)
        starts.append(start)
        stops.append(stop)
        steps.append(step)
        axis += 1
    chosen = tuple(starts), tuple(stops), tuple(steps)
    return Plan(*chosen, tuple(flips), tuple(result), tuple(picks))


def _one(entry: int, axis: int, extent: int) -> tuple[int, int, int]:
    if not -extent <= entry < extent:
        raise IndexRangeError(
            f"index {entry} is out of range for axis {axis} of extent {extent}: indices "
            f"lie in {-extent}..{extent - 1}"
        )
    return entry % extent, entry % extent + 1, 1


def merged(shape: Shape, axes: Shape) -> Merged:
    """How the axes of `shape` that indices pick from become one."""
    first = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    order = (*rest[:first], *axes, *rest[first:])
    extents = [shape[axis] for axis in axes]
    others = [shape[axis] for axis in rest]
    strides = tuple(math.prod(extents[i + 1 :]) for i in range(len(extents)))
    joined = (*others[:first], math.prod(extents), *others[first:])
    return Merged(order, first, joined, strides)


def require_indices(entry: Any, name: str) -> None:
    """Raise unless an entry holds integers; a list of nothing does."""
    kind = getattr(getattr(entry, "dtype", None), "kind", None)
    if kind not in ("i", "u") and not (kind == "f" and not np.size(entry)):
        what = f"{entry.dtype}" if kind else f"a {type(entry).__name__}"
        raise DTypeError(
            f"{name}: an index holds {what}; give whole numbers, slices, None, or an array of "
            "integers or bools (convert floats with .long())"
        )
