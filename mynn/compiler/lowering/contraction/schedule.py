"""The schedules of products, `matmul` and `contract` alike.

`mynn.compiler.graph.contraction_dims` says what a product is to them.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mynn.compiler.graph.contraction_dims import Kind, choose_strategy, dims_of, tile_axes
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Statement
from mynn.compiler.lowering.base import Context, serial
from mynn.compiler.lowering.contraction.along_batch import along_batch, batch_lane
from mynn.compiler.lowering.contraction.blocks import in_blocks, in_panels
from mynn.compiler.lowering.contraction.dot import dot_kernel
from mynn.compiler.lowering.contraction.operands import Product, operand_of
from mynn.compiler.lowering.contraction.pack import copies_columns
from mynn.compiler.lowering.contraction.tile import tiles
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.errors import CompileError


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
    if strategy.kind is Kind.TILES and vector.kept and vector.kept[strategy.lane] != 1:
        lane = batch_lane(context, dims, a, b, _result_strides(context, anchor))
        if lane is not None:
            return along_batch(context, dims, a, b, lane)
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
        return serial(list(product.outer), dot_kernel(context, product))
    blocks = in_panels(context, product) or in_blocks(context, product)
    if blocks is not None:
        return blocks
    product = _copied_once(product)
    return serial(list(product.outer), tiles(context, product))


def _copied_once(product: Product) -> Product:
    """The product with loops over rows inside copies of columns, where there are any."""
    own = {name for index in product.broadcast_index for name, _ in index.terms}
    within = tuple([loop for loop in product.outer if loop[0] in own])
    others = tuple([loop for loop in product.outer if loop[0] not in own])
    inside = replace(product, outer=others, within=within)
    return inside if copies_columns(inside) else product
