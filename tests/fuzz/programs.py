"""Kinds of random programs, the comparison of two runs, making a failing graph smaller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mynn.core import autodiff, interpreter
from mynn.core.graph import CONSTANT, INPUT, Graph, Node, apply, constant, input_node
from mynn.core.types import Array, Type
from mynn.ops import elementwise, reduce
from mynn.tensor import Tensor, graph_node, wrap
from mynn.trace import tracing
from tests.fuzz.generator import Generator, separated
from tests.fuzz.steps import grow

# Roundings of the largest number up to which a difference needs no reason.
ROUNDINGS = 200


@dataclass
class Program:
    """A graph with values for its inputs; `writes`: number of input -> number of output."""

    seed: int
    graph: Graph
    arguments: list[Array]
    writes: dict[int, int]

    def __str__(self) -> str:
        return f"seed {self.seed}, writes {self.writes}\n{self.graph}"


def plain(seed: int) -> Program:
    """A random graph with several outputs."""
    g = Generator(seed, np.float64 if seed % 4 == 3 else np.float32)
    grow(g, int(g.rng.integers(3, 40)))
    return Program(seed, g.graph(), g.arguments(), {})


def scalar_function(g: Generator) -> Node | None:
    """A sum of weighted nodes of the float dtype."""
    total = None
    floats = [node for node in g.nodes if node.dtype == g.dtype and node.type.size and node.inputs]
    for node in floats[-3:]:
        axes = tuple(range(len(node.shape)))
        weights = constant(g.draw(node.type) / max(node.type.size, 1))
        part = apply(reduce.sum, apply(elementwise.mul, node, weights), axes=axes)
        total = part if total is None else apply(elementwise.add, total, part)
    return total


def gradient(seed: int) -> Program | None:
    """The gradient of a random scalar function, or None where its value is not well defined."""
    g = Generator(seed, np.float64 if seed % 4 == 3 else np.float32)
    grow(g, int(g.rng.integers(3, 20)))
    loss = scalar_function(g)
    if loss is None:
        return None
    wanted = [node for node in g.inputs if node.dtype == g.dtype]
    with tracing.tracing() as trace:
        trace.first = -1  # the nodes so far are its own
        seed_value = Tensor.from_node(constant(np.ones((), g.dtype)))
        reached = autodiff.reverse({loss: seed_value}, wanted.__contains__, wrap)
        outputs = [loss]
        for node in wanted:
            outputs.append(graph_node(reached[node]) if node in reached else _zeros(node))
    graph = Graph(tuple(g.inputs), tuple(outputs))
    program = Program(seed, graph, g.arguments(), {})
    return program if is_well_defined(program) else None


def _zeros(node: Node) -> Node:
    return constant(np.zeros(node.shape, node.dtype))


def stateful(seed: int) -> Program:
    """A random graph some of whose outputs become the inputs of the next step."""
    g = Generator(seed, np.float64 if seed % 4 == 3 else np.float32)
    grow(g, int(g.rng.integers(3, 25)))
    outputs: list[Node] = [g.nodes[-1], g.pick(g.nodes)]
    writes = {}
    for place, node in enumerate(g.inputs):
        if g.chance(0.3) and len(g.inputs) > 1:
            continue
        same = [x for x in g.nodes if x.type == node.type and x is not node]
        new = g.pick(same) if same else node
        if node.dtype.kind == "f" and new is not node and g.chance(0.7):
            half = constant(np.full(node.shape, 0.5, node.dtype))
            new = apply(elementwise.mul, apply(elementwise.add, node, new), half)
        if new is not node:
            writes[place] = len(outputs)
            outputs.append(new)
    return Program(seed, Graph(tuple(g.inputs), tuple(outputs)), g.arguments(), writes)


def is_well_defined(program: Program) -> bool:
    """Whether every node's value is away from steps, so that rounding cannot change much."""
    values: dict[Node, Array] = dict(zip(program.graph.inputs, program.arguments, strict=True))
    fine = True

    def observe(node: Node, value: Array) -> None:
        nonlocal fine
        arguments = [values[x] if x in values else np.asarray(x.value) for x in node.inputs]
        values[node] = value
        fine = fine and separated(node, arguments, value)

    interpreter.evaluate(program.graph, program.arguments, observe)
    return fine


def interpret(program: Program, steps: int = 1) -> list[list[Array]]:
    """Outputs of each step through the interpreter, state carried along.

    It stops early where state has grown, or come close to a step, so far that rounding decides.
    """
    arguments = list(program.arguments)
    results: list[list[Array]] = []
    for _ in range(steps):
        now = Program(program.seed, program.graph, arguments, program.writes)
        if results and not is_well_defined(now):
            break
        outputs = interpreter.evaluate(program.graph, arguments)
        results.append(outputs)
        for place, output in program.writes.items():
            arguments[place] = outputs[output]
    return results


# -- comparison ------------------------------------------------------------------------------------


def widened(graph: Graph) -> Graph:
    """The same graph with float64 in place of float32."""
    new: dict[Node, Node] = {}

    def wide(dtype: Any) -> Any:
        return np.dtype(np.float64) if dtype == np.float32 else dtype

    for node in graph.nodes():
        if node.primitive is INPUT:
            new[node] = input_node(node.type.with_dtype(wide(node.dtype)), node.name)
        elif node.primitive is CONSTANT:
            new[node] = constant(np.asarray(node.value), wide(node.dtype))
        else:
            params = {
                key: widened(v) if isinstance(v, Graph) else wide(v) if key == "dtype" else v
                for key, v in node.params.items()
            }
            new[node] = apply(node.primitive, *(new[x] for x in node.inputs), **params)
    return Graph(tuple(new[x] for x in graph.inputs), tuple(new[x] for x in graph.outputs))


def differences(
    graph: Graph, arguments: Sequence[Array], got: Sequence[Array], expected: Sequence[Array]
) -> list[str]:
    """What is wrong with `got`; empty where it agrees with the interpreter to rounding.

    Float outputs that differ by more than usual are held against a float64 run: they may be off by
    a few times what the interpreter itself is off.
    """
    with np.errstate(all="ignore"):
        return _differences(graph, arguments, got, expected)


def _differences(
    graph: Graph, arguments: Sequence[Array], got: Sequence[Array], expected: Sequence[Array]
) -> list[str]:
    problems = []
    narrow = any(node.dtype == np.float32 for node in graph.nodes())
    rounding = float(np.finfo(np.float32 if narrow else np.float64).eps)
    exact: list[Array] | None = None
    for place, (a, b) in enumerate(zip(got, expected, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            problems.append(f"output {place}: {Type.of(a)} instead of {Type.of(b)}")
            continue
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                problems.append(f"output {place}: {_worst(a, b)}")
            continue
        size = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
        tolerance = ROUNDINGS * rounding * size
        if _distance(a, b) <= tolerance:
            continue
        if narrow:
            if exact is None:
                wide = widened(graph)
                values = [x.astype(n.dtype) for x, n in zip(arguments, wide.inputs, strict=True)]
                exact = interpreter.evaluate(wide, values)
            usual = _distance(b, exact[place])
            if np.isfinite(usual) and _distance(a, exact[place]) <= 20 * usual + tolerance:
                continue
        problems.append(f"output {place}: {_worst(a, b)}")
    return problems


def _distance(a: Array, b: Array) -> float:
    """The largest difference; equal infinities and NaN in both are none."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    off = np.where(same, 0, np.abs(a - b))
    return float(np.where(np.isnan(off), np.inf, off).max(initial=0))


def _worst(a: Array, b: Array) -> str:
    off = np.abs(a.astype(np.float64) - b.astype(np.float64))
    off = np.where(np.isnan(off), np.inf, off)
    where = np.unravel_index(int(off.argmax()), off.shape)
    wrong = int((off > 0).sum())
    index = tuple(int(i) for i in where)
    return f"{wrong} of {a.size} differ, most at {index}: {a[where]} instead of {b[where]}"


# -- making a failure smaller ----------------------------------------------------------------------


def shrink(program: Program, fails: Callable[[Program], bool]) -> Program:
    """A smaller program that still fails: fewer outputs, inner nodes replaced by inputs."""
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in _smaller(program):
            if fails(smaller):
                program, shrunk = smaller, True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Programs with one thing less: an output, a state, an inner node."""
    graph = program.graph
    for place in range(len(graph.outputs)):
        if len(graph.outputs) > 1:
            yield _without_output(program, place)
    for node in reversed(graph.nodes()):
        if node.primitive not in (INPUT, CONSTANT) and node not in graph.outputs:
            yield _cut(program, node)


def _without_output(program: Program, gone: int) -> Program:
    outputs = tuple(x for place, x in enumerate(program.graph.outputs) if place != gone)
    writes = {
        place: output - (output > gone)
        for place, output in program.writes.items()
        if output != gone
    }
    graph = Graph(program.graph.inputs, outputs)
    return _with_outputs(Program(program.seed, graph, program.arguments, writes), outputs)


def _with_outputs(program: Program, outputs: tuple[Node, ...]) -> Program:
    used = set(Graph((), outputs).nodes())
    keep = [
        place
        for place, node in enumerate(program.graph.inputs)
        if node in used or place in program.writes
    ]
    inputs = tuple(program.graph.inputs[place] for place in keep)
    writes = {keep.index(place): output for place, output in program.writes.items()}
    arguments = [program.arguments[place] for place in keep]
    return Program(program.seed, Graph(inputs, outputs), arguments, writes)


def _cut(program: Program, node: Node) -> Program:
    """The program with an input in place of `node`, bound to the value that the node had."""
    known = dict(zip(program.graph.inputs, program.arguments, strict=True))
    value = interpreter.evaluate_nodes([node], known)[0]
    placeholder = input_node(node.type, f"cut{len(program.arguments)}")
    new: dict[Node, Node] = {node: placeholder}
    for x in program.graph.nodes():
        if x not in new:
            inputs = tuple(new[i] for i in x.inputs)
            same = inputs == x.inputs
            new[x] = x if same else Node(x.primitive, inputs, x.params, x.type)
    graph = Graph(
        (*program.graph.inputs, placeholder), tuple(new[x] for x in program.graph.outputs)
    )
    cut = Program(program.seed, graph, [*program.arguments, np.array(value)], program.writes)
    return _with_outputs(cut, graph.outputs)
