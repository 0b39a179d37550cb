"""What depends on constants alone is computed ahead, where that is exact."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.compiler.graph.uniform import full, uniform_value
from mynn.core import interpreter
from mynn.core.graph import Graph, apply, constant, input_node
from mynn.core.types import Type
from mynn.ops import along, contraction, elementwise, movement, reduce
from mynn.tensor import Tensor
from tests.compiler.graph.simplification import check, ones, simplify
from tests.helpers import f32, graph_of, same_bits


def test_constants_fold_and_stay_scalars() -> None:
    check(
        graph_of(lambda x: x * (1 + Tensor(8.0)).sqrt() * 5, f32(300, 200)),
        """
        graph(%x: f32[300,200]) {
          %0: f32[1,1] = constant [[3.0]]
          %1: f32[300,200] = broadcast_to(%0) shape=(300, 200)
          %2: f32[300,200] = mul(%x, %1)
          %3: f32[1,1] = constant [[5.0]]
          %4: f32[300,200] = broadcast_to(%3) shape=(300, 200)
          %5: f32[300,200] = mul(%2, %4)
          return %5
        }
        """,
    )


def test_arithmetic_of_uniform_values_stays_uniform() -> None:
    x = input_node(f32(100, 100), "x")
    big = apply(elementwise.exp, apply(elementwise.add, ones(x, 1), ones(x, 2)))
    big = apply(movement.transpose, big, axes=(1, 0))
    big = apply(movement.slice_, big, starts=(0, 50), stops=(100, 100), steps=(1, 1))
    big = apply(movement.reshape, big, shape=(50, 100))
    check(
        Graph((x,), (apply(elementwise.abs, big),)),
        """
        graph(%x: f32[100,100]) {
          %0: f32[1,1] = constant [[20.08553695678711]]
          %1: f32[50,100] = broadcast_to(%0) shape=(50, 100)
          return %1
        }
        """,
    )


def test_small_tables_fold_and_large_ones_do_not() -> None:
    small = constant(np.arange(6, dtype=np.float32))
    folded = simplify(Graph((), (apply(elementwise.neg, small),)))
    assert folded.outputs[0].primitive.name == "constant"
    large = constant(np.arange(5000, dtype=np.float32))
    kept = simplify(Graph((), (apply(elementwise.neg, large),)))
    assert kept.outputs[0].primitive is elementwise.neg


def test_equal_elements_become_a_broadcast_scalar() -> None:
    x = input_node(f32(4), "x")
    table = constant(np.ones(4, np.float32))
    assert simplify(Graph((x,), (apply(elementwise.mul, x, table),))).outputs == (x,)
    mixed = constant(np.array([0.0, -0.0], np.float32))
    assert simplify(Graph((), (mixed,))).outputs[0].primitive.name == "constant"


@pytest.mark.parametrize(
    ("value", "count", "exact"),
    [(1.0, 1000, True), (0.1, 10, False), (0.1, 1, True), (2.0**20, 3, True), (3.0, 2**23, False)],
)
def test_sums_of_a_uniform_value_fold_only_if_exact(value: float, count: int, exact: bool) -> None:
    node = apply(reduce.sum, full(np.float32(value), (count,)), axes=(0,))
    result = simplify(Graph((), (node,))).outputs[0]
    if exact:
        assert uniform_value(result) == np.float32(value) * count
    elif count * 4 <= 4096:
        # Small: computed by the interpreter as it stands.
        expected = interpreter.evaluate_nodes([node], {})[0]
        assert same_bits(interpreter.evaluate_nodes([result], {})[0], expected)
    else:
        assert result.primitive is reduce.sum or uniform_value(result) is not None


def test_integer_sums_wrap_as_in_numpy() -> None:
    node = apply(reduce.sum, full(np.uint8(7), (3000,)), axes=(0,))
    result = simplify(Graph((), (node,))).outputs[0]
    assert uniform_value(result) == np.full(3000, 7, np.uint8).sum(dtype=np.uint8)


def test_empty_values_are_constants() -> None:
    x, e = input_node(f32(2, 3), "x"), input_node(f32(2, 0), "e")
    none = input_node(Type((2, 0), np.dtype(np.int32)), "none")
    outputs = (
        apply(elementwise.exp, e),
        apply(reduce.sum, e, axes=(1,)),
        apply(movement.pad, e, widths=((0, 0, 0), (1, 2, 0)), value=1.5),
        apply(movement.concatenate, e, x, e, axis=1),
        apply(contraction.matmul, e, apply(movement.transpose, e, axes=(1, 0))),
        *(apply(along.scatter_along, x, none, e, axis=1, mode=mode) for mode in ("max", "set")),
        e,
    )
    check(
        Graph((x, e, none), outputs),
        """
        graph(%x: f32[2,3], %e: f32[2,0], %none: i32[2,0]) {
          %0: f32[2,0] = constant [[], []]
          %1: f32[1] = constant [0.0]
          %2: f32[2] = broadcast_to(%1) shape=(2,)
          %3: f32[1,1] = constant [[1.5]]
          %4: f32[2,3] = broadcast_to(%3) shape=(2, 3)
          %5: f32[1,1] = constant [[0.0]]
          %6: f32[2,2] = broadcast_to(%5) shape=(2, 2)
          return %0, %2, %4, %x, %6, %x, %x, %e
        }
        """,
    )
