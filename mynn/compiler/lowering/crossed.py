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
from collections.abc import Callable, Iterator
from functools import partial

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Buffer, Expr, For, Let, Load, Local, Statement, Store
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


def _of_axes(context: Context, node: Node) -> Crossing | None:
    """Where the axes of the result are those of what is loaded."""
    names = [f"axis{axis}" for axis in range(len(node.shape))]
    index = tuple(Affine.var(name) for name in names)
    probe = context.builder()
    probe.value(node, index)
    bound = {s.name for s in probe.body if isinstance(s, Let)}
    accesses = [load.index for load in loads(probe.body)]
    if not accesses or any(name in bound for access in accesses for name, _ in access.terms):
        return None

    def unit_axes(access: Affine) -> set[int]:
        wide = [a for a, n in enumerate(node.shape) if n >= _LEAST]
        return {a for a in wide if access.coefficient(names[a]) == 1}

    loaded = set.intersection(*map(unit_axes, accesses))
    target = context.targets[node]
    stored = unit_axes(target.offset(index))
    if len(loaded) != 1 or len(stored) != 1 or loaded == stored:
        return None
    value = partial(_computed, node)
    return Crossing(node.shape, loaded.pop(), stored.pop(), value, target, True)


def _of_merged_axes(context: Context, node: Node) -> Crossing | None:
    """Where the result is a reshape, and the axes that it merges lie in another order."""
    if node.primitive is not movement.reshape:
        return None
    x, target = node.inputs[0], context.targets[node]
    if x not in context.places or x in context.group.maps:
        return None
    source = context.places[x]
    axes: list[tuple[int, int, int]] = []  # extent, step of the source, step of the target
    for left, right in reshape_groups(x.shape, node.shape):
        wide = [axis for axis in left if x.shape[axis] != 1]
        into = [axis for axis in right if node.shape[axis] != 1]
        if len(into) > 1:
            return None
        step = target.strides[into[0]] if into else 0
        axes += [
            (math.prod(x.shape[axis] for axis in run), source.strides[run[-1]], step * within)
            for run, within in _runs(x.shape, source.strides, wide)
        ]
    shape = tuple(extent for extent, _, _ in axes)
    loaded = [a for a, (n, step, _) in enumerate(axes) if step == 1 and n >= _LEAST]
    stored = [a for a, (n, _, step) in enumerate(axes) if step == 1 and n >= _LEAST]
    if len(loaded) != 1 or len(stored) != 1 or loaded == stored:
        return None
    context.loaded.add(x)
    value = partial(_loaded, Place(source.buffer, tuple(step for _, step, _ in axes)))
    to = Place(target.buffer, tuple(step for _, _, step in axes))
    return Crossing(shape, loaded[0], stored[0], value, to, padded=False)


def _runs(shape: Shape, strides: Shape, axes: list[int]) -> Iterator[tuple[list[int], int]]:
    """Axes in runs that follow each other in memory too, and the elements behind each run."""
    first = 0
    for end, axis in enumerate(axes, 1):
        behind = axes[end:]
        if not behind or strides[axis] != strides[behind[0]] * shape[behind[0]]:
            yield axes[first:end], math.prod(shape[inner] for inner in behind)
            first = end


def _computed(node: Node, builder: ElementBuilder, index: Index) -> Expr:
    return builder.value(node, index)


def _loaded(place: Place, builder: ElementBuilder, index: Index) -> Expr:
    return builder.let(Load(place.buffer, place.offset(index)))


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
