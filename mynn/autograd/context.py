"""`FunctionCtx`: what `forward` of a `Function` keeps for its `backward`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from mynn.base import sharing
from mynn.base.arguments import shown
from mynn.base.dataclass import dataclass
from mynn.core.graph import Node
from mynn.errors import ArgumentTypeError, UsageError
from mynn.tensor import Tensor, graph_node
from mynn.tensor.gradients.history import array_of
from mynn.tensor.view import memory_of
from mynn.trace import tracing


@dataclass(eq=False)
class _Saved:
    """A saved tensor.

    - `value`: the tensor; of a result its values, without history.
    - `number`: of a result.
    - `node`: in a trace the node of the value, as it was; of a result, weakly, its node.
    - `version`: of the memory, where it is no result.
    """

    value: Tensor
    number: int | None
    node: Any
    version: Any


class FunctionCtx:
    """What `forward` keeps for `backward`: saved tensors, and whatever attributes it sets.

    `needs_input_grad` says of each argument whether it is a tensor that requires a gradient.
    """

    def __init__(self, function: type, needs_input_grad: tuple[bool, ...]) -> None:
        self._function = function
        self.needs_input_grad = needs_input_grad
        self._materialize = True
        self._given: dict[str, tuple[Any, ...]] = {}
        self._entries: list[_Saved | None] | None = None
        # While `backward` runs: what makes a result of its values and number.
        self._result: Callable[[Tensor, int], Tensor] | None = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs, results, or other tensors for `saved_tensors`.

        Gradients of gradients flow through inputs and results. Where one is changed in place
        before `backward`, `saved_tensors` raises.
        """
        for number, one in enumerate(tensors):
            if one is not None and not isinstance(one, Tensor):
                raise ArgumentTypeError(
                    f"save_for_backward can only save variables, but argument {number} is of type "
                    f"{type(one).__name__}; set it as an attribute: ctx.name = value"
                )
        self._given["save_for_backward"] = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """For derivatives in forward mode, which are not there: no effect."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These results have no gradient; of integers that is clear."""
        self._mark("mark_non_differentiable", tensors)

    def mark_dirty(self, *tensors: Tensor) -> None:
        """These arguments were changed in place; each must be among the results."""
        self._mark("mark_dirty", tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros for a result that nothing depends on, or None."""
        self._materialize = bool(value)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of `save_for_backward`, with their histories.

        Raises:
            UsageError: one of them was changed since.
        """
        if self._entries is None:
            return self._given.get("save_for_backward", ())
        return tuple(None if one is None else self._unpacked(one) for one in self._entries)

    saved_variables = saved_tensors

    def _mark(self, name: str, tensors: tuple[Tensor, ...]) -> None:
        for number, one in enumerate(tensors):
            if not isinstance(one, Tensor):
                raise ArgumentTypeError(
                    f"{name} only accepts variable arguments, but argument {number} is "
                    f"{shown(one)}; give tensors of forward"
                )
        self._given[name] = tensors

    def _kept(self, name: str) -> tuple[Tensor, ...]:
        return self._given.get(name, ())

    def _save(
        self, found: Sequence[Any], values: Sequence[Tensor | None], results: Sequence[Any]
    ) -> None:
        """`forward` is over: what it saved is kept so that no result keeps itself alive."""
        entries: list[_Saved | None] = []
        for one in self._given.pop("save_for_backward", ()):
            number = next((i for i, other in enumerate(found) if one is other), None)
            if one is None:
                entries.append(None)
            elif number is not None and values[number] is not None:
                node = weakref.ref(graph_node(results[number]))
                entries.append(_Saved(values[number], number, node, None))  # type: ignore[arg-type]
            elif tracing.active() is not None:
                entries.append(_Saved(one, None, graph_node(one), None))
            else:
                entries.append(_Saved(one, None, None, _version(one)))
        self._entries = entries

    def _unpacked(self, saved: _Saved) -> Tensor:
        value = saved.value
        if saved.number is not None:
            node: Node | None = saved.node()
            if tracing.active() is None and node is not None and node.value is None:
                raise self._changed(value)
            return value if self._result is None else self._result(value, saved.number)
        if saved.node is not None:
            if tracing.active() is None or graph_node(value) is saved.node:
                return value
            return Tensor.from_node(saved.node, value.requires_grad)
        if tracing.active() is None and _version(value) != saved.version:
            raise self._changed(value)
        return value

    def _changed(self, value: Tensor) -> UsageError:
        return UsageError(
            "backward: one of the variables needed for gradient computation has been modified by "
            f"an inplace operation: a {value.spec} that {self._function.__name__} saved was "
            "changed after the forward pass; use the operation that is not in-place there"
        )


def _version(tensor: Tensor) -> tuple[int, Any]:
    """Another one whenever the memory of the tensor was written."""
    base = memory_of(tensor)
    array_of(base)  # what was put off is made
    return base._version, sharing.program_mark(base)
