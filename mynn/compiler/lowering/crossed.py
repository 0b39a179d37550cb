"""Transpositions: where all loads lie along one axis, and the store along another.

Squares go through registers, so that neither side is gathered:

    for tiles [lanes, lanes] of the two axes:
      load a vector along the one axis for each place of the other
      transpose
      store a vector along the other axis for each place of the one

So does a reshape that merges axes which lie in another order in memory, such as the channels and
places of images before a linear layer: it is a transposition of the axes before they were merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Buffer, Expr, For, Let, Load, Local, Statement, Store
from mynn.compiler.loop_ir.walk import sub_expressions
from mynn.compiler.lowering.base import Context, over_chunks, plain_index, serial
from mynn.compiler.lowering.inline import ElementBuilder, Place, loads
from mynn.compiler.rules.reshape import reshape_groups
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.ops import movement

# Axes of fewer elements are not worth a square.
_LEAST = 4


@dataclass(frozen=True)
class Crossing:
    """A space, which of its axes loads and which the store lie along, the value at a point of it,
    and where that goes.

    `padded`: whether a whole vector may be written at the end of the axis of the store. It may not
    where what follows belongs to the next place of another axis.
    """

    shape: Shape
    loaded: int
    stored: int
    value: Callable[[ElementBuilder, Index], Expr]
    target: Place
    padded: bool


def crossing(context: Context) -> Crossing | None:
    """What a group transposes, if it does."""
    if len(context.group.outputs) != 1:
        return None
    node = context.group.outputs[0]
    if context.group.maps[node] != tuple(range(len(node.shape))):
        return None
    return _of_axes(context, node) or _of_merged_axes(context, node)


def _names(node: Node) -> list[str]:
    """Variables for the axes of a node."""
    return [f"axis{axis}" for axis in range(len(node.shape))]


def _loads(context: Context, node: Node) -> tuple[list[Affine], bool] | None:
    """Where what an element of a node is computed of is loaded from, by the variables of its axes;
    None where these do not say it. And whether its index is used for nothing else.
    """
    probe = context.builder()
    probe.value(node, tuple(Affine.var(name) for name in _names(node)))
    values = [s.value for s in probe.body if isinstance(s, Let)]
    bound = {s.name for s in probe.body if isinstance(s, Let)}
    found = [load.index for load in loads(probe.body)]
    if not found or any(name in bound for index in found for name, _ in index.terms):
        return None
    only = len(values) == len(probe.body) and not any(
        isinstance(part, Affine) for value in values for part in sub_expressions(value)
    )
    return found, only


def _unit_axes(shape: Shape, steps: Sequence[int]) -> set[int]:
    """The axes along which neighbours lie side by side."""
    return {axis for axis, n in enumerate(shape) if n >= _LEAST and steps[axis] == 1}


def _of_axes(context: Context, node: Node) -> Crossing | None:
    """Where the axes of the result are those of what is loaded."""
    found = _loads(context, node)
    if found is None:
        return None
    steps = [[index.coefficient(name) for name in _names(node)] for index in found[0]]
    loaded = set.intersection(*(_unit_axes(node.shape, one) for one in steps))
    target = context.targets[node]
    stored = _unit_axes(node.shape, target.strides)
    if len(loaded) != 1 or len(stored) != 1 or loaded == stored:
        return None
    value = partial(_at_axes, node)
    return Crossing(node.shape, loaded.pop(), stored.pop(), value, target, padded=True)


def _at_axes(node: Node, builder: ElementBuilder, index: Index) -> Expr:
    return builder.value(node, index)


def _of_merged_axes(context: Context, node: Node) -> Crossing | None:
    """Where the result is a reshape, and the axes that it merges lie in another order.

    Neighbouring axes that lie side by side wherever something is loaded are one axis.
    """
    if node.primitive is not movement.reshape:
        return None
    x, target = node.inputs[0], context.targets[node]
    found = _loads(context, x)
    if found is None:
        return None
    steps = [[index.coefficient(name) for name in _names(x)] for index in found[0]]
    runs: list[list[int]] = []
    to: list[int] = []
    for left, right in reshape_groups(x.shape, node.shape):
        into = [axis for axis in right if node.shape[axis] != 1]
        if len(into) > 1:
            return None
        step = target.strides[into[0]] if into else 0
        first = len(runs)
        for axis in reversed([axis for axis in left if x.shape[axis] != 1]):
            inner = runs[first][0] if len(runs) > first else None
            if found[1] and inner is not None and _follow(steps, x.shape[inner], axis, inner):
                runs[first].insert(0, axis)
            else:
                runs.insert(first, [axis])
                to.insert(first, step)
            step *= x.shape[axis]
    shape = tuple(math.prod(x.shape[axis] for axis in run) for run in runs)
    alike = [_unit_axes(shape, [one[run[-1]] for run in runs]) for one in steps]
    loaded, stored = set.intersection(*alike), _unit_axes(shape, to)
    if len(loaded) != 1 or len(stored) != 1 or loaded == stored:
        return None
    value = partial(_at_runs, x, [run[-1] for run in runs])
    place = Place(target.buffer, tuple(to))
    return Crossing(shape, loaded.pop(), stored.pop(), value, place, padded=False)


def _follow(steps: list[list[int]], extent: int, outer: int, inner: int) -> bool:
    """Whether one axis goes on where an inner one ends, wherever something is loaded."""
    return all(one[outer] == one[inner] * extent for one in steps)


def _at_runs(x: Node, axes: list[int], builder: ElementBuilder, index: Index) -> Expr:
    """A value by its places in runs of axes: the last of a run counts on through the others."""
    point = [Affine()] * len(x.shape)
    for axis, at in zip(axes, index, strict=True):
        point[axis] = at
    return builder.value(x, tuple(point))


def lower_crossed(context: Context, crossed: Crossing) -> list[Statement]:
    """Square tiles: loaded along one axis, transposed in registers, stored along the other."""
    shape, loaded, stored = crossed.shape, crossed.loaded, crossed.stored
    place, lanes = crossed.target, context.lanes()
    names = [context.names.fresh("i", n) for n in shape]

    def tile(row: Affine, rows: int, column: Affine, columns: int) -> list[Statement]:
        name, size = context.names.fresh("tile"), lanes * lanes
        square = Buffer(name, context.group.outputs[0].type.short, size, "register")
        body: list[Statement] = [Local(square)]
        point = plain_index(names, shape)
        for c in range(columns):
            lane = context.names.fresh("v")
            point[loaded], point[stored] = row + Affine.var(lane), column + c
            builder = context.builder()
            value = crossed.value(builder, tuple(point))
            store = Store(square, Affine.var(lane) + c * lanes, value)
            body.append(For(lane, rows, (*builder.body, store), "vector"))
        for r in range(rows):
            lane = context.names.fresh("v")
            point[loaded], point[stored] = row + r, column + Affine.var(lane)
            value = Load(square, Affine.var(lane, lanes) + r)
            store = Store(place.buffer, place.offset(tuple(point)), value)
            whole = columns == lanes or crossed.padded
            body.append(For(lane, columns, (store,), "vector" if whole else "unroll"))
        return body

    def row_of_tiles(row: Affine, rows: int) -> list[Statement]:
        each = partial(tile, row, rows)
        return over_chunks(context.names, "c", shape[stored], lanes, each)

    result = over_chunks(context.names, "r", shape[loaded], lanes, row_of_tiles)
    outer = [(names[i], e) for i, e in enumerate(shape) if i not in (loaded, stored) and e != 1]
    return serial(outer, result)
