"""Products as dot products: for few rows, where both operands lie along the summed axis.

As many dot products as a vector has lanes run side by side; then a tree of shuffles adds up their
lanes into one vector of results.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    For,
    Let,
    Load,
    Local,
    Op,
    Reduce,
    Statement,
    Store,
    Var,
)
from mynn.compiler.lowering.base import Context, over_chunks
from mynn.compiler.lowering.contraction.operands import Product, finish, vector_loop


def dot_kernel(context: Context, product: Product) -> list[Statement]:
    """Rows one after the other, results in vectors."""
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    pvar = context.names.fresh("p")
    p = Affine.var(pvar) if product.p > 1 else Affine()

    def block(q: Affine, count: int) -> list[Statement]:
        return _dot_block(context, product, p, q, count)

    result = over_chunks(context.names, "q", product.q, lanes, block)
    return [For(pvar, product.p, tuple(result))] if product.p > 1 else result


def _dot_block(
    context: Context, product: Product, p: Affine, q: Affine, count: int
) -> list[Statement]:
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    type = product.anchor.type.short
    lanes_k = min(lanes, 1 << (product.k - 1).bit_length()) if product.k else 1
    acc = Buffer(context.names.fresh("acc"), type, count * lanes_k, "register")
    body: list[Statement] = [Local(acc)]
    whole, remainder = divmod(product.k, lanes_k)
    once = whole == 1  # the first products set the accumulators
    for r in range(0 if once else count):
        lane = context.names.fresh("v")
        zero = Store(acc, Affine.var(lane) + r * lanes_k, Const(0.0, type))
        body.append(vector_loop(lanes_k, [zero], lane))
    kvar = context.names.fresh("k")
    for first, times, width in ((0, whole, lanes_k), (whole * lanes_k, 1, remainder)):
        if not times or not width:
            continue
        lane = context.names.fresh("v")
        k = Affine.var(lane) + first + (Affine.var(kvar, lanes_k) if times > 1 else 0)
        name = context.names.fresh("a")
        load = Load(product.broadcast.buffer, product.broadcast_at(p, (k,)))
        inner: list[Statement] = [Let(name, load)]
        for r in range(count):
            at = Affine.var(lane) + r * lanes_k
            b = Load(product.vector.buffer, product.vector_at(q + r, (k,)))
            factors = (Var(name, type), b)
            value = Op("fma", (*factors, Load(acc, at)), type)
            if once and width == lanes_k:
                value = Op("mul", factors, type)
            inner.append(Store(acc, at, value))
        loop: Statement = vector_loop(width, inner, lane)
        body.append(For(kvar, times, (loop,)) if times > 1 else loop)
    lane = context.names.fresh("v")
    total = Reduce("add", acc, Affine.var(lane, lanes_k), lanes_k)
    index = product.index(p, q + Affine.var(lane))
    body.append(vector_loop(count, finish(context, index, total), lane))
    return body
