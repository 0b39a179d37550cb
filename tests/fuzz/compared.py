"""Random graphs that compare a value with what was computed from it, and need no luck to fail.

A value is made of products, sums and movement. Then it is held against itself: one element of each
window equals the window's maximum, a relu is its argument or 0, the gradient of a maximum adds up
to the cotangent. Kernels compute the value again where they need it, so each of these holds for all
elements only if it is the same bits everywhere. Every output is a bool that must be true, whatever
was rounded how.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mynn.core import autodiff
from mynn.core.graph import Graph, Node, apply, constant
from mynn.core.types import Shape
from mynn.ops import contraction, elementwise, gather, movement, reduce
from mynn.target.target import WIDTHS, Target, host
from mynn.tensor import Tensor, graph_node, wrap
from mynn.trace import tracing
from tests.compiler.harness import Case
from tests.fuzz.generator import Generator
from tests.fuzz.programs import Program
from tests.fuzz.split import split_problems

WINDOWS = (2, 3, 4, 5, 8, 9, 16, 17, 32)
COUNTS = (1, 2, 3, 5, 7, 12, 33)
ROWS = (1, 2, 3, 6, 16, 33)

Check = Callable[[Generator, Node], Node | None]


def targets() -> list[Target]:
    """Targets with vectors of every width that this one has, with and without multiply-adds."""
    real = host()
    bare = ",".join(f for f in real.features.split(",") if f not in ("+fma", "+neon"))
    fitting = [width for width in WIDTHS if width <= real.vector_bytes]
    wide = [dataclasses.replace(real, vector_bytes=width) for width in fitting]
    return [*wide, *wide, *(dataclasses.replace(target, features=bare) for target in wide)]


def compared(seed: int) -> Program | None:
    """Checks of one or two random values, all outputs bools that must be true."""
    g = Generator(seed, np.float64 if seed % 5 == 3 else np.float32)
    shape = _shape(g)
    outputs: list[Node] = []
    for _ in range(int(g.pick((1, 1, 2)))):
        y = _value(g, shape)
        if y is None:
            return None
        for _ in range(int(g.rng.integers(1, 4))):
            check = g.pick(CHECKS)(g, y)
            if check is not None:
                outputs.append(check)
        if g.chance(0.2):
            outputs.append(apply(elementwise.equal, y, y))
    return Program(seed, Graph(tuple(g.inputs), tuple(outputs)), g.arguments(), {})


def compared_problems(program: Program) -> list[str]:
    """Which checks do not hold, for the target that the seed says; and with several workers."""
    choice = targets()
    target = choice[program.seed % len(choice)]
    got = Case(program.graph, target=target).native(program.arguments)
    found = [] if program.seed % 4 else split_problems(program, target)
    about = f"{8 * target.vector_bytes} bits, {'' if target.has_fma else 'no '}multiply-adds"
    for place, value in enumerate(got):
        if value.dtype == np.bool_ and not value.all():
            found.append(f"{about}: check {place} fails for {(~value).sum()} of {value.size}")
    return found


# -- values ----------------------------------------------------------------------------------------


def _shape(g: Generator) -> Shape:
    shape = (g.pick(ROWS), g.pick(COUNTS) * g.pick(WINDOWS))
    shape = shape if g.chance(0.7) else (shape[1], shape[0])
    return (g.pick((1, 2, 4)), *shape) if g.chance(0.4) else shape


def _value(g: Generator, shape: Shape) -> Node | None:
    """A value that is cheap to compute again, from values that are stored."""
    sources = [_source(g, shape) for _ in range(int(g.rng.integers(1, 4)))]
    nodes = [node for node in sources if node is not None]
    y: Node | None = g.pick(nodes) if nodes else None
    for _ in range(int(g.rng.integers(1, 6))):
        if y is None:
            return None
        y = _light(g, y, nodes) or y
    return y


def _source(g: Generator, shape: Shape) -> Node | None:
    kind = g.pick(("input", "input", "row", "product", "mean", "curve", "short sum"))
    if kind == "short sum":
        axis = int(g.rng.integers(len(shape)))
        factors = (*shape[:axis], int(g.pick((2, 3, 5, 16))), *shape[axis:])
        terms = g.add(elementwise.mul, g.new_input(factors, g.dtype), g.new_input(factors, g.dtype))
        return terms and g.add(reduce.sum, terms, axes=(axis,))
    if kind == "product":
        rows, columns = shape[-2:]
        inner = int(g.pick((1, 3, 8, 20)))
        a = g.new_input((*shape[:-2], rows, inner), g.dtype)
        b = g.new_input((*shape[:-2], inner, columns), g.dtype)
        return g.add(contraction.matmul, a, b)
    if kind == "row":
        axis = int(g.rng.integers(len(shape)))
        row = g.new_input(tuple(n if i == axis else 1 for i, n in enumerate(shape)), g.dtype)
        return g.add(movement.broadcast_to, row, shape=shape)
    x = g.new_input(shape, g.dtype)
    if kind == "curve":
        return g.add(g.pick((elementwise.tanh, elementwise.exp, elementwise.logistic)), x)
    if kind == "mean":
        axis = int(g.rng.integers(len(shape)))
        total = g.add(reduce.sum, x, axes=(axis,))
        column = total and g.add(movement.reshape, total, shape=_kept(shape, axis))
        return column and g.add(movement.broadcast_to, column, shape=shape)
    return x


def _light(g: Generator, y: Node, nodes: list[Node]) -> Node | None:
    """One more cheap operation."""
    choice = g.rng.random()
    if choice < 0.15:
        return g.add(g.pick((elementwise.neg, elementwise.abs, elementwise.relu)), y)
    if choice < 0.5:
        number = constant(np.full((1,) * len(y.shape), round(g.rng.normal(), 3), g.dtype))
        g.values[number] = np.asarray(number.value)
        other = g.add(movement.broadcast_to, number, shape=y.shape)
    else:
        other = g.pick([y, *nodes])
    if other is None:
        return None
    binary = (elementwise.add, elementwise.sub, elementwise.mul, elementwise.mul)
    pair = (y, other) if g.chance(0.5) else (other, y)
    return g.add(g.pick((*binary, *binary, elementwise.maximum)), *pair)


def _kept(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _spread(total: Node, axis: int, shape: Shape) -> Node:
    """What was reduced over an axis, repeated along it."""
    column = apply(movement.reshape, total, shape=_kept(shape, axis))
    return apply(movement.broadcast_to, column, shape=shape)


# -- checks ----------------------------------------------------------------------------------------


def _windows(g: Generator, y: Node) -> tuple[Node, int]:
    """The value in windows side by side, and the axis along the window; or an axis as it is."""
    axis = int(g.rng.integers(len(y.shape)))
    sizes = [size for size in WINDOWS if y.shape[axis] % size == 0]
    if not sizes or g.chance(0.2):
        return y, axis
    size = int(g.pick(sizes))
    shape = (*y.shape[:axis], y.shape[axis] // size, size, *y.shape[axis + 1 :])
    return apply(movement.reshape, y, shape=shape), axis + 1


def _extremum(g: Generator, x: Node, axis: int) -> Node:
    top = apply(g.pick((reduce.max, reduce.max, reduce.min)), x, axes=(axis,))
    return _spread(top, axis, x.shape)


def _some(x: Node, axis: int) -> Node:
    """Whether any of the bools along an axis is true."""
    count = apply(reduce.sum, apply(elementwise.cast, x, dtype=np.dtype(np.int32)), axes=(axis,))
    one = constant(np.ones((1,) * len(count.shape), np.int32))
    one = apply(movement.broadcast_to, one, shape=count.shape)
    return apply(elementwise.less_equal, one, count)


def _is_found(g: Generator, y: Node) -> Node | None:
    """One element of each window is the window's extremum."""
    x, axis = _windows(g, y)
    return _some(apply(elementwise.equal, x, _extremum(g, x, axis)), axis)


def _is_bounded(g: Generator, y: Node) -> Node | None:
    x, axis = _windows(g, y)
    top = _spread(apply(reduce.max, x, axes=(axis,)), axis, x.shape)
    return apply(elementwise.less_equal, x, top)


def _is_zero_apart(g: Generator, y: Node) -> Node | None:
    """The smallest distance from the extremum is 0."""
    x, axis = _windows(g, y)
    apart = apply(elementwise.abs, apply(elementwise.sub, x, _extremum(g, x, axis)))
    least = apply(reduce.min, apart, axes=(axis,))
    return apply(elementwise.equal, least, _zeros(least))


def _zeros(like: Node) -> Node:
    zero = constant(np.zeros((1,) * len(like.shape), like.dtype))
    return apply(movement.broadcast_to, zero, shape=like.shape)


def _is_one_of_two(g: Generator, y: Node) -> Node | None:
    """The larger or smaller of two is one of them; so is a relu, and what `where` picks."""
    z = _value(g, y.shape)
    if z is None:
        return None
    r = apply(g.pick((elementwise.maximum, elementwise.minimum)), y, z)
    if g.chance(0.3):
        z = _zeros(y)
        r = apply(elementwise.relu, y)
    elif g.chance(0.5):
        r = apply(elementwise.where, apply(elementwise.less, y, z), y, z)
    same = apply(elementwise.equal, r, y), apply(elementwise.equal, r, z)
    return apply(elementwise.bitwise_or, *same)


def _is_at_its_place(g: Generator, y: Node) -> Node | None:
    """The element that argmax names is the maximum."""
    axis = int(g.rng.integers(len(y.shape)))
    place = apply(reduce.argmax, y, axis=axis)
    place = apply(elementwise.cast, place, dtype=np.dtype(np.int64))
    at = apply(movement.iota, shape=y.shape, axis=axis, dtype=np.dtype(np.int64))
    here = apply(elementwise.equal, at, _spread(place, axis, y.shape))
    low = constant(np.full((1,) * len(y.shape), -np.inf, y.dtype))
    low = apply(movement.broadcast_to, low, shape=y.shape)
    picked = apply(reduce.max, apply(elementwise.where, here, y, low), axes=(axis,))
    return apply(elementwise.equal, picked, apply(reduce.max, y, axes=(axis,)))


def _is_taken(g: Generator, y: Node) -> Node | None:
    """What is picked by an index is what lies there."""
    axis = int(g.rng.integers(len(y.shape)))
    order = g.rng.permutation(y.shape[axis])
    once = apply(gather.take, y, constant(order.astype(np.int64)), axis=axis)
    back = constant(np.argsort(order).astype(np.int64))
    return apply(elementwise.equal, apply(gather.take, once, back, axis=axis), y)


def _gradient_adds_up(g: Generator, y: Node) -> Node | None:
    """The gradient of a maximum, summed over its window, is the cotangent."""
    x, axis = _windows(g, y)
    top = apply(g.pick((reduce.max, reduce.min)), x, axes=(axis,))
    weights = constant(g.rng.integers(1, 9, top.shape).astype(y.dtype))
    with tracing.tracing() as trace:
        trace.first = -1  # the nodes so far are its own
        cotangent = Tensor.from_node(weights)
        reached = autodiff.reverse({top: cotangent}, lambda node: node is x, wrap)
        total = apply(reduce.sum, graph_node(reached[x]), axes=(axis,))
    off = apply(elementwise.abs, apply(elementwise.sub, total, weights))
    most = constant(np.full((1,) * len(off.shape), 1e-3, y.dtype))
    return apply(elementwise.less_equal, off, apply(movement.broadcast_to, most, shape=off.shape))


CHECKS: tuple[Check, ...] = (
    *(_is_found, _is_found, _is_found, _gradient_adds_up, _gradient_adds_up, _is_zero_apart),
    *(_is_bounded, _is_one_of_two, _is_at_its_place, _is_taken),
)
