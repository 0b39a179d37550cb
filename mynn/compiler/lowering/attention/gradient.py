"""The gradient of attention: scores again, block by block of the queries, and what comes of them.

for n: for h:
  keys and values of the head are transposed; dk = 0, dv = 0
  for blocks of queries:
    for tiles of 4 queries:
      P = exp(scores - maxima) / sums                        [4, S]
      G = g times values, where dropout left something
      dS = scale P (G - sum over the keys of P G)
      dq = dS times keys
    for tiles of 4 keys:
      dv += P^T g, dk += dS^T q                              sums over the queries of the block
  dk and dv are stored
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Expr, For, Load, Local, Reduce, Statement, Store
from mynn.compiler.lowering.attention.scores import Scores
from mynn.compiler.lowering.attention.tiles import ROWS, Add, Operand
from mynn.compiler.lowering.base import Context, chunks, serial
from mynn.compiler.rules.expressions import Expressions

# Numbers of a block's matrices, of queries times keys: two of them fit into the nearest cache.
_BLOCK = 2048
# At least so many queries are a block: sums over them are loaded and stored once for each.
_LEAST_ROWS = 16


class _Gradient(Scores):
    """The kernel of a gradient, for one head of one sample."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.cotangent, self.q, self.k, self.v = self.operands
        rows = max(_LEAST_ROWS, _BLOCK // max(self.keys, 1) // ROWS * ROWS)
        self.rows = min(rows, self.queries)
        self.shares = self.scratch("shares", self.rows, self.keys)
        self.scored = self.scratch("scored", self.rows, self.keys)
        # Shares as dropout leaves them.
        self.left = self.scratch("kept", self.rows, self.keys) if self.drop else self.shares
        self.dk, self.dv = (self.scratch(name, self.keys, self.width) for name in ("dk", "dv"))
        self.to = self._targets()

    def _targets(self) -> list[Operand]:
        """Where the three gradients go."""
        first = self.result()
        if self.queries == self.keys:
            zero, every = Affine(), self.heads * self.width
            starts = [first.at(zero, Affine(every * part)) for part in range(3)]
        else:
            rows = (0, self.queries, self.queries + self.keys)
            starts = [first.at(Affine(row), Affine()) for row in rows]
        return [Operand(first.buffer, start, first.rows, first.columns) for start in starts]

    def statements(self) -> list[Statement]:
        """All loops."""
        body, turned_keys = self.transposed(self.k, "keys")
        more, turned_values = self.transposed(self.v, "values")
        body += more
        body += [Local(x.buffer) for x in (self.dk, self.dv, self.shares, self.scored)]
        body += [Local(self.left.buffer)] if self.drop else []
        for matrix in (self.dk, self.dv):
            body += self._each(matrix, lambda row, column: self.number(0.0))
        for start, count, rows in chunks(self.queries, self.rows):
            name = self.names.fresh("b")
            first = Affine.var(name, rows) + start if count > 1 else Affine(start)
            block = self._block(first, rows, turned_keys, turned_values)
            body.append(For(name, count, tuple(block)))
        for to, matrix in ((self.to[1], self.dk), (self.to[2], self.dv)):
            body += self._each(to, matrix.load)
        return self.around(body)

    def _each(self, to: Operand, value: Callable[[Affine, Affine], Expr]) -> list[Statement]:
        """A matrix [S, D] set to `value(row, column)`."""
        name = self.names.fresh("j")
        row = Affine.var(name) if self.keys > 1 else Affine()

        def columns(first: Affine, widths: list[int]) -> list[Statement]:
            def one(column: Affine) -> list[Statement]:
                at = first + column
                return [Store(to.buffer, to.at(row, at), value(row, at))]

            return self.vectors(widths, one)

        return serial([(name, self.keys)] if self.keys > 1 else [], self.over_features(columns))

    def _block(
        self, first: Affine, rows: int, turned_keys: Operand, turned_values: Operand
    ) -> list[Statement]:
        """What the queries from `first` on add to the gradients."""

        def tile(row: Affine, count: int) -> list[Statement]:
            query = first + row
            shares, scored = self.shares.below(row), self.scored.below(row)
            most = self.registers("most", count * self.lanes)
            return [
                Local(most),
                *self.scores(query, count, self.q, turned_keys, shares, most),
                *self._of_shares(query, count, turned_values, scored),
                *self._of_scores(query, count, row, most),
                *self.over_features(lambda d, widths: self._dq(query, count, scored, d, widths)),
            ]

        return [*self.over_rows(rows, tile), *self._sums(first, rows)]

    def _of_shares(
        self, query: Affine, rows: int, transposed: Operand, to: Operand
    ) -> list[Statement]:
        """G = g times values, for tiles of queries."""

        def tile(first: Affine, widths: list[int]) -> list[Statement]:
            def finish(i: int, column: Affine, total: Expr) -> list[Statement]:
                return [Store(to.buffer, to.at(Affine(i), first + column), total)]

            return self.tile(
                rows,
                widths,
                lambda add: self.summed(
                    self.width,
                    lambda k: add(
                        lambda i, k: self.cotangent.load(query + i, k),
                        lambda k, column: transposed.load(k, first + column),
                        k,
                    ),
                ),
                finish,
            )

        return self.over_keys(query + (rows - 1), tile)

    def _of_scores(self, query: Affine, rows: int, row: Affine, most: Buffer) -> list[Statement]:
        """P and dS of a tile of queries, from scores, their maxima, and G."""
        shares, scored, left = (x.below(row) for x in (self.shares, self.scored, self.left))
        body, factors = self.exponentials(query, rows, shares, most, dropout=False)
        inner = self.registers("inner", rows * self.lanes)

        def share(i: int, key: Affine, place: Affine) -> list[Statement]:
            at = Affine(i)
            e = Expressions(self.names)
            p = e.let(self.op("mul", e.let(shares.load(at, key)), factors[i]))
            g = e.let(scored.load(at, key))
            e.body.append(shares.store(at, key, p))
            if self.drop:
                more, g = self.kept(query + i, key, g)
                also, kept = self.kept(query + i, key, p)
                e.body += [*more, *also, scored.store(at, key, g), left.store(at, key, kept)]
            return [*e.body, Store(inner, place, self.op("fma", p, g, Load(inner, place)))]

        sums = Expressions(self.names)
        totals = [
            sums.let(Reduce("add", inner, Affine(i * self.lanes), self.lanes)) for i in range(rows)
        ]

        def score(i: int, key: Affine, place: Affine) -> list[Statement]:
            at = Affine(i)
            e = Expressions(self.names)
            centred = e.let(self.op("sub", scored.load(at, key), totals[i]))
            p = e.let(self.op("mul", shares.load(at, key), self.number(self.scale)))
            return [*e.body, scored.store(at, key, self.op("mul", p, centred))]

        return [
            *body,
            Local(inner),
            *self.filled(inner, rows, self.number(0.0)),
            *self.over_scores(query, rows, share),
            *sums.body,
            *self.over_scores(query, rows, score),
        ]

    def _dq(
        self, query: Affine, rows: int, scored: Operand, feature: Affine, widths: list[int]
    ) -> list[Statement]:
        """The gradient of queries, dS times keys."""
        to = self.to[0]

        def finish(i: int, column: Affine, total: Expr) -> list[Statement]:
            return [to.store(query + i, feature + column, total)]

        last = query + (rows - 1)
        return self.tile(
            rows,
            widths,
            lambda add: self.sum_over_keys(last, scored, self.k, feature, add),
            finish,
        )

    def _sums(self, first: Affine, rows: int) -> list[Statement]:
        """What the queries of a block add to dv and dk, for tiles of keys."""

        def columns(key: Affine, widths: list[int]) -> list[Statement]:
            return self.over_rows(sum(widths), lambda j, count: tile(key, key + j, count))

        def tile(seen: Affine, key: Affine, count: int) -> list[Statement]:
            result: list[Statement] = []
            for to, left, right in (
                (self.dv, self.left, self.cotangent),
                (self.dk, self.scored, self.q),
            ):
                adding = partial(add_to, to, left, right, (seen, key, count))
                result += self.over_features(adding)
            return result

        def add_to(
            to: Operand,
            left: Operand,
            right: Operand,
            keys: tuple[Affine, Affine, int],
            feature: Affine,
            widths: list[int],
        ) -> list[Statement]:
            seen, key, count = keys

            def sums(add: Add) -> list[Statement]:
                result: list[Statement] = []
                for start, times, height in chunks(rows, ROWS):
                    name = self.names.fresh("r")
                    row = Affine.var(name, height) + start
                    body = [
                        statement
                        for i in range(height)
                        for statement in add(
                            lambda j, k: left.load(k, key + j),
                            lambda k, column: right.load(first + k, feature + column),
                            row + i,
                        )
                    ]
                    where = self.seen_by(first + row + (height - 1), seen)
                    result.append(For(name, times, tuple(body), where=where))
                return result

            return self.tile(
                count,
                widths,
                sums,
                lambda i, column, total: [to.store(key + i, feature + column, total)],
                lambda i, column: to.load(key + i, feature + column),
            )

        return self.over_keys(first + (rows - 1), columns)


def lower_attention_gradient(context: Context) -> list[Statement]:
    """The loops over samples, heads and blocks of queries."""
    return _Gradient(context).statements()
