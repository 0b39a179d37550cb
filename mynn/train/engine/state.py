"""The state that steps change, as native code copies it and looks at it: all of it in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mynn.base.lazy import lazy
from mynn.core.types import Array
from mynn.target.storage import address_of
from mynn.tensor import Tensor
from mynn.train.plan import Run


class Copies(Mapping[Tensor, Array]):
    """Copies side by side in one piece of memory; arrays in it are made when they are asked for."""

    def __init__(self, state: ChangingState, memory: Array) -> None:
        self.state = state
        self.memory = memory

    @lazy
    def _arrays(self) -> dict[Tensor, Array]:
        found, start = {}, 0
        for tensor, nbytes in zip(self.state.tensors, self.state.sizes[:, 0], strict=True):
            like = tensor.to_native()
            found[tensor] = np.ndarray(like.shape, like.dtype, self.memory, start, like.strides)
            start += int(nbytes)
        return found

    def recycle(self) -> None:
        """Nobody looks at them any more: the memory is there for the next run."""
        self.state.program.code.leave_copies(self.memory)

    def __getitem__(self, tensor: Tensor) -> Array:
        return self._arrays[tensor]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.state.tensors)

    def __len__(self) -> int:
        return len(self.state.tensors)


class ChangingState:
    """The state that the steps of a run change, but for keys of random numbers.

    - `code`: the `LoopCode` that copies it; `program`: that of whole batches.
    """

    def __init__(self, code: Any, run: Run) -> None:
        staged, self.program = run.whole.staged, run.whole.program
        self.code = code
        self.tensors = run.values
        self.numbers, self.sizes = self.program.code.written_state
        if len(self.tensors) < len(self.numbers):
            drawn = set(map(id, staged.generators))
            chosen = [id(tensor) not in drawn for tensor in staged.written]
            self.numbers, self.sizes = self.numbers[chosen], self.sizes[chosen]
        self._addresses = self.program.addresses[self.numbers]
        self._told = address_of(self._addresses), address_of(self.sizes), len(self.numbers)

    def memory(self) -> Copies:
        """Memory for copies, which nobody else has until they are recycled."""
        nbytes = int(self.sizes[:, 0].sum())
        return Copies(self, self.program.code.take_copies(nbytes))

    def copy(self, copies: Copies) -> None:
        """Copy all."""
        self.code.copy_state(*self._told, address_of(copies.memory))

    def is_finite(self) -> bool:
        """Whether all is finite; if not, it may also be what lies between elements that is not."""
        return bool(self.code.is_finite(*self._told))
