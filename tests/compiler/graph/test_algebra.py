"""Rules that replace a node by what it amounts to, with the other passes around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.compiler.graph.algebra import algebraic
from mynn.compiler.graph.uniform import full, uniform_value
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.types import Type
from mynn.ops import elementwise, movement
from mynn.tensor import Tensor
from tests.compiler.graph.simplification import check, ones, simplify
from tests.helpers import f32, graph_of, same_bits


def test_neutral_elements_are_seen_through_broadcasts() -> None:
    x = input_node(f32(4, 3), "x")
    y = apply(elementwise.mul, x, ones(x))
    y = apply(elementwise.add, ones(x, 0), y)
    y = apply(elementwise.sub, y, ones(x, -0.0))
    y = apply(elementwise.div, y, ones(x))
    y = apply(elementwise.pow, y, ones(x))
    check(
        Graph((x,), (apply(elementwise.tanh, y),)),
        """
        graph(%x: f32[4,3]) {
          %0: f32[4,3] = tanh(%x)
          return %0
        }
        """,
    )


def test_nothing_is_assumed_about_nan_and_infinity() -> None:
    graph = graph_of(lambda x: (x * 0, x - x, x / x, x * 0.1 * 10), f32(3))
    simpler = simplify(graph)
    bad = [np.array([np.nan, np.inf, 1], np.float32)]
    before = interpreter.evaluate(graph, bad)
    after = interpreter.evaluate(simpler, bad)
    assert all(map(same_bits, before, after))
    assert np.isnan(after[0][:2]).all()


def test_division_by_a_power_of_two_is_a_product() -> None:
    check(
        graph_of(lambda x: (x / 4, x / 3), f32(3)),
        """
        graph(%x: f32[3]) {
          %0: f32[1] = constant [0.25]
          %1: f32[3] = broadcast_to(%0) shape=(3,)
          %2: f32[3] = mul(%x, %1)
          %3: f32[1] = constant [3.0]
          %4: f32[3] = broadcast_to(%3) shape=(3,)
          %5: f32[3] = div(%x, %4)
          return %2, %5
        }
        """,
    )


def test_movement_chains_collapse() -> None:
    def chain(x: Any) -> Any:
        y = x.permute((2, 0, 1)).permute((1, 2, 0))
        y = y.reshape(4, 6).reshape(24).reshape(3, 8)
        y = y.flip((0,)).flip((0,))
        y = y[:, :].pad(((0, 0), (0, 0)))
        return y.reshape(2, 3, 4) * x

    check(
        graph_of(chain, f32(2, 3, 4)),
        """
        graph(%x: f32[2,3,4]) {
          %0: f32[2,3,4] = mul(%x, %x)
          return %0
        }
        """,
    )


def test_transposes_compose() -> None:
    check(
        graph_of(lambda x: x.permute((2, 0, 1)).permute((2, 0, 1)), f32(2, 3, 4)),
        """
        graph(%x: f32[2,3,4]) {
          %0: f32[3,4,2] = transpose(%x) axes=(1, 2, 0)
          return %0
        }
        """,
    )


def test_reductions_over_extent_one_are_reshapes() -> None:
    check(
        graph_of(lambda x: (x.sum(0), x.amax((0, 2)), x.amin(0, keepdims=True)), f32(1, 3, 1)),
        """
        graph(%x: f32[1,3,1]) {
          %0: f32[3,1] = reshape(%x) shape=(3, 1)
          %1: f32[3] = reshape(%x) shape=(3,)
          return %0, %1, %x
        }
        """,
    )


def test_signs() -> None:
    check(
        graph_of(
            lambda x, y: (x.__neg__().__neg__(), x + -y, -x + y, x - -y, x * -1), f32(3), f32(3)
        ),
        """
        graph(%x: f32[3], %y: f32[3]) {
          %0: f32[3] = sub(%x, %y)
          %1: f32[3] = sub(%y, %x)
          %2: f32[3] = add(%x, %y)
          %3: f32[3] = neg(%x)
          return %x, %0, %1, %2, %3
        }
        """,
    )


def test_gradient_of_half_a_square_is_the_value() -> None:
    check(
        graph_of(lambda x: x * 0.5 + x * 0.5, f32(3)),
        """
        graph(%x: f32[3]) {
          return %x
        }
        """,
    )


def test_where() -> None:
    def choose(x: Any, y: Any) -> Any:
        true = Tensor(np.ones((1,), bool)).broadcast_to((3,))
        condition = x < y
        return (
            true.choose(x, y),
            (~true).choose(x, y),
            condition.choose(x, x),
            (~condition).choose(x, y),
        )

    check(
        graph_of(choose, f32(3), f32(3)),
        """
        graph(%x: f32[3], %y: f32[3]) {
          %0: bool[3] = less(%x, %y)
          %1: f32[3] = where(%0, %y, %x)
          return %x, %y, %x, %1
        }
        """,
    )


@pytest.mark.parametrize(
    ("source", "via", "target", "gone"),
    [
        ("float32", "float64", "float32", True),
        ("float32", "float64", "int32", True),
        ("bool", "float32", "bool", True),
        ("int32", "float64", "int32", True),
        ("uint8", "float32", "int64", True),
        ("float64", "float32", "float64", False),
        ("int32", "float32", "int32", False),
        ("int64", "float64", "int64", False),
        ("float32", "int32", "float32", False),
        ("int32", "uint8", "int64", False),
        ("int32", "uint32", "int64", False),
    ],
)
def test_casts_merge_where_lossless(source: str, via: str, target: str, gone: bool) -> None:
    graph = graph_of(lambda x: x.astype(via).astype(target), Type((3,), np.dtype(source)))
    output = simplify(graph).outputs[0]
    casts = 0
    while output.primitive is elementwise.cast:
        casts += 1
        output = output.inputs[0]
    assert casts == ((source != target) if gone else 2)


def test_inputs_and_outputs_keep_their_order() -> None:
    x, unused, z = input_node(f32(3), "x"), input_node(f32(2), "unused"), input_node(f32(3), "z")
    outputs = (
        apply(elementwise.mul, z, ones(z)),
        apply(elementwise.neg, apply(elementwise.neg, x)),
        apply(elementwise.add, ones(x), ones(x)),
        z,
    )
    simpler = simplify(Graph((x, unused, z), outputs))
    assert simpler.inputs == (x, unused, z)
    assert simpler.outputs[0] is z
    assert simpler.outputs[1] is x
    assert uniform_value(simpler.outputs[2]) == 2
    assert simpler.outputs[3] is z
    assert [node.type for node in simpler.outputs] == [node.type for node in outputs]


def test_dead_code_is_gone() -> None:
    graph = graph_of(lambda x: (x.exp() * 2 + 1) * x, f32(3))
    x = graph.inputs[0]
    where = apply(
        elementwise.where, full(np.asarray(True), (3,)), x, apply(elementwise.exp, graph.outputs[0])
    )
    assert simplify(Graph((x,), (where,))).nodes() == [x]


def test_all_parts_put_together_are_the_value() -> None:
    x = input_node(Type.of(np.zeros((2, 6, 4), np.float32)))

    def part(start: int, stop: int) -> Node:
        params = {"starts": (0, start, 0), "stops": (2, stop, 4), "steps": (1, 1, 1)}
        return apply(movement.slice_, x, **params)

    whole = apply(movement.concatenate, part(0, 2), part(2, 6), axis=1)
    assert algebraic(Graph((x,), (whole,))).outputs[0] is x
    apart = [apply(movement.reshape, part(i, i + 2), shape=(2, 1, 2, 4)) for i in (0, 2, 4)]
    pairs = apply(movement.concatenate, *apart, axis=1)
    found = algebraic(Graph((x,), (pairs,))).outputs[0]
    assert found.primitive is movement.reshape
    assert found.inputs == (x,)
    for order in ([part(2, 6), part(0, 2)], [part(0, 3), part(2, 5)], [part(0, 2), part(2, 5)]):
        other = apply(movement.concatenate, *order, axis=1)
        assert algebraic(Graph((x,), (other,))).outputs[0].primitive is movement.concatenate
