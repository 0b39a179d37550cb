"""Records of movement: an element of the result is one of the input, found by its index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import INDEX, Const, Expr, Op
from mynn.compiler.rules.expressions import Expressions
from mynn.compiler.rules.record import (
    AxisMap,
    Composite,
    Computation,
    Computed,
    Concatenation,
    Movement,
    Order,
    Rule,
    always,
    same_order,
)
from mynn.compiler.rules.reshape import (
    reshape_groups,
    reshape_index,
    splits_only,
    unit_reshape,
)
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.core.types import Shape
from mynn.errors import VerifyError
from mynn.ops import movement, windows

# A concatenation of fewer values than this, or along a last axis that is shorter, is computed by
# asking at each element which it is of. That takes a load for each element where vectors run along
# the axis.
MANY_PIECES = 4
LONG_ROWS = 16


# -- reshape ---------------------------------------------------------------------------------------


def _reshape_affine(node: Node) -> bool:
    return splits_only(node.inputs[0].shape, node.shape)


def _reshape_index(node: Node, index: Index) -> Index:
    return reshape_index(node.inputs[0].shape, node.shape, index, _no_division)


def _no_division(value: Affine, divisor: int, modulus: int) -> Affine:
    raise VerifyError("a reshape that merges axes has no affine index")


def _reshape_divided(node: Node, index: Index, e: Expressions) -> Index:
    return reshape_index(node.inputs[0].shape, node.shape, index, e.divide)


def _reshape_axes(node: Node) -> AxisMap | None:
    """Axes of extent 1 come and go."""
    old = node.inputs[0].shape
    if not unit_reshape(old, node.shape):
        return None
    wide = iter([axis for axis, n in enumerate(old) if n != 1])
    return tuple(None if n == 1 else next(wide) for n in node.shape)


def _reshape_order(node: Node, orders: Sequence[Order]) -> Order:
    """Axes that are split stay together; merged ones lie where the first of them lay."""
    old, new = node.inputs[0].shape, node.shape
    if unit_reshape(old, new):
        wide = [axis for axis, n in enumerate(new) if n != 1]
        source = [axis for axis, n in enumerate(old) if n != 1]
        moved = [wide[source.index(axis)] for axis in orders[0] if axis in source]
        return (*(axis for axis, n in enumerate(new) if n == 1), *moved)
    parts = {}
    for left, right in reshape_groups(old, new):
        wide = [axis for axis in left if old[axis] != 1]
        parts.update(dict.fromkeys(wide[:1], right))
    moved = [axis for source in orders[0] if source in parts for axis in parts[source]]
    return (*(axis for axis in range(len(new)) if axis not in moved), *moved)


# -- the others ------------------------------------------------------------------------------------


def _transpose_index(node: Node, index: Index) -> Index:
    result = [Affine()] * len(index)
    for i, axis in zip(index, node.params["axes"], strict=True):
        result[axis] = i
    return tuple(result)


def _transpose_axes(node: Node) -> AxisMap | None:
    axes: Shape = node.params["axes"]
    return axes


def _transpose_order(node: Node, orders: Sequence[Order]) -> Order:
    return tuple(node.params["axes"].index(axis) for axis in orders[0])


def _broadcast_index(node: Node, index: Index) -> Index:
    shape = node.inputs[0].shape
    return tuple(Affine() if n == 1 else i for n, i in zip(shape, index, strict=True))


def _broadcast_axes(node: Node) -> AxisMap | None:
    pairs = zip(node.inputs[0].shape, node.shape, strict=True)
    return tuple(axis if old == new else None for axis, (old, new) in enumerate(pairs))


def repeats(node: Node) -> bool:
    """Whether the node has more elements than its input."""
    return node.inputs[0].type.size < node.type.size


def _slice_index(node: Node, index: Index) -> Index:
    steps = zip(index, node.params["starts"], node.params["steps"], strict=True)
    return tuple(i * step + start for i, start, step in steps)


def _flip_index(node: Node, index: Index) -> Index:
    extents = enumerate(zip(index, node.shape, strict=True))
    return tuple(-i + (n - 1) if axis in node.params["axes"] else i for axis, (i, n) in extents)


def _windows_index(node: Node, index: Index) -> Index:
    inner = list(index[: len(node.inputs[0].shape)])
    params, offsets = node.params, index[len(inner) :]
    lists = (params["axes"], params["strides"], params["dilations"], offsets)
    for axis, stride, dilation, offset in zip(*lists, strict=True):
        inner[axis] = inner[axis] * stride + offset * dilation
    return tuple(inner)


def _windows_order(node: Node, orders: Sequence[Order]) -> Order:
    """The places within a window lie just above the fastest axis."""
    old = orders[0]
    return (*old[:-1], *range(len(old), len(node.shape)), *old[-1:])


# -- elements that are computed --------------------------------------------------------------------


def _pad_element(e: Expressions, node: Node, index: Index) -> Computation:
    x = node.inputs[0]
    fill = Const(np.asarray(node.params["value"], node.dtype).item(), node.type.short)
    widths = node.params["widths"]
    ranges = (e.range(i + -low) for i, (low, _, _) in zip(index, widths, strict=True))
    limits = ((n - 1) * (inner + 1) for n, (_, _, inner) in zip(x.shape, widths, strict=True))
    if x.type.size == 0 or any(
        most < 0 or least > limit for (least, most), limit in zip(ranges, limits, strict=True)
    ):
        return fill
    places = []
    valid: Expr | None = None
    for i, extent, (low, high, interior) in zip(index, x.shape, widths, strict=True):
        inner = i + -low
        if low == high == interior == 0:
            places.append(inner)
            continue
        limit = (extent - 1) * (interior + 1)
        valid = e.within(valid, inner, limit)
        clamped = e.clamp(inner, limit + 1)
        if interior:
            remainder = e.divide(clamped, 1, interior + 1)
            hit = e.let(Op("equal", (remainder, Const(0, INDEX)), "bool"))
            valid = e.both(valid, hit)
            clamped = e.divide(clamped, interior + 1, extent)
        places.append(clamped)
    value = yield x, tuple(places)
    return value if valid is None else e.let(Op("where", (valid, value, fill), node.type.short))


def _concatenate_element(e: Expressions, node: Node, index: Index) -> Computation:
    axis = node.params["axis"]
    result: Expr | None = None
    end = node.shape[axis]
    for x in reversed(node.inputs):
        extent = x.shape[axis]
        start = end - extent
        end = start
        if not extent:
            continue
        place = e.clamp(index[axis] + -start, extent)
        piece = yield x, (*index[:axis], place, *index[axis + 1 :])
        if result is None:
            result = piece
            continue
        test = Op("less", (index[axis], Const(start + extent, INDEX)), "bool")
        result = e.let(Op("where", (e.let(test), piece, result), node.type.short))
    assert result is not None
    return result


def _has_many_pieces(node: Node) -> bool:
    if len(node.inputs) >= MANY_PIECES:
        return True
    return node.params["axis"] == len(node.shape) - 1 and node.shape[-1] >= LONG_ROWS


def _iota_element(e: Expressions, node: Node, index: Index) -> Computation:
    yield from ()
    value: Expr = index[node.params["axis"]]
    return e.let(value if node.type.short == INDEX else Op("cast", (value,), node.type.short))


RULES: dict[Primitive, Rule] = {
    movement.reshape: Movement(
        _reshape_index,
        _reshape_affine,
        _reshape_divided,
        places=True,
        axes=_reshape_axes,
        order=_reshape_order,
        keeps_uniform=True,
    ),
    movement.transpose: Movement(
        _transpose_index,
        places=True,
        axes=_transpose_axes,
        order=_transpose_order,
        keeps_uniform=True,
    ),
    movement.broadcast_to: Movement(
        _broadcast_index,
        axes=_broadcast_axes,
        order=same_order,
        any_order=repeats,
        repeats=True,
        keeps_uniform=True,
    ),
    movement.slice_: Movement(_slice_index, places=True, order=same_order, keeps_uniform=True),
    movement.flip: Movement(_flip_index, places=True, order=same_order, keeps_uniform=True),
    windows.windows: Movement(_windows_index, order=_windows_order),
    movement.update_slice: Composite(),
    movement.pad: Computed(_pad_element, order=same_order),
    movement.concatenate: Concatenation(
        _concatenate_element, order=same_order, own_kernel=_has_many_pieces
    ),
    movement.iota: Computed(_iota_element, any_order=always, picks=False),
}
