"""Many values in a list, as those of a batch that is drawn from a memory: `stack(drawn)`.

Each batch holds other tensors, and would be another key if these counted one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mynn.base import recording
from mynn.tensor import Tensor
from mynn.tensor.methods.joined import arrays_of
from mynn.tensor.view import value_of

# So many values in a list are many, of which so many times fewer are few.
LONG, FEW_OF = 8, 4


def are_made(tape: Any, values: Sequence[Any]) -> bool:
    """Whether all of many values have been made; a few that wait for the tape are made now."""
    if arrays_of(values) is not None:
        return True
    found = [one.pending for one in values if type(one) is Tensor]
    waiting = sum(one is not None and one.tape is tape for one in found)
    if not 0 < FEW_OF * waiting <= len(found):
        return False
    tape.flush()
    return arrays_of(values) is not None


def apart(tape: Any, values: Sequence[Any]) -> list[Any]:
    """Many values, of which it says nothing which of them come twice."""
    own = list(values)
    seen = set(tape.index)
    current = recording.current
    before, current.tape = current.tape, None
    try:
        for i, one in enumerate(own):
            if type(one) is not Tensor or one._requires_grad:
                continue
            made = one.pending is None or one.pending.tape is None
            if made and id(one) in seen and value_of(one) is not None:
                own[i] = one.detach()
            seen.add(id(one))
    finally:
        current.tape = before
    return own
