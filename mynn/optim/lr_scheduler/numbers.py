"""Arithmetic that is the same for Python's numbers and for traced tensors, and numbers that are
state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.tensor import Tensor
from mynn.trace import tracing

# A float or an int, or a float64 tensor without axes while a step is traced.
Number = Any


def _tensor(value: Number) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor.from_value(np.array(float(value)))


def choose(condition: Any, then: Number, otherwise: Number) -> Number:
    """One of two numbers."""
    if isinstance(condition, Tensor):
        return condition.choose(_tensor(then), _tensor(otherwise))
    return then if condition else otherwise


def lazily(condition: Any, then: Callable[[], Number], otherwise: Callable[[], Number]) -> Number:
    """One of two numbers; the other one is not computed, unless it is traced."""
    if isinstance(condition, Tensor):
        return choose(condition, then(), otherwise())
    return then() if condition else otherwise()


def cos(x: Number) -> Number:
    """The cosine."""
    return x.cos() if isinstance(x, Tensor) else math.cos(x)


def floor(x: Number) -> Number:
    """The whole number at or below x."""
    return x.floor() if isinstance(x, Tensor) else math.floor(x)


def least(x: Number, y: Number) -> Number:
    """The smaller one."""
    return choose(y < x, y, x)


def most(x: Number, y: Number) -> Number:
    """The larger one."""
    return choose(y > x, y, x)


def passed(milestones: list[int], count: Number) -> Number:
    """How many of the milestones the count has reached."""
    reached: Number = 0
    for milestone in milestones:
        reached = reached + choose(count >= milestone, 1, 0)
    return reached


def plain(value: Tensor) -> int | float:
    """The value of a state tensor, as an int where it is whole."""
    found = float(value.item())
    return int(found) if found.is_integer() else found


class Stateful:
    """An object with numbers that compiled steps change: its attributes of the class `State`.

    `tensors`: by the names of the attributes.
    """

    def tensor(self, name: str) -> Tensor:
        """The tensor behind an attribute, made when it is first set."""
        tensors: dict[str, Tensor] = self.__dict__.setdefault("tensors", {})
        if name not in tensors:
            made = tensors[name] = Tensor.from_value(np.zeros(()))
            made.name = name
        return tensors[name]


class State:
    """An attribute that is a number outside of a trace, and a float64 tensor within."""

    def __init__(self, whole: bool = True) -> None:
        self.whole = whole

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Stateful | None, kind: type | None = None) -> Any:
        if owner is None:
            return self
        tensor = owner.__dict__.get("tensors", {}).get(self.name)
        if tensor is None:
            raise AttributeError(self.name)
        if tracing.active() is not None:
            return tensor
        return plain(tensor) if self.whole else float(tensor.item())

    def __set__(self, owner: Stateful, value: Any) -> None:
        put(owner.tensor(self.name), value)


def put(tensor: Tensor, value: Number) -> None:
    """Give a state tensor a number."""
    tensor.assign(value if isinstance(value, Tensor) else np.array(float(value)))


def masked(condition: Tensor, tensors: list[Tensor], action: Callable[[], None]) -> None:
    """Have an action take effect on state in a trace only where the condition is true."""
    before = [tensor.clone() for tensor in tensors]
    action()
    for tensor, old in zip(tensors, before, strict=True):
        tensor.assign(condition.choose(tensor, old))
