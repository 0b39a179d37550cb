"""The schedules of products, `matmul` and `contract` alike.

`mynn.compiler.graph.contraction_dims` says what a product is to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from mynn.compiler.graph.contraction_dims import Kind, choose_strategy, dims_of, tile_axes
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Load, Statement, Store
from mynn.compiler.lowering.base import Context, serial, vector_loops
from mynn.compiler.lowering.contraction.dot import dots
from mynn.compiler.lowering.contraction.operands import Product, finish, operand_of
from mynn.compiler.lowering.contraction.tile import tiles
from mynn.compiler.lowering.inline import Place
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.errors import CompileError
from mynn.target.storage import padded_strides, storage_elements

# What a tile's operands may take of the second cache, half of the smallest that is common.
_CACHE_BYTES = 1 << 19
# So often at least both operands would be streamed through the cache, for blocks to pay: each block
# loads and stores all results once more.
_LEAST_PASSES = 4
# Rows of a tile, roughly.
_TILE_ROWS = 12


def _result_strides(context: Context, anchor: Node) -> Shape:
    """For each axis of the anchor the stride of the first output."""
    first = context.group.outputs[0]
    strides = [0] * len(anchor.shape)
    for axis, stride in zip(context.group.maps[first], context.targets[first].strides, strict=True):
        if axis is not None:
            strides[axis] = stride
    return tuple(strides)


def lower_product(context: Context) -> list[Statement]:
    """Choose the schedule by how the operands lie in memory."""
    anchor = context.group.anchor
    assert anchor is not None
    dims = dims_of(anchor)
    a = operand_of(context, anchor.inputs[0], dims, second=False)
    b = operand_of(context, anchor.inputs[1], dims, second=True)
    strategy = choose_strategy(
        anchor,
        (*a.batch, *a.kept, *a.summed),
        (*b.batch, *b.summed, *b.kept),
        _result_strides(context, anchor),
    )
    broadcast, vector = (b, a) if strategy.swapped else (a, b)
    in_vectors = any(border.kept == strategy.lane for border in vector.borders)
    if in_vectors or (strategy.kind is not Kind.TILES and (*broadcast.borders, *vector.borders)):
        raise CompileError(f"{anchor!r}: this schedule cannot leave out the zeros of a padding")
    broadcast_shape, vector_shape = dims.rows, dims.columns
    if strategy.swapped:
        broadcast_shape, vector_shape = vector_shape, broadcast_shape
    outer: list[tuple[str, int]] = []
    tile = tile_axes(broadcast_shape, strategy, context.target)

    def loops(shape: Shape, prefix: str, without: tuple[int, ...]) -> Index:
        index = []
        for axis, extent in enumerate(shape):
            name = context.names.fresh(prefix, extent)
            looped = extent != 1 and axis not in without
            index.append(Affine.var(name) if looped else Affine())
            if looped:
                outer.append((name, extent))
        return tuple(index)

    batch = loops(dims.batch, "b", ())
    broadcast_index = loops(broadcast_shape, "p", tile)
    vector_index = loops(vector_shape, "q", (strategy.lane,))
    tile_shape = tuple(broadcast_shape[axis] for axis in tile)
    product = Product(
        anchor=anchor,
        broadcast=broadcast,
        vector=vector,
        p=math.prod(tile_shape),
        q=vector_shape[strategy.lane] if vector_shape else 1,
        summed=dims.summed,
        swapped=strategy.swapped,
        tile=tile,
        lane=strategy.lane,
        batch=batch,
        broadcast_index=broadcast_index,
        vector_index=vector_index,
        outer=tuple(outer),
        tile_shape=tile_shape,
    )
    if strategy.kind is Kind.DOT:
        return serial(list(product.outer), dots(context, product))
    blocked = _blocked_axis(product)
    if blocked is not None:
        return _in_blocks(context, product, blocked)
    return serial(list(product.outer), tiles(context, product))


def _blocked_axis(product: Product) -> int | None:
    """The summed axis to loop over outside the tiles, where a sum is longer than a cache.

    Every tile would stream all of both operands through the cache; in blocks of this axis, all
    tiles use a block while it is there.
    """
    if not product.nested:
        return None
    axis = next(i for i, n in enumerate(product.summed) if n > 1)
    total = math.prod(product.summed)
    per_sum = product.q + product.p
    passes = math.prod(n for _, n in product.outer) * -(-product.p // _TILE_ROWS)
    data = total * per_sum * product.anchor.dtype.itemsize
    free = axis != product.inner and all(axis != b.summed for b in product.borders)
    return axis if data > _CACHE_BYTES and passes >= _LEAST_PASSES and free else None


def _in_blocks(context: Context, product: Product, axis: int) -> list[Statement]:
    """Partial sums in memory, block after block of a summed axis; then the epilogue."""
    anchor = product.anchor
    itemsize = anchor.dtype.itemsize
    elements = storage_elements(anchor.shape, itemsize)
    buffer = Buffer(f"partial.{context.name}", anchor.type.short, elements)
    place = Place(buffer, padded_strides(anchor.shape, itemsize))
    share, rest = list(product.outer[:1]), list(product.outer[1:])
    variable = context.names.fresh("block")
    block = product.without_axis(axis, variable)
    sums = For(variable, product.summed[axis], tuple(serial(rest, tiles(context, block, place))))
    lanes = context.target.lanes(itemsize)
    row = context.names.fresh("r")

    def over_elements(make: Callable[[Affine, Affine], list[Statement]]) -> list[Statement]:
        if product.whole:
            rows = [Affine(i) for i in range(product.p)]
            inner = [
                s
                for p in rows
                for s in vector_loops(context.names, product.q, lanes, partial(make, p))
            ]
            return serial(rest, inner)
        p = Affine.var(row) if product.p > 1 else Affine()
        inner = vector_loops(context.names, product.q, lanes, partial(make, p))
        return serial([*rest, *([(row, product.p)] if product.p > 1 else [])], inner)

    zero = Const(0.0, anchor.type.short)
    clear = over_elements(lambda p, q: [Store(buffer, place.offset(product.index(p, q)), zero)])
    end = over_elements(
        lambda p, q: finish(
            context,
            product.index(p, q),
            Load(buffer, place.offset(product.index(p, q))),
        )
    )
    return serial(share, [*clear, sums, *end])
