"""Scores of a tile of queries, what masks and dropout make of them, and their exponentials."""

from __future__ import annotations

import math
from collections.abc import Callable

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    Load,
    Local,
    Op,
    Reduce,
    Statement,
    Store,
    Var,
)
from mynn.compiler.lowering.attention.tiles import Head, Operand
from mynn.compiler.lowering.base import canonical
from mynn.compiler.lowering.contraction.operands import vector_loop
from mynn.compiler.rules.expressions import Expressions
from mynn.core.graph import Node


class Scores(Head):
    """The loops over a head that go through its scores."""

    def scores(
        self, query: Affine, rows: int, queries: Operand, keys: Operand, to: Operand, most: Buffer
    ) -> list[Statement]:
        """Scores of `rows` queries from `query` on, masked, into the first rows of `to`, and their
        maxima; `keys` are transposed.
        """

        def tile(first: Affine, widths: list[int], edge: bool) -> list[Statement]:
            def left(i: Affine, k: Affine) -> Load:
                return queries.load(query + i, k)

            def right(k: Affine, column: Affine) -> Load:
                return keys.load(k, first + column)

            def finish(i: int, column: Affine, total: Expr) -> list[Statement]:
                key = first + column
                score = self.op("mul", total, self.number(self.scale))
                body, value = self.masked(query + i, key, score, edge)
                place = Affine(0, column.terms) + i * self.lanes
                more = self.op("maximum", Load(most, place), value)
                return [*body, to.store(Affine(i), key, value), Store(most, place, more)]

            return self.tile(
                rows,
                widths,
                lambda add: self.summed(self.width, lambda k: add(left, right, k)),
                finish,
            )

        return [
            *self.filled(most, rows, self.number(-math.inf)),
            *self.over_edges(query, query + (rows - 1), tile),
        ]

    def masked(
        self, query: Affine, key: Affine, score: Expr, edge: bool
    ) -> tuple[list[Statement], Expr]:
        """A score, or -infinity where the query does not see the key.

        `edge`: whether it may be later than the query, and so not seen.
        """
        e = self.context.builder()
        value, low = e.let(score), self.number(-math.inf)
        if self.mask is not None:
            given = e.value(self.mask, self._score(self.mask, query, key))
            if self.mask.dtype.kind == "b":
                value = e.let(self.op("where", given, value, low))
            else:
                value = e.let(self.op("add", value, given))
        if edge:
            seen = e.let(Op("less_equal", (key, query), "bool"))
            value = e.let(self.op("where", seen, value, low))
        return e.body, value

    def kept(self, query: Affine, key: Affine, value: Expr) -> tuple[list[Statement], Expr]:
        """What dropout leaves of something that is there for each share."""
        if self.keep is None:
            return [], value
        e = self.context.builder()
        keep = e.value(self.keep, self._score(self.keep, query, key))
        grown = e.let(self.op("mul", value, self.number(1 / (1 - self.drop))))
        result = e.let(self.op("where", keep, grown, self.number(0.0)))
        return e.body, result

    def _score(self, node: Node, query: Affine, key: Affine) -> tuple[Affine, ...]:
        return canonical((self.sample, self.head, query, key), node.shape)

    def exponentials(
        self, query: Affine, rows: int, to: Operand, most: Buffer, dropout: bool
    ) -> tuple[list[Statement], list[Var]]:
        """exp of the scores in some rows minus their maxima, in their place; and 1 over the sums.

        `most`: maxima, a vector for each row. `dropout`: whether those that it drops become 0.
        """
        sums = self.registers("sums", rows * self.lanes)
        low, zero, one = (self.number(value) for value in (-math.inf, 0.0, 1.0))
        before, after = Expressions(self.names), Expressions(self.names)
        starts: list[Expr] = []
        factors: list[Var] = []
        for i in range(rows):
            top = before.let(Reduce("maximum", most, Affine(i * self.lanes), self.lanes))
            none = before.let(Op("equal", (top, low), "bool"))
            starts.append(before.let(self.op("where", none, zero, top)))
            total = after.let(Reduce("add", sums, Affine(i * self.lanes), self.lanes))
            some = after.let(self.op("where", none, one, total))
            factor = after.let(self.op("div", one, some))
            assert isinstance(factor, Var)
            factors.append(factor)

        def exp(i: int, key: Affine, place: Affine) -> list[Statement]:
            e = Expressions(self.names)
            score = e.let(to.load(Affine(i), key))
            value = e.let(self.op("exp", e.let(self.op("sub", score, starts[i]))))
            e.body.append(Store(sums, place, self.op("add", Load(sums, place), value)))
            kept, share = self.kept(query + i, key, value) if dropout else ([], value)
            return [*e.body, *kept, to.store(Affine(i), key, share)]

        return [
            *before.body,
            Local(sums),
            *self.filled(sums, rows, zero),
            *self.over_scores(query, rows, exp),
            *after.body,
        ], factors

    def over_scores(
        self, query: Affine, rows: int, body: Callable[[int, Affine, Affine], list[Statement]]
    ) -> list[Statement]:
        """`body(row, key, place)` for all scores of a tile of queries, in vectors; `place`: where
        those of the row are combined.
        """

        def part(first: Affine, widths: list[int]) -> list[Statement]:
            result: list[Statement] = []
            for j, width in enumerate(widths):
                for i in range(rows):
                    lane = self.names.fresh("v")
                    at = Affine.var(lane)
                    each = body(i, first + at + j * self.lanes, at + i * self.lanes)
                    result.append(vector_loop(width, each, lane))
            return result

        return self.over_keys(query + (rows - 1), part)

    def filled(self, acc: Buffer, rows: int, value: Const) -> list[Statement]:
        """A vector of accumulators for each row, set to a number."""
        return self.vectors([self.lanes] * rows, lambda at: [Store(acc, at, value)])
