"""State dicts: tensors by name that share the memory of a module or an optimiser.

Programs of other threads write that memory. What copies or stores a state dict takes it between two
of their steps.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from mynn.base import sharing
from mynn.core.types import Array
from mynn.tensor.tensor import Tensor
from mynn.tensor.value import AnyTensor
from mynn.tensor.view import memory_of


class StateDict(dict[str, Any]):
    """A dict whose deep copy has the values of one moment."""

    def __deepcopy__(self, memo: dict[int, Any]) -> StateDict:
        def copied() -> StateDict:
            new = memo[id(self)] = StateDict()
            for key, value in self.items():
                new[key] = copy.deepcopy(value, memo)
            return new

        return sharing.run_whole(copied, memories(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (), None, None, iter(self.items())


def memories(obj: Any) -> Iterator[AnyTensor]:
    """The tensors that the values of an object lie in: of state dicts, lists and dicts of such."""
    if isinstance(obj, Tensor):
        yield memory_of(obj)
    elif isinstance(obj, Mapping):
        for one in obj.values():
            yield from memories(one)
    elif isinstance(obj, list | tuple):
        for one in obj:
            yield from memories(one)


def arrays_of(state: Mapping[str, Tensor]) -> dict[str, Array]:
    """Copies of the values of one moment."""
    return sharing.run_whole(
        lambda: {name: tensor.numpy() for name, tensor in state.items()}, memories(state)
    )
