"""Each pass over the graph alone: on random graphs, the interpreter gives the same behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mynn.compiler.graph.algebra import algebraic
from mynn.compiler.graph.contraction_dims import Kind, choose_strategy, is_contraction
from mynn.compiler.graph.cse import cse
from mynn.compiler.graph.decompose import decompose
from mynn.compiler.graph.fold import fold
from mynn.compiler.graph.index_map import view_of
from mynn.compiler.graph.layout import layouts_of
from mynn.compiler.graph.multiply_add import fuse_multiply_adds
from mynn.compiler.graph.pack_operands import insert_packing, is_copy
from mynn.compiler.graph.split_k import split_k
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Composite
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, next_serial, verify
from mynn.functional.control import scan
from mynn.ops import contraction, control, fused
from tests.compiler.graph.simplification import simplify
from tests.compiler.harness import Case
from tests.fuzz.programs import Program, differences, gradient, plain
from tests.helpers import assert_close, f32, graph_of, random_arrays, same_bits

SEEDS = 60


def pack(graph: Graph) -> Graph:
    copies = filter(is_copy, graph.nodes())
    return insert_packing(graph, layouts_of({}, [*copies, *graph.outputs]))


# What the pass expects to have been done, the pass, and whether bits stay as they are.
PASSES: dict[str, tuple[Callable[[Graph], Graph], Callable[[Graph], Graph], bool]] = {
    "decompose": (lambda graph: graph, decompose, False),
    "fold": (decompose, fold, True),
    "algebra": (decompose, algebraic, True),
    "cse": (decompose, cse, True),
    "multiply_add": (simplify, fuse_multiply_adds, False),
    "pack_operands": (simplify, pack, False),
    "split_k": (simplify, split_k, False),
}


def programs() -> Iterator[Program]:
    for seed in range(SEEDS):
        program = plain(seed) if seed % 3 else gradient(seed)
        if program is not None:
            yield program


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", PASSES)
def test_a_pass_keeps_the_meaning(name: str) -> None:
    before, run, exact = PASSES[name]
    changed = 0
    for program in programs():
        graph = before(program.graph)
        after = run(graph)
        verify(after)
        assert after.inputs == graph.inputs
        assert [node.type for node in after.outputs] == [node.type for node in graph.outputs]
        if after is graph:
            continue
        changed += 1
        expected = interpreter.evaluate(graph, program.arguments)
        got = interpreter.evaluate(after, program.arguments)
        if exact and not any(map(is_contraction, graph.nodes())):
            assert all(map(same_bits, got, expected)), program
        else:
            assert not differences(program.graph, program.arguments, got, expected), program
    assert changed or name in ("pack_operands", "split_k")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", PASSES)
def test_a_pass_finds_nothing_a_second_time(name: str) -> None:
    before, run, _ = PASSES[name]
    for program in programs():
        after = run(before(program.graph))
        # Algebra and folding make work for each other.
        if name not in ("algebra", "fold"):
            assert len(run(after).nodes()) == len(after.nodes()), program


@pytest.mark.parametrize("name", [name for name in PASSES if name not in ("multiply_add",)])
def test_nothing_to_do_gives_the_same_graph(name: str) -> None:
    graph = graph_of(lambda x, y: (x @ y).tanh(), f32(2, 3), f32(3, 4))
    assert PASSES[name][1](graph) is graph


def test_composites_are_gone() -> None:
    for program in programs():
        nodes = decompose(program.graph).nodes()
        assert not any(isinstance(rule_of(node), Composite) for node in nodes)


def test_rounds_make_few_nodes() -> None:
    """The passes look at a node a few times, however deep the graph is."""

    def deep(x: Any) -> Any:
        for _ in range(30):
            x = ((x * 1 + 0) @ (x.T.T * 0.5)).tanh() / 2
            x = x.reshape(-1).reshape(8, 8) - (1 - x * x)
        return x

    graph = graph_of(deep, f32(8, 8))
    assert len(graph.nodes()) > 300
    start = next_serial()
    simplify(graph)
    assert next_serial() - start < 5 * len(graph.nodes())


def test_operands_that_lie_the_wrong_way_are_copied_once() -> None:
    """Of a long sum with many rows and columns, where both operands lie along it."""

    def function(x: Any, w: Any) -> tuple[Any, Any]:
        return x @ w.T, (x * 2) @ w.T

    graph = simplify(graph_of(function, f32(64, 700), f32(48, 700)))
    packed = pack(graph)
    copies = [node for node in packed.nodes() if is_copy(node)]
    assert len(copies) == 1
    layouts = layouts_of({}, [*copies, *packed.outputs])
    for node in packed.nodes():
        if is_contraction(node):
            a, b = (view_of(x, layouts.strides, borders=False) for x in node.inputs)
            assert choose_strategy(node, a.strides, b.strides).kind is not Kind.PACK


def test_rows_that_would_collide_lie_further_apart_in_loops() -> None:
    """A table that all steps of a loop read is copied, if need be, with a line between its rows."""

    def loop(h: Any, w: Any) -> Any:
        return scan(lambda h, _: ((h @ w)[:, :32].tanh(), None), h, None, length=3)[0]

    for columns, pitch in ((512, 528), (256, 272), (250, 272), (320, 320)):
        for weight, turned in ((f32(32, columns), False), (f32(columns, 32), True)):
            graph = graph_of(lambda h, w, t=turned: loop(h, w.T if t else w), f32(4, 32), weight)
            case = Case(graph)
            (node,) = (n for n in case.lowered.graph.nodes() if n.primitive is control.scan)
            table = case.lowered.plan.places[node.inputs[-1]]
            assert table.strides == (pitch, 1)
            arrays = random_arrays(graph)
            assert_close(case.native(arrays), case.interpreted(arrays), 4)


def test_products_that_one_sum_reads_are_left_unrounded() -> None:
    graph = fuse_multiply_adds(simplify(graph_of(lambda x, y: (x * y).sum(), f32(8), f32(8))))
    assert any(node.primitive is fused.mul_unrounded for node in graph.nodes())


def test_long_contractions_are_split() -> None:
    """Over two axes, of many terms and few results."""

    def function(x: Any, y: Any) -> Any:
        return x.contract(y, 0, 2)

    graph = split_k(graph_of(function, f32(8, 64, 1024), f32(64, 1024, 4)))
    found: list[Node] = [n for n in graph.nodes() if n.primitive is contraction.contract]
    assert [node.params["batch"] for node in found] == [1]
    assert np.prod(found[0].shape) == 4 * 8 * 4
