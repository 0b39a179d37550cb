"""How contractions are computed, by how their operands lie in memory."""

from __future__ import annotations

import numpy as np
import pytest

from mynn import nn
from mynn.compiler.graph.contraction_dims import DOT_ROWS, Kind, Strategy, choose_strategy
from mynn.core.graph import Node, apply, input_node
from mynn.core.types import Type
from mynn.ops import contraction
from mynn.target.storage import axis_order, padded_strides


def product(rows: int, terms: int, columns: int, dtype: str = "float32") -> Node:
    a = input_node(Type((rows, terms), np.dtype(dtype)))
    b = input_node(Type((terms, columns), np.dtype(dtype)))
    return apply(contraction.matmul, a, b)


def strategy(node: Node, a: tuple[int, int], b: tuple[int, int]) -> Strategy:
    """For operands whose axes lie in these orders, slowest first."""
    strides = [
        padded_strides(x.shape, x.dtype.itemsize, order)
        for x, order in zip(node.inputs, (a, b), strict=True)
    ]
    return choose_strategy(node, *strides)


PLAIN, TRANSPOSED = (0, 1), (1, 0)


def test_vectors_run_along_the_columns_that_lie_side_by_side() -> None:
    found = strategy(product(64, 32, 48), PLAIN, PLAIN)
    assert found == Strategy(Kind.TILES, False, 0, 0)


def test_or_along_the_rows() -> None:
    found = strategy(product(64, 32, 48), TRANSPOSED, TRANSPOSED)
    assert found == Strategy(Kind.TILES, True, 0, 0)


def test_few_rows_along_the_sum_are_dot_products() -> None:
    assert strategy(product(DOT_ROWS, 64, 48), PLAIN, TRANSPOSED).kind is Kind.DOT
    assert strategy(product(DOT_ROWS + 1, 64, 48), PLAIN, TRANSPOSED).kind is Kind.TRANSPOSED
    assert strategy(product(DOT_ROWS + 1, 4096, 48), PLAIN, TRANSPOSED).kind is Kind.PACK


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [2, 3, 4, 5, 8])
def test_weights_lie_as_the_compiler_wants_them(outputs: int, dtype: str) -> None:
    """`Linear` stores them so that its product is dot products where those are fewer columns."""
    weight = nn.Linear(64, outputs, dtype=dtype).weight
    order = axis_order(weight.value)
    # The product reads the transposed weight.
    found = strategy(product(256, 64, outputs, dtype), PLAIN, (1 - order[0], 1 - order[1]))
    assert found.kind is (Kind.DOT if outputs <= 4 else Kind.TILES)
    assert found.swapped == (outputs <= 4)
