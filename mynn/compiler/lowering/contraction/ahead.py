"""What the next block of a sum copies, fetched while the tiles of this one are computed.

Rows lie as far apart as the operand is wide, and a block reads a part of each: the processor's own
prefetcher does not know where the next one begins. Each tile fetches a share of the next block:

    for q in panels: for p in strips:
      for k in terms / strips:  prefetch lines / panels of row p * (terms / strips) + k

Behind the last block that is memory which nobody asked for, or none at all; it is not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Prefetch, Statement
from mynn.compiler.lowering.base import serial
from mynn.compiler.lowering.contraction.operands import Operand, Product, filled
from mynn.compiler.lowering.contraction.pieces import is_even
from mynn.compiler.rules.expressions import Names
from mynn.core.types import Shape
from mynn.target.storage import ALIGNMENT


@dataclass(frozen=True)
class NextBlock:
    """The block behind this one: `product` is that of a group, whose rows begin at `p0` and columns
    at `q0`; a block takes `terms` of each summed axis, this one from `first` on.
    """

    product: Product
    terms: Shape
    first: Sequence[Affine]
    p0: Affine
    q0: Affine

    def share(
        self, names: Names, q: Affine, panels: int, p: Affine, strips: int
    ) -> list[Statement]:
        """Prefetches for tile p of panel q, of so many tiles and panels."""
        cut = [i for i, n in enumerate(self.terms) if n < self.product.summed[i]]
        if not cut:
            return []
        axis = cut[-1]
        first = filled(tuple(self.first), axis, self.first[axis] + self.terms[axis])
        rows = -(-math.prod(self.terms) // strips)
        name = names.fresh("k", rows)
        row = p * rows + (Affine.var(name) if rows > 1 else 0)
        product, lines = self.product, []
        for operand, start, extent in (
            (product.broadcast, product.broadcast_at(self.p0, first), product.p),
            (product.vector, product.vector_at(self.q0, first), product.q),
        ):
            if is_even(operand, self.terms):
                at = start + row * operand.summed[-1]
                lines += self._lines(operand, at, q, -(-extent // panels), panels)
        return serial([(name, rows)] if rows > 1 else [], lines)

    def _lines(
        self, operand: Operand, row: Affine, q: Affine, extent: int, panels: int
    ) -> list[Statement]:
        """A share of a row, of so many elements, in whole lines of the cache."""
        line = ALIGNMENT // self.product.anchor.dtype.itemsize
        count = -(-extent // line)
        first = row + q * (count * line) if panels > 1 else row
        return [Prefetch(operand.buffer, first + i * line) for i in range(count)]
