"""Public functions at once, without the tensors on the way to the result.

A function of tensors makes a tensor for each of its primitives, whose arguments are looked at,
promoted and repeated first. What all that comes to follows from the types of the arguments, and
from what else the function is given. So a kind of call that is met again is traced, and later calls
run the primitives alone (`mynn.tensor.at_once.straight`):

    linear(x, W, b)     transpose W -> matmul -> reshape b -> broadcast_to -> add

The recipe makes the nodes that the function itself would have made, so that the walk back,
`grad_fn` and gradients of gradients see no difference. Value and nodes are compared with what the
function gave when the recipe is made; where they differ, the function goes on being called.

Functions that read or write state, or draw, have no recipe. Where a check fails the function itself
is called, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base.recording import Tried
from mynn.core.types import default_float
from mynn.tensor.at_once.recipe import Recipe
from mynn.tensor.at_once.recipe_maker import recipe_of
from mynn.tensor.gradients.grad_mode import enabled
from mynn.tensor.parameter import Parameter
from mynn.tensor.tensor import Tensor
from mynn.tensor.value import Value
from mynn.tensor.view import current
from mynn.trace import tracing

# A kind of call is met so often before it is traced.
OFTEN = 2
# A function without a recipe for so many kinds of calls is not looked at any more.
IN_VAIN = 4
# Longer lists are data.
LONG = 256
# So many tensors in a list are another list each time, as a rule.
MANY = 8
# So many kinds of calls, of all functions, are remembered; then all are forgotten.
MOST = 4096


_recipes: dict[Any, Recipe | int | None] = {}


class _Odd(Exception):
    """An argument by which a call cannot be known again."""


def call(tried: Tried, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a public function gives, by its recipe where there is one."""
    if tracing.active() is not None:
        return tried.plain(args, kwargs)
    key: list[Any] = [tried, enabled(), default_float()]
    tensors: list[Any] = []
    values: list[Any] = []
    try:
        for one in args:
            if type(one) is Tensor and one._view is None and one.pending is None:
                value = one._value  # `_note`, in a hurry
                if value is None:
                    raise _Odd
                tensors.append(one)
                values.append(value)
                key += (value.shape, value.dtype, one._requires_grad)
            else:
                _note(one, key, tensors, values)
        for name, one in kwargs.items():
            key.append(name)
            _note(one, key, tensors, values)
    except _Odd:
        return tried.plain(args, kwargs)
    if len(tensors) > 1 and len(set(map(id, tensors))) < len(tensors):
        places = [next(i for i, other in enumerate(tensors) if other is one) for one in tensors]
        key += places
        tensors = [one for i, one in enumerate(tensors) if places[i] == i]
        values = [one for i, one in enumerate(values) if places[i] == i]
    whole = tuple(key)
    found = _recipes.get(whole, 0)
    if type(found) is Recipe:
        result = found.cook(tensors, values)
        return tried.plain(args, kwargs) if result is None else result
    if type(found) is not int:
        return tried.plain(args, kwargs)
    before = [_state(one) for one in tensors]
    result = tried.plain(args, kwargs)
    if len(_recipes) >= MOST:
        _recipes.clear()
    if found + 1 < OFTEN:
        _recipes[whole] = found + 1
        return result
    recipe = None
    if before == [_state(one) for one in tensors]:
        recipe = recipe_of(tried, args, kwargs, (tensors, values), result)
    _recipes[whole] = recipe
    tried.note(recipe is not None, IN_VAIN)
    return result


def _state(tensor: Any) -> tuple[int, Any, bool]:
    """What differs where a call has changed a tensor."""
    view = tensor._view
    base = tensor if view is None else view.base
    return base._version, tensor.shape, tensor.requires_grad


def _note(value: Any, key: list[Any], tensors: list[Any], values: list[Any]) -> None:
    """Add to the key what is to be known of an argument; tensors and their values are collected."""
    kind = type(value)
    if kind is Tensor or kind is Parameter:
        array = value._value if value._view is None else current(value, value._view)
        if array is None:
            raise _Odd
        tensors.append(value)
        values.append(array)
        key += (array.shape, array.dtype, value._requires_grad or value.requires_grad)
    elif kind is float:
        key.append(value.hex())  # 0.0 and -0.0 are equal
    elif value is None or kind is int or kind is bool or kind is str:
        key += (kind, value)
    elif (kind is tuple or kind is list) and len(value) <= LONG:
        if len(value) >= MANY and type(value[0]) is Tensor:
            raise _Odd
        key += (kind, len(value))
        for one in value:
            _note(one, key, tensors, values)
    elif kind is slice:
        key.append(slice)
        for one in (value.start, value.stop, value.step):
            if isinstance(one, Value):
                raise _Odd  # its number is looked at
            _note(one, key, tensors, values)
    elif value is Ellipsis or isinstance(value, np.dtype):
        key.append(value)
    else:
        raise _Odd


__all__ = ["Recipe", "call"]
