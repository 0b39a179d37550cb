"""Simplified graphs, and a check of them."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.pipeline import Repeated
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, apply, constant, format_graph, verify
from mynn.ops import movement
from mynn.target.target import host
from tests.helpers import random_arrays, same_bits


def simplify(graph: Graph) -> Graph:
    """The graph after the passes that the compiler repeats until nothing changes."""
    repeated: Any = [entry for entry in pipeline.PASSES if isinstance(entry, Repeated)]
    return pipeline.run(repeated, Compilation(graph, host())).graph


def ones(like: Node, number: float = 1.0) -> Node:
    """A node of equal numbers, not yet in the one form of such."""
    value = apply(movement.reshape, constant(np.float32(number)), shape=(1,) * len(like.shape))
    return apply(movement.broadcast_to, value, shape=like.shape)


def check(graph: Graph, expected: str) -> Graph:
    """Simplify, compare the print and the values, and see that a second run finds nothing."""
    verify(graph)
    simpler = simplify(graph)
    verify(simpler)
    assert format_graph(simpler) == textwrap.dedent(expected).strip()
    assert simplify(simpler) is simpler
    arguments = random_arrays(graph)
    before = interpreter.evaluate(graph, arguments)
    after = interpreter.evaluate(simpler, arguments)
    assert all(map(same_bits, before, after))
    return simpler
