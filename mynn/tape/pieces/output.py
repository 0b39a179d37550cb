"""What a tensor that a tape made knows of it."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from mynn.base import forks, recording
from mynn.core.types import Array, Type
from mynn.errors import UsageError
from mynn.tape.gradients.run import Run, remember
from mynn.tensor import Tensor
from mynn.tensor.gradients.history import array_of
from mynn.tensor.value import Step
from mynn.tensor.view import look, value_of


class Output:
    """What a tensor that a tape made knows of it, `Value.pending`.

    - `tape`, `slot`: where it was recorded; `tape` is None once it was run.
    - `type`: shape and dtype.
    - `run`: what it was made by, for its history.
    - `error`: why it could not be made.
    """

    __slots__ = ("error", "run", "slot", "type")

    tape: Any = None
    view: tuple[Step, ...] | None = None
    base: Tensor | None = None
    attached = False
    # Whether it asks for a gradient itself.
    leaf = False

    def __init__(
        self,
        slot: int,
        type: Type,
        run: Run | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.slot = slot
        self.type = type
        self.run = run
        self.error = error

    def settle(self, tensor: Tensor) -> None:
        """Have it run."""
        tape = self.tape
        if tape is not None:
            tape.flush()
            if tensor.pending is self:
                raise UsageError("a tensor is looked at while it is computed, or it never was")

    def seen(self) -> Tensor | None:
        """The tensor whose memory the result looks at (by `view`), if that can be told before it is
        run.
        """
        return self.base

    def made(self, tensor: Tensor) -> str | None:
        """The name of what made the tensor; None where its node says it."""
        self.settle(tensor)
        output = tensor.pending
        if output is None or output.run is None:
            return None
        name: str | None = output.run.made(output.slot)
        return name

    def peek(self, tensor: Tensor) -> Array:
        """The value, for one look: where it lies in the memory of another tensor, that is not noted
        in this one, which mostly nobody has afterwards.
        """
        self.settle(tensor)
        output = tensor.pending
        return output.look_now() if type(output) is Later else array_of(tensor)

    def make(self, tensor: Tensor, name: str, by_call: bool = False) -> None:
        """Set a field of the tensor that is asked for; its node `by_call` has a node for each call
        behind it.
        """
        self.settle(tensor)
        output = tensor.pending
        if output is not self:
            if output is not None:
                output.make(tensor, name, by_call)
        elif self.error is not None:
            raise self.error
        elif name == "node" and self.run is not None:
            remember(tensor, by_call)


class Promise(Output):
    """The same of all tensors that wait for one step.

    - `view`: of results that look at the memory of another tensor, the steps from that.
    """

    __slots__ = ("_tape", "leaf", "view")

    leaf: bool
    view: tuple[Step, ...] | None

    def __init__(
        self, tape: Any, slot: int, type: Type, view: tuple[Step, ...] | None = None
    ) -> None:
        super().__init__(slot, type)
        # Steps lie with modules, which may live longer than the thread of the tape.
        self._tape = weakref.ref(tape)
        self.leaf = False
        self.view = view

    @property
    def tape(self) -> Any:
        """Where it was recorded."""
        return self._tape()

    def seen(self) -> Tensor | None:
        """The tensor whose memory the result looks at."""
        tape = self.tape
        return None if tape is None else tape.seen_by(self.slot)


class Later(Output):
    """Of a result that looks at the memory of another tensor: its value is made when somebody looks
    at it.
    """

    __slots__ = ("attached", "base", "view")

    attached: bool
    base: Tensor
    view: tuple[Step, ...]

    def __init__(
        self,
        promise: Output,
        run: Run | None,
        base: Tensor,
        view: tuple[Step, ...],
        attached: bool,
    ) -> None:
        self.slot = promise.slot
        self.type = promise.type
        self.run = run
        self.error = None
        if type(base.pending) is Later:  # no long chains
            value_of(base)
        self.base = base
        self.view = view
        self.attached = attached

    def look_now(self) -> Array:
        """What lies there now."""
        value: Any = value_of(self.base)
        for primitive, params in self.view:
            value = primitive.numpy(value, **params)
        return np.asarray(value)

    def make(self, tensor: Tensor, name: str, by_call: bool = False) -> None:
        """Let it look."""
        value = self.look_now()
        with _looking:
            if tensor.pending is self:  # no other thread was quicker
                tensor._value = value
                look(tensor, self.base, self.view, self.attached)
                if self.run is None:
                    tensor.node = tensor.pending = None
                else:
                    tensor.pending = Output(self.slot, self.type, self.run)
        output = tensor.pending
        if output is not None:
            output.make(tensor, name, by_call)


# Held to let a tensor look at another one; nobody waits for anything meanwhile.
_looking = forks.register(threading.RLock())


def memory_of(value: Any) -> Any:
    """The tensor in whose memory a value lies, as far as that is known without making it."""
    while isinstance(value, Tensor):
        pending = value.pending
        base = None if pending is None else pending.base
        if base is None:
            try:
                view = object.__getattribute__(value, "_view")
            except AttributeError:  # it waits
                break
            if view is None:
                break
            base = view.base
        value = base
    return value


class Elsewhere(Exception):
    """A tensor, or a field of one, waits for another tape: that runs first."""

    def __init__(self, waits: Tensor) -> None:
        self.waits = waits

    def settle(self, own: Any) -> None:
        """Have the other tape run; nobody waits for this one meanwhile."""
        pending = self.waits.pending
        if pending is not None and pending.tape is not None:
            pending.settle(self.waits)
        elif (id(self.waits), "_value") in own.hidden:
            if not own.fill(self.waits):
                own.flush()
        else:
            recording.settle_others(own, [self.waits])
