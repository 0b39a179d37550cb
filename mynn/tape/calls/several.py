"""Calls with several results: each of them is recorded as a call of its own, which picks it.

What they have in common is computed once where they are a program, since equal nodes become one,
and where they are run one after the other (`Together`). Elsewhere it is computed for each, so that
calls which change state, or draw numbers, stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.base.structure import flatten, rebuild
from mynn.tape.calls.call import Call
from mynn.tensor import Tensor

# So many results at most.
MOST = 8


class Picked:
    """A call, and which of its results is wanted."""

    def __init__(self, function: Callable[..., Any], number: int) -> None:
        self.function = function
        self.number = number
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return self.function, self.number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result that is wanted."""
        return self.whole(*args, **kwargs)[self.number]

    def whole(self, *args: Any, **kwargs: Any) -> list[Any]:
        """All results."""
        return list(flatten(self.function(*args, **kwargs)))


class Together:
    """Calls that are run one after the other: those that pick the results of one call, in their
    order, make it once.
    """

    def __init__(self) -> None:
        self._last: Call | None = None
        self._results: list[Any] = []

    def run(self, call: Call, slots: Sequence[Any], externals: Sequence[Any]) -> Any:
        """What the call gives."""
        picked = call.function
        if not isinstance(picked, Picked):
            return call.run(slots, externals)
        last = self._last
        before: Any = None if last is None else last.function
        goes_on = (
            last is not None
            and before.function is picked.function
            and before.number + 1 == picked.number
            and last.form.leaves == call.form.leaves
            and last.gradients is call.gradients
        )
        if not goes_on:
            whole = copy.copy(call)
            whole.function = picked.whole
            self._results = whole.run(slots, externals)
        self._last = call
        return self._results[picked.number]


@dataclass(frozen=True)
class Several:
    """What a call gives: tensors in the form of `structure`, got by `picks`, while the `outcome`,
    that of the first of them, holds.
    """

    structure: Any
    picks: tuple[Picked, ...]
    outcome: Any

    def holds(self) -> bool:
        """Whether the call will do the same now."""
        same: bool = self.outcome.holds()
        return same

    def bundle(self, results: Sequence[Any]) -> Any:
        """The results in the form that the call returns."""
        return rebuild(self.structure, iter(results))


def results_of(function: Callable[..., Any], result: Any) -> list[Tensor]:
    """The tensors of several results; none where there is something else."""
    if isinstance(function, Picked) or not isinstance(result, tuple | list):
        return []
    found = list(flatten(result))
    plain = all(type(one) is Tensor for one in found)
    return found if plain and 0 < len(found) <= MOST else []


def several(function: Callable[..., Any], result: Any, outcome: Any) -> Several:
    """Of a call that gave this."""
    number = len(list(flatten(result)))
    picks = tuple(Picked(function, i) for i in range(number))
    return Several(rebuild(result, count()), picks, outcome)
