"""Scatter: one value after the other, since indices may collide.

Vectors run along an axis on which no index depends, where its elements are neighbours: whole rows
are added or put then.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Const, Expr, For, Load, Op, Statement, Store
from mynn.compiler.lowering.base import (
    Context,
    best_axis,
    index_variables,
    plain_index,
    serial,
    vector_loops,
)
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.ops import gather


def lower_scatter(context: Context) -> list[Statement]:
    """Zeros, then one addition after the other in the order of the updates.

    for i, j: out[i, j] = 0
    for k: for j: out[index[k], j] = out[index[k], j] + updates[k, j]

    Where no index is larger than its own place, a row is cleared when its place is reached, while
    it is near.
    """
    anchor = context.group.anchor
    assert anchor is not None
    updates, picked = anchor.inputs
    axis: int = anchor.params["axis"]
    span = len(picked.shape)
    place = context.places[anchor]
    zero = Const(0.0 if anchor.dtype.kind == "f" else 0, anchor.type.short)

    def clear(index: list[Affine]) -> list[Statement]:
        return [Store(place.buffer, place.offset(tuple(index)), zero)]

    late = picked.primitive is gather.first_equal and axis == 0
    first = picked.shape[0] if late else 0
    body: list[Statement] = []
    if first < anchor.shape[0]:
        shape = (anchor.shape[0] - first, *anchor.shape[1:])
        body = _over(
            context,
            shape,
            _neighbours(context, anchor, ()),
            lambda _: ([], lambda at: clear([at[0] + first, *at[1:]] if late else at)),
        )
    along = _neighbours(context, anchor, {axis})
    along = None if along is None else along + (span - 1 if along > axis else 0)

    def add_rows(index: list[Affine]) -> tuple[list[Statement], Body]:
        builder = context.builder()
        row = builder.integer(builder.value(picked, tuple(index[axis : axis + span])))
        row = builder.clamp(row, anchor.shape[axis])

        def add(index: list[Affine]) -> list[Statement]:
            inner = context.builder()
            value = inner.value(updates, tuple(index))
            at = place.offset((*index[:axis], row, *index[axis + span :]))
            total = Op("add", (Load(place.buffer, at), value), anchor.type.short)
            before = clear(index) if late else []
            return [*inner.body, *before, Store(place.buffer, at, total)]

        return builder.body, add

    return body + _over(context, updates.shape, along, add_rows)


# The statements for one index.
Body = Callable[[list[Affine]], list[Statement]]
# Elements of a round: a loop of one each took 0.87 ns, of eight 0.6.
_AT_ONCE = 8
# Statements of one that is written out so often.
_SHORT = 10

# The operation of the loop IR for each way to combine what is there with what arrives.
_COMBINE = {"add": "add", "mul": "mul", "max": "maximum", "min": "minimum"}


def lower_scatter_along(context: Context) -> list[Statement]:
    """A copy of the input, then one value after the other in the order of the updates.

    for i, j: out[i, j] = x[i, j]
    for k: for j: out[index[k, j], j] = updates[k, j]

    Where the result is written over the input there is nothing to copy.
    """
    anchor = context.group.anchor
    assert anchor is not None
    x, picked, updates = anchor.inputs
    axis: int = anchor.params["axis"]
    place = context.places[anchor]

    def put_rows(index: list[Affine]) -> tuple[list[Statement], Body]:
        builder = context.builder()
        row = builder.integer(builder.value(picked, tuple(index)))
        row = builder.clamp(row, anchor.shape[axis])

        def put(index: list[Affine]) -> list[Statement]:
            inner = context.builder()
            value: Expr = inner.value(updates, tuple(index))
            at = place.offset((*index[:axis], row, *index[axis + 1 :]))
            if anchor.params["mode"] != "set":
                operation = _COMBINE[anchor.params["mode"]]
                value = Op(operation, (Load(place.buffer, at), value), anchor.type.short)
            return [*inner.body, Store(place.buffer, at, value)]

        return builder.body, put

    names = [context.names.fresh("i") for _ in updates.shape]
    used = index_variables(put_rows(plain_index(names, updates.shape))[0])
    fixed = {i for i, name in enumerate(names) if name in used} | {axis}
    own = context.places.get(x)
    copied = [] if own is not None and own.buffer is place.buffer else _copied(context, anchor)
    if not updates.type.size:
        return copied
    return copied + _over(context, updates.shape, _neighbours(context, anchor, fixed), put_rows)


def _neighbours(context: Context, anchor: Node, fixed: Container[int]) -> int | None:
    """The axis, none of the `fixed` ones, whose elements are neighbours where the anchor lies."""
    strides = context.places[anchor].strides
    for axis, extent in enumerate(anchor.shape):
        if axis not in fixed and extent > 1 and strides[axis] == 1:
            return axis
    return None


def _over(
    context: Context,
    shape: Shape,
    along: int | None,
    rows: Callable[[list[Affine]], tuple[list[Statement], Body]],
) -> list[Statement]:
    """Serial loops over all axes, with vectors along one of them.

    `rows(index)` gives what is the same for a whole row, and the body for an index of it. Without
    vectors some elements stand in a round, so that little of its time goes into counting.
    """
    names = [context.names.fresh("i") for _ in shape]
    index = plain_index(names, shape)
    if along is not None:
        before, body = rows(index)

        def at(position: Affine) -> list[Statement]:
            return body([*index[:along], position, *index[along + 1 :]])

        inner = before + vector_loops(context.names, shape[along], context.lanes(), at)
        return serial(
            [(n, e) for n, e in zip(names, shape, strict=True) if e != 1 and n != names[along]],
            inner,
        )

    def single(at: list[Affine]) -> list[Statement]:
        before, body = rows(at)
        return [*before, *body(at)]

    last = max((axis for axis, extent in enumerate(shape) if extent != 1), default=None)
    if last is None:
        return single(index)
    outer = [(n, e) for n, e in zip(names[:last], shape, strict=False) if e != 1]
    return serial(
        outer,
        _some_at_once(
            context, shape[last], lambda i: single([*index[:last], i, *index[last + 1 :]])
        ),
    )


def _some_at_once(
    context: Context, extent: int, body: Callable[[Affine], list[Statement]]
) -> list[Statement]:
    """A serial loop with several elements in a round, and one for those that are left."""
    block, place, name = (context.names.fresh(prefix) for prefix in "iji")
    whole, left = divmod(extent, _AT_ONCE)
    inner = body(Affine.var(block, _AT_ONCE) + Affine.var(place))
    if not whole or len(inner) > _SHORT:
        return serial([(name, extent)], body(Affine.var(name)))
    result = serial([(block, whole)], [For(place, _AT_ONCE, tuple(inner), "unroll")])
    if left:
        result += serial([(name, left)], body(Affine.var(name) + whole * _AT_ONCE))
    return result


def _copied(context: Context, anchor: Node) -> list[Statement]:
    """The loops that store the first input of the anchor in the anchor's place."""
    x, place = anchor.inputs[0], context.places[anchor]
    axis = best_axis(context, x)

    def copy(index: list[Affine]) -> list[Statement]:
        builder = context.builder()
        value = builder.value(x, tuple(index))
        return [*builder.body, Store(place.buffer, place.offset(tuple(index)), value)]

    return _over(context, x.shape, axis if x.shape else None, lambda _: ([], copy))
