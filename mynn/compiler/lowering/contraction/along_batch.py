"""Products with vectors along a batch axis: of one row and one column each, as those of a
convolution in depth, where the channels lie side by side.

    for batch axes, rows, columns:
      for each line along the batch axis:
        acc = 0
        for k:  acc += a[.., k] * b[.., k]
        epilogue on acc
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Load,
    Local,
    Op,
    Statement,
    Store,
    Within,
)
from mynn.compiler.lowering.base import Context, canonical, over_chunks, plain_index, serial
from mynn.compiler.lowering.contraction.operands import Operand, filled, finish, vector_loop
from mynn.compiler.rules.record import ContractionDims
from mynn.core.types import Shape

# Accumulators of a long sum: what the latency of a multiply-add leaves room for.
_CHAINS = 4
# Bytes of results side by side: a line of the cache is read once.
_LINE = 64


def batch_lane(
    context: Context, dims: ContractionDims, a: Operand, b: Operand, result: Shape
) -> int | None:
    """The batch axis along which both operands and the result lie; None where there is none."""
    anchor = context.group.anchor
    assert anchor is not None
    least = context.target.lanes(anchor.dtype.itemsize) // 2
    steps = zip(dims.batch, a.batch, b.batch, result, strict=False)
    found = [i for i, (n, *strides) in enumerate(steps) if n >= least and strides == [1, 1, 1]]
    return found[0] if found else None


def along_batch(
    context: Context, dims: ContractionDims, a: Operand, b: Operand, lane: int
) -> list[Statement]:
    """All results, a line at a time."""
    anchor, names = context.group.anchor, context.names
    assert anchor is not None
    lanes = context.target.lanes(anchor.dtype.itemsize)
    type = anchor.type.short
    outer: list[tuple[str, int]] = []

    def loops(prefix: str, shape: Shape, without: int | None = None) -> Index:
        each = [names.fresh(prefix, n) for n in shape]
        outer.extend(
            (name, n)
            for i, (name, n) in enumerate(zip(each, shape, strict=True))
            if n != 1 and i != without
        )
        return tuple(plain_index(each, shape))

    batch = loops("b", dims.batch, lane)
    rows, columns = loops("p", dims.rows), loops("q", dims.columns)
    summed = [names.fresh("k", n) for n in dims.summed]
    places = tuple(plain_index(summed, dims.summed))

    def where(axis: int) -> tuple[Within, ...]:
        pairs = ((a, rows), (b, columns))
        return tuple(
            Within(border.at(kept, places), border.extent)
            for operand, kept in pairs
            for border in operand.borders
            if border.summed == axis
        )

    long = [i for i, n in enumerate(dims.summed) if n != 1]
    inner = long.pop() if long else None
    several = inner is not None and dims.summed[inner] >= 2 * _CHAINS and not where(inner)

    def block(first: Affine, width: int) -> list[Statement]:
        starts = range(0, width, lanes)
        chains = max(_CHAINS // len(starts), 1) if several else 1
        pitch = len(starts) * lanes
        acc = Buffer(names.fresh("acc"), type, chains * pitch, "register")

        def vectors(make: Callable[[Affine], list[Statement]]) -> list[Statement]:
            result: list[Statement] = []
            for start in starts:
                name = names.fresh("v")
                body = make(Affine.var(name) + start)
                result.append(vector_loop(min(lanes, width - start), body, name))
            return result

        def clear(at: int, v: Affine) -> list[Statement]:
            return [Store(acc, v + at, Const(0.0, type))]

        def add(chain: int, at: Index) -> list[Statement]:
            def one(v: Affine) -> list[Statement]:
                index = filled(batch, lane, first + v)
                factors: tuple[Expr, ...] = (
                    Load(a.buffer, a.at(index, rows, at)),
                    Load(b.buffer, b.at(index, columns, at)),
                )
                place = v + chain * pitch
                return [Store(acc, place, Op("fma", (*factors, Load(acc, place)), type))]

            return vectors(one)

        body: list[Statement] = [Local(acc)]
        for chain in range(chains):
            body += vectors(partial(clear, chain * pitch))
        sums: list[Statement] = [] if 0 in dims.summed else add(0, places)
        if inner is not None and 0 not in dims.summed:
            rounds, rest = divmod(dims.summed[inner], chains)
            step = Affine.var(summed[inner], chains)
            each = [s for c in range(chains) for s in add(c, filled(places, inner, step + c))]
            sums = [For(summed[inner], rounds, tuple(each), where=where(inner))]
            for c in range(rest):
                sums += add(c, filled(places, inner, Affine(rounds * chains + c)))
            for axis in reversed(long):
                sums = [For(summed[axis], dims.summed[axis], tuple(sums), where=where(axis))]

        def end(v: Affine) -> list[Statement]:
            total: Expr = Load(acc, v)
            for chain in range(1, chains):
                total = Op("add", (total, Load(acc, v + chain * pitch)), type)
            index = canonical((*filled(batch, lane, first + v), *rows, *columns), anchor.shape)
            return finish(context, index, total)

        return [*body, *sums, *vectors(end)]

    line = max(lanes, _LINE // anchor.dtype.itemsize)
    return serial(outer, over_chunks(names, "b", dims.batch[lane], line, block))
