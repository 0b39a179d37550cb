"""The primitives, a file a family. `PRIMITIVES` lists them all; tests write themselves from it."""

from __future__ import annotations

from mynn.graph import Primitive
from mynn.ops import contraction, elementwise, indexing, movement, random, reduce

PRIMITIVES: tuple[Primitive, ...] = (
    *elementwise.PRIMITIVES,
    *reduce.PRIMITIVES,
    *movement.PRIMITIVES,
    *contraction.PRIMITIVES,
    *indexing.PRIMITIVES,
    *random.PRIMITIVES,
)
