"""Every kind of schedule: the loop IR by its evaluator, and native code, against the interpreter.

Sizes lie around those of vectors and tiles, for machines with vectors of 16, 32 and 64 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mynn import functional
from mynn.compiler import pipeline
from mynn.compiler.codegen.memory import MOST_STEPS
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import For, Kernel, Statement
from mynn.compiler.memory import plan
from mynn.core.graph import Graph, Node
from mynn.core.types import Shape, Type
from mynn.target.target import Target, host
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler import harness
from tests.compiler.graph.rewriting import with_indices
from tests.compiler.harness import Case, dense, layout
from tests.helpers import assert_close, f32, graph_of, random_arrays
from tests.subset import is_whole

# Around 1, half a vector, a vector, two vectors of 64 bytes; primes.
EDGES = (1, 2, 3, 5, 7, 13, 15, 16, 17, 31, 32, 33)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Compiles cases for narrower vectors and fewer registers."""

    def use(vector_bytes: int, registers: int) -> None:
        fake = replace(host(), vector_bytes=vector_bytes, vector_registers=registers)
        monkeypatch.setattr(harness, "default_target", lambda: fake)

    return use


def f64(*shape: int) -> Type:
    return Type(shape, np.dtype(np.float64))


def i64(*shape: int) -> Type:
    return Type(shape, np.dtype(np.int64))


def check(case: Case, evaluate: bool = True, scale: float = 1.0) -> None:
    """The three ways agree on random arguments."""
    arguments = random_arrays(case.graph)
    expected = case.interpreted(arguments)
    if evaluate:
        assert_close(case.evaluated(arguments), expected, scale, "evaluated")
    assert_close(case.native(arguments), expected, scale, "native")


def text(case: Case) -> str:
    return "\n".join(map(format_kernel, case.lowered.kernels))


# -- kinds of schedule: the graph for a size n, and a mark that shows that it was used -------------


@dataclass(frozen=True)
class Kind:
    """A graph for a size, what must stand in its loop IR at size 17, and orders of inputs."""

    function: Callable[..., Any]
    types: Callable[[int], tuple[Type, ...]]
    mark: str
    orders: tuple[tuple[int, ...] | None, ...] = ()

    def case(self, n: int, target: Target | None = None) -> Case:
        graph = graph_of(self.function, *self.types(n))
        layouts = {
            node: layout(node, order)
            for node, order in zip(graph.inputs, self.orders, strict=False)
            if order is not None
        }
        return Case(graph, layouts=layouts, target=target or harness.default_target())


def long_epilogue(x: Tensor, w: Tensor) -> Tensor:
    y = (x @ w).tanh()
    return y * (1.0 - y) + y.exp()


def grad_of_convolution(x: Tensor, w: Tensor) -> Tensor:
    y = functional.conv2d(x, w, padding=1)
    gradient: Tensor = grad(lambda w: (functional.conv2d(x, w, padding=1) * y).sum())(w)
    return gradient


KINDS: dict[str, Kind] = {
    "map": Kind(lambda x, y: x * y + 1.0, lambda n: (f32(3, n), f32(3, n)), "fma|mul"),
    "map of a vector": Kind(lambda x: x * 2.0, lambda n: (f32(n),), "mul"),
    "map of broadcast": Kind(
        lambda x, y, z: x * y - z, lambda n: (f32(n, 5), f32(5), f32(n, 1)), "fma"
    ),
    "map, two outputs": Kind(lambda x: (x + 1.0, (x + 1.0) * x), lambda n: (f32(n, 3),), "mul"),
    "map of slices": Kind(
        lambda x: x[1::2, ::-1] + x[:-1:2], lambda n: (f32(6, n),), r"add\(t\d+, t\d+\)"
    ),
    "map of a reshape": Kind(
        lambda x: x.reshape(-1, 3) + 1.0, lambda n: (f32(3, n),), r"remainder"
    ),
    "concatenate and pad": Kind(
        lambda x, y: functional.concatenate([x, y], axis=1).pad(((1, 0), (0, 2)), 5.0),
        lambda n: (f32(2, n), f32(2, 3)),
        "where",
    ),
    "take": Kind(
        lambda x, i: x.gather_rows(i, clip=True), lambda n: (f32(n, 3), i64(4)), "maximum"
    ),
    "transposition": Kind(lambda x: x.T + 0.5, lambda n: (f32(n, n),), "local tile"),
    "transposition beside an axis": Kind(
        lambda x: x.permute(0, 2, 1) * 2.0, lambda n: (f32(2, 5, n),), "local tile"
    ),
    "transposition of axes before they are merged": Kind(
        lambda x: x.reshape(x.shape[0], -1),
        lambda n: (f32(2, 9, n, 3),),
        "local tile",
        ((0, 2, 3, 1),),
    ),
    "transposition of what is computed before it is merged": Kind(
        lambda x, b: (x.permute(0, 3, 1, 2) + b).relu().reshape(x.shape[0], -1),
        lambda n: (f32(2, n, 3, 9), f32(9, 1, 1)),
        "local tile",
    ),
    "transposition of all axes before they are merged": Kind(
        lambda x: x.reshape(-1), lambda n: (f64(n, 3, 9),), "local tile", ((1, 2, 0),)
    ),
    "transposition of axes of 4 before they are merged": Kind(
        lambda x: x.reshape(-1, 4 * x.shape[2]),
        lambda n: (f32(3, 4, n),),
        "local tile",
        ((0, 2, 1),),
    ),
    "transposition of float64": Kind(lambda x: x.T + 0.5, lambda n: (f64(n, 9),), "local tile"),
    "sum across": Kind(lambda x: x.sum(1), lambda n: (f32(3, n),), r"reduce_add acc"),
    "sum along": Kind(lambda x: x.sum(0), lambda n: (f32(19, n),), r"acc\d+\[v\d+\] = add"),
    "sum of a few": Kind(lambda x: x.sum(0), lambda n: (f32(3, n),), r"let t\d+ = add\(t"),
    "a few of integers": Kind(lambda x: x.amax(0) + x.amin(0), lambda n: (i64(4, n),), "minimum"),
    "sum of all": Kind(lambda x: x.sum(), lambda n: (f32(n, 5),), r"reduce_add acc"),
    "max across": Kind(lambda x: x.amax(1), lambda n: (f32(3, n),), "reduce_max"),
    "min along": Kind(lambda x: x.amin(0), lambda n: (f32(3, n),), "minimum"),
    "sum of integers": Kind(lambda x: x.sum(1), lambda n: (i64(3, n),), "reduce_add"),
    "sum of the middle": Kind(lambda x: x.sum(1), lambda n: (f32(2, n, 3),), "acc"),
    "sum with epilogue": Kind(
        lambda x, y: (x * x).sum(1) * y + 1.0, lambda n: (f32(n, 4), f32(n)), "reduce_add|acc"
    ),
    "softmax": Kind(lambda x: functional.softmax(x, 1), lambda n: (f32(3, n),), "exp"),
    "argmax": Kind(lambda x: x.argmax(1), lambda n: (f32(3, n),), "local where"),
    "argmax along": Kind(lambda x: x.argmax(0), lambda n: (f32(n, 3),), "local best"),
    "scatter": Kind(
        lambda x, i: x.scatter_rows(i, 0, 5, clip=True), lambda n: (f32(n, 3), i64(n)), "minimum"
    ),
    "scatter and map": Kind(
        lambda x, i: x.scatter_rows(i, 0, 5, clip=True) * 2.0 + 1.0,
        lambda n: (f32(n), i64(n)),
        "minimum",
    ),
    "matmul by columns": Kind(lambda x, w: x @ w, lambda n: (f32(3, 4), f32(4, n)), "fma"),
    "matmul, many rows": Kind(lambda x, w: x @ w, lambda n: (f32(n, 3), f32(3, 5)), "fma"),
    "matmul, long sum": Kind(lambda x, w: x @ w, lambda n: (f32(2, n), f32(n, 3)), "fma"),
    "matmul of float64": Kind(lambda x, w: x @ w, lambda n: (f64(3, 4), f64(4, n)), "fma"),
    "matmul by rows": Kind(
        lambda x, w: x.T @ w.T, lambda n: (f32(3, n), f32(7, 3)), r"fma\(a\d+, w"
    ),
    "matmul, weight gradient": Kind(
        lambda x, g: x.T @ g, lambda n: (f32(3, n), f32(3, 4)), r"fma\(a\d+, w"
    ),
    "matmul by dots": Kind(
        lambda x, w: x @ w.T, lambda n: (f32(2, n), f32(5, n)), "reduce_add acc"
    ),
    "matmul by dots, columns": Kind(
        lambda x, w: x @ w.T, lambda n: (f32(1, 9), f32(n, 9)), "reduce_add acc"
    ),
    "matmul by dots of rows": Kind(
        lambda x, w: x @ w, lambda n: (f32(n, 6), f32(6, 1)), "reduce_add acc"
    ),
    "matmul, one column by rows": Kind(
        lambda x, w: x.T @ w, lambda n: (f32(6, n), f32(6, 1)), r"fma\(a\d+, w"
    ),
    "matmul, packed": Kind(lambda x, w: x @ w.T, lambda n: (f32(8, 3), f32(n, 3)), r"local square"),
    "matmul, copied": Kind(
        lambda x, w: x @ w.T, lambda n: (f32(8, 520), f32(n, 520)), r"# stop_gradient"
    ),
    "matmul, input-major weight": Kind(
        lambda x, w: x @ w.T, lambda n: (f32(8, 3), f32(n, 3)), r"fma\(a\d+, w", (None, (1, 0))
    ),
    "matmul of batches": Kind(
        lambda x, y: x @ y, lambda n: (f32(2, 3, 4), f32(2, 4, n)), r"for b\d+ in 2"
    ),
    "matmul of a broadcast batch": Kind(
        lambda x, y: x @ y, lambda n: (f32(2, 1, 3, 4), f32(3, 4, n)), r"for b\d+ in 3"
    ),
    "long epilogue": Kind(
        long_epilogue, lambda n: (f32(5, 4), f32(4, n)), r"local tile\d+: f32\[\d+\] scratch"
    ),
    "long epilogue by rows": Kind(
        lambda x, w: long_epilogue(x.T, w.T),
        lambda n: (f32(3, n), f32(7, 3)),
        r"local tile\d+: f32\[\d+\] scratch",
    ),
    "bias and relu": Kind(
        lambda x, w, b: (x @ w + b).relu(), lambda n: (f32(4, 3), f32(3, n), f32(n)), "relu"
    ),
    "convolution": Kind(
        lambda x, w, b: functional.conv2d(x, w, b, padding=1),
        lambda n: (f32(2, 3, 4, n), f32(5, 3, 3, 3), f32(5)),
        r"fma\(a\d+, w",
    ),
    "convolution of groups": Kind(
        lambda x, w: functional.conv1d(x, w, stride=2, groups=2).relu(),
        lambda n: (f32(2, 4, n + 3), f32(6, 2, 3)),
        "relu|maximum",
    ),
    "weight gradient of a convolution": Kind(
        grad_of_convolution, lambda n: (f32(2, 3, 3, n), f32(4, 3, 2, 2)), "fma"
    ),
    "pooling": Kind(
        lambda x: functional.max_pool2d(x, 2), lambda n: (f32(2, 3, 4, n + 1),), "maximum"
    ),
    "bits": Kind(lambda x: (x > 0) & (x < 1), lambda n: (f32(3, n),), "bitwise_and"),
    "bytes": Kind(
        lambda x: x + x, lambda n: (Type((3, n), np.dtype(np.uint8)),), r"out\.\d+\[.*\] = t"
    ),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", KINDS)
def test_kind(name: str) -> None:
    """All ways of running agree at every edge; the schedule is the one that is meant."""
    kind = KINDS[name]
    assert re.search(kind.mark, text(kind.case(17))), text(kind.case(17))
    for n in (1, 3, 7, 15, 16, 17, 33) if is_whole() else (1, 7, 17):
        check(kind.case(n), evaluate=n in (1, 3, 17))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", KINDS)
def test_kind_with_nothing_between_rows(name: str) -> None:
    """Arguments and results of callers: no vector may be written past the end of a row."""
    for n in (1, 3, 7, 15, 16, 17, 33) if is_whole() else (7, 17):
        check(dense(KINDS[name].case(n).graph), evaluate=n in (1, 3, 17))


MACHINES = [(16, 16), (16, 32), (32, 16), (64, 32), (64, 8)]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("vector_bytes", "registers"), MACHINES)
@pytest.mark.parametrize(
    "name",
    [
        "map",
        "transposition",
        "transposition of float64",
        "transposition of axes before they are merged",
        "sum across",
        "sum along",
        "argmax",
        "matmul by columns",
        "matmul, many rows",
        "matmul by dots",
        "matmul by dots of rows",
        "matmul of float64",
        "long epilogue",
        "bytes",
    ],
)
def test_machines(
    name: str, vector_bytes: int, registers: int, machine: Callable[..., None]
) -> None:
    """Narrow vectors and few registers change the loops, not the values."""
    machine(vector_bytes, registers)
    for n in (1, 5, 17):
        check(KINDS[name].case(n), evaluate=n == 5)


def test_vectors_are_as_wide_as_the_machine(machine: Callable[..., None]) -> None:
    widths = {}
    for vector_bytes in (16, 32, 64):
        machine(vector_bytes, 16)
        loops = re.findall(r"in (\d+) vector", text(KINDS["map"].case(33)))
        widths[vector_bytes] = max(map(int, loops))
    assert widths == {16: 4, 32: 8, 64: 16}


def test_map_of_one_element_that_loses_its_axis() -> None:
    def function(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        y = a**a
        return y, (y - b).exp().reshape(()) * 2.0, ((y - b).exp() * b * y * a + a).reshape(())

    check(Case(graph_of(function, f32(1), f32(1))))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("step", [2, 3, 4, 5])
@pytest.mark.parametrize("n", EDGES)
def test_elements_apart(step: int, n: int) -> None:
    """They are picked out of whole vectors, up to the last element of the buffer."""
    case = Case(graph_of(lambda x: x[step - 1 :: step] * 2, f32(n * step)))
    check(case)
    assert ("gather" in pipeline.finish(case.lowered).text) == (step > MOST_STEPS and n > 1)


@pytest.mark.parametrize("rows", [17, 19, 20, 23, 24])
def test_long_reductions_have_several_accumulators(rows: int) -> None:
    case = Case(graph_of(lambda x: (x.sum(0), x.amax(0), x.amin((0, 1))), f32(rows, 3, 5)))
    assert re.search(r"acc\d+: f32\[\d+\] register", text(case))
    assert re.search(r"acc\d+\[v\d+ \+ \d+\] = maximum", text(case))
    check(case)


# -- a vector loop may run its rounds in any order -------------------------------------------------


def backwards(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements with the rounds of every vector loop in the opposite order."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, For):
            inner = backwards(statement.body)
            if statement.kind == "vector":
                last = statement.extent - 1
                inner = tuple(_turn(s, statement.var, last) for s in inner)
            statement = replace(statement, body=inner)
        result.append(statement)
    return tuple(result)


def _turn(statement: Statement, lane: str, last: int) -> Statement:
    def index(at: Affine) -> Affine:
        step = at.coefficient(lane)
        return at.without(lane) + Affine.var(lane, -step) + step * last

    return with_indices(statement, index)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", KINDS)
def test_order_of_lanes_does_not_matter(name: str) -> None:
    case = KINDS[name].case(17)
    arguments = random_arrays(case.graph)
    memory = case.memory(arguments)
    for kernel in case.lowered.kernels:
        evaluate_kernel(Kernel(kernel.name, backwards(kernel.body)), memory.flat)
    assert_close(case.outputs(memory), case.interpreted(arguments))


# -- whole programs --------------------------------------------------------------------------------


def layers(x: Tensor, t: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
    """A training step of a small network: loss and new parameters."""
    from mynn.transform.grad import value_and_grad

    def loss(w: Tensor, b: Tensor, v: Tensor) -> Tensor:
        return ((((x @ w + b).tanh() @ v) - t) ** 2).mean()

    value, gradients = value_and_grad(loss, argnums=(0, 1, 2))(*params)
    return value, *(p - 0.1 * g for p, g in zip(params, gradients, strict=True))


def step_case(batch: int, hidden: int, order: tuple[int, ...]) -> Case:
    types = (f32(batch, 3), f32(batch, 2), f32(3, hidden), f32(hidden), f32(hidden, 2))
    graph = graph_of(layers, *types)
    state = graph.inputs[2:]
    layouts: dict[Node, Shape] = {
        node: layout(node, order) for node in state if len(node.shape) > 1
    }
    return Case(graph, {node: 1 + i for i, node in enumerate(state)}, layouts)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("batch", "hidden"), [(1, 5), (1, 25), (7, 16), (8, 17), (32, 3)])
def test_training_step(batch: int, hidden: int, order: tuple[int, ...]) -> None:
    check(step_case(batch, hidden, order), evaluate=batch * hidden < 150)


@pytest.mark.parametrize(("vector_bytes", "registers"), MACHINES)
def test_training_step_on_machines(
    vector_bytes: int, registers: int, machine: Callable[..., None]
) -> None:
    machine(vector_bytes, registers)
    check(step_case(3, 9, (1, 0)))


def graphs() -> Iterator[tuple[str, Graph]]:
    for name, kind in KINDS.items():
        yield name, kind.case(5).graph


def test_planning_is_deterministic() -> None:
    """Names, order and offsets do not depend on hashes or addresses."""
    for name, graph in graphs():
        one, other = Case(graph), Case(graph)
        assert text(one) == text(other), name
        offsets = [
            sorted((b.name, at) for b, at in c.lowered.plan.arena.items()) for c in (one, other)
        ]
        assert offsets[0] == offsets[1], name
        assert isinstance(one.lowered.plan, plan.Plan)
