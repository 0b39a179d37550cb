"""Checks in native code: one word says which of them failed, and the step stops before it changes
anything.

Before:
    %0: bool[] = outside(%labels) low=0 high=9 ...
    check %0
    return %loss, %weight
After:
    %0: bool[] = outside(%labels) low=0 high=9 ...
    %1: i32[] = where(%0, 1, 0)
    return %loss, %weight, %1

`Plan` puts the kernels that make the word before all that write state, and a function that runs the
kernels returns where it is not 0 (`mynn.compiler.host.step`). Whoever called it looks at the word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mynn.compiler.graph.uniform import is_number
from mynn.core.graph import Graph, Node, apply, constant
from mynn.ops import elementwise

# Checks that stop a program have the lower bits of the word, those that warn have the upper ones.
# There are so many of each; the last one stands for all further checks.
_EACH = 15
STOPS = (1 << _EACH) - 1


def bits_of(checks: Sequence[Node]) -> list[int]:
    """The bit of the status word for each check."""
    counts = {False: 0, True: 0}
    bits = []
    for check in checks:
        warns = bool(check.params["warns"])
        bits.append(1 << (min(counts[warns], _EACH - 1) + (_EACH if warns else 0)))
        counts[warns] += 1
    return bits


def with_status(graph: Graph) -> Graph:
    """The graph with the status word as a further output, in place of its checks."""
    if not graph.checks:
        return graph
    zero = constant(np.int32(0))
    word: Node | None = None
    for check, bit in zip(graph.checks, bits_of(graph.checks), strict=True):
        mark = apply(elementwise.where, check, constant(np.int32(bit)), zero)
        word = mark if word is None else apply(elementwise.bitwise_or, word, mark)
    assert word is not None
    return Graph(graph.inputs, (*graph.outputs, word))


def never_set(graph: Graph) -> bool:
    """Whether the status word, the last output, is 0 whatever the inputs are."""
    return is_number(graph.outputs[-1], 0)
