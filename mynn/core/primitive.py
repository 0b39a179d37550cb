"""Primitives: what an operation is, apart from the graphs that it stands in."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.types import Array, Type

# How a parameter changes where all inputs have an axis more in front: `change(value, size)`.
Change = Callable[[Any, int], Any]


class Cost(enum.Enum):
    """What an element takes: an addition (`LIGHT`), a division, or the instructions of an exp."""

    LIGHT = 1
    MODERATE = 2
    HEAVY = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs on which a primitive is tested: arrays and parameters."""

    arrays: tuple[Array, ...]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Primitive:
    """One operation: shape rule, meaning in NumPy, gradient and sample inputs, in one block.

    How the compiler lowers it stands in one record, in `mynn.compiler.rules`.

    - `infer(*types, **params) -> Type`: the shape rule; raises `ShapeError` or `DTypeError`.
    - `numpy(*arrays, **params) -> array`: the meaning.
    - `vjp(g, y, *xs, **params) -> tuple`: a cotangent for each input, or None where there is none.
      It is written with operators and methods of the values it is given, so that the same rule
      builds graph nodes or computes at once. `None` instead of a rule says that the primitive has
      no gradient (comparisons, integers).
    - `samples(rng) -> list[Sample]`: inputs for the tests that every primitive goes through.
    - `batch`: what becomes of it where inputs are many examples along a new first axis
      (`mynn.core.batching`): by name, how its parameters change where all inputs are; or
      `batch(size, mapped, *nodes, **params) -> Node`, where `mapped` says which inputs are. None
      for elementwise ones, which need no rule.
    - `bound(type, **params) -> function`: the same as `numpy` with these parameters, in one call
      without Python, for a value of this type, which has axes; None where there is nothing shorter.
    - `draws`: whether its values are random numbers.
    - `elementwise`: whether element i of the result is made of element i of each input.
    - `cost`: what an element takes.
    - `expand(*nodes, **params) -> Node`: the primitive in terms of others, for the compiler, where
      that has no lowering of its own for it; None where it has.
    - `view`: whether the result is another look at the memory of its input: a change in place of
      the one is seen through the other.
    - `put(x, new, **params) -> Node`: the input of a view with other values where the view looks;
      None where a value would stand in several places.
    """

    name: str
    infer: Callable[..., Type]
    numpy: Callable[..., Any]
    vjp: Callable[..., tuple[Any, ...]] | None
    samples: Callable[[np.random.Generator], list[Sample]]
    expand: Callable[..., Any] | None = None
    view: bool = False
    put: Callable[..., Any] | None = None
    batch: Mapping[str, Change] | Callable[..., Any] | None = None
    bound: Callable[..., Callable[..., Any]] | None = None
    draws: bool = False
    elementwise: bool = False
    cost: Cost = Cost.LIGHT

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name
