"""Simplification: a graph in, a smaller graph with the same meaning out.

`simplify` runs the named list `PASSES` again and again until nothing changes. Declared inputs stay
as they are, used or not; outputs keep their order and types, though an output may become an input
or a constant. What nothing needs any more is no longer reached from the outputs, and so is gone.

The rules are in compiler/graph/algebra.py; they change no bit of the results but the sign of zeros.
"""

from __future__ import annotations

from mynn.compiler.graph.algebra import algebraic
from mynn.compiler.graph.cse import cse
from mynn.compiler.graph.decompose import decompose
from mynn.compiler.graph.fold import fold
from mynn.core.graph import Graph
from mynn.core.rewrite import Pass

MAX_ROUNDS = 20

# In this order: composites are written out, then constants, since the other rules look for them.
PASSES: tuple[tuple[str, Pass], ...] = (
    ("decompose", decompose),
    ("fold", fold),
    ("algebraic", algebraic),
    ("cse", cse),
)


def simplify(graph: Graph) -> Graph:
    """The graph after all `PASSES`, repeated until none of them finds anything.

    Example:
        >>> import numpy as np
        >>> from mynn.core.graph import apply, constant, input_node
        >>> from mynn.core.types import Type
        >>> from mynn.ops import elementwise, movement
        >>> x = input_node(Type((3,), np.dtype("float32")), "x")
        >>> one = apply(movement.reshape, constant(np.float32(1)), shape=(1,))
        >>> ones = apply(movement.broadcast_to, one, shape=(3,))
        >>> y = apply(elementwise.tanh, apply(elementwise.mul, x, ones))
        >>> print(simplify(Graph((x,), (y,))))
        graph(%x: f32[3]) {
          %0: f32[3] = tanh(%x)
          return %0
        }
    """
    for _ in range(MAX_ROUNDS):
        before = graph
        for _, run in PASSES:
            graph = run(graph)
        if graph is before:
            break
    return graph
