"""Checks of values: whether something lies outside its range. Labels, indices, probabilities.

A check is a node like any other, and has a value: true where something is wrong. It takes effect
by standing in `Graph.checks`. Nobody may take a result, or change any state, of a graph in which a
check is true: the interpreter raises what `mynn.core.failure` says, a native program stops before
it writes state (`mynn.compiler.graph.status`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.failure import wrong_places
from mynn.core.graph import Node, apply, constant
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.ops import elementwise, movement, reduce
from mynn.ops.batches import one_by_one
from mynn.ops.rules import require_kind


def _infer(x: Type, **params: Any) -> Type:
    require_kind("outside", x, "fiu")
    return Type((), np.dtype(bool))


def _numpy(x: Array, low: float, high: float, ignore: int | None, **words: Any) -> Any:
    return np.asarray(wrong_places(x, low, high, ignore).any())


def _expand(x: Node, low: float, high: float, ignore: int | None, **words: Any) -> Node:
    """The smallest distance from the ends of the range, which is negative outside of it. Of
    integers both distances in one number, which has the sign of a negative one.

    Where the difference of two integers wraps around, it becomes negative: `low` is at most 0, so
    that only values above the range get there.
    """
    kind, never = x.dtype.kind, constant(np.zeros((), bool))
    limits = np.iinfo(x.dtype) if kind != "f" else None
    if not x.type.size:
        return never

    def like(value: float) -> Node:
        number = constant(np.full((1,) * len(x.shape), value, x.dtype))
        return apply(movement.broadcast_to, number, shape=x.shape) if x.shape else number

    if ignore is not None and (limits is None or limits.min <= ignore <= limits.max):
        skipped = apply(elementwise.equal, x, like(ignore))
        x = apply(elementwise.where, skipped, like(0), x)
    if kind == "u":
        if limits is not None and high >= limits.max:
            return never
        return apply(elementwise.less, constant(np.asarray(high, x.dtype)), _all(reduce.max, x))
    below = apply(elementwise.sub, x, like(low)) if low else x
    above = apply(elementwise.sub, like(high), x)
    both = elementwise.minimum if kind == "f" else elementwise.bitwise_or
    least = _all(reduce.min, apply(both, below, above))
    fine = apply(elementwise.less_equal, constant(np.zeros((), x.dtype)), least)
    return apply(elementwise.equal, fine, never)


def _all(primitive: Primitive, x: Node) -> Node:
    return apply(primitive, x, axes=tuple(range(len(x.shape)))) if x.shape else x


def _samples(rng: np.random.Generator) -> list[Sample]:
    def sample(x: Any, low: float, high: float, ignore: int | None = None) -> Sample:
        words = {"name": "f", "kind": "labels", "axis": 0, "warns": False}
        return Sample((np.asarray(x),), {"low": low, "high": high, "ignore": ignore, **words})

    numbers = rng.integers(0, 5, (3, 17))
    return [
        sample(numbers, 0, 4),
        sample(numbers, 0, 3),
        sample(numbers - 2, -2, 2),
        sample(np.where(numbers == 3, -100, numbers), 0, 4, -100),
        sample(numbers[0, 0], 0, 4),
        sample(np.zeros((0, 3), np.int64), 0, 1),
        sample(np.array([0, 2**63 - 1]), -5, 4),
        sample(np.array([0, -(2**63)]), -5, 4),
        sample(rng.random((40,)), 0.0, 1.0),
        sample(np.array([0.5, 1.5, 0.0]), 0.0, 1.0),
    ]


def _batch(size: int, mapped: tuple[bool], x: Node, **params: Any) -> Node:
    return one_by_one(outside)(size, mapped, x, **params)


# true where any value of x lies outside low..high and is not `ignore`; `name`, `kind`, `axis` and
# `warns` are for the message
outside = Primitive("outside", _infer, _numpy, None, _samples, _expand, batch=_batch)


PRIMITIVES = (outside,)
