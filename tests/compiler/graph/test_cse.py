"""Equal nodes become one; what only looks equal does not."""

from __future__ import annotations

import numpy as np

from mynn.compiler.graph.cse import cse
from mynn.core.graph import Graph, apply, constant, input_node
from mynn.ops import movement
from tests.compiler.graph.simplification import check
from tests.helpers import f32, graph_of


def test_common_subexpressions() -> None:
    check(
        graph_of(lambda x, y: (x.tanh() * x.tanh(), x + y, y + x, x - y, y - x), f32(3), f32(3)),
        """
        graph(%x: f32[3], %y: f32[3]) {
          %0: f32[3] = tanh(%x)
          %1: f32[3] = mul(%0, %0)
          %2: f32[3] = add(%x, %y)
          %3: f32[3] = sub(%x, %y)
          %4: f32[3] = sub(%y, %x)
          return %1, %2, %2, %3, %4
        }
        """,
    )


def test_parameters_tell_nodes_apart() -> None:
    x = input_node(f32(3), "x")
    pads = [
        apply(movement.pad, x, widths=((1, 1, 0),), value=value) for value in (0.0, -0.0, 0.0, 1.0)
    ]
    outputs = cse(Graph((x,), tuple(pads))).outputs
    assert outputs[0] is outputs[2]
    assert len(set(outputs)) == 3


def test_constants_are_equal_by_their_bits() -> None:
    values = (0.0, -0.0, 0.0, np.nan, np.nan)
    outputs = cse(Graph((), tuple(constant(np.float32(v)) for v in values))).outputs
    assert len(set(outputs)) == 3
    assert len(set(cse(Graph((), (constant(1), constant(1.0), constant(True)))).outputs)) == 3
