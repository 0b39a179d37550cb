"""What is kept of tensors from before a run: copies of those that would keep others alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mynn.tape.calls.step import Step
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients import history
from mynn.tensor.gradients.history import array_of
from mynn.tensor.view import look


def remembered(step: Step, externals: Sequence[Any], held: Sequence[bool]) -> list[Any]:
    """What a run keeps of what was there before: copies of results that no gradient flows to, and
    of leaves that look at such, which would keep alive all that these were computed from.
    """
    kept, passed = list(externals), None
    for i, value in enumerate(externals):
        if not isinstance(value, Tensor) or isinstance(value, Parameter):
            continue
        if value.pending is None and value._view is None and value.node is None:
            continue  # mostly
        memory: Any = value if value._view is None else value._view.base
        if not memory._requires_grad:
            continue
        if memory is not value and value._requires_grad and value.is_leaf:
            kept[i] = _leaf_apart(value)
            continue
        if value.requires_grad:
            passed = step.passed(held) if passed is None else passed
            if i in passed:
                continue
        if memory.is_leaf:
            continue
        kept[i] = _without_history(value, memory)
    return kept


def _leaf_apart(leaf: Tensor) -> Tensor:
    """A copy of a leaf whose gradients come to the leaf itself, as long as that is there."""
    copy: Tensor = Tensor.from_value(array_of(leaf).copy())
    copy._requires_grad = True
    copy.node = history.new_leaf(leaf, copy, copy)
    return copy


def _without_history(tensor: Tensor, memory: Any) -> Tensor:
    """A copy that lies as the tensor does."""
    copy: Tensor = Tensor.from_value(array_of(memory).copy())
    view = tensor._view
    if view is None:
        return copy
    value = array_of(copy)
    for primitive, params in view.steps:
        value = primitive.numpy(value, **params)
    seen: Tensor = Tensor.from_value(value)
    look(seen, copy, view.steps, False)
    return seen
