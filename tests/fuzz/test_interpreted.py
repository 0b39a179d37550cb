"""Random graphs without native code: the simplifier and the gradients against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.core import interpreter
from mynn.core.graph import Graph, verify
from mynn.ops import PRIMITIVES, attention, elementwise, fused, gather
from tests.compiler.graph.simplification import simplify
from tests.fuzz.programs import differences, gradient, plain
from tests.helpers import same_bits

BLOCK = 50
PRODUCTS = ("matmul", "contract", "conv")


def test_seeds_reproduce() -> None:
    for seed in range(10):
        first, second = plain(seed), plain(seed)
        assert str(first) == str(second)
        for a, b in zip(first.arguments, second.arguments, strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_primitive_occurs() -> None:
    """But those that stand for a graph that occurs; they have tables of cases of their own."""
    whole = (*fused.PRIMITIVES, *attention.PRIMITIVES)
    missing = {p for p in PRIMITIVES if p not in whole}
    for seed in range(2000):
        missing -= {node.primitive for node in plain(seed).graph.nodes()}
        if not missing:
            break
    assert [p.name for p in missing] == []


@pytest.mark.one_in(3)
@pytest.mark.parametrize("block", range(6))
def test_simplified_graphs_mean_the_same(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        program = plain(seed) if seed % 3 else gradient(seed) or plain(seed)
        simpler = simplify(program.graph)
        verify(simpler)
        assert simplify(simpler) is simpler
        nodes = program.graph.nodes()
        written_out = 16 * sum(node.primitive.expand is not None for node in nodes)
        picked = 3 * sum(node.primitive is gather.first_equal for node in simpler.nodes())
        assert len(simpler.nodes()) <= len(nodes) + 2 + written_out + picked
        expected = interpreter.evaluate(program.graph, program.arguments)
        got = interpreter.evaluate(simpler, program.arguments)
        # Products, and sums of what was transposed, may meet operands in another memory order,
        # which changes the order in which they are added up.
        names = {node.primitive.name for node in nodes}
        if names & {*PRODUCTS} or {"sum", "transpose"} <= names:
            assert not differences(program.graph, program.arguments, got, expected), program
        else:
            assert all(map(same_bits, got, expected)), program


@pytest.mark.one_in(3)
@pytest.mark.parametrize("block", range(6))
def test_gradients_match_finite_differences(block: int) -> None:
    checked = 0
    for seed in range(block * 100 + 3, (block + 1) * 100 + 3, 4):
        program = gradient(seed)
        if program is None:
            continue
        checked += _check_gradient(program.graph, program.arguments, seed)
    assert checked >= 5


def _check_gradient(graph: Graph, arguments: list[np.ndarray], seed: int) -> bool:
    """Float64 only; skipped where the function has a kink within the step, or hides its slope."""
    if any(node.primitive is elementwise.stop_gradient for node in graph.nodes()):
        return False
    rng = np.random.default_rng(seed)
    loss = Graph(graph.inputs, graph.outputs[:1])
    gradients = interpreter.evaluate(graph, arguments)[1:]
    floats = [i for i, x in enumerate(arguments) if x.dtype == np.float64]
    direction = {i: np.asarray(rng.normal(size=arguments[i].shape)) for i in floats}
    step = 1e-6
    ends = []
    for moves in (-step, 0.0, step):
        moved = [x + moves * direction[i] if i in direction else x for i, x in enumerate(arguments)]
        ends.append(interpreter.evaluate(loss, moved)[0].item())
    before, after = (ends[1] - ends[0]) / step, (ends[2] - ends[1]) / step
    if abs(before - after) > 1e-5 * (1 + abs(before)):
        return False
    slope = sum((g * direction[i]).sum() for i, g in zip(floats, gradients, strict=True))
    assert slope == pytest.approx((before + after) / 2, rel=1e-5, abs=1e-5), f"seed {seed}\n{graph}"
    return True
