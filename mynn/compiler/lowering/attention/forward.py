"""Attention, some rows of queries at a time; the scores of no more than these are in memory.

    for n: for h:
      keys of the head are transposed
      for tiles of 4 queries:
        scores[4, S] = queries times keys, scaled, masked
        e = exp(scores - their maxima), and their sums
        results = e times values, divided by the sums

The gradient computes the scores again, of more queries at once, for gradients of keys and values
are sums over queries: they are added up in memory that stays near (`gradient.py`). Where
query i sees the keys 0..i, tiles that lie behind those are left out.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Expr,
    Local,
    Statement,
)
from mynn.compiler.lowering.attention.scores import Scores
from mynn.compiler.lowering.attention.tiles import ROWS
from mynn.compiler.lowering.base import Context


def lower_attention(context: Context) -> list[Statement]:
    """The loops over samples, heads and tiles of queries."""
    head = Scores(context)
    queries, keys, values = head.operands
    out = head.result()
    body, transposed = head.transposed(keys, "keys")
    shares = head.scratch("shares", ROWS, head.keys)
    body.append(Local(shares.buffer))

    def tile(query: Affine, rows: int) -> list[Statement]:
        most = head.registers("most", rows * head.lanes)
        exponentials, factors = head.exponentials(query, rows, shares, most, dropout=True)

        def product(feature: Affine, widths: list[int]) -> list[Statement]:
            def finish(i: int, column: Affine, total: Expr) -> list[Statement]:
                value = head.op("mul", total, factors[i])
                return [out.store(query + i, feature + column, value)]

            last = query + (rows - 1)
            return head.tile(
                rows,
                widths,
                lambda add: head.sum_over_keys(last, shares, values, feature, add),
                finish,
            )

        return [
            Local(most),
            *head.scores(query, rows, queries, transposed, shares, most),
            *exponentials,
            *head.over_features(product),
        ]

    body += head.over_rows(head.queries, tile)
    return head.around(body)
