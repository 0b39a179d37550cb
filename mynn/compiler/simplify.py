"""Simplification: a graph in, a smaller graph with the same meaning out.

`simplify` runs the named list `PASSES` again and again until nothing changes. Declared inputs stay
as they are, used or not; outputs keep their order and types, though an output may become an input
or a constant. What nothing needs any more is no longer reached from the outputs, and so is gone.

Every rule is exact: the simplified graph gives the same bits, but for the sign of a zero (x + 0,
and sums over an axis of extent 1) and for numbers too small or too large to be represented (2c * x
for c * x + c * x). Nothing is assumed about the values, so x * 0 and x - x stay (x may be NaN or
infinite), and products of constants are not regrouped (that would round differently).

A *uniform* node is one whose elements are all the same constant. Its one form is
`broadcast_to(constant[1,1])`, with as many axes as the result, or the constant alone where it has
one element: so it stays a scalar for code generation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from mynn import interpreter
from mynn.graph import CONSTANT, Array, Graph, Node, Shape, apply, constant, topological
from mynn.ops import elementwise, movement, reduce

Rule = Callable[[Node], Node | None]
Pass = Callable[[Graph], Graph]

# Results above this many elements are not computed ahead: a table would cost more memory traffic
# than it saves.
FOLD_LIMIT = 4096
MAX_ROUNDS = 20


def simplify(graph: Graph) -> Graph:
    """The graph after all `PASSES`, repeated until none of them finds anything.

    Example:
        >>> from mynn.graph import Graph, Type, apply, constant, input_node
        >>> x = input_node(Type((3,), np.dtype("float32")), "x")
        >>> one = apply(movement.reshape, constant(np.float32(1)), shape=(1,))
        >>> ones = apply(movement.broadcast_to, one, shape=(3,))
        >>> y = apply(elementwise.tanh, apply(elementwise.mul, x, ones))
        >>> print(simplify(Graph((x,), (y,))))
        graph(%x: f32[3]) {
          %0: f32[3] = tanh(%x)
          return %0
        }
    """
    for _ in range(MAX_ROUNDS):
        before = graph
        for _, run in PASSES:
            graph = run(graph)
        if graph is before:
            break
    return graph


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph rebuilt from its leaves, `rule` applied to each node once its inputs are done.

    The rule gives the node to stand in place of the one it is shown, or None to keep that. Where it
    keeps all of them the very same graph comes back.
    """
    new: dict[Node, Node] = {}
    declared = set(graph.inputs)
    for node in topological(graph.outputs, stop=declared.__contains__):
        if node in declared:
            new[node] = node
            continue
        candidate = node
        inputs = tuple([new[x] for x in node.inputs])
        if inputs != node.inputs:
            candidate = Node(
                node.primitive, inputs, node.params, node.type, None, node.name, node.source
            )
        replacement = rule(candidate)
        new[node] = candidate if replacement is None else replacement
    outputs = tuple([new[node] for node in graph.outputs])
    return graph if outputs == graph.outputs else Graph(graph.inputs, outputs)


# -- uniform values --------------------------------------------------------------------------------

_PLACING = {movement.reshape, movement.broadcast_to, movement.transpose}


def uniform_value(node: Node) -> Array | None:
    """The value that all elements of a node share, as an array without axes, or None.

    Looks through chains of reshape, broadcast_to and transpose down to a constant of one element.
    """
    while node.primitive in _PLACING:
        node = node.inputs[0]
    if node.primitive is CONSTANT and node.type.size == 1 and node.value is not None:
        return node.value.reshape(())
    return None


def full(value: Array, shape: Shape) -> Node:
    """The uniform node of `shape` whose elements are `value`, in its one form."""
    ones = (1,) * len(shape)
    scalar = constant(np.asarray(value).reshape(ones))
    return scalar if shape == ones else apply(movement.broadcast_to, scalar, shape=shape)


def _is(node: Node, number: float) -> bool:
    """Whether all elements are `number` (a zero of either sign counts as 0)."""
    value = uniform_value(node)
    return value is not None and bool(value == number)


# -- fold ------------------------------------------------------------------------------------------


def fold(graph: Graph) -> Graph:
    """Compute what depends on constants alone, where the result has at most 4096 elements.

    Broadcasts are left to the reader of the value, so what is uniform stays one number.

    Before:
        %0: f32[] = constant 2.0
        %1: f32[1] = reshape(%0) shape=(1,)
        %2: f32[3] = broadcast_to(%1) shape=(3,)
        %3: f32[3] = exp(%2)
        %4: f32[3] = mul(%x, %3)
    After:
        %0: f32[1] = constant [7.389056205749512]
        %1: f32[3] = broadcast_to(%0) shape=(3,)
        %2: f32[3] = mul(%x, %1)
    """
    return rewrite(graph, _fold_node)


def _fold_node(node: Node) -> Node | None:
    if node.primitive is CONSTANT:
        return _fold_constant(node)
    if not node.inputs or not all(map(_is_known, node.inputs)):
        return None
    if node.primitive is movement.broadcast_to:
        return None
    scalars = [uniform_value(x) for x in node.inputs]
    uniform = _fold_uniform(node, [x for x in scalars if x is not None])
    if uniform is not None:
        return uniform
    if node.type.size > FOLD_LIMIT:
        return None
    return constant(
        np.array(interpreter.compute(node, [_known(x) for x in node.inputs]), order="C")
    )


def _is_known(node: Node) -> bool:
    """Whether a node is a constant or a broadcast of one."""
    if node.primitive is movement.broadcast_to:
        node = node.inputs[0]
    return node.primitive is CONSTANT


def _known(node: Node) -> Array:
    source = node.inputs[0] if node.inputs else node
    assert source.value is not None
    return np.broadcast_to(source.value, node.shape)


def _fold_constant(node: Node) -> Node | None:
    """An array whose elements have all the same bits becomes a broadcast scalar."""
    value = node.value
    if value is None or not 1 < node.type.size <= FOLD_LIMIT:
        return None
    flat = value.reshape(-1)
    same = flat[0] == flat[-1] and flat.tobytes() == flat[:1].tobytes() * flat.size
    return full(flat[0], node.shape) if same else None


def _fold_uniform(node: Node, scalars: list[Array]) -> Node | None:
    """A node whose inputs are all uniform, where its result is uniform too."""
    if len(scalars) < len(node.inputs) or node.type.size == 0:
        return None
    primitive = node.primitive
    if primitive.family == "elementwise":
        return full(interpreter.compute(node, scalars), node.shape)
    if primitive in _KEEPS_UNIFORM:
        return full(scalars[0], node.shape)
    if primitive is reduce.sum:
        count = node.inputs[0].type.size // node.type.size
        total = _exact_multiple(scalars[0], count)
        return None if total is None else full(total, node.shape)
    return None


_KEEPS_UNIFORM = {
    movement.reshape,
    movement.transpose,
    movement.slice_,
    movement.flip,
    reduce.max,
    reduce.min,
}


def _exact_multiple(value: Array, count: int) -> Array | None:
    """`count` * `value` where adding it up, in any order, cannot round; otherwise None."""
    if value.dtype.kind != "f":
        wrapped = int(value) * count % 2 ** (8 * value.dtype.itemsize)
        return np.asarray(wrapped, np.uint64).astype(value.dtype)
    if not np.isfinite(value):
        return None
    numerator, denominator = float(value).as_integer_ratio()
    while numerator and numerator % 2 == 0:
        numerator //= 2
    total = float(value) * count
    fits = abs(numerator) * count <= 2 ** (np.finfo(value.dtype).nmant + 1)
    if not fits or abs(total) > np.finfo(value.dtype).max or denominator > 2**100:
        return None
    return np.asarray(total, value.dtype)


# -- algebraic -------------------------------------------------------------------------------------


def algebraic(graph: Graph) -> Graph:
    """Replace nodes that do nothing, or that undo each other, by what they amount to.

    Before:
        %3: f32[4,3] = mul(%x, %ones)
        %4: f32[3,4] = transpose(%3) axes=(1, 0)
        %5: f32[4,3] = transpose(%4) axes=(1, 0)
        %6: f32[12] = reshape(%5) shape=(12,)
        %7: f32[2,6] = reshape(%6) shape=(2, 6)
    After:
        %0: f32[2,6] = reshape(%x) shape=(2, 6)
    """
    return rewrite(graph, _algebraic_node)


def _algebraic_node(node: Node) -> Node | None:
    result: Node | None = None
    while (rule := RULES.get(node.primitive)) is not None:
        simpler = rule(node)
        if simpler is None:
            break
        result = node = simpler
    return result


def _add(node: Node) -> Node | None:
    """x + 0 -> x;  x + (-y) -> x - y;  c * x + c * x -> 2c * x."""
    x, y = node.inputs
    if x is y:
        return _double(x)
    if _is(y, 0):
        return x
    if _is(x, 0):
        return y
    if y.primitive is elementwise.neg:
        return apply(elementwise.sub, x, y.inputs[0], source=node.source)
    if x.primitive is elementwise.neg:
        return apply(elementwise.sub, y, x.inputs[0], source=node.source)
    return None


def _double(x: Node) -> Node | None:
    """x + x where x = c * y: 2c * y. So the gradient of 0.5 * y^2 becomes y."""
    if x.primitive is not elementwise.mul or x.dtype.kind != "f":
        return None
    for c, y in (x.inputs, x.inputs[::-1]):
        value = uniform_value(c)
        if value is not None and abs(value) < 1e30:
            return apply(elementwise.mul, full(value + value, x.shape), y, source=x.source)
    return None


def _sub(node: Node) -> Node | None:
    """x - 0 -> x;  x - (-y) -> x + y."""
    x, y = node.inputs
    if _is(y, 0):
        return x
    if y.primitive is elementwise.neg:
        return apply(elementwise.add, x, y.inputs[0], source=node.source)
    return None


def _mul(node: Node) -> Node | None:
    """x * 1 -> x;  x * -1 -> -x."""
    x, y = node.inputs
    for one, other in ((y, x), (x, y)):
        if _is(one, 1):
            return other
        if _is(one, -1) and other.dtype.kind in "fi":
            return apply(elementwise.neg, other, source=node.source)
    return None


def _div(node: Node) -> Node | None:
    """x / 1 -> x;  x / c -> x * (1 / c) where c is a power of two, so that 1 / c is exact."""
    x, y = node.inputs
    value = uniform_value(y)
    if value is None:
        return None
    if value == 1:
        return x
    number = float(value)
    power = math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5
    if not power or not 2.0**-100 <= abs(number) <= 2.0**100:
        return None
    inverse = full(np.asarray(1 / number, value.dtype), node.shape)
    return apply(elementwise.mul, x, inverse, source=node.source)


def _pow(node: Node) -> Node | None:
    """x ** 1 -> x."""
    x, y = node.inputs
    return x if _is(y, 1) else None


def _undone(node: Node) -> Node | None:
    """f(f(x)) -> x, for neg and logical_not."""
    inner = node.inputs[0]
    return inner.inputs[0] if inner.primitive is node.primitive else None


def _input(node: Node) -> Node | None:
    """stop_gradient(x) -> x: gradients are taken before."""
    return node.inputs[0]


def _both(node: Node) -> Node | None:
    """max(x, x) -> x, and likewise min."""
    x, y = node.inputs
    return x if x is y else None


def _where(node: Node) -> Node | None:
    """where(true, x, y) -> x;  where(c, x, x) -> x;  where(not c, x, y) -> where(c, y, x)."""
    condition, x, y = node.inputs
    if x is y:
        return x
    value = uniform_value(condition)
    if value is not None:
        return x if value else y
    if condition.primitive is elementwise.logical_not:
        return apply(elementwise.where, condition.inputs[0], y, x, source=node.source)
    return None


def _lossless(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether every value of one dtype is a value of the other."""
    if source.kind in "iu" and target.kind == "f":
        return source.itemsize * 8 <= np.finfo(target).nmant + 1
    return np.can_cast(source, target, "safe")


def _cast(node: Node) -> Node | None:
    """cast(x) to its own dtype -> x;  cast(cast(x)) -> cast(x) if the inner one loses nothing."""
    inner = node.inputs[0]
    if inner.dtype == node.dtype:
        return inner
    if inner.primitive is not elementwise.cast:
        return None
    x = inner.inputs[0]
    if not _lossless(x.dtype, inner.dtype):
        return None
    return apply(elementwise.cast, x, dtype=node.dtype, source=node.source)


def _reshape(node: Node) -> Node | None:
    """reshape to its own shape -> x;  reshape(reshape(x)) -> reshape(x)."""
    inner = node.inputs[0]
    if inner.shape == node.shape:
        return inner
    if inner.primitive is movement.reshape:
        return apply(movement.reshape, inner.inputs[0], shape=node.shape, source=node.source)
    return None


def _broadcast(node: Node) -> Node | None:
    """broadcast_to its own shape -> x;  broadcast_to(broadcast_to(x)) -> broadcast_to(x)."""
    inner = node.inputs[0]
    if inner.shape == node.shape:
        return inner
    if inner.primitive is movement.broadcast_to:
        return apply(movement.broadcast_to, inner.inputs[0], shape=node.shape, source=node.source)
    return None


def _transpose(node: Node) -> Node | None:
    """transpose by (0, 1, ...) -> x;  transpose(transpose(x)) -> transpose(x)."""
    inner = node.inputs[0]
    axes = node.params["axes"]
    if axes == tuple(range(len(axes))):
        return inner
    if inner.primitive is movement.transpose:
        first = inner.params["axes"]
        combined = tuple(first[axis] for axis in axes)
        return apply(movement.transpose, inner.inputs[0], axes=combined, source=node.source)
    return None


def _same_shape(node: Node) -> Node | None:
    """A slice that takes everything, or a pad that adds nothing -> x."""
    return node.inputs[0] if node.inputs[0].shape == node.shape else None


def _flip(node: Node) -> Node | None:
    """flip of no axes -> x;  the same flip twice -> x."""
    inner = node.inputs[0]
    if not node.params["axes"]:
        return inner
    if inner.primitive is movement.flip and inner.params["axes"] == node.params["axes"]:
        return inner.inputs[0]
    return None


def _concatenate(node: Node) -> Node | None:
    """concatenate of a single value -> x."""
    return node.inputs[0] if len(node.inputs) == 1 else None


def _reduction(node: Node) -> Node | None:
    """sum, max, min over axes of extent 1 -> reshape(x)."""
    x = node.inputs[0]
    if x.type.size != node.type.size or x.type.size == 0:
        return None
    if x.shape == node.shape:
        return x
    return apply(movement.reshape, x, shape=node.shape, source=node.source)


RULES: dict[Any, Rule] = {
    elementwise.add: _add,
    elementwise.sub: _sub,
    elementwise.mul: _mul,
    elementwise.div: _div,
    elementwise.pow: _pow,
    elementwise.neg: _undone,
    elementwise.logical_not: _undone,
    elementwise.stop_gradient: _input,
    elementwise.maximum: _both,
    elementwise.minimum: _both,
    elementwise.where: _where,
    elementwise.cast: _cast,
    movement.reshape: _reshape,
    movement.broadcast_to: _broadcast,
    movement.transpose: _transpose,
    movement.slice_: _same_shape,
    movement.pad: _same_shape,
    movement.flip: _flip,
    movement.concatenate: _concatenate,
    reduce.sum: _reduction,
    reduce.max: _reduction,
    reduce.min: _reduction,
}


# -- common subexpressions -------------------------------------------------------------------------

_COMMUTATIVE = {
    elementwise.add,
    elementwise.mul,
    elementwise.equal,
    elementwise.not_equal,
    elementwise.bitwise_and,
    elementwise.bitwise_or,
    elementwise.bitwise_xor,
}


def cse(graph: Graph) -> Graph:
    """Compute equal things once: same primitive, parameters and inputs; constants by their bytes.

    Before:
        %0: f32[3] = tanh(%x)
        %1: f32[3] = tanh(%x)
        %2: f32[3] = mul(%0, %1)
    After:
        %0: f32[3] = tanh(%x)
        %1: f32[3] = mul(%0, %0)
    """
    seen: dict[Hashable, Node] = {}

    def rule(node: Node) -> Node | None:
        first = seen.setdefault(_key(node), node)
        return None if first is node else first

    return rewrite(graph, rule)


def _key(node: Node) -> Hashable:
    if node.primitive is CONSTANT and node.value is not None:
        small = node.type.size <= FOLD_LIMIT
        return (CONSTANT, node.shape, node.dtype.char, node.value.tobytes()) if small else node
    inputs = node.inputs
    if node.primitive in _COMMUTATIVE and inputs[0].serial > inputs[1].serial:
        inputs = (inputs[1], inputs[0])
    if not node.params:
        return (node.primitive, inputs) if inputs else node
    # Floats by their text: 0.0 and -0.0 are equal as numbers.
    params = tuple(
        (name, repr(value) if isinstance(value, float) else value)
        for name, value in node.params.items()
    )
    return (node.primitive, inputs, params)


# In this order: constants first, since the other rules look for them.
PASSES: tuple[tuple[str, Pass], ...] = (("fold", fold), ("algebraic", algebraic), ("cse", cse))
