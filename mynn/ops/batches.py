"""What batching rules are made of: axes that are added, moved, joined and taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn.core.graph import Node, apply, constant
from mynn.core.primitive import Primitive
from mynn.ops.elementwise import add, cast, maximum, minimum
from mynn.ops.movement import broadcast_to, concatenate, reshape, slice_, transpose


def shaped(x: Node, *shape: int) -> Node:
    """The same values in another shape."""
    return x if x.shape == shape else apply(reshape, x, shape=shape)


def spread(x: Node, size: int) -> Node:
    """x [..] -> [size, ..], the same values again and again."""
    return apply(broadcast_to, shaped(x, 1, *x.shape), shape=(size, *x.shape))


def all_in_front(size: int, mapped: Sequence[bool], *nodes: Node) -> list[Node]:
    """The inputs of a rule, all of them with the axis of the examples in front."""
    pairs = zip(nodes, mapped, strict=True)
    return [node if there else spread(node, size) for node, there in pairs]


def moved(x: Node, source: int, place: int) -> Node:
    """x with one of its axes at another place, the others in their order."""
    axes = [axis for axis in range(len(x.shape)) if axis != source]
    axes.insert(place, source)
    same = axes == sorted(axes)
    return x if same else apply(transpose, x, axes=tuple(axes))


def one_by_one(primitive: Primitive) -> Callable[..., Node]:
    """The rule that computes each example alone, and puts the results together."""

    def rule(size: int, mapped: Sequence[bool], /, *nodes: Node, **params: Any) -> Node:
        results = []
        for number in range(size):
            inputs = [
                _example(x, number) if there else x for x, there in zip(nodes, mapped, strict=True)
            ]
            one = apply(primitive, *inputs, **params)
            results.append(shaped(one, 1, *one.shape))
        return apply(concatenate, *results, axis=0)

    return rule


def _example(x: Node, number: int) -> Node:
    sample = x.shape[1:]
    one = apply(
        slice_,
        x,
        starts=(number, *(0,) * len(sample)),
        stops=(number + 1, *sample),
        steps=(1,) * len(x.shape),
    )
    return shaped(one, *sample)


def numbered(index: Node, extent: int) -> Node:
    """Indices [B, ..] into B axes of an extent as indices into all of them, one after the other.

    Those out of range are clipped first, as the primitives that are given them do.
    """
    wide = index if index.dtype == np.int64 else apply(cast, index, dtype=np.dtype(np.int64))

    def like(value: Any) -> Node:
        column = np.asarray(value, np.int64).reshape(-1, *(1,) * (len(index.shape) - 1))
        return apply(broadcast_to, constant(column), shape=index.shape)

    held = apply(minimum, apply(maximum, wide, like(0)), like(max(extent - 1, 0)))
    return apply(add, held, like(np.arange(index.shape[0]) * extent))
