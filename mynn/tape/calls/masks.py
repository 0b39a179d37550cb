"""Arrays as indices. Masks: how many values a mask chooses is known only when somebody looks at it.

A mask that chooses as many values as once before is as good as the places of these, whose number
is part of a key. So it is looked at apart from the tape: the few calls that made it are run at
once, and once more with all the others. `x[mask]` is recorded then as `x[places]`. Paths for
several numbers share programs (`mynn.tape.pieces.lengths`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base import recording
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.tape.calls.call import Call, Slot
from mynn.tensor import Tensor
from mynn.tensor.view import value_of

# A mask is looked at apart where it was made by few calls, of few values each.
CALLS, VALUES = 16, 1 << 14
# So many places of a tape are remembered with how many values masks chose there, and so many of
# these numbers.
_PLACES, _COUNTS = 1024, 256


# An index of no more bytes that is an array of NumPy's is copied.
SMALL = 1 << 14


def with_tensors(x: Any, index: Any) -> Any:
    """An index with tensors in place of small arrays of whole numbers, which the user may change
    before they are read. A tensor that is there, and that no gradient flows to, is looked at at
    once: that takes less than to have it read by a program.
    """
    if type(x) is not Tensor or not (x.requires_grad or x.pending is not None):
        return index
    if type(index) is tuple:
        return tuple([_with_tensor(one) for one in index])
    return _with_tensor(index)


def _with_tensor(entry: Any) -> Any:
    whole = type(entry) is np.ndarray and entry.ndim and entry.dtype in (np.int32, np.int64)
    return Tensor.from_value(entry.copy()) if whole and entry.nbytes <= SMALL else entry


class Masks:
    """What a tape knows of masks: how many values they chose before."""

    def __init__(self) -> None:
        self._counts: dict[Any, set[tuple[int, ...]]] = {}

    def as_places(self, tape: Any, x: Any, index: Any) -> Any:
        """The index with places instead of masks; None where these are looked at in full."""
        entries = index if type(index) is tuple else (index,)
        masks = [one for one in entries if _is_mask(one)]
        if not masks or type(x) is not Tensor or not _fit(x, entries):
            return None
        values = [value for one in masks if (value := _value(tape, one)) is not None]
        if len(values) < len(masks):
            return None
        key = tape.position.serial, tuple(one.shape for one in masks)
        counts = tuple(int(np.count_nonzero(value)) for value in values)
        if len(self._counts) >= _PLACES:
            self._counts.clear()
        before = self._counts.setdefault(key, set())
        if counts not in before:
            if len(before) >= _COUNTS:
                before.clear()
            before.add(counts)
            return None
        found: list[Any] = []
        remaining = iter(values)
        for one in entries:
            if _is_mask(one):
                found += [Tensor(places) for places in np.nonzero(next(remaining))]
            else:
                found.append(one)
        return tuple(found)


def _is_mask(entry: Any) -> bool:
    return type(entry) is Tensor and entry.dtype.kind == "b" and entry.ndim > 0


def _fit(x: Tensor, entries: tuple[Any, ...]) -> bool:
    """Whether masks have the extents of the axes that they choose from."""
    axis = 0
    for one in entries:
        if _is_mask(one):
            if one.shape != x.shape[axis : axis + one.ndim]:
                return False
            axis += one.ndim
        elif isinstance(one, Tensor | slice | int) and not isinstance(one, bool):
            axis += 1
        else:
            return False
    return axis <= x.ndim


def _value(tape: Any, mask: Tensor) -> Array | None:
    """The value of a mask; None where it is not known without running the tape."""
    pending = mask.pending
    if pending is None or pending.tape is None:
        return value_of(mask)
    if pending.tape is not tape:
        return None
    position, externals = tape.position, tape.externals
    needed: set[int] = {pending.slot}
    chosen: list[Call] = []
    for call, outcome in reversed(list(zip(position.calls, position.outcomes, strict=True))):
        if call.slot not in needed or call.slot is None:
            continue
        plain = outcome is not None and not outcome.writes and not outcome.state
        if not plain or outcome.moved is not None or outcome.type.size > VALUES:
            return None
        chosen.append(call)
        if len(chosen) > CALLS:
            return None
        needed |= {leaf.number for leaf in call.form.leaves if isinstance(leaf, Slot)}
    try:
        return value_of(_last(chosen[::-1], externals))
    except (MynnError, LookupError):
        return None  # run with all others it says what is wrong


@recording.run_at_once
def _last(calls: list[Call], externals: list[Any]) -> Any:
    """What the last of some calls gives."""
    slots: Any = {}
    for call in calls:
        slots[call.slot] = call.run(slots, externals)
    return slots[calls[-1].slot]
