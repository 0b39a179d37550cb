"""The primitives, a file a family. `PRIMITIVES` lists them; tests write themselves from it.

Loops over graphs (`mynn.ops.control`) are not in the list: nobody can draw a body for them.
"""

from __future__ import annotations

from mynn.core.primitive import Primitive
from mynn.ops import (
    along,
    attention,
    checks,
    contraction,
    convolution,
    elementwise,
    fused,
    gather,
    integers,
    movement,
    random,
    reduce,
    scan,
    sorting,
    special,
    windows,
)

PRIMITIVES: tuple[Primitive, ...] = (
    *elementwise.PRIMITIVES,
    *special.PRIMITIVES,
    *integers.PRIMITIVES,
    *reduce.PRIMITIVES,
    *scan.PRIMITIVES,
    *movement.PRIMITIVES,
    *windows.PRIMITIVES,
    *contraction.PRIMITIVES,
    *convolution.PRIMITIVES,
    *gather.PRIMITIVES,
    *along.PRIMITIVES,
    *sorting.PRIMITIVES,
    *attention.PRIMITIVES,
    *random.PRIMITIVES,
    *fused.PRIMITIVES,
    *checks.PRIMITIVES,
)
