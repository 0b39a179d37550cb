"""Many tensors without a history as one, as of a batch that is drawn from a memory.

    cat([state, state, ...])        stack([reward, reward, ...])

What `movement.concatenate` would give, without looking at each of them more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.tensor.tensor import Tensor
from mynn.tensor.view import value_of
from mynn.trace import tracing


def arrays_of(values: Sequence[Any]) -> list[Array] | None:
    """The values of tensors that have been made, without a history; None where one is none."""
    found: list[Array] = []
    for one in values:
        if type(one) is not Tensor or one._requires_grad:
            return None
        pending = one.pending
        if pending is not None:
            if pending.tape is not None or one.requires_grad:
                return None
            value = value_of(one)
        else:
            view, value = one._view, one._value
            if view is not None:
                if view.attached and view.source._requires_grad and one.requires_grad:
                    return None
                if view.version != view.base._version:
                    value = value_of(one)
        if value is None:
            return None
        found.append(value)
    return found


def joined(values: Sequence[Any], axis: int) -> Tensor | None:
    """Joined along an axis that they have; None where they are not all alike but for its extent."""
    arrays = None if tracing.active() is not None else arrays_of(values)
    if not arrays:
        return None
    first = arrays[0]
    for one in arrays:
        if one.dtype != first.dtype or one.ndim != first.ndim or one.shape == (0,):
            return None
    try:
        return Tensor.from_value(np.concatenate(arrays, axis))
    except ValueError:
        return None


def stacked(values: Sequence[Any]) -> Tensor | None:
    """Joined along a new axis before all others; None where they are not all alike."""
    arrays = None if tracing.active() is not None else arrays_of(values)
    if not arrays:
        return None
    first = arrays[0]
    if any(one.dtype != first.dtype or one.shape != first.shape for one in arrays):
        return None
    found = np.empty((len(arrays), *first.shape), first.dtype)
    for number, one in enumerate(arrays):
        found[number] = one
    return Tensor.from_value(found)
