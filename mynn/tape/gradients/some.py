"""Updates where now these, now those parameters have gradients, as one program.

Which parts of a network take part in a step may be drawn anew each time, or depend on data:
experts, layers that are left out. Each choice would be another program. Here one computes the
update of every parameter, from zeros where there is no gradient, and keeps it where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.tensor import Parameter, Tensor, graph_node, no_grad
from mynn.tensor.gradients.touched import indices_of
from mynn.trace import tracing

# An optimizer has more than so many sets of parameters with gradients, and has gone from one to
# another as often; staying with one counts so much against it. Parameters without gradients have at
# most so many bytes, which are read and written for nothing.
FEW, STAYED, MUCH = 8, 0.25, 2**18
# More sets are not remembered.
_MOST = 64


class UpdateOfSome:
    """`optimizer.step()`, where an argument says which parameters have gradients."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.parameters: list[Parameter] = list(optimizer.state)
        self.__name__ = "step"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return self.optimizer, self.parameters, "some"

    def __call__(self, present: Tensor, *gradients: Tensor) -> None:
        if tracing.active() is None:  # those that are there are where they belong
            self.optimizer.step()
            return
        before: dict[int, tuple[Any, Any, Tensor]] = {}
        for number, (parameter, slots) in enumerate(self.optimizer.state.items()):
            for one in (parameter, *slots.values()):
                before.setdefault(id(one), (one, graph_node(one), present[number]))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        with no_grad():
            for one, node, chosen in before.values():
                after = graph_node(one)
                if after is not node:
                    one.assign(chosen.choose(Tensor.from_node(after), Tensor.from_node(node)))


class Zeros:
    """Gradients that are not there, for each parameter of an optimizer."""

    def __init__(self) -> None:
        self._known: dict[Any, Tensor] = {}

    def of(self, parameter: Parameter) -> Tensor:
        """Zeros like a parameter, of which nobody has another use."""
        spec = parameter.spec
        found = self._known.get(spec)
        if found is None:
            found = self._known[spec] = Tensor.from_value(np.zeros(spec.shape, spec.dtype))
        return found


def varies(table: Any, parameters: Iterable[Parameter], pattern: Sequence[Any]) -> bool:
    """Whether an optimizer, by its table (`Recorded`), has now these, now those parameters with
    gradients, so many sets of them that an update of some is worth while.

    `pattern` says for each parameter what is known of its gradient, False where there is none.
    """
    there = tuple([kind is not False for kind in pattern])
    if there == table.latest:
        table.turns = max(table.turns - STAYED, 0.0)
    else:
        table.latest, table.turns = there, min(table.turns + 1.0, 2.0 * FEW)
        if len(table.sets) < _MOST:
            table.sets.add(there)
    if len(table.sets) <= FEW or table.turns <= FEW:
        return False
    absent = [p.spec.nbytes for p, known in zip(parameters, there, strict=True) if not known]
    return 0 < sum(absent) <= MUCH


def present_in(optimizer: Any) -> Array | None:
    """Which parameters have gradients; None where an update is not to be one of some: where
    parameters share a count and do not all take part, and where a gradient waits or is none of its
    parameter's kind.
    """
    found: list[bool] = []
    together: dict[int, bool] = {}
    for parameter, slots in optimizer.state.items():
        gradient = parameter._grad
        there = gradient is not None and parameter.requires_grad
        if gradient is not None and (not there or not _is_plain(gradient, parameter)):
            return None
        found.append(there)
        for slot in slots.values():
            if together.setdefault(id(slot), there) is not there:
                return None
    return np.array(found)


def _is_plain(gradient: Tensor, parameter: Parameter) -> bool:
    """Whether a gradient is there, as a tensor of numbers for the whole parameter."""
    whole = gradient.pending is None and indices_of(gradient) is None
    return whole and not gradient.requires_grad and gradient.spec == parameter.spec


__all__ = ["UpdateOfSome", "Zeros", "present_in", "varies"]
