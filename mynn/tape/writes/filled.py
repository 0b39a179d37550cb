"""`Filled`: rows of tensors that get results.

    values[t] = critic(state)        errors[mask] = found        out[:, 0] = net(x)

Mostly the rows get them once the tape has run: NumPy puts them there, no program writes them, and
which rows they are is no part of a key. A small tensor that is read again before, or through which
gradients flow, is a result as a whole from then on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base import hooks, recording
from mynn.tape.calls.following import is_exposed
from mynn.tape.pieces.output import Elsewhere
from mynn.tape.writes.replaced import Replaced
from mynn.tensor import Tensor, no_grad
from mynn.tensor.gradients.history import array_of
from mynn.tensor.methods.rows import Places, assigned, fits, positions, shape_of_rows

# A tensor of no more bytes is a result as a whole where some of it gets one that is read again.
SMALL = 2**14


def _varies(entry: Any, new: Tensor) -> bool:
    """Whether an entry of an index would make another call each time of what gives new values: the
    number of a row, or a mask, unless as many values as it chooses came by other calls already.
    """
    if type(entry) is np.ndarray and entry.dtype.kind == "b":
        return not new.ndim or new.shape[0] != np.count_nonzero(entry)
    return type(entry) is int


class Filled(Replaced):
    """A tape on which rows get results."""

    def put_rows(self, target: Tensor, places: Places, new: Tensor) -> bool:
        """Let some rows of a tensor from before get a result, of its dtype, once that is made; its
        memory is not set until then. Whether it could be done.

        Which rows these are is no part of a key, and no program writes them.
        """
        if not self._may_wait_for(target):
            return False
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            pending = new.pending
            if pending is None or pending.tape is not self:
                return False
            if self.outputs[pending.slot] is not new:
                return False
            entry = self.hidden.get((id(target), "_value"))
            if entry is None and self.reads(target):
                return False
            memory = array_of(target) if entry is None else entry[2]
            shape = shape_of_rows(memory, places)
            if shape is None or not memory.flags.writeable or not fits(new.shape, shape):
                return False
            try:
                self._hide(target, "_value")
            except Elsewhere:
                return False
            kept = tuple([one.copy() if type(one) is np.ndarray else one for one in places])
            row = target, kept, pending.slot
            # No signal handler runs from here on.
            if self.turn is not turn:
                return False
            target._version += 1  # so that views look again
            self.tidied = self.position
            self.rows.append(row)
        return True

    def _may_wait_for(self, target: Tensor) -> bool:
        """Whether the memory of a tensor from before can be written later: nobody else has it."""
        if hooks.exist() or is_exposed(target) or target.shared is not None:
            return False
        return not recording.is_remembered(target)

    def put_within(self, target: Tensor, places: Places, new: Tensor) -> bool:
        """Let a result have other values in some places, as another result. Whether it could be
        done.
        """
        numbers = any(type(one) is int for one in places)
        if numbers and not (new.requires_grad or target.requires_grad):
            return False  # each row would be another call
        chosen = self._chosen(target, places, new)
        if chosen is None or not self.can_renew(target):
            return False
        return self.renew(target, self.call(assigned, (target, new, chosen), {}), False)

    def put_grown(self, target: Tensor, places: Places, new: Tensor) -> bool:
        """Let a tensor from before be a result, which has others in some places, through which
        gradients flow. Whether it could be done.
        """
        waits = new.pending is not None and new.pending.tape is self
        if not waits or not self._may_wait_for(target) or (id(target), "_value") in self.hidden:
            return False
        chosen = self._chosen(target, places, new)
        if chosen is None or self.reads(target):
            return False
        before: Tensor = Tensor.from_value(array_of(target))
        return self.become(target, self.call(assigned, (before, new, chosen), {}))

    def fill(self, target: Tensor) -> bool:
        """Somebody reads a tensor some rows of which get results: let it be a result as a whole.
        Whether it could be done.
        """
        rows = [row for row in self.rows if row[0] is target]
        entry = self.hidden.get((id(target), "_value"))
        if len(rows) != 1 or entry is None:
            return False
        _, places, slot = rows[0]
        new, before = self.outputs[slot], Tensor.from_value(entry[2])
        if any(_varies(one, new) for one in places):
            return False
        chosen = self._chosen(before, places, new)
        if chosen is None:
            return False
        with no_grad():
            return self.become(target, self.call(assigned, (before, new, chosen), {}))

    def _chosen(self, target: Tensor, places: Places, new: Tensor) -> Tensor | None:
        """The positions of what is chosen, as a call has them; None where that is much, or where
        something is wrong.
        """
        if target.spec.nbytes > SMALL or target.dtype != new.dtype:
            return None
        found = positions(target.shape, places)
        if found is None or not fits(new.shape, found.shape):
            return None
        chosen: Tensor = Tensor.from_value(found)
        return chosen
