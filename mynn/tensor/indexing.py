"""What `x[index]` means, as a plan of primitives: slice, flip, reshape, take."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.types import Shape
from mynn.errors import IndexRangeError, ShapeError, UsageError


@dataclass(frozen=True)
class Plan:
    """Slices with positive steps, flips, a reshape (integers and None), `take` along one axis."""

    starts: Shape
    stops: Shape
    steps: Shape
    flips: Shape
    shape: Shape
    take_axis: int | None
    take_index: Any


def _expand(index: Any, ndim: int) -> list[Any]:
    """The index as a list with an entry for each axis, `...` written out."""
    entries = list(index) if isinstance(index, tuple) else [index]
    used = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
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


def plan(index: Any, shape: Shape) -> Plan:
    """The plan for `x[index]` where x has `shape`.

    Entries: integers, slices, None, `...`, and at most one array or tensor of integers.
    """
    starts, stops, steps, flips, result = [], [], [], [], []
    take_axis, take_index = None, None
    axis = 0
    for entry in _expand(index, len(shape)):
        if entry is None:
            result.append(1)
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
        elif isinstance(entry, int | np.integer) and not isinstance(entry, bool):
            if not -extent <= entry < extent:
                raise IndexRangeError(
                    f"index {entry} is out of range for axis {axis} of extent {extent}: indices "
                    f"lie in {-extent}..{extent - 1}"
                )
            start, stop, step = int(entry) % extent, int(entry) % extent + 1, 1
        else:
            if take_axis is not None:
                raise UsageError(
                    "only one axis can be indexed by an array; use take for the others"
                )
            start, stop, step = 0, extent, 1
            take_axis, take_index = len(result), entry
            result.append(extent)
        starts.append(start)
        stops.append(stop)
        steps.append(step)
        axis += 1
    return Plan(
        tuple(starts),
        tuple(stops),
        tuple(steps),
        tuple(flips),
        tuple(result),
        take_axis,
        take_index,
    )
