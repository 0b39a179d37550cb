"""What a tensor that a tape made knows of it."""

from __future__ import annotations

import weakref
from typing import Any

from mynn.base import recording
from mynn.core.types import Type
from mynn.errors import UsageError
from mynn.tape.run import Run, remember
from mynn.tensor import Tensor


class Output(weakref.ref[Tensor]):
    """What a tensor that a tape made knows of it, `Value.pending`; and a reference to the tensor.

    - `tape`, `slot`: where it was recorded, until it is run; `tape` is None then.
    - `type`: shape and dtype.
    - `base`: the tensor whose memory it looks at, with the steps and whether gradients flow.
    - `error`: why it could not be made.
    - `run`: what it was made by, for its history.
    """

    __slots__ = ("base", "error", "run", "slot", "tape", "type")

    tape: Any
    slot: int
    type: Type
    base: Any
    error: BaseException | None
    run: Run | None

    def settle(self) -> None:
        """Have it run."""
        tape = self.tape
        if tape is not None:
            tape.flush()
            if self.tape is not None:
                raise UsageError("a tensor is looked at while it is computed, or it never was")

    def made(self) -> str | None:
        """The name of what made the tensor; None where its node says it."""
        self.settle()
        return None if self.run is None else self.run.made(self.slot)

    def make(self, tensor: Tensor, name: str, by_call: bool = False) -> None:
        """Set a field of the tensor that is asked for; its node `by_call` has a node for each call
        behind it.
        """
        self.settle()
        if self.error is not None:
            raise self.error
        if name == "node" and self.run is not None:
            remember(tensor, by_call)


class Elsewhere(Exception):
    """A tensor, or a field of one, waits for another tape: that runs first."""

    def __init__(self, waits: Output | Tensor) -> None:
        self.waits = waits

    def settle(self, own: Any) -> None:
        """Have the other tape run; nobody waits for this one meanwhile."""
        if isinstance(self.waits, Output):
            self.waits.settle()
        else:
            recording.settle_others(own, [self.waits])
