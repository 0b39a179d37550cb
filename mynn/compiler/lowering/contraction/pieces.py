"""Tiles side by side, and whether what they read must be copied to stay in the nearest cache."""

from __future__ import annotations

import math
from collections import Counter

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.lowering.contraction.operands import Operand
from mynn.core.types import Shape
from mynn.target.storage import ALIGNMENT

# Sets of the nearest cache, and the lines that fit into one. Up to four times as many of a block's
# rows, or columns, of a tile may fall there, for what has gone comes from the second cache in time,
# and a copy takes longer, unless so many tiles as `_OFTEN` read them.
_SETS, _WAYS, _OFTEN = 64, 8, 32


@dataclass(frozen=True)
class Pieces:
    """Tiles of one size side by side: `count` of `size` rows or columns from `first` on. In their
    copies each term takes `line` elements; the copies begin at `place`, one each `step` elements.
    """

    first: int
    count: int
    size: int
    line: int
    place: int
    step: int

    def at(self, variable: str) -> tuple[Affine, Affine]:
        """The first row or column of a tile, and where its copy begins."""
        if self.count == 1:
            return Affine(self.first), Affine(self.place)
        first, place = Affine.var(variable, self.size), Affine.var(variable, self.step)
        return first + self.first, place + self.place


def stays_near(operand: Operand, terms: Shape, width: int, itemsize: int, readers: int) -> bool:
    """Whether so many bytes of each term of a block, which so many tiles read, stay in the nearest
    cache where they lie, or come there in time.
    """
    if not is_even(operand, terms):
        return False
    lines = Counter(
        (k * operand.summed[-1] * itemsize + byte) // ALIGNMENT % _SETS
        for k in range(math.prod(terms))
        for byte in range(0, width, ALIGNMENT)
    )
    return max(lines.values()) <= (_WAYS if readers >= _OFTEN else 4 * _WAYS)


def is_even(operand: Operand, terms: Shape) -> bool:
    """Whether the terms of a block are as far apart as those of the last axis."""
    pairs = zip(operand.summed, operand.summed[1:], terms, terms[1:], strict=False)
    return all(outer == 1 or a == b * inner for a, b, outer, inner in pairs)
