"""What the kernels of attention are made of: loops over a head, and tiles of products."""

from __future__ import annotations

from collections.abc import Callable

from mynn.base.dataclass import dataclass
from mynn.compiler.graph.index_map import view_of
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Let,
    Load,
    Local,
    Op,
    Statement,
    Store,
    Var,
    Within,
)
from mynn.compiler.lowering.base import Context, chunks, serial
from mynn.compiler.lowering.contraction.operands import vector_loop
from mynn.compiler.lowering.contraction.pack import transposed_square
from mynn.compiler.lowering.contraction.tile_cost import column_segments
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Attention
from mynn.core.graph import Node

# Queries of a tile: with three vectors of keys their sums fill 12 of 16 registers.
ROWS = 4
# Products that are written out one after the other.
_UNROLL = 4

# A place in a matrix: row, column.
At = Callable[[Affine, Affine], Load]
# Products added to the sums of a tile: of one operand at (row, k), of the other at (k, column).
Add = Callable[[At, At, Affine], list[Statement]]


@dataclass(frozen=True)
class Operand:
    """An input [N, L, H, D] where it lies in memory, or scratch memory of a head [L, D]."""

    buffer: Buffer
    offset: Affine
    rows: int
    columns: int = 1

    def at(self, row: Affine, column: Affine) -> Affine:
        """Where an element of the head lies."""
        return self.offset + row * self.rows + column * self.columns

    def load(self, row: Affine, column: Affine) -> Load:
        """An element of the head."""
        return Load(self.buffer, self.at(row, column))

    def store(self, row: Affine, column: Affine, value: Expr) -> Store:
        """An element of the head is set."""
        return Store(self.buffer, self.at(row, column), value)

    def below(self, row: Affine) -> Operand:
        """The same from a row on."""
        return Operand(self.buffer, self.at(row, Affine()), self.rows, self.columns)


class Head:
    """What the kernels of attention and of its gradient share, for one head of one sample."""

    def __init__(self, context: Context) -> None:
        anchor = context.group.anchor
        assert anchor is not None
        rule = rule_of(anchor)
        assert isinstance(rule, Attention)
        self.context = context
        self.anchor = anchor
        self.names = context.names
        self.type = anchor.type.short
        self.lanes = context.target.lanes(anchor.dtype.itemsize)
        nodes = rule.operands(anchor)
        queries, keys = nodes[rule.cotangents], nodes[rule.cotangents + 1]
        self.samples, self.queries, self.heads, self.width = queries.shape
        self.keys = keys.shape[1]
        self.n, self.h = (self.names.fresh(name) for name in "nh")
        self.operands = [self._operand(node) for node in nodes]
        params = anchor.params
        self.causal, self.scale, self.drop = params["causal"], params["scale"], params["drop"]
        further = rule.masks(anchor)
        self.mask = further[0] if params["mask"] else None
        self.keep = further[-1] if self.drop else None
        vectors = 2 if self.causal and self.keys <= 16 * self.lanes else 3
        self.columns = column_segments(self.keys, self.lanes, vectors)
        self.features = column_segments(self.width, self.lanes, 3 if self.width % 3 == 0 else 2)

    def _operand(self, node: Node) -> Operand:
        places = self.context.places
        view = view_of(node, lambda base: places[base].strides, places, borders=False)
        self.context.loaded.add(view.base)
        n, row, *head, column = view.strides
        # Of a cotangent the features of all heads are one axis.
        along = head[0] if head else self.width * column
        start = Affine(view.offset) + self.sample * n + self.head * along
        return Operand(places[view.base].buffer, start, row, column)

    def result(self) -> Operand:
        """Where the results of the head go, in [N, .., H D]."""
        place = self.context.targets[self.anchor]
        n, row, column = place.strides
        start = self.sample * n + self.head * (self.width * column)
        return Operand(place.buffer, start, row, column)

    @property
    def sample(self) -> Affine:
        """The sample of the loops around."""
        return Affine.var(self.n) if self.samples > 1 else Affine()

    @property
    def head(self) -> Affine:
        """The head of the loops around."""
        return Affine.var(self.h) if self.heads > 1 else Affine()

    def around(self, body: list[Statement]) -> list[Statement]:
        """The loops over samples and heads."""
        loops = [(self.n, self.samples), (self.h, self.heads)]
        return serial([loop for loop in loops if loop[1] > 1], body)

    def number(self, value: float) -> Const:
        """A constant."""
        return Const(float(value), self.type)

    def op(self, name: str, *args: Expr) -> Op:
        """An operation on numbers."""
        return Op(name, args, self.type)

    def scratch(self, name: str, rows: int, columns: int) -> Operand:
        """Memory for a matrix, its rows whole vectors."""
        line = -(-columns // self.lanes) * self.lanes
        buffer = Buffer(self.names.fresh(name), self.type, rows * line, "scratch")
        return Operand(buffer, Affine(), line)

    def registers(self, name: str, elements: int) -> Buffer:
        """Accumulators."""
        return Buffer(self.names.fresh(name), self.type, elements, "register")

    # Loops of one round stay: what is made in their bodies is forgotten behind them.

    # -- loops -------------------------------------------------------------------------------------

    def seen(self, last: Affine, first: Affine) -> tuple[Within, ...]:
        """That the query `last` sees the key `first`."""
        if not self.causal:
            return ()
        # Queries and keys are 0 or more.
        far = self.queries + ROWS
        return (Within(first + -last + far, far + 1),)

    def seen_by(self, query: Affine, key: Affine) -> tuple[Within, ...]:
        """The same, where it is the query that the loop's variable stands in."""
        return (Within(query + -key, self.queries + ROWS),) if self.causal else ()

    def over_keys(
        self, last: Affine, body: Callable[[Affine, list[int]], list[Statement]]
    ) -> list[Statement]:
        """`body(first key, elements of each vector)` for the tiles that the query `last` sees."""
        result: list[Statement] = []
        for start, count, widths in self.columns:
            name = self.names.fresh("j")
            first = Affine.var(name, sum(widths)) + start
            where = self.seen(last, first)
            result.append(For(name, count, tuple(body(first, widths)), where=where))
        return result

    def over_edges(
        self,
        query: Affine,
        last: Affine,
        body: Callable[[Affine, list[int], bool], list[Statement]],
    ) -> list[Statement]:
        """The same for queries up to `last`; the third argument says whether there may be keys that
        `query` does not see.
        """
        if not self.causal:
            return self.over_keys(last, lambda first, widths: body(first, widths, False))
        result: list[Statement] = []
        far = self.queries + self.keys + ROWS
        for start, count, widths in self.columns:
            for edge in (False, True):
                name = self.names.fresh("j")
                first = Affine.var(name, sum(widths)) + start
                # How much later the tile's last key is than the query.
                later = first + -query + (sum(widths) - 1)
                inside = (Within(later + far, far + 1),)
                around = (Within(later + -1, far), *self.seen(last, first))
                where = around if edge else inside
                result.append(For(name, count, tuple(body(first, widths, edge)), where=where))
        return result

    def over_rows(
        self, extent: int, body: Callable[[Affine, int], list[Statement]]
    ) -> list[Statement]:
        """`body(first row, rows)` for tiles of rows."""
        result: list[Statement] = []
        for start, count, rows in chunks(extent, ROWS):
            name = self.names.fresh("r")
            first = Affine.var(name, rows) + start if count > 1 else Affine(start)
            inner = body(first, rows)
            result.append(For(name, count, tuple(inner)))
        return result

    def over_features(
        self, body: Callable[[Affine, list[int]], list[Statement]]
    ) -> list[Statement]:
        """`body(first feature, elements of each vector)`."""
        result: list[Statement] = []
        for start, count, widths in self.features:
            name = self.names.fresh("d")
            first = Affine.var(name, sum(widths)) + start if count > 1 else Affine(start)
            inner = body(first, widths)
            result.append(For(name, count, tuple(inner)))
        return result

    def summed(self, extent: int, body: Callable[[Affine], list[Statement]]) -> list[Statement]:
        """`body(k)` for each k of a sum, some written out one after the other."""
        result: list[Statement] = []
        rounds, remainder = divmod(extent, _UNROLL)
        if rounds:
            name = self.names.fresh("k")
            first = Affine.var(name, _UNROLL) if rounds > 1 else Affine()
            block = [s for u in range(_UNROLL) for s in body(first + u)]
            result += [For(name, rounds, tuple(block))] if rounds > 1 else block
        for u in range(remainder):
            result += body(Affine(rounds * _UNROLL + u))
        return result

    def vectors(
        self, widths: list[int], body: Callable[[Affine], list[Statement]]
    ) -> list[Statement]:
        """`body(column)` for vectors side by side."""
        result: list[Statement] = []
        for j, width in enumerate(widths):
            lane = self.names.fresh("v")
            column = Affine.var(lane) + j * self.lanes
            result.append(vector_loop(width, body(column), lane))
        return result

    # -- tiles of products -------------------------------------------------------------------------

    def tile(
        self,
        rows: int,
        widths: list[int],
        sums: Callable[[Add], list[Statement]],
        finish: Callable[[int, Affine, Expr], list[Statement]],
        begin: Callable[[int, Affine], Expr] | None = None,
    ) -> list[Statement]:
        """Sums of products in registers.

        `sums(add)` makes the loops; `add(left, right, k)` adds left(row, k) right(k, column) to
        each of them. They begin with `begin(row, column)`, or 0; `finish(row, column, sum)` is
        told the column's place among those of the tile.
        """
        line = len(widths) * self.lanes
        acc = self.registers("acc", rows * line)

        def add(left: At, right: At, k: Affine) -> list[Statement]:
            result: list[Statement] = []
            for i in range(rows):
                factor = self.names.fresh("a")
                result.append(Let(factor, left(Affine(i), k)))

                def one(column: Affine, i: int = i, factor: str = factor) -> list[Statement]:
                    place = column + i * line
                    pair = (Var(factor, self.type), right(k, column))
                    return [Store(acc, place, self.op("fma", *pair, Load(acc, place)))]

                result += self.vectors(widths, one)
            return result

        def start(i: int) -> Callable[[Affine], list[Statement]]:
            def one(column: Affine) -> list[Statement]:
                value = self.number(0.0) if begin is None else begin(i, column)
                return [Store(acc, column + i * line, value)]

            return one

        def end(i: int) -> Callable[[Affine], list[Statement]]:
            return lambda column: finish(i, column, Load(acc, column + i * line))

        body: list[Statement] = [Local(acc)]
        for i in range(rows):
            body += self.vectors(widths, start(i))
        body += sums(add)
        for i in range(rows):
            body += self.vectors(widths, end(i))
        return body

    def transposed(self, source: Operand, name: str) -> tuple[list[Statement], Operand]:
        """The matrix [S, D] of a head as [D, S]."""
        panel = self.scratch(name, self.width, self.keys)
        result: list[Statement] = [Local(panel.buffer)]
        for start, count, rows in chunks(self.keys, self.lanes):
            name = self.names.fresh("j")
            j = Affine.var(name, rows) + start if count > 1 else Affine(start)
            body: list[Statement] = []
            for first, times, width in chunks(self.width, self.lanes):
                block = self.names.fresh("d")
                d = Affine.var(block, width) + first if times > 1 else Affine(first)

                def load(c: int, lane: Affine, j: Affine = j, d: Affine = d) -> Load:
                    return source.load(j + c, d + lane)

                def store(
                    r: int, lane: Affine, value: Expr, j: Affine = j, d: Affine = d
                ) -> Statement:
                    return panel.store(d + r, j + lane, value)

                square = transposed_square(self.context, self.type, (rows, width), load, store)
                body.append(For(block, times, tuple(square)))
            result.append(For(name, count, tuple(body)))
        return result, panel

    def sum_over_keys(
        self, last: Affine, left: Operand, right: Operand, feature: Affine, add: Add
    ) -> list[Statement]:
        """A sum over the keys that the query `last` sees: a row of `left` times columns of `right`
        from `feature` on.
        """

        def part(first: Affine, widths: list[int]) -> list[Statement]:
            return self.summed(
                sum(widths),
                lambda k: add(
                    lambda i, k: left.load(i, first + k),
                    lambda k, column: right.load(first + k, feature + column),
                    k,
                ),
            )

        return self.over_keys(last, part)
