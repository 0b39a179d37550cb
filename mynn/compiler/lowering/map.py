"""Maps: the same elementwise expressions at every point of a space; and plain copies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial

from mynn.compiler.fusion.groups import Group
from mynn.compiler.fusion.pool_windows import MOST_INLINED
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Kernel, Statement, Store
from mynn.compiler.lowering.base import (
    Context,
    best_axis,
    plain_index,
    serial,
    vector_loops,
)
from mynn.compiler.lowering.crossed import crossing, lower_crossed
from mynn.compiler.lowering.inline import Place
from mynn.core.graph import Node
from mynn.ops import movement
from mynn.target.target import Target

# What is divided for the indices of a kernel: value, divisor, modulus.
Quotients = Iterable[tuple[Affine, int, int]]


def lower_map(context: Context) -> list[Statement]:
    """An elementwise kernel: loops over the space, vectors along one axis."""
    space = context.group.space
    first = context.group.outputs[0]
    if not space:
        return context.emit_outputs(context.builder(), ())
    crossed = crossing(context)
    if crossed is not None:
        return lower_crossed(context, crossed)
    axes = context.group.maps[first]
    axis = axes[best_axis(context, first)] if axes else None
    axis = len(space) - 1 if axis is None else axis
    names = [context.names.fresh("i") for _ in space]
    probe = context.builder()
    context.emit_outputs(probe, tuple(plain_index(names, space)))
    sides = _blocks(context, probe.quotients, names, axis)
    extents = [n // side for n, side in zip(space, sides, strict=True)]
    context.names.extents.update(zip(names, extents, strict=True))

    def body(index: Affine) -> list[Statement]:
        points = []
        for place in itertools.product(*map(range, sides)):
            loops = [
                i * side + k
                for i, side, k in zip(plain_index(names, tuple(extents)), sides, place, strict=True)
            ]
            loops[axis] = index
            points.append(tuple(loops))
        return context.emit_outputs(context.builder(), *points)

    inner: list[Statement] = []
    period = _period(context, probe.quotients, names, axis)
    if period is not None:
        name = context.names.fresh("i", space[axis] // period)
        part = partial(_from, body, Affine.var(name, period))
        vectors = vector_loops(context.names, period, context.lanes(), part)
        inner = serial([(name, space[axis] // period)], vectors)
    else:
        for start, end in itertools.pairwise(_ends(context, axis)):
            part = partial(_from, body, Affine(start))
            inner += vector_loops(context.names, end - start, context.lanes(), part)
    outer = [(n, e) for i, (n, e) in enumerate(zip(names, extents, strict=True)) if i != axis]
    return serial([(n, e) for n, e in outer if e != 1], inner)


def _from(
    body: Callable[[Affine], list[Statement]], start: Affine, index: Affine
) -> list[Statement]:
    return body(index + start)


def _period(context: Context, quotients: Quotients, names: list[str], axis: int) -> int | None:
    """After how many elements of an axis values are read from elsewhere, where it is one of several
    that a reshape merged: between, they are neighbours. None where there is no such number.

    Loops over whole periods know what quotients and remainders are.
    """
    space, index = context.group.space, Affine.var(names[axis])
    if len(_ends(context, axis)) > 2:
        return None
    found = [m if d == 1 else d for value, d, m in quotients if value == index]
    periods = [p for p in found if 2 * context.lanes() <= p < space[axis] and not space[axis] % p]
    return max(periods, default=None)


def _ends(context: Context, axis: int) -> list[int]:
    """Where loops along an axis of the space begin and end: what a padding surrounds has one of
    its own, so that its values are loaded as neighbours and not each by itself.
    """
    ends = {0, context.group.space[axis]}
    for node in context.group.outputs:
        if node.primitive is movement.pad and axis in context.group.maps[node]:
            place = context.group.maps[node].index(axis)
            low, high, interior = node.params["widths"][place]
            if not interior and low + high < node.shape[place]:
                ends |= {low, node.shape[place] - high}
    return sorted(ends)


def _blocks(context: Context, quotients: Quotients, names: list[str], axis: int) -> list[int]:
    """For each axis, how many neighbours are computed together: 1 unless windows are put side by
    side there.

    In a loop over windows, the window and the place in it are known without a division, and what
    the elements of a window share is computed once.
    """
    space = context.group.space
    sides = [1] * len(space)
    for i, name in enumerate(names):
        pairs = [(d, m) for value, d, m in quotients if value == Affine.var(name)]
        side = min((m for d, m in pairs if d == 1), default=1)
        fits = all(d % side == 0 or (d, m) == (1, side) for d, m in pairs)
        if i != axis and fits and space[i] % side == 0 and math.prod(sides) * side <= MOST_INLINED:
            sides[i] = side
    return sides


def copy_kernel(
    name: str, node: Node, source: Place | None, target: Place, machine: Target
) -> Kernel:
    """A kernel that copies a node; without a source that is a constant of one element."""
    group = Group(None, node.shape, {}, [])
    places = {node: source} if source is not None else {}
    context = Context(group, places, {}, machine)
    names = [context.names.fresh("i") for _ in node.shape]
    axis = max(range(len(node.shape)), key=lambda i: (-target.strides[i], i), default=0)

    def body(index: Affine) -> list[Statement]:
        at = plain_index(names, node.shape)
        if at:
            at[axis] = index
        builder = context.builder()
        value = builder.value(node, tuple(at))
        return [*builder.body, Store(target.buffer, target.offset(tuple(at)), value)]

    if not node.shape:
        return Kernel(name, tuple(body(Affine())), "copy", 0, 2 * node.type.nbytes)
    lanes = machine.lanes(max(node.dtype.itemsize, 4))
    inner = vector_loops(context.names, node.shape[axis], lanes, body)
    outer = [(n, e) for i, (n, e) in enumerate(zip(names, node.shape, strict=True)) if i != axis]
    loops = serial([(n, e) for n, e in outer if e != 1], inner)
    return Kernel(name, tuple(loops), "copy", 0, 2 * node.type.nbytes)
