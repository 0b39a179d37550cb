from __future__ import annotations

import dataclasses
import textwrap

import numpy as np
import pytest

from mynn.core import interpreter
from mynn.core.graph import (
    CONSTANT,
    Graph,
    Node,
    apply,
    constant,
    format_graph,
    input_node,
    topological,
    verify,
)
from mynn.core.rewrite import rewrite
from mynn.core.types import Type, supported
from mynn.errors import DTypeError, MynnError, ShapeError, VerifyError
from mynn.ops import PRIMITIVES, elementwise, movement, reduce
from tests.helpers import f32, graph_of


def test_types() -> None:
    kind = Type((2, 3), np.dtype(np.float32))
    assert str(kind) == "f32[2,3]"
    assert (kind.size, kind.nbytes) == (6, 24)
    assert str(kind.with_shape([4, np.int64(1)])) == "f32[4,1]"
    assert str(kind.with_dtype(bool)) == "bool[2,3]"
    assert str(Type.of(np.zeros((), np.int64))) == "i64[]"
    assert Type.of(np.zeros(3, ">f8")) == Type.of(np.zeros(3, "<f8"))
    assert len({kind, Type((2, 3), np.dtype("float32"))}) == 1


def test_unsupported_dtypes() -> None:
    for dtype in ("complex64", "float16", "object", "U3"):
        with pytest.raises(DTypeError, match=r"use one of float32.*astype"):
            supported(np.dtype(dtype))


def test_print() -> None:
    graph = graph_of(
        lambda x, y: ((x + y).sum(0, keepdims=True) * 2, (x < y).choose(x, 0)), f32(2, 3), f32(2, 3)
    )
    expected = """
        graph(%x: f32[2,3], %y: f32[2,3]) {
          %0: f32[2,3] = add(%x, %y)
          %1: f32[3] = sum(%0) axes=(0,)
          %2: f32[1,3] = reshape(%1) shape=(1, 3)
          %3: f32[] = constant 2.0
          %4: f32[1,1] = reshape(%3) shape=(1, 1)
          %5: f32[1,3] = broadcast_to(%4) shape=(1, 3)
          %6: f32[1,3] = mul(%2, %5)
          %7: bool[2,3] = less(%x, %y)
          %8: f32[] = constant 0.0
          %9: f32[1,1] = reshape(%8) shape=(1, 1)
          %10: f32[2,3] = broadcast_to(%9) shape=(2, 3)
          %11: f32[2,3] = where(%7, %x, %10)
          return %6, %11
        }
    """
    assert format_graph(graph) == textwrap.dedent(expected).strip()
    assert str(graph) == format_graph(graph)


def test_names_in_print_are_unique() -> None:
    a, b = input_node(f32(), "x"), input_node(f32(), "x")
    text = format_graph(Graph((a, b), (apply(elementwise.add, a, b),)))
    assert text.count("%x:") == 1
    assert "add(%x, %x." in text


def test_verify_accepts_good_graphs() -> None:
    verify(graph_of(lambda x: x.tanh() @ x.T, f32(2, 3)))


def test_verify_finds_faults() -> None:
    x, y = input_node(f32(3), "x"), input_node(f32(3), "y")
    total = apply(elementwise.add, x, y)
    with pytest.raises(VerifyError, match="input 'y' is used but not declared"):
        verify(Graph((x,), (total,)))
    with pytest.raises(VerifyError, match="declared twice"):
        verify(Graph((x, x), (x,)))
    wrong = Node(elementwise.add, (x, x), {}, f32(4))
    with pytest.raises(VerifyError, match=r"has type f32\[4\], its shape rule says f32\[3\]"):
        verify(Graph((x,), (wrong,)))
    empty = Node(CONSTANT, (), {}, f32(3))
    with pytest.raises(VerifyError, match="does not hold a value"):
        verify(Graph((), (empty,)))
    mismatched = Node(CONSTANT, (), {}, f32(3), np.zeros(3))
    with pytest.raises(VerifyError, match="does not hold a value of its type"):
        verify(Graph((), (mismatched,)))
    nested = Node(elementwise.add, (x, input_node(f32(2), "x")), {}, f32(3))
    with pytest.raises(MynnError):
        verify(Graph((x,), (nested,)))


def test_apply_checks_types() -> None:
    x, y = input_node(f32(3)), input_node(f32(2))
    with pytest.raises(ShapeError, match=r"add: shapes \(3,\) and \(2,\) differ"):
        apply(elementwise.add, x, y)
    with pytest.raises(DTypeError, match="add: dtypes float32 and float64 differ"):
        apply(elementwise.add, x, input_node(Type((3,), np.dtype(np.float64))))


def test_nodes_are_in_topological_order() -> None:
    graph = graph_of(lambda x, y: (x * y + x).tanh() * (x * y), f32(3), f32(3))
    seen = set()
    for node in graph.nodes():
        assert all(x in seen for x in node.inputs)
        assert node not in seen
        seen.add(node)
    assert graph.nodes()[:2] == list(graph.inputs)


def test_deep_graphs_do_not_recurse() -> None:
    node = x = input_node(f32(), "x")
    for _ in range(20_000):
        node = apply(elementwise.neg, node)
    assert len(topological([node])) == 20_001
    assert interpreter.evaluate(Graph((x,), (node,)), [np.float32(3)])[0] == 3
    graph = Graph((x,), (node,))
    assert rewrite(graph, lambda node: None) is graph


def test_topological_stops() -> None:
    x = input_node(f32(), "x")
    y = apply(elementwise.neg, x)
    z = apply(elementwise.neg, y)
    assert topological([z], stop=lambda node: node is y) == [y, z]


def test_constants_are_read_only_copies() -> None:
    array = np.ones(3)
    node = constant(array)
    array[:] = 2
    assert node.value is not None
    assert node.value.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        node.value[0] = 5
    assert constant(1, np.float32).dtype == np.float32


def test_primitives_are_frozen_and_print_their_name() -> None:
    field = "name"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(elementwise.add, field, "plus")
    assert repr(elementwise.add) == "add"
    assert len({p.name for p in PRIMITIVES}) == len(set(PRIMITIVES))


# -- interpreter -----------------------------------------------------------------------------------


def test_interpreter_checks_its_arguments() -> None:
    graph = graph_of(lambda x: x * 2, f32(3))
    with pytest.raises(ShapeError, match="the graph has 1 inputs, 0 values were given"):
        interpreter.evaluate(graph, [])
    with pytest.raises(ShapeError, match=r"input 'x' must be f32\[3\], it was given f64\[3\]"):
        interpreter.evaluate(graph, [np.ones(3)])
    with pytest.raises(ShapeError, match="no value was given for input 'x'"):
        interpreter.evaluate_nodes(graph.outputs, {})


def test_interpreter_observes_every_node_once() -> None:
    graph = graph_of(lambda x: (x.exp() + x.exp()).sum(), f32(3))
    seen: list[str] = []
    interpreter.evaluate(
        graph, [np.zeros(3, np.float32)], lambda node, value: seen.append(node.primitive.name)
    )
    assert seen == ["exp", "exp", "add", "sum"]


def test_interpreter_can_be_cut() -> None:
    x = input_node(f32(3), "x")
    y = apply(elementwise.exp, x)
    z = apply(reduce.sum, y, axes=(0,))
    assert interpreter.evaluate_nodes([z], {y: np.ones(3, np.float32)})[0] == 3


def test_interpreter_is_silent_about_nan() -> None:
    graph = graph_of(lambda x: (x.log(), 1 / x, (x - 1).sqrt()), f32(2))
    values = interpreter.evaluate(graph, [np.array([0.0, -1.0], np.float32)])
    assert values[0][0] == -np.inf
    assert np.isnan(values[0][1])
    assert values[1][0] == np.inf


def test_pad_values_must_fit_the_dtype() -> None:
    for dtype, value in (("uint8", -1), ("int32", 0.5), ("bool", 2), ("uint8", 256)):
        node = input_node(Type((3,), np.dtype(dtype)))
        with pytest.raises(DTypeError, match=f"pad: the value {value} is no {dtype}"):
            apply(movement.pad, node, widths=((1, 1, 0),), value=value)
