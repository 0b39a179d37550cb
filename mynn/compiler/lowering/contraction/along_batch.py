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
    product = _AlongBatch(context, dims, a, b, lane)
    line = max(product.lanes, _LINE // product.anchor.dtype.itemsize)
    chunks = over_chunks(context.names, "b", dims.batch[lane], line, product.block)
    return serial(product.outer, chunks)


class _AlongBatch:
    """The loops around all results, `outer`, and what is done for a block of them.

    Of a long sum the last axis is shared by several accumulators, the chains.
    """

    def __init__(
        self, context: Context, dims: ContractionDims, a: Operand, b: Operand, lane: int
    ) -> None:
        anchor, names = context.group.anchor, context.names
        assert anchor is not None
        self.context, self.dims, self.a, self.b, self.lane = context, dims, a, b, lane
        self.anchor, self.type = anchor, anchor.type.short
        self.lanes = context.target.lanes(anchor.dtype.itemsize)
        self.outer: list[tuple[str, int]] = []
        self.batch = self._loops("b", dims.batch, lane)
        self.rows, self.columns = self._loops("p", dims.rows), self._loops("q", dims.columns)
        self.summed = [names.fresh("k", n) for n in dims.summed]
        self.places = tuple(plain_index(self.summed, dims.summed))
        self.long = [i for i, n in enumerate(dims.summed) if n != 1]
        self.chains = 1
        if self.long:
            last = self.long[-1]
            if dims.summed[last] >= 2 * _CHAINS and not self._where(last):
                self.chains = _CHAINS

    def _loops(self, prefix: str, shape: Shape, without: int | None = None) -> Index:
        """The index of axes, with a loop for each but one."""
        each = [self.context.names.fresh(prefix, n) for n in shape]
        self.outer += [
            (name, n)
            for i, (name, n) in enumerate(zip(each, shape, strict=True))
            if n != 1 and i != without
        ]
        return tuple(plain_index(each, shape))

    def _where(self, axis: int) -> tuple[Within, ...]:
        """What holds in the rounds of a summed axis that count."""
        pairs = ((self.a, self.rows), (self.b, self.columns))
        return tuple(
            Within(border.at(kept, self.places), border.extent)
            for operand, kept in pairs
            for border in operand.borders
            if border.summed == axis
        )

    def block(self, first: Affine, width: int) -> list[Statement]:
        """`width` results side by side, from `first` on."""
        vectors = -(-width // self.lanes)
        chains = max(self.chains // vectors, 1)
        pitch = vectors * self.lanes
        names = self.context.names
        acc = Buffer(names.fresh("acc"), self.type, chains * pitch, "register")

        def each_vector(make: Callable[[Affine], list[Statement]]) -> list[Statement]:
            result: list[Statement] = []
            for start in range(0, width, self.lanes):
                name = names.fresh("v")
                body = make(Affine.var(name) + start)
                result.append(vector_loop(min(self.lanes, width - start), body, name))
            return result

        def clear(chain: int, v: Affine) -> list[Statement]:
            return [Store(acc, v + chain * pitch, Const(0.0, self.type))]

        def add(chain: int, at: Index, v: Affine) -> list[Statement]:
            index, place = filled(self.batch, self.lane, first + v), v + chain * pitch
            factors = (
                Load(self.a.buffer, self.a.at(index, self.rows, at)),
                Load(self.b.buffer, self.b.at(index, self.columns, at)),
            )
            return [Store(acc, place, Op("fma", (*factors, Load(acc, place)), self.type))]

        def end(v: Affine) -> list[Statement]:
            total: Expr = Load(acc, v)
            for chain in range(1, chains):
                total = Op("add", (total, Load(acc, v + chain * pitch)), self.type)
            index = (*filled(self.batch, self.lane, first + v), *self.rows, *self.columns)
            return finish(self.context, canonical(index, self.anchor.shape), total)

        body: list[Statement] = [Local(acc)]
        for chain in range(chains):
            body += each_vector(partial(clear, chain))
        body += self._sums(chains, lambda chain, at: each_vector(partial(add, chain, at)))
        return [*body, *each_vector(end)]

    def _sums(self, chains: int, add: Callable[[int, Index], list[Statement]]) -> list[Statement]:
        """Loops over the terms; `add` adds one to a chain."""
        extents = self.dims.summed
        if 0 in extents:
            return []
        if not self.long:
            return add(0, self.places)
        *around, axis = self.long
        rounds, remainder = divmod(extents[axis], chains)
        step = Affine.var(self.summed[axis], chains)
        each = [s for c in range(chains) for s in add(c, filled(self.places, axis, step + c))]
        sums: list[Statement] = [
            For(self.summed[axis], rounds, tuple(each), where=self._where(axis))
        ]
        for c in range(remainder):
            sums += add(c, filled(self.places, axis, Affine(rounds * chains + c)))
        for outer in reversed(around):
            sums = [For(self.summed[outer], extents[outer], tuple(sums), where=self._where(outer))]
        return sums
