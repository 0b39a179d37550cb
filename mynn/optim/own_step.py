"""Optimisers whose `step` a user has written, inside compiled functions.

Python runs such a step once, while it is traced. State that it makes, and numbers that it counts,
would stay as they were then, without a word: that is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from mynn.errors import UsageError
from mynn.optim.slots import Slots
from mynn.tensor import Tensor
from mynn.trace import tracing
from mynn.trace.snapshot import snapshot


def watched(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, which in a trace leaves the objects in its state as they are.

    Options, notes of groups and plain numbers in the state are built in: where they are others
    later, the function is traced anew.
    """

    @functools.wraps(step)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        trace = tracing.active()
        if trace is None:
            return step(self, *args, **kwargs)
        kept = {p: dict(slots) for p, slots in self.state.items() if type(slots) is not Slots}
        trace.guards.properties[self, "signature"] = self.signature
        self._keep(trace.guards)
        try:
            result = step(self, *args, **kwargs)
            _check(type(self).__name__, kept, self.state)
        finally:
            for parameter, slots in kept.items():
                own = self.state[parameter]
                own.clear()
                own.update(slots)
        return result

    return call


def _check(name: str, kept: Mapping[Any, Mapping[str, Any]], state: Mapping[Any, Any]) -> None:
    """Raise where an object in the state is another one than before."""
    for parameter, slots in kept.items():
        for key, value in state[parameter].items():
            if slots.get(key, kept) is value:
                continue
            where = f"{name}: step sets state[{parameter.name or parameter.shape}][{key!r}]"
            if isinstance(value, Tensor):
                raise UsageError(
                    f"{where} to another tensor, inside a compiled function; that happens once, "
                    "while it is traced. Make the tensors of the state before, by one step outside "
                    "of it, and change them in place"
                )
            raise UsageError(
                f"{where} to {value!r}, inside a compiled function; that happens once, while it is "
                "traced. Keep a count in a tensor and change that in place: "
                f"state[{key!r}].add_(1)"
            )


def built_in(optimizer: Any) -> list[Any]:
    """What a trace of such a step has built in besides the options, as it is now."""
    tables = [group.notes for group in optimizer.param_groups] + [*optimizer.state.values()]
    return [
        (name, id(value) if isinstance(value, Tensor) else snapshot(value))
        for table in tables
        for name, value in table.items()
    ]
